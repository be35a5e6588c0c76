"""Models that are trained here, on data that packages ship: minutes at most, no random weights.

Each function writes the model into a folder and returns the fields of :class:`tools.real_models.models.Made`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
Result = tuple[str, dict[str, Any], str, dict[str, int], float | None]


def _digits() -> tuple[Any, Any]:
    """8 × 8 digits, float32 [1797, 1, 8, 8] from 0 to 1, shuffled."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.images[order, None] / 16).astype(np.float32), digits.target[order]


def _fit(net: Any, x: Any, y: Any, epochs: int, loss: Any) -> None:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    net.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            loss(net(x[batch]), y[batch]).backward()
            optimiser.step()
    net.eval()


def _program(net: Any, example: Any, path: Path) -> str:
    """Save as a PyTorch program (.pt2), which holds no code to be run."""
    import torch

    torch.export.save(torch.export.export(net, (torch.from_numpy(example),)), path)
    return str(path)


def resnet18(work: Path) -> Result:
    """ResNet-18's eighteen layers with 8 to 64 channels in place of 64 to 512."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, low: int, high: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(low, high, 3, stride, 1, bias=False), nn.BatchNorm2d(high), nn.ReLU(),
                nn.Conv2d(high, high, 3, 1, 1, bias=False), nn.BatchNorm2d(high),
            )  # fmt: skip
            same = low == high and stride == 1
            self.skip = (
                nn.Identity() if same else nn.Sequential(nn.Conv2d(low, high, 1, stride, bias=False), nn.BatchNorm2d(high))
            )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.skip(x))

    torch.manual_seed(0)
    widths = [8, 8, 16, 32, 64]
    layers: list[Any] = [nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for low, high in pairwise(widths):
        layers += [Block(low, high, 1 if low == high else 2), Block(high, high, 1)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    x, y = _digits()
    x = x.repeat(2, 2).repeat(2, 3)  # 16 × 16, so that every stage has pixels
    _fit(net, x[:1200], y[:1200], 6, nn.CrossEntropyLoss())
    with torch.no_grad():
        right = float((net(torch.from_numpy(x[1200:])).argmax(1).numpy() == y[1200:]).mean())
    print(f"resnet18: {right:.3f} of 597 held-out digits right", flush=True)
    source = _program(net, x[:1], work / "resnet18.pt2")
    return source, {"input": x[1200:1361, None]}, "classification", {}, None


def vit(work: Path) -> Result:
    """A vision transformer: 16 patches of 2 × 2, width 48, 4 heads, 4 blocks."""
    import torch
    from torch import nn

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(1, 48, 2, 2)
            self.first = nn.Parameter(torch.zeros(1, 1, 48))
            self.place = nn.Parameter(torch.randn(1, 17, 48) * 0.02)
            self.blocks = nn.ModuleList([Block() for _ in range(4)])
            self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 10)

        def forward(self, x: Any) -> Any:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.place
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x[:, 0]))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.LayerNorm(48), nn.LayerNorm(48)
            self.qkv, self.out = nn.Linear(48, 144), nn.Linear(48, 48)
            self.mlp = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 48))

        def forward(self, x: Any) -> Any:
            count = x.shape[0]
            q, k, v = self.qkv(self.one(x)).reshape(count, 17, 3, 4, 12).permute(2, 0, 3, 1, 4)
            mixed = torch.softmax(q @ k.transpose(-2, -1) / 12**0.5, -1) @ v
            x = x + self.out(mixed.transpose(1, 2).reshape(count, 17, 48))
            return x + self.mlp(self.two(x))

    torch.manual_seed(0)
    net = ViT()
    x, y = _digits()
    _fit(net, x[:1200], y[:1200], 25, nn.CrossEntropyLoss())
    with torch.no_grad():
        right = float((net(torch.from_numpy(x[1200:])).argmax(1).numpy() == y[1200:]).mean())
    print(f"vit: {right:.3f} of 597 held-out digits right", flush=True)
    return _program(net, x[:1], work / "vit.pt2"), {"x": x[1200:1361, None]}, "classification", {}, None


def lstm(work: Path, series: Any) -> Result:
    """The next hour's temperature from 24 hours, in standard deviations."""
    import torch
    from torch import nn

    class Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(1, 24, batch_first=True), nn.Linear(24, 1)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    series = ((series - series.mean()) / series.std()).astype(np.float32)
    x = np.lib.stride_tricks.sliding_window_view(series, 25).copy()
    past, following = x[:, :24, None], x[:, 24:]
    torch.manual_seed(0)
    net = Forecast()
    order = np.random.default_rng(0).permutation(6000)[:3000]
    _fit(net, past[order], following[order], 6, nn.MSELoss())
    with torch.no_grad():
        off = float(np.sqrt(((net(torch.from_numpy(past[6000:])).numpy() - following[6000:]) ** 2).mean()))
    print(f"lstm: root mean square error {off:.3f} standard deviations on later hours", flush=True)
    return _program(net, past[:1], work / "lstm.pt2"), {"x": past[6000:8000:10, None]}, "regression", {}, None


def tfidf(work: Path) -> Result:
    """Which package a piece of documentation is of: counts of 400 words, TF-IDF and a linear model."""
    import inspect

    import skops.io
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, labels = [], []
    for label, name in enumerate(("numpy", "scipy.stats", "sklearn.linear_model", "onnx.helper")):
        module = __import__(name, fromlist=["_"])
        for _, thing in sorted(inspect.getmembers(module)):
            if text := inspect.getdoc(thing):
                texts.append(text)
                labels.append(label)
    counts = CountVectorizer(max_features=400, stop_words="english").fit_transform(texts).toarray().astype(np.float32)
    y = np.array(labels)
    order = np.random.default_rng(0).permutation(len(y))
    counts, y = counts[order], y[order]
    half = len(y) // 2
    model = make_pipeline(TfidfTransformer(), LogisticRegression(C=10, max_iter=1000)).fit(counts[:half], y[:half])
    print(f"tfidf: {model.score(counts[half:], y[half:]):.3f} of {len(y) - half} held-out texts right", flush=True)
    skops.io.dump(model, work / "tfidf.skops")
    return str(work / "tfidf.skops"), {"X": counts[half:, None]}, "classification", {}, None


def forest(work: Path) -> Result:
    """100 trees of depth 6."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order]
    model = RandomForestClassifier(100, max_depth=6, random_state=0).fit(x[:300], y[:300])
    print(f"forest: {model.score(x[300:], y[300:]):.3f} of {len(y) - 300} held-out rows right", flush=True)
    return _converted(model, x, work / "forest.onnx"), {"X": x[300:, None]}, "classification", {}, None


def boosting(work: Path) -> Result:
    """Gradient boosting, 100 trees of depth 3."""
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import GradientBoostingRegressor

    x, y = load_diabetes(return_X_y=True, scaled=False)
    x = x.astype(np.float32)
    model = GradientBoostingRegressor(random_state=0).fit(x[:221], y[:221])
    print(f"boosting: R² {model.score(x[221:], y[221:]):.3f} on held-out rows", flush=True)
    return _converted(model, x, work / "boosting.onnx"), {"X": x[221:, None]}, "regression", {}, None


def _converted(model: Any, x: Any, path: Path) -> str:
    """By skl2onnx, as it comes: labels, probabilities and ZipMap."""
    from skl2onnx import to_onnx

    path.write_bytes(to_onnx(model, x[:1]).SerializeToString())
    return str(path)


def small_tree(work: Path) -> Result:
    """The smallest of all, for a test of the measurement itself."""
    from sklearn.datasets import load_wine
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order]
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x[:60], y[:60])
    return _converted(model, x, work / "tree.onnx"), {"X": x[60:, None]}, "classification", {}, None


def lenet_int8(work: Path) -> Result:
    """The repository's LeNet-5, quantised by onnxruntime."""
    folder = ROOT / "fixtures" / "lenet5"
    with np.load(folder / "calibration.npz") as arrays:
        name = next(name for name in arrays if name != "label")
        inputs = arrays[name][:, None]  # one sample per proof: a batch of one
    path = _quantised(folder / "model.onnx", name, inputs, work / "lenet-int8.onnx")
    return path, {name: inputs[:120]}, "classification", {}, 0.05


def resnet18_int8(work: Path) -> Result:
    """The ResNet-18 of this module, exported and quantised by onnxruntime."""
    import verifai

    source, inputs, task, _, _ = resnet18(work)
    float_model = verifai.export_model(source).model
    (work / "resnet18.onnx").write_bytes(float_model.data)
    name = float_model.inputs[0].name
    images = inputs["input"]
    path = _quantised(work / "resnet18.onnx", name, images, work / "resnet18-int8.onnx")
    return path, {name: images}, task, {}, 0.05


def _quantised(model: Path, name: str, inputs: Any, path: Path) -> str:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(inputs[:60])

        def get_next(self) -> Any:
            one = next(self.left, None)
            return None if one is None else {name: one}

    quantize_static(
        model, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=False,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )  # fmt: skip
    return str(path)
