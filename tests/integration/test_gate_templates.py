"""The GitHub Action, the GitLab template and the pre-commit hook, executed as the shell that they are.

Bundles, policy and command are real; the engine is that of ``gate_world``.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from tests.support.gate_world import GATE_KEY, World, fake_engines
from tests.support.paths import ROOT

__all__ = ["fake_engines"]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / "integrations" / "gitlab" / "verifai.gitlab-ci.yml").read_text())
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
TODAY = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "work").mkdir()
    return World(tmp_path / "work")


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def environment(folder: Path) -> dict[str, str]:
    """A shell environment with a ``verifai`` that knows the engine of these tests."""
    program = (
        "import sys; from tests.support import gate_world; gate_world.use_fake_engines(); "
        "from verifai.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    script(folder / "bin" / "verifai", f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}


@dataclass
class Runner:
    """As much of a GitHub runner as composite actions see."""

    folder: Path
    output: str = ""
    status: int = 0

    def run(self, work: Path, **inputs: str) -> Runner:
        given = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()} | inputs
        files = {name: self.folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")}
        for path in files.values():
            path.touch()
        base = environment(self.folder) | {name: str(path) for name, path in files.items()}
        base |= {"RUNNER_TEMP": str(self.folder), "GITHUB_ACTION_PATH": str(ROOT)}
        for step in ACTION["runs"]["steps"]:
            if "if" in step and self._evaluate(step["if"], given) != "true":
                continue
            added = {name: self._evaluate(value, given) for name, value in step.get("env", {}).items()}
            # The runner's own invocation for `shell: bash`.
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=work, env=base | added, capture_output=True,
            )  # fmt: skip
            self.output += done.stdout.decode()
            self.status = done.returncode
            if self.status:
                break
        return self

    def _evaluate(self, text: str, inputs: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            comparison = re.fullmatch(r"inputs\.(\w+) == '(\w+)'", match[1])
            if comparison:
                return str(inputs[comparison[1]] == comparison[2]).lower()
            if match[1].startswith("github."):
                return {"github.action_repository": "verifai/verifai", "github.action_ref": "v0.1.0"}[match[1]]
            name = re.fullmatch(r"inputs\.(\w+)", match[1])
            assert name is not None, match[1]
            return inputs[name[1]]

        return EXPRESSION.sub(value, text)

    @property
    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.folder / "github_output").read_text().splitlines())

    @property
    def summary(self) -> str:
        return (self.folder / "github_step_summary").read_text()

    def commands(self) -> list[str]:
        """The workflow commands that a runner would obey, in either spelling."""
        found, stopped = [], ""
        for line in self.output.splitlines():
            if stopped:
                stopped = "" if line.strip() == f"::{stopped}::" else stopped
            elif line.startswith("::stop-commands::"):
                stopped = line.removeprefix("::stop-commands::")
            elif line.lstrip().startswith("::") or "##[" in line:
                found.append(line)
        assert not stopped, "commands stay stopped for the steps after"
        return found


def runner(tmp_path: Path) -> Runner:
    folder = tmp_path / "runner"
    folder.mkdir()
    return Runner(folder)


def test_no_input_is_pasted_into_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert not EXPRESSION.search(step["run"])


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", "integrations/github/release.yml"),
        ("vendor.github-actions", "action.yml"),
        ("vendor.gitlab-ci", "integrations/gitlab/verifai.gitlab-ci.yml"),
        ("vendor.gitlab-ci", "integrations/gitlab/release.gitlab-ci.yml"),
    ],
)
def test_the_templates_fit_their_schemas(schema: str, path: str) -> None:
    program = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / path)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_stops_a_forged_proof_and_says_so(world: World, tmp_path: Path) -> None:
    world.bundle("evidence/good", created=TODAY)
    world.bundle("evidence/forged", 2, created=TODAY, forged=True)
    world.policy()
    action = runner(tmp_path).run(world.folder, bundles="evidence", install="false")
    assert (action.status, action.outputs["status"]) == (1, "1")
    errors = [line for line in action.commands() if line.startswith("::error")]
    assert len(errors) == 1
    assert "evidence/forged" in errors[0]
    assert "proof-invalid" in action.summary
    written = {path.name for path in Path(action.outputs["reports"]).iterdir()}
    assert written == {"gate.json", "gate.sarif", "gate.xml", "gate.html", "gate.md", "annotations.txt"}


def test_the_action_lets_good_evidence_pass_and_attests_the_verdict(world: World, tmp_path: Path) -> None:
    world.bundle("evidence/a b", created=TODAY)
    world.bundle("-q", 2, created=TODAY)
    world.policy()
    GATE_KEY.write(world.folder / "gate.key")
    action = runner(tmp_path).run(
        world.folder, bundles="evidence\n\n./-q\n", install="false", attest="verdict", key="gate.key"
    )  # fmt: skip
    assert (action.status, action.outputs["status"]) == (0, "0"), action.output
    assert (world.folder / "verdict" / "bundle.dsse.json").is_file()
    assert [line.split(" ")[0] for line in action.commands()] == ["::notice"]


@pytest.mark.parametrize("case", ["no bundles", "empty policy", "no policy", "a word like an option"])
def test_the_action_fails_where_the_gate_cannot_decide(case: str, world: World, tmp_path: Path) -> None:
    policy = world.policy()
    (world.folder / "empty").mkdir()
    bundles = {"no bundles": "empty", "a word like an option": "--explain"}.get(case, str(world.bundle("a", created=TODAY)))
    if case == "empty policy":
        policy.write_text("")
    if case == "no policy":
        policy.unlink()
    action = runner(tmp_path).run(world.folder, bundles=bundles, install="false")
    assert action.status == (4 if case == "no bundles" else 2)
    assert "::error" in action.output or "::warning" in action.output


HOSTILE = ("x\n::error::forged", "x\n::stop-commands::known", "::set-output name=status::0", "##[add-mask]1 $(touch pwned)")


def test_hostile_bundle_names_give_the_runner_no_command(world: World, tmp_path: Path) -> None:
    world.policy()
    for number, name in enumerate(HOSTILE):
        world.bundle(f"made/{number}", number, created=TODAY, forged=True)
        (world.folder / "evidence").mkdir(exist_ok=True)
        (world.folder / "made" / str(number)).rename(world.folder / "evidence" / name)
    action = runner(tmp_path).run(world.folder, bundles="evidence", install="false")
    assert action.status == 1
    for line in action.commands():
        assert re.match(r"::(error|warning|notice) title=[^:]*::", line), line
        assert "##[" not in line
    assert action.outputs["status"] == "1"
    assert not (world.folder / "pwned").exists()


def test_hostile_input_is_no_shell(world: World, tmp_path: Path) -> None:
    world.policy()
    bundles = "\n".join(("$(touch pwned)", "`touch pwned`", "a; touch pwned", "*", '"; touch pwned; "', "-h"))
    action = runner(tmp_path).run(world.folder, bundles=bundles, install="false")
    assert action.status == 2
    assert not (world.folder / "pwned").exists()


def test_a_command_that_says_yes_without_a_report_is_not_believed(world: World, tmp_path: Path) -> None:
    script(tmp_path / "yes" / "verifai", "#!/bin/sh\nexit 0\n")
    action = runner(tmp_path)
    step = ACTION["runs"]["steps"][1]
    names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    env = {"PATH": f"{tmp_path / 'yes'}:{os.environ['PATH']}", "RUNNER_TEMP": str(action.folder)}
    env |= {name: str(action.folder / name.lower()) for name in names}
    env |= {"GATE_BUNDLES": "a", "GATE_POLICY": "p", "GATE_ATTEST": "", "GATE_KEY": ""}
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], env=env, capture_output=True)
    assert done.returncode == 4


def test_installing_uses_the_actions_own_source_and_puts_it_on_the_path(world: World, tmp_path: Path) -> None:
    action = runner(tmp_path)
    log = tmp_path / "pip.txt"
    script(
        action.folder / "bin" / "python3",
        "#!/bin/sh\n"
        'mkdir -p "$3/bin"\n'
        f'printf \'#!/bin/sh\\necho "$@" >> {log}\\n\' > "$3/bin/python"\n'
        'chmod +x "$3/bin/python"\n',
    )
    world.bundle("a", created=TODAY)
    world.policy()
    assert action.run(world.folder, bundles="a").status == 0
    assert log.read_text().split() == [
        "-m", "pip", "--disable-pip-version-check", "-q", "install", "-c", str(ROOT / "constraints.txt"), str(ROOT),
    ]  # fmt: skip
    assert (action.folder / "github_path").read_text() == f"{action.folder}/verifai-venv/bin\n"


def _gitlab(shell: str, world: World, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    job = GITLAB[".verifai-gate"]
    (script_text,) = job["script"]
    env = environment(tmp_path) | job["variables"] | variables
    return subprocess.run([shell, "-c", script_text], cwd=world.folder, env=env, capture_output=True)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_gitlab_job_stops_a_forged_proof_and_leaves_reports(shell: str, world: World, tmp_path: Path) -> None:
    world.policy()
    world.bundle("evidence/good one", created=TODAY)
    assert _gitlab(shell, world, tmp_path).returncode == 0
    world.bundle("evidence/forged", 2, created=TODAY, forged=True)
    assert _gitlab(shell, world, tmp_path).returncode == 1
    suite = next(iter(JUnitXml.fromstring((world.folder / "verifai-reports" / "gate.xml").read_bytes())))
    assert suite.failures == 1


@pytest.mark.parametrize("bundles", ["", "$(touch pwned)", "; touch pwned", "nowhere"])
def test_the_gitlab_job_fails_without_evidence_and_runs_none_of_its_variables(
    bundles: str, world: World, tmp_path: Path
) -> None:
    world.policy()
    assert _gitlab("sh", world, tmp_path, VERIFAI_BUNDLES=bundles).returncode == (2 if bundles else 4)
    assert not (world.folder / "pwned").exists()


def test_the_gitlab_job_is_not_allowed_to_fail() -> None:
    for job in GITLAB.values():
        assert "allow_failure" not in job
    assert GITLAB["verifai-gate"]["extends"] == ".verifai-gate"
    assert GITLAB[".verifai-gate"]["artifacts"]["when"] == "always"


def test_the_pre_commit_hook_refuses_a_change_whose_evidence_does_not_hold(world: World, tmp_path: Path) -> None:
    (hook,) = HOOKS
    assert hook["pass_filenames"] is False, "the policy decides what is looked at, not the change"
    command = [*hook["entry"].split(), *hook["args"]]

    def commit() -> int:
        return subprocess.run(command, cwd=world.folder, env=environment(tmp_path), capture_output=True).returncode

    world.policy()
    world.bundle("evidence/a", created=TODAY)
    assert commit() == 0
    (world.folder / "evidence" / "a" / "payload" / "model.onnx").write_bytes(b"the pinned modeL")
    assert commit() == 1


@pytest.mark.parametrize("path", ["model.onnx", "a/b/model.onnx", "circuits/net/circuit.lock", "verifai.toml", "evidence/0/x"])
def test_the_pre_commit_hook_runs_for_what_a_release_consists_of(path: str) -> None:
    assert re.search(HOOKS[0]["files"], path)


WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / "integrations" / "github" / "release.yml").read_text())
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["gate"]["steps"]


def test_the_workflows_key_is_private_and_taken_away(tmp_path: Path) -> None:
    scripts = [step["run"] for step in STEPS if "run" in step]
    assert not any(EXPRESSION.search(one) for one in scripts), "a secret is pasted into no script"
    base = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path)}
    for secret in ("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----", "$(touch pwned)", "%s%n"):
        put, take = ["bash", "-eo", "pipefail", "-c", scripts[0]], ["bash", "-eo", "pipefail", "-c", scripts[1]]
        assert subprocess.run(put, env=base | {"VERIFAI_KEY": secret}, cwd=tmp_path).returncode == 0
        assert (tmp_path / "gate.key").read_text() == secret + "\n"
        assert stat.S_IMODE((tmp_path / "gate.key").stat().st_mode) == 0o600
        assert subprocess.run(take, env=base, cwd=tmp_path).returncode == 0
        assert not list(tmp_path.iterdir())
    assert subprocess.run(["bash", "-c", scripts[0]], env=base, cwd=tmp_path, capture_output=True).returncode != 0


def test_the_workflow_gives_the_action_what_it_takes_and_releases_only_behind_it() -> None:
    gate = next(step for step in STEPS if step.get("id") == "gate")
    assert set(gate["with"]) <= set(ACTION["inputs"])
    used = set(re.findall(r"steps\.gate\.outputs\.(\w+)", yaml.safe_dump(WORKFLOW)))
    assert used and used <= set(ACTION["outputs"])
    assert WORKFLOW["jobs"]["release"]["needs"] == "gate"
    assert not any("continue-on-error" in step for step in STEPS)


def _artifacts(step: dict[str, Any], places: Mapping[str, str]) -> Path:
    """What an upload step would take."""
    return Path(_filled(step["with"].get("path") or step["with"]["sarif_file"], places))


def _filled(text: str, places: Mapping[str, str]) -> str:
    return EXPRESSION.sub(lambda match: places[match[1]], text)


@pytest.mark.parametrize("forged", [False, True])
def test_the_whole_workflow_from_the_secret_to_the_release(forged: bool, world: World, tmp_path: Path) -> None:
    """Every step of the gate's job in its order, as a runner does them; `always()` steps also when the gate refused."""
    world.policy()
    world.bundle("evidence/a", created=TODAY, forged=forged)
    runs = runner(tmp_path)
    secret = GATE_KEY.write(tmp_path / "secret").read_text().rstrip("\n")
    base = environment(runs.folder) | {"RUNNER_TEMP": str(runs.folder), "VERIFAI_KEY": secret}
    places = {"runner.temp": str(runs.folder), "secrets.VERIFAI_PASSPHRASE": ""}
    failed, kept = False, []
    for step in STEPS:
        if failed and "always()" not in step.get("if", ""):
            continue
        if "run" in step:
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            assert subprocess.run(command, env=base, cwd=world.folder).returncode == 0
        elif step.get("id") == "gate":
            given = {name: _filled(text, places) for name, text in step["with"].items()}
            runs.run(world.folder, install="false", **given)
            places |= {f"steps.gate.outputs.{name}": text for name, text in runs.outputs.items()}
            places["steps.gate.outputs.sarif"] = f"{runs.outputs['reports']}/gate.sarif"
            failed = runs.status != 0
        elif "upload" in step["uses"]:
            kept.append(_artifacts(step, places))
    assert failed is forged, runs.output
    assert not (runs.folder / "gate.key").exists(), "the key is gone before anything is uploaded"
    verdict, reports, sarif = kept
    assert (verdict / "bundle.dsse.json").is_file(), "a refusal is signed as well"
    assert {one.name for one in reports.iterdir()} > {"gate.json", "gate.xml", "gate.html"}
    document = json.loads(sarif.read_text())
    results = document["runs"][0]["results"]
    assert bool(results) is forged
    for one in results:
        place = one["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] in ("./verifai.toml", "./circuit.lock") and place["region"]["startLine"] > 0
    for rule in document["runs"][0]["tool"]["driver"]["rules"]:
        assert rule["helpUri"] == f"https://github.com/verifai/verifai/blob/v0.1.0/docs/codes.md#{rule['id']}"
    for step in WORKFLOW["jobs"]["release"]["steps"]:
        assert subprocess.run(["bash", "-e", "-c", step["run"]], env=base, capture_output=True).returncode == 0


def test_the_whole_gitlab_pipeline_signs_keeps_and_releases_only_behind_the_gate(world: World, tmp_path: Path) -> None:
    pipeline: dict[str, Any] = yaml.safe_load((ROOT / "integrations" / "gitlab" / "release.gitlab-ci.yml").read_text())
    (included,) = pipeline["include"]
    assert (ROOT / "integrations" / "gitlab" / included["local"]).is_file()
    job = GITLAB["verifai-gate"] | pipeline["verifai-gate"]
    assert job["extends"] == ".verifai-gate" and "script" not in pipeline["verifai-gate"], "the script is the template's"
    assert job["stage"] in pipeline["stages"] and pipeline["release"]["needs"] == ["verifai-gate"]
    assert not any("allow_failure" in one for one in pipeline.values() if isinstance(one, dict))
    assert "paths" not in job["artifacts"], "it would take the template's place"
    world.policy()
    world.bundle("evidence/a", created=TODAY)
    key = GATE_KEY.write(tmp_path / "gate.key")
    done = _gitlab("sh", world, tmp_path, **job["variables"], VERIFAI_KEY_FILE=str(key), CI_PROJECT_DIR=str(world.folder))
    assert done.returncode == 0, done.stderr
    (kept,) = GITLAB[".verifai-gate"]["artifacts"]["paths"]
    written = {one.name for one in (world.folder / kept.replace("$VERIFAI_REPORTS", "verifai-reports")).iterdir()}
    assert written == {"gate.json", "gate.sarif", "gate.xml", "gate.html", "gate.md", "verdict"}
    (line,) = pipeline["release"]["script"]
    assert subprocess.run(["sh", "-ec", line], env=environment(tmp_path), capture_output=True).returncode == 0


def test_the_gitlab_job_signs_its_verdict_with_a_key_that_others_could_read(world: World, tmp_path: Path) -> None:
    world.policy()
    world.bundle("evidence/good", created=TODAY)
    key = GATE_KEY.write(tmp_path / "gate.key")
    key.chmod(0o644)
    done = _gitlab("sh", world, tmp_path, VERIFAI_KEY_FILE=str(key))
    assert done.returncode == 0, done.stderr
    assert (world.folder / "verifai-reports" / "verdict" / "bundle.dsse.json").is_file()


def test_make_image_builds_both_stages_of_the_dockerfile(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script(tmp_path / "bin" / "docker", f'#!/bin/sh\necho "$@" >> {log}\n')
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    assert subprocess.run(["make", "-C", str(ROOT), "image"], env=path, capture_output=True).returncode == 0
    built = log.read_text().splitlines()
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert [line.split()[2] for line in built] == ["toolkit", "auditor"] and {"toolkit", "auditor"} <= stages
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        assert all((ROOT / one).exists() for one in source.split())
    missing = subprocess.run(["make", "-C", str(ROOT), "image", "DOCKER=no-such-program"], capture_output=True, text=True)
    assert missing.returncode != 0 and "no-such-program is not here" in missing.stderr
