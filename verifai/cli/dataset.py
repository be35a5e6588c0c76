"""``dataset``: a data set pinned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.evaluation.data_lock import DataLock, DataTask
from verifai.execution.outputs import Kind

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "dataset", example="verifai dataset fixtures/digits-mlp/heldout.npz -o data.lock --name digits")
    def dataset(
        source: Annotated[
            Path,
            typer.Argument(help="Data (.npz, CSV, Parquet), or a folder of pictures.", show_default=False, metavar="FILE"),
        ],
        *,
        output: Annotated[Path, typer.Option("--output", "-o", help="The lock, such as data.lock."), Kind.FILE],
        name: Annotated[str | None, typer.Option("--name", help="What people call it; by default the file's name.")] = None,
        label: Annotated[
            str | None, typer.Option("--label", help="Array or column of the labels; by default a usual name.", metavar="NAME")
        ] = None,
        group: Annotated[
            str | None, typer.Option("--group", help="Column that names each sample's group.", metavar="NAME")
        ] = None,
        task: Annotated[DataTask | None, typer.Option("--task", help="What labels are; by default as they look.")] = None,
        class_: Annotated[
            list[str] | None, typer.Option("--class", help="Name of class 0, 1, …; repeatable.", metavar="NAME")
        ] = None,
        drop: Annotated[
            list[str] | None, typer.Option("--drop", help="Array or column that is left out; repeatable.", metavar="NAME")
        ] = None,
        limit: Annotated[int | None, typer.Option("--limit", min=1, help="Pin only the first N samples.")] = None,
        source_text: Annotated[str, typer.Option("--source", help="Where the data come from.", metavar="TEXT")] = "",
        licence: Annotated[str, typer.Option("--licence", help="On what terms.", metavar="TEXT")] = "",
    ) -> Result:
        """Pin a data set, so that an evaluation of all of it can be asked for.

        The lock holds a Merkle root over inputs, labels and groups, not the data. Whoever judges an evaluation brings it.
        """
        from verifai.stages.evaluation.data_set import pin
        from verifai.stages.evaluation.lock_file import write_data_lock
        from verifai.stages.evaluation.read_data import DataOptions, read_data

        options = DataOptions(label, group, task, tuple(class_ or ()), tuple(drop or ()))
        read = read_data(source, options)
        for note in (*read.notes, *read.data.notes):
            current().note(note)
        lock = pin(
            read.data if limit is None else read.data.first(limit),
            name or _name(source),
            read.label,
            group=group or "",
            dropped=options.dropped,
            file=_relative(source, output),
            source=source_text,
            licence=licence,
        )
        write_data_lock(output, lock)
        return Result({"lock": str(output), **lock.to_document()["data"]}, _lines(lock, output), verdict="done")


def _name(source: Path) -> str:
    return (source.resolve().name if source.is_dir() else source.stem) or "data"


def _relative(source: Path, output: Path) -> str:
    return Path(os.path.relpath(source.resolve(), output.resolve().parent)).as_posix()


def _lines(lock: DataLock, output: Path) -> list[str]:
    what = f"{len(lock.classes):,} classes" if lock.classes else "numbers to predict"
    return [
        f"[bold green]PINNED[/] {plain(lock.name)}: {lock.count:,} samples, {what} → {plain(str(output))}",
        f"   root {lock.root}",
        *([f"   classes {_few(lock.classes)}"] if lock.classes else []),
        *([f"   groups by {plain(lock.group)}: {_few(lock.groups)}"] if lock.group else []),
    ]


def _few(names: tuple[str, ...]) -> str:
    more = f", … and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return plain(", ".join(names[:SHOWN])) + more
