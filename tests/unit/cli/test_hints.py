"""Every hint can be followed: its command is one that the command line takes, its option and its field exist.

The texts are read from the source, so that a new one is tested without being listed here. A command in a text stands between
backticks; words in capitals stand for what the reader has.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from tests.support.paths import ROOT
from verifai.cli.app import app
from verifai.cli.lazy import known_verb
from verifai.cli.suggest import followable, option_names
from verifai.cli.verbs import VERBS
from verifai.domain.circuit_spec import parse_spec
from verifai.domain.codes import all_codes
from verifai.domain.trust import parse_trust
from verifai.engines.ezkl.tuning.tune import read_options
from verifai.engines.sumcheck.building import options_of
from verifai.errors import UsageError

SOURCE = ROOT / "verifai"
COMMAND = re.compile(r"`(verifai(?: [^`]*)?)`")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")
FIELD = re.compile(
    r"\[([a-z]+(?:\.[a-z]+)?)\] (?!(?:in|of|to|with|out)\b)([a-z][a-z_0-9]+)"
    r"|\b([a-z]+_[a-z_]+) (?:in|from|of) \[([a-z]+(?:\.[a-z]+)?)\]"
)
PLACEHOLDERS = {"LIMIT": "0.1", "SIZE": "12", "ENGINE": "sumcheck", "NAME=SIZE": "N=1", "X": "4"}
"""What stands in for a word in capitals where not any text will do. X: what the program fills in."""


@dataclass(frozen=True)
class Text:
    """One text of the source. ``advice``: it is a hint or a remedy, so it is there to be followed."""

    place: str
    text: str
    advice: bool


def _flat(node: ast.AST) -> str | None:
    """The text of a constant or an f-string, with X for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
    return None


ADVICE = ("hint", "remedy", "suggestion", "advice")
"""Parameters, fields and variables that hold what is to be done."""


@cache
def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


@cache
def _advised_places() -> dict[str, set[int]]:
    """Functions and classes of the package that are given advice by position: their name, and which positions."""
    found: dict[str, set[int]] = {}
    for tree in _trees().values():
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.FunctionDef):
                names = [one.arg for one in node.args.args if one.arg not in ("self", "cls")]
            elif isinstance(node, ast.ClassDef):
                fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
                names = [one.id for one in fields if isinstance(one, ast.Name)]
            places = {names.index(name) for name in names if name in ADVICE}
            if places:
                found.setdefault(node.name, set()).update(places)  # type: ignore[attr-defined]
    return found


def _advice(tree: ast.Module) -> set[int]:
    """The nodes of all texts that are there to be followed, however they get there: by name, by position, by a variable."""
    given: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given += [one.value for one in node.keywords if one.arg in ADVICE]
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            given += [node.args[at] for at in _advised_places().get(name, ()) if at < len(node.args)]
    names = {one.id for node in given for one in ast.walk(node) if isinstance(one, ast.Name)}
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Name) and (target.id in names or any(one in target.id.lower() for one in ADVICE)):
                value = getattr(node, "value", None)
                given += [] if value is None else [value]
    return {id(inner) for node in given for inner in ast.walk(node)}


def _texts(path: Path) -> Iterator[Text]:
    tree = _trees()[path]
    parts = {id(one) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for one in node.values}
    quiet = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    quiet |= {id(one.value) for node in calls for one in node.keywords if one.arg in ("example", "epilog")}
    advice = _advice(tree)
    for node in ast.walk(tree):
        text = _flat(node)
        if text is not None and id(node) not in parts | quiet:
            yield Text(f"{path.relative_to(ROOT)}:{node.lineno}", text, id(node) in advice)  # type: ignore[attr-defined]


@cache
def texts() -> tuple[Text, ...]:
    found = [text for path in _trees() if "codes" not in path.parts for text in _texts(path)]
    for name, code in all_codes().items():
        found += [Text(f"code {name}", code.remedy, True), Text(f"code {name}", code.meaning, False)]
    return tuple(found)


@cache
def root() -> Any:
    return typer.main.get_command(app)


def parse(words: list[str]) -> None:
    """Have the real parser read a command line. Raises TyperException."""
    command = root()
    context = command.make_context("verifai", [], resilient_parsing=True)
    verb = known_verb(words)
    assert verb, f"no such verb: {words}"
    for name in verb:
        command = command.get_command(context, name)
        assert command is not None
        given = [] if name != verb[-1] else words[len(verb) :]
        context = command.make_context(name, given, parent=context, resilient_parsing=name != verb[-1])


def _filled(command: str) -> list[str]:
    words = shlex.split(command)[1:]
    named = {at + 1: "sumcheck" for at, word in enumerate(words) if word == "--engine"}
    if words[-3:-1] == ["-o", "model.onnx"]:
        words = words[:-1]  # what follows are --trust-type options
    return [named.get(at) or PLACEHOLDERS.get(word, word) for at, word in enumerate(words)]


COMMANDS = [(text, command) for text in texts() for command in COMMAND.findall(text.text)]


def test_there_are_commands_in_hints() -> None:
    assert len(COMMANDS) > 80
    assert sum(text.advice for text in texts()) > 600


def test_advice_is_found_however_it_is_handed_over() -> None:
    """Each way that the package uses; a text that were missed would be tried by nobody."""
    tree = ast.parse(
        "_NEW = 'by variable'\n"
        "_WRITE_HINTS = {1: 'in a table'}\n"
        "raise UsageError('c', 'message', hint='by name')\n"
        "raise UsageError('c', 'message', hint=_NEW)\n"
        "check_it(Foreign('a thing', 'by position'))\n"
        "raise root.refuse('message', 'field', 'of a method')\n"
    )
    advice = _advice(tree)
    found = {_flat(node) for node in ast.walk(tree) if id(node) in advice} - {None}
    assert found == {"by variable", "in a table", "by name", "by position", "of a method"}


def test_every_code_that_a_person_can_meet_says_what_to_do() -> None:
    for name, code in all_codes().items():
        assert code.remedy or code.statuses == (0,), name


@pytest.mark.parametrize(("text", "command"), COMMANDS, ids=[f"{text.place} {command}" for text, command in COMMANDS])
def test_a_command_that_a_text_names_is_taken_by_the_command_line(text: Text, command: str) -> None:
    words = _filled(command)
    if words and words == list(known_verb(words)):
        return  # it names the verb, as in "what `verifai bench` measured"
    try:
        parse(words)
    except typer.Exit:
        pass  # --help
    except TyperException as problem:
        if text.advice or "no such option" in str(problem).lower():
            raise AssertionError(f"{text.place}: {command}: {problem.format_message()}") from None


def test_commands_stand_between_backticks() -> None:
    """Else nobody can tell where they end; and a misspelt one would look like prose."""
    for text in texts():
        if "Next: " in text.text or text.text.startswith(("verifai ", "#", "<")):  # examples, which other tests run; pages
            continue
        for word in re.findall(r"(?<!\])\bverifai ([a-z][a-z-]+)", COMMAND.sub("", text.text)):
            assert word not in VERBS, f"{text.place}: {text.text}"
            assert not get_close_matches(word, VERBS, cutoff=0.85), f"{text.place}: {text.text}"


def _options(command: Any) -> Iterator[str]:
    for parameter in getattr(command, "params", ()):
        yield from (*parameter.opts, *parameter.secondary_opts)
    for child in getattr(command, "commands", {}).values():
        yield from _options(child)


def test_an_option_that_a_hint_names_exists() -> None:
    known = set(_options(root())) | {"--help"}
    for text in texts():
        if text.advice:
            assert set(OPTION.findall(text.text)) <= known, f"{text.place}: {text.text}"


# Fields of files.


def _takes(section: str, field: str) -> bool:
    """Whether the reader of the file with this section knows the field: only then it complains of something else."""
    top, _, below = section.partition(".")
    odd: Any = {field: object()}
    spec: dict[str, Any] = {"circuit": {"name": "n", "model": "m"}, "tensors": {"x": "public"}}
    try:
        if section == "engine.sumcheck":
            options_of(parse_spec({**spec, "engine": {"sumcheck": odd}}, "t"))
        elif section == "engine.ezkl":
            if field != "srs":  # taken out before the tuner reads the rest
                read_options(odd)
        elif top in ("circuit", "budget", "fidelity", "calibration", "weights", "privacy"):
            parse_spec({**spec, top: {**spec.get(top, {}), **odd}}, "t")
        elif top in ("srs", "log", "freshness", "sigstore"):
            parse_trust({"schema": "verifai/trust/v1", top: odd}, "t")
        elif top in ("roles", "circuits"):
            parse_trust({"schema": "verifai/trust/v1", top: {below or "net": odd}}, "t")
        else:
            return False
    except UsageError as problem:
        return "unknown field" not in problem.message
    except (TypeError, ValueError):
        return True
    return True


def test_the_readers_tell_known_fields_from_others() -> None:
    assert _takes("engine.sumcheck", "activation_bits") and not _takes("engine.sumcheck", "activation_bit")
    assert _takes("budget", "max_logrows") and not _takes("budget", "max_rows")
    assert _takes("freshness", "maximum_age_days") and not _takes("freshness", "age")
    assert not _takes("scales", "budget")


def test_a_field_that_a_hint_names_is_read() -> None:
    for text in texts():
        if text.advice:
            for section, field, other, place in FIELD.findall(text.text):
                assert _takes(section or place, field or other), f"{text.place}: {text.text}"


OTHERS_WORDS = ("verifai/exporters/", "verifai/onnx_graph/passes/")
"""Places whose advice speaks of a source framework's own parameters and attributes."""


def test_a_word_that_looks_like_a_field_is_one() -> None:
    """Snake case in a hint is a field of some file of ours, or of a call that the text shows: ``name(`` or ``name=``."""
    known = {text.text for text in texts() if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", text.text)}
    for text in texts():
        if text.advice and not text.place.startswith(OTHERS_WORDS):
            for word in re.findall(r"(?<![.\w])[a-z]+(?:_[a-z0-9]+)+(?![\w(=])", COMMAND.sub("", text.text)):
                assert word in known, f"{text.place}: {text.text}"


# Security, and paths with blanks.


def test_nobody_is_told_to_install_somebody_elses_package() -> None:
    """On the public index, the name is another project's: only a checkout or a direct reference may be named."""
    pattern = re.compile(r"pip3?\s+install\b[^`\n&|;]*[\s'\"]verifai(?:\[[\w,]+\])?(?!\s*@)[\s'\"`]")
    pages = [
        path
        for ending in ("*.md", "*.yml", "*.yaml", "*.toml", "*.sh")
        for path in ROOT.rglob(ending)
        if ".git" not in path.parts
    ]
    for path in [*pages, *SOURCE.rglob("*.py"), ROOT / "Makefile"]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path


FILLED_IN_PLAIN = {"RELEASE", "code", "logrows", "size", "value"}
"""Attributes that are numbers or words of ours: what can stand in a command without quotes."""


def test_what_is_filled_into_a_command_is_quoted() -> None:
    """A path with a blank in it would be another command."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            ticks = 0
            for one in node.values:
                if isinstance(one, ast.Constant):
                    ticks += str(one.value).count("`")
                elif isinstance(one, ast.FormattedValue) and ticks % 2:
                    shown = ast.unparse(one.value)
                    quoted = re.match(r"(?:plain\()?(?:shlex\.)?(?:quote|shell|join)\(|export_hint\(|options?$", shown)
                    assert quoted or shown.rpartition(".")[2] in FILLED_IN_PLAIN, f"{path}:{node.lineno}: {shown}"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["veriy", "x"], "verifai --help"),
        (["verify"], "verifai verify --help"),
        (["log", "apend"], "verifai log --help"),
        (["log", "append"], "verifai log append --help"),
        (["--nonsense"], "verifai --help"),
        (["verify", "log", "--nonsense"], "verifai verify --help"),
    ],
)
def test_misuse_points_to_a_help_that_exists(arguments: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    from verifai.cli.app import run

    assert run(arguments) == 2
    assert f"`{shown}`" in capsys.readouterr().err
    assert run(shlex.split(shown)[1:]) == 0


@pytest.mark.parametrize("command", [name for name, _ in option_names()])
def test_an_option_that_another_command_has_is_said_to_be_its(command: str) -> None:
    """Whatever a command meets, it takes the option that it is advised to give, or hears which command does."""
    every = dict(option_names())
    for text in texts():
        if not text.advice:
            continue
        told = followable(text.text, command.replace(" ", "-"))
        named = set(OPTION.findall(re.sub("`[^`]*`", "", text.text)))
        foreign = {one for one in named - every[command] if any(one in options for options in every.values())}
        assert {one for one in named if f"{one} is an option of" in told} == foreign


def test_the_commands_that_have_an_option_are_named() -> None:
    shared = "Bring the data set's pin: --data data.lock."
    assert followable(shared, "verify") == shared
    assert followable(shared, "gate-init").startswith(f"{shared} --data is an option of `verifai check`, `verifai verify` and ")
    assert (
        followable("Pass --trust-pickle.", "check") == "Pass --trust-pickle. --trust-pickle is an option of `verifai export`."
    )
    assert followable("Run: `verifai audit CASE --anchors DIGITS`", "gate") == "Run: `verifai audit CASE --anchors DIGITS`"
    assert followable("Leave --on out.", "seal").count("`") <= 8
    assert followable("Fetch it: curl --fail URL.", "verify") == "Fetch it: curl --fail URL."
