"""References in docstrings, such as a ``:mod:`` with a module's name, lead to something that exists.

Three kinds: absolute (``verifai.…``, ``tests.…``); relative, with leading dots as in an import; and plain, for a name of the
same module or class. They are resolved on the source's text, so that optional packages need not be there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import pytest

from tests.support.paths import ROOT

FOLDERS = ("verifai", "tests", "tools", "fixtures")
REFERENCE = re.compile(r":(?:mod|class|func|data|meth|attr|exc|obj):`~?([^`]+)`")


@dataclass
class Module:
    """What a file defines.

    Attributes:
        package: what one leading dot means in it.
        references: in its docstrings, each with the name of the class that it is in, or ``""``.
        names: of its top level, by name their members. imported: names from elsewhere.
    """

    package: str
    references: list[tuple[str, str]]
    names: dict[str, set[str]] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)


def _assigned(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _members(node: ast.ClassDef) -> set[str]:
    found = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef | ast.ClassDef)}
    found |= {name for inner in node.body for name in _assigned(inner)}
    stored = (inner for inner in ast.walk(node) if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store))
    return found | {inner.attr for inner in stored}


def _references(node: ast.AST, inside: str = "") -> Iterator[tuple[str, str]]:
    """Of all docstrings, those below an assignment included."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        for reference in REFERENCE.findall(node.value.value):
            yield reference, inside
    for child in ast.iter_child_nodes(node):
        yield from _references(child, node.name if isinstance(node, ast.ClassDef) else inside)


def parse(text: str, package: str) -> Module:
    tree = ast.parse(text)
    module = Module(package, list(_references(tree)))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            module.names[node.name] = _members(node)
        elif isinstance(node, ast.FunctionDef):
            module.names[node.name] = set()
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module.imported |= {alias.asname or alias.name for alias in node.names}
        else:
            module.names.update((name, set()) for name in _assigned(node))
    return module


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = parse(path.read_text(encoding="utf-8"), ".".join(parts[:-1]))
    return found


def absolute(reference: str, module: Module) -> str | None:
    """The full name; None for a plain one."""
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference if reference.partition(".")[0] in FOLDERS else None
    package = module.package.split(".")
    return ".".join([*package[: len(package) - (dots - 1)], reference[dots:]])


def exists(full: str, known: dict[str, Module]) -> bool:
    if full in known:
        return True
    owner, _, name = full.rpartition(".")
    if owner in known:
        return name in known[owner].names
    module, _, kind = owner.rpartition(".")
    return module in known and name in known[module].names.get(kind, set())


def broken(module: Module, known: dict[str, Module]) -> list[str]:
    """The references of ``module`` that lead nowhere."""
    found = []
    for reference, inside in module.references:
        full = absolute(reference, module)
        if full is not None:
            good = exists(full, known)
        else:
            name, _, member = reference.partition(".")
            here = reference in module.names.get(inside, set())
            good = here or name in module.imported or (name in module.names and (not member or member in module.names[name]))
        if not good:
            found.append(reference)
    return found


def test_references_are_found() -> None:
    assert sum(len(module.references) for module in modules().values()) > 100


def test_every_reference_in_a_docstring_names_something_that_exists() -> None:
    lost = {name: found for name, module in modules().items() if (found := broken(module, modules()))}
    assert not lost, "\n".join(f"{name}: {', '.join(found)}" for name, found in lost.items())


@pytest.mark.parametrize(
    ("reference", "good"),
    [
        ("verifai.a", True),
        ("verifai.a.Thing", True),
        ("verifai.a.Thing.part", True),
        (".a.Thing", True),
        ("..b.c.helper", True),
        ("Local", True),
        ("Local.method", True),
        ("method", True),
        ("verifai.z", False),
        ("verifai.a.Other", False),
        ("verifai.a.Thing.other", False),
        (".b.c", False),
        ("..a.helper", False),
        ("Missing", False),
        ("Local.missing", False),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(reference: str, good: bool) -> None:
    text = f'class Local:\n    def method(self):\n        """See :class:`~{reference}`."""\n'
    known = {
        "verifai.a": parse("class Thing:\n    part: int\n", "verifai"),
        "b.c": parse("def helper(): ...\n", "b"),
        "verifai.here": parse(text, "verifai"),
    }
    assert broken(known["verifai.here"], known) == ([] if good else [reference])
