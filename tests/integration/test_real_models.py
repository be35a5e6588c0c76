"""The measurement of real models, in its smallest form; and its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools.real_models.measure import measure
from tools.real_models.models import MODELS, RealModel, packages
from tools.real_models.page import page
from tools.real_models.results import FILE, Row, read, write
from tools.real_models.trained import small_tree

pytest.importorskip("skl2onnx", reason="needs skl2onnx")


def test_a_model_goes_from_its_file_to_a_verified_proof_with_every_figure(tmp_path: Path) -> None:
    from tools.real_models.models import Made

    model = RealModel("tree", "A tree", "skl2onnx", "wine", lambda work, _: Made(*small_tree(work)))
    row = measure(model, tmp_path, tmp_path)
    assert not row.reason, row.reason
    assert row.decisions == "117/117" and row.cells and row.proof_bytes and row.parity is not None
    assert row.prove_cpu and row.verify_cpu and row.memory_bytes and row.fidelity is not None


def test_a_model_that_is_refused_is_a_row_with_its_reason(tmp_path: Path) -> None:
    from tools.real_models.models import Made

    made = Made(str(tmp_path / "no.onnx"), small_tree(tmp_path)[1], "classification")
    (tmp_path / "no.onnx").write_bytes(b"no model")
    row = measure(RealModel("no", "None", "ONNX", "wine", lambda *_: made), tmp_path, tmp_path)
    assert row.reason.startswith("export [model-malformed]") and row.cells is None


def test_rows_are_kept_as_they_are(tmp_path: Path) -> None:
    rows = {
        "a": Row("a", "A", "trained here", "skops", "wine", parity=0.0, cells=3),
        "b": Row("b", "B", "x==1", "ONNX", "y", "no"),
    }
    write(rows, tmp_path / "rows.json")
    assert read(tmp_path / "rows.json") == rows
    assert "## Not proven" in page(rows)


def test_a_model_that_the_default_floor_refuses_is_proven_with_the_floor_that_its_user_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools.real_models import measure as tool
    from tools.real_models.models import Made

    through = tool._Steps.run

    def strict(steps: tool._Steps, verb: str, *arguments: str) -> dict[str, object]:
        """The default floor of this test is one that no circuit meets."""
        toml = steps.work / "circuit" / "circuit.toml"
        if verb == "compile" and "compile" not in steps.ran:
            tool._allow(toml, 1e-9)
        return through(steps, verb, *arguments)

    monkeypatch.setattr(tool._Steps, "run", strict)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    tree = RealModel("tree", "A tree", "skl2onnx", "wine", lambda work, _: Made(*small_tree(work)))
    refused = measure(tree, tmp_path, first)
    assert "fidelity-below-floor" in refused.reason and refused.floor is None
    row = measure(replace(tree, floor=0.05), tmp_path, second)
    assert not row.reason and row.floor == 0.05 and row.proof_bytes
    assert "with a larger error allowed: 1" in page({"tree": row}) and "A tree 0.05" in page({"tree": row})


def test_every_kept_row_is_a_model_of_the_list_and_packages_are_pinned() -> None:
    assert set(read()) <= {model.slug for model in MODELS} and FILE.is_file()
    assert all(name.count("==") == 1 for name in packages())
    assert (ROOT / "docs" / "real-models.md").read_text(encoding="utf-8") == page(read()), "run: make docs-write"
