"""docs/architecture.md says what is so: its packages, its layers and its answers to "Where is …?" are those of the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LAYERS = PAGE.split("\n## Layers\n")[1].split("\n## ")[0]
QUESTIONS = PAGE.split("\n## Where is …?\n")[1].split("\n## ")[0]
DRAWINGS = {  # by the package whose parts they draw, in the page's order
    package: [[name.strip() for name in line.split("|")] for line in block.splitlines()]
    for package, block in zip(
        ("verifai", "verifai.stages", "verifai.engines", "verifai.engines.sumcheck"),
        re.findall(r"```text\n(.*?)```", LAYERS, flags=re.S),
        strict=True,
    )
}
STANDARD_LIBRARY = ("verifier", "planning", "protocol", "circuit")
"""The parts of the sumcheck engine that the page calls the verifier's closure."""


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted((ROOT / "verifai").rglob("*.py"))}


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below ``node`` but the bodies of ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _running(other)
        else:
            yield from _running(child)


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of ours that ``module`` imports when it runs, wherever in the file."""
    found = set()
    for node in _running(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return frozenset(found & set(MODULES))


def _part(module: str, package: str) -> str:
    """The part of ``package`` that ``module`` lies in; empty when it lies outside."""
    inside = module.startswith(package + ".")
    return module.removeprefix(package + ".").split(".")[0] if inside else ""


@pytest.mark.parametrize("package", DRAWINGS)
def test_a_drawing_has_every_part_of_its_package(package: str) -> None:
    drawn = sorted(name for line in DRAWINGS[package] for name in line)
    assert drawn == sorted({_part(module, package) for module in MODULES} - {""})


@pytest.mark.parametrize("package", DRAWINGS)
def test_imports_point_downward_in_a_drawing(package: str) -> None:
    line_of = {name: number for number, line in enumerate(DRAWINGS[package]) for name in line}
    wrong = [
        f"{module} imports {target}"
        for module in MODULES
        for target in imports(module)
        if (own := _part(module, package)) and (other := _part(target, package)) and own != other
        if line_of[other] <= line_of[own]
    ]
    assert not wrong, "\n".join(wrong)


def test_a_contract_over_the_parts_of_a_package_draws_the_same() -> None:
    """Where pyproject.toml has layers for a drawn package, the page shows these."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        for package in set(contract.get("containers", ())) & DRAWINGS.keys():
            layers = [sorted(name.strip() for name in line.split("|")) for line in contract["layers"]]
            assert [sorted(line) for line in DRAWINGS[package]] == layers


def test_every_package_has_a_row() -> None:
    rows = set(re.findall(r"^\| `(verifai/[\w/]+/)` \|", PAGE, flags=re.M))
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in MODULES.values() if path.name == "__init__.py"}
    assert rows == packages - {"verifai/"}


def _names(path: Path) -> set[str]:
    """What a module defines: functions, classes, constants, and ``Class.member``."""
    found: set[str] = set()

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.add(prefix + name)
                case ast.ClassDef(name=name, body=inner):
                    found.add(prefix + name)
                    add(inner, f"{prefix}{name}.")
                case ast.Assign(targets=targets):
                    found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found.add(prefix + name)

    add(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


ANSWERS = re.findall(r"^\| (?!question|---)([^|]+) \| `([^`|]+)` \|([^|]*)\|$", QUESTIONS, flags=re.M)


def test_each_line_of_the_table_is_an_answer() -> None:
    assert len(ANSWERS) == QUESTIONS.count("\n| ") - 2 > 40


@pytest.mark.parametrize(("question", "file", "names"), ANSWERS, ids=[answer[0] for answer in ANSWERS])
def test_an_answer_names_what_is_defined_there(question: str, file: str, names: str) -> None:
    missing = set(re.findall(r"`([^`]+)`", names)) - _names(ROOT / file)
    assert not missing, question


def test_the_verifier_needs_the_standard_library_alone() -> None:
    engine = "verifai.engines.sumcheck"
    modules = [name for name in MODULES if _part(name, engine) in STANDARD_LIBRARY]
    script = (
        f"import importlib, json, sys\nfor name in {modules}: importlib.import_module(name)\nprint(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(json.loads(done.stdout))
    ours = {name for name in loaded if name.split(".")[0] == "verifai"}
    packages = {"verifai", "verifai.domain", "verifai.engines", engine}  # their __init__ files: a docstring, or lazy names
    assert ours - set(modules) - packages <= {"verifai.errors", "verifai.domain.digest"}
    bare = subprocess.run(
        [sys.executable, "-c", "import json, sys\nprint(json.dumps([*sys.modules]))"], capture_output=True, text=True
    )
    foreign = {name.split(".")[0] for name in loaded - ours - set(json.loads(bare.stdout))}
    assert foreign <= sys.stdlib_module_names, foreign


def test_verifying_loads_no_compiler() -> None:
    script = "import json, sys\nimport verifai.engines.sumcheck.verifying\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = json.loads(done.stdout)
    assert not [
        name
        for name in loaded
        if name.startswith("verifai.engines.sumcheck.lowering") or name.split(".")[0] in ("onnx", "onnxruntime")
    ]
