"""What no exporter may do by itself: run a stranger's code. Needs neither PyTorch nor scikit-learn."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verifai.errors import UnsupportedModel, UsageError
from verifai.exporters.factory import call_factory, is_factory
from verifai.exporters.interface import Source
from verifai.exporters.onnx import OnnxExporter
from verifai.exporters.pt2 import check_pt2
from verifai.exporters.registry import export_source, exporters


def source(text: str | Path, **options: Any) -> Source:
    return Source(str(text), {}, **options)


class Payload:
    """Touches a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_every_exporter_has_a_name_of_its_own() -> None:
    names = [exporter.name for exporter in exporters()]
    assert len(set(names)) == len(names) == 6


@pytest.mark.parametrize("text", ["model.bin", "model", "", "http://x/y", "a:b:c", "pkg.module:", ":factory", "pkg.module:a-b"])
def test_a_source_of_no_known_kind_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        export_source(source(text))
    assert caught.value.code == "source-unknown"


def test_a_missing_onnx_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        OnnxExporter().export(source(tmp_path / "none.onnx"))
    assert caught.value.code == "file-missing"


def test_a_factory_is_a_dotted_module_and_one_name() -> None:
    assert is_factory("pkg.module:factory")
    assert not is_factory("pkg/module.py:factory")
    assert not is_factory("C:model.onnx")


def test_what_goes_wrong_in_a_factory_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_factory.py").write_text(
        "def make():\n    raise KeyError('first\\nsecond')\n\nvalue = 3\n\ndef number():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    for text in ("broken_factory:make", "broken_factory:value", "broken_factory:none", "no_such_module:make"):
        with pytest.raises(UsageError) as caught:
            call_factory(text)
        assert (caught.value.code, caught.value.where) == ("source-failed", text)
        assert "\n" not in caught.value.message
    assert str(tmp_path) not in sys.path
    with pytest.raises(UsageError) as caught:
        export_source(source("broken_factory:number"))
    assert caught.value.code == "source-unknown"


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [("torch", "net.pt2", "[torch]"), ("skl2onnx", "m.skops", "[sklearn]"), ("skops", "m.pkl", "[sklearn]")],
)
def test_a_missing_framework_is_named_with_its_extra(
    missing: str, name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as caught:
        export_source(source(tmp_path / name))
    assert (caught.value.code, extra in caught.value.hint) == ("extra-missing", True)


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib"])
def test_a_pickled_estimator_is_refused_unread(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("skops", reason="needs the [sklearn] extra")
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(UsageError) as caught:
        export_source(source(path))
    assert (caught.value.code, caught.value.status) == ("pickle-refused", 2)
    assert "--trust-pickle" in caught.value.hint
    assert not (tmp_path / "ran").exists()


GRAPH: dict[str, Any] = {"graph": {"nodes": [{"target": "torch.ops.aten.relu.default", "inputs": []}]}}


def archive(
    path: Path, *, graph: Any = GRAPH, constants: Any = None, extra: dict[str, bytes] | None = None, mark: bool = True
) -> Path:
    with zipfile.ZipFile(path, "w") as output:
        if mark:
            output.writestr("m/archive_format", "pt2")
        output.writestr("m/models/model.json", json.dumps(graph))
        output.writestr("m/data/constants/model_constants_config.json", json.dumps(constants or {"config": {}}))
        for name, content in (extra or {}).items():
            output.writestr(name, content)
    return path


def node(target: str) -> dict[str, Any]:
    return {"graph": {"nodes": [{"target": target, "inputs": []}]}}


def expression(text: Any) -> dict[str, Any]:
    return {"sizes": [{"as_expr": {"expr_str": text}}]}


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "an operator that runs a command": lambda path: archive(path, graph=node("os.system")),
    "an attribute of torch": lambda path: archive(path, graph=node("torch.hub.load")),
    "a custom operator": lambda path: archive(path, graph=node("torch.ops.mylib.run.default")),
    "a way out of the namespace": lambda path: archive(path, graph=node("torch.ops.aten.relu.default.__globals__")),
    "an expression that calls": lambda path: archive(path, graph=expression("__import__('os').system('true')")),
    "an expression with attributes": lambda path: archive(path, graph=expression("Symbol('s0').__class__")),
    "an expression that quits": lambda path: archive(path, graph=expression("exit()")),
    "an expression that never ends": lambda path: archive(path, graph=expression("9**9**9**9")),
    "an expression that is too long": lambda path: archive(path, graph=expression("s1 + " * 100 + "s1")),
    "an expression of many digits": lambda path: archive(path, graph=expression("1" * 5000 + "!")),
    "an expression that is no text": lambda path: archive(path, graph=expression(["s1"])),
    "a pickled constant": lambda path: archive(path, constants={"config": {"k": {"path_name": "opaque_obj_0"}}}),
    "a custom object": lambda path: archive(path, constants={"config": {"k": {"path_name": "custom_obj_0"}}}),
    "a constant elsewhere": lambda path: archive(path, constants={"config": {"k": {"path_name": "../../tensor_0"}}}),
    "a member with code": lambda path: archive(path, extra={"m/code/__torch__.py": b""}),
    "a compiled library": lambda path: archive(path, extra={"m/data/aotinductor/model/x.so": b""}),
    "a pickled member": lambda path: archive(path, extra={"m/data/constants/custom_obj_0": b""}),
    "the old format": lambda path: archive(path, mark=False),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_program_that_could_run_code_when_loaded_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_pt2(HOSTILE[name](tmp_path / "m.pt2"))
    assert caught.value.code == "pickle-refused"
    assert "m.pt2" in caught.value.where


def test_a_plain_program_is_admitted(tmp_path: Path) -> None:
    plain = {**GRAPH, **expression("Add(Symbol('s77', positive=True, integer=True), Integer(-1))")}
    check_pt2(archive(tmp_path / "m.pt2", graph=plain, extra={"m/data/weights/weight_0": b"", "m/byteorder": b"little"}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip"])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        check_pt2(tmp_path / "m.pt2")
    assert caught.value.code == "source-failed"


def test_broken_or_deep_json_is_refused(tmp_path: Path) -> None:
    for content in ("{", "[" * 100_000, "\xff"):
        path = tmp_path / "m.pt2"
        with zipfile.ZipFile(path, "w") as output:
            output.writestr("m/models/model.json", content.encode("latin-1"))
        with pytest.raises(UsageError) as caught:
            check_pt2(path)
        assert caught.value.code == "source-failed"


def test_an_archive_bomb_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt2")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as opened:
        size = opened.infolist()[0].file_size
    # The central directory's size field of the first member: what the archive says it unpacks to.
    at = data.rindex(b"PK\x01\x02", 0, data.index(b"PK\x01\x02") + 4) + 24
    assert int.from_bytes(data[at : at + 4], "little") == size
    path.write_bytes(data[:at] + (0xF0000000).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(UnsupportedModel) as caught:
        check_pt2(path)
    assert caught.value.code == "model-too-large"
