"""PyTorch sources: programs, factories, pickled modules; each result computes what the module computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from verifai.errors import UsageError
from verifai.stages.export import export

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs the [torch] extra")
pytest.importorskip("onnxscript", reason="needs the [torch] extra")

FACTORIES = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.GELU(), torch.nn.MaxPool2d(2),
            torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3), torch.nn.Softmax(-1),
        )

    def forward(self, picture):
        return self.layers(picture)

class Unused(Net):
    def forward(self, picture, idle):
        return self.layers(picture)

class Branching(Net):
    def forward(self, picture):
        return self.layers(picture) if picture.sum() > 0 else self.layers(-picture)

def module():
    return Net()

def with_examples():
    return Net(), (torch.rand(1, 1, 4, 4),)

def unused():
    return Unused(), (torch.rand(1, 1, 4, 4), torch.rand(1))

def branching():
    return Branching(), (torch.rand(1, 1, 4, 4),)

def strings():
    return Net(), ("no tensor",)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "torch_factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def program(folder: Path, *, dynamic: bool = False) -> Path:
    from torch_factories import Net  # type: ignore[import-not-found]  # the fixture wrote it

    shapes = {"picture": {0: torch.export.Dim("batch")}} if dynamic else None
    saved = torch.export.export(Net().eval(), (torch.rand(2 if dynamic else 1, 1, 4, 4),), dynamic_shapes=shapes)
    torch.export.save(saved, folder / "net.pt2")
    return folder / "net.pt2"


def refused(text: str | Path, **options: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        export(text, **options)  # type: ignore[arg-type]
    return caught.value


def test_a_factory_with_example_inputs(folder: Path) -> None:
    result = export("torch_factories:with_examples")
    assert [spec.shape for spec in result.model.inputs] == [(1, 1, 4, 4)]
    assert (result.parity.samples, result.parity.generated) == (9, 8)
    assert result.parity.max_abs_error < 1e-5


def test_a_factory_with_given_shapes(folder: Path) -> None:
    assert export("torch_factories:module", shapes={"picture": (1, 1, 4, 4)}).parity.max_abs_error < 1e-5


def test_a_saved_program_and_its_factory_give_the_same_operators(folder: Path) -> None:
    first = export(program(folder)).model
    second = export("torch_factories:with_examples").model
    assert [item.op_type for item in first.proto.graph.node] == [item.op_type for item in second.proto.graph.node]


def test_the_same_program_gives_the_same_bytes(folder: Path) -> None:
    path = program(folder)
    assert export(path).model.data == export(path).model.data


def test_an_open_batch_is_one_and_that_is_said_and_can_be_chosen(folder: Path) -> None:
    made = export(program(folder, dynamic=True))
    assert made.model.inputs[0].shape == (1, 1, 4, 4)
    (notice,) = [one for one in made.notices if "--dim " in one]
    name = notice.split("--dim ")[1].split("=")[0]
    assert export(folder / "net.pt2", dims={name: 2}).model.inputs[0].shape == (2, 1, 4, 4)


def test_a_pickled_module_needs_trust(folder: Path) -> None:
    from torch_factories import Net

    torch.save(Net(), folder / "net.pt")
    assert refused(folder / "net.pt").code == "pickle-refused"
    assert export(folder / "net.pt", trust_pickle=True, shapes={"picture": (1, 1, 4, 4)}).parity.max_abs_error < 1e-5


def test_weights_alone_are_no_model(folder: Path) -> None:
    from torch_factories import Net

    torch.save(Net().state_dict(), folder / "net.pt")
    assert refused(folder / "net.pt", trust_pickle=True).code == "source-failed"


def test_without_example_inputs_the_option_is_named(folder: Path) -> None:
    error = refused("torch_factories:module")
    assert (error.code, "--shape" in error.hint) == ("source-failed", True)


def test_an_unknown_argument_is_refused(folder: Path) -> None:
    assert refused("torch_factories:module", shapes={"image": (1, 1, 4, 4)}).code == "bad-option"


def test_examples_that_are_no_tensors_are_refused(folder: Path) -> None:
    assert refused("torch_factories:strings").code == "source-failed"


def test_an_argument_without_effect_is_refused(folder: Path) -> None:
    assert refused("torch_factories:unused").code == "model-unused-input"


def test_a_module_that_branches_on_data_is_refused(folder: Path) -> None:
    error = refused("torch_factories:branching")
    assert error.code == "source-failed"
    assert error.message.isprintable()


def test_a_weight_with_a_pickled_payload_is_not_unpickled(folder: Path) -> None:
    """The archive's configuration may ask for a pickled weight; loading is then limited to plain tensors."""
    import json
    import pickle
    import zipfile

    path = program(folder)
    with zipfile.ZipFile(path) as opened:
        members = {info.filename: opened.read(info) for info in opened.infolist()}
    config = next(name for name in members if name.endswith("model_weights_config.json"))
    weight = next(name for name in members if name.endswith("weights/weight_0"))
    document = json.loads(members[config])
    for entry in document["config"].values():
        entry["use_pickle"] = True

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (folder / "ran",)

    members |= {config: json.dumps(document).encode(), weight: pickle.dumps(Payload())}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as output:
        for name, content in members.items():
            output.writestr(name, content)
    assert refused(path).code == "source-failed"
    assert not (folder / "ran").exists()
