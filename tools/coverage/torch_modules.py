"""Modules of torch.nn, alone and in small networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

from tools.coverage.case import Case, Data, integers, normal, pixels, table, uniform
from tools.coverage.torch_export import torch_case

ROUTE = "PyTorch modules"
PICTURE, SERIES, ROWS, SPACE = normal(1, 4, 12, 12), normal(1, 4, 20), normal(1, 6, 16), normal(1, 2, 6, 6, 6)


class First(nn.Module):
    """Only the first result of a module, as users of recurrent nets take it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *arguments: Any) -> Any:
        """The first result."""
        return self.module(*arguments)[0]


class Same(nn.Module):
    """One tensor as query, key and value."""

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        self.module, self.options = module, options

    def forward(self, x: torch.Tensor) -> Any:
        """Attention of x to itself."""
        return self.module(x, x, x, **self.options)[0]


class Packed(nn.Module):
    """A recurrent layer on sequences of given lengths."""

    def __init__(self, inner: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The padded outputs."""
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.inner(packed)[0], batch_first=True, total_length=6)[0]


def _trained_norm(module: Any) -> nn.Module:
    """With running statistics such as training leaves."""
    for one in module.modules():
        if isinstance(one, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            for value, low, high in (
                (one.running_mean, -1, 1),
                (one.running_var, 0.3, 3),
                (one.weight, 0.5, 1.5),
                (one.bias, -1, 1),
            ):
                assert value is not None
                nn.init.uniform_(value, low, high)
    return module  # type: ignore[no-any-return]


def _convolutions() -> dict[str, tuple[Callable[[], nn.Module], Data]]:
    return {
        "conv1d-dilated": (lambda: nn.Conv1d(4, 6, 3, padding=4, dilation=2), SERIES),
        "conv2d-groups-stride": (lambda: nn.Conv2d(4, 8, 3, stride=2, groups=2), PICTURE),
        "conv2d-same": (lambda: nn.Conv2d(4, 4, 4, padding="same"), PICTURE),
        "conv2d-reflect": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), PICTURE),
        "conv2d-circular": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), PICTURE),
        "conv2d-replicate": (lambda: nn.Conv2d(4, 4, 5, padding=2, padding_mode="replicate"), PICTURE),
        "conv3d": (lambda: nn.Conv3d(2, 3, 3, padding=1), SPACE),
        "conv-transpose1d": (lambda: nn.ConvTranspose1d(4, 3, 4, stride=2, padding=1), SERIES),
        "conv-transpose2d": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1, groups=1), PICTURE),
        "conv-transpose2d-groups": (lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, groups=2, dilation=2), PICTURE),
        "conv-transpose3d": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=2), SPACE),
        "lazy-conv-pixels": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)), pixels(1, 3, 12, 12)),
        "weight-norm": (lambda: parametrizations.weight_norm(nn.Conv1d(4, 6, 3)), SERIES),
        "weight-norm-old": (lambda: nn.utils.weight_norm(nn.Linear(16, 4)), ROWS),
        "spectral-norm": (lambda: parametrizations.spectral_norm(nn.Linear(16, 8)), ROWS),
        "bilinear": (lambda: nn.Bilinear(16, 16, 3), ROWS),
    }


def _pools() -> dict[str, tuple[Callable[[], nn.Module], Data]]:
    return {
        "max-pool1d-dilated": (lambda: nn.MaxPool1d(3, 2, dilation=2), SERIES),
        "max-pool2d-ceil": (lambda: nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), PICTURE),
        "max-pool3d": (lambda: nn.MaxPool3d(2), SPACE),
        "max-pool2d-indices": (lambda: nn.MaxPool2d(2, return_indices=True), PICTURE),
        "avg-pool1d": (lambda: nn.AvgPool1d(4, 2, padding=1), SERIES),
        "avg-pool2d-ceil": (lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), PICTURE),
        "avg-pool2d-ceil-counted": (lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), PICTURE),
        "avg-pool2d-divisor": (lambda: nn.AvgPool2d(3, 1, divisor_override=5), PICTURE),
        "avg-pool3d": (lambda: nn.AvgPool3d(2), SPACE),
        "lp-pool1d": (lambda: nn.LPPool1d(2, 3, stride=2), SERIES),
        "lp-pool2d": (lambda: nn.LPPool2d(2, 2), PICTURE),
        "lp-pool2d-3": (lambda: nn.LPPool2d(3, 2, ceil_mode=True), uniform(0, 2, 1, 4, 12, 12)),
        "adaptive-avg1d": (lambda: nn.AdaptiveAvgPool1d(5), SERIES),
        "adaptive-avg2d": (lambda: nn.AdaptiveAvgPool2d((3, 4)), PICTURE),
        "adaptive-avg2d-uneven": (lambda: nn.AdaptiveAvgPool2d(5), PICTURE),
        "adaptive-max2d": (lambda: nn.AdaptiveMaxPool2d(2), PICTURE),
        "adaptive-max1d-uneven": (lambda: nn.AdaptiveMaxPool1d(7), SERIES),
        "fractional-unpool": (lambda: _Unpool(), PICTURE),
    }


class _Unpool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.back = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, places = self.pool(x)
        return self.back(y, places)  # type: ignore[no-any-return]


def _norms_and_shapes() -> dict[str, tuple[Callable[[], nn.Module], Data]]:
    return {
        "batch-norm1d": (lambda: _trained_norm(nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 3))), table(1, 16)),
        "batch-norm2d-first": (
            lambda: _trained_norm(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))),
            pixels(1, 3, 10, 10),
        ),
        "batch-norm3d": (lambda: _trained_norm(nn.Sequential(nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3), nn.ReLU())), SPACE),
        "layer-norm-2-axes": (lambda: nn.LayerNorm([6, 16]), ROWS),
        "layer-norm-plain": (lambda: nn.LayerNorm(16, elementwise_affine=False), table(1, 6, 16)),
        "group-norm": (lambda: nn.GroupNorm(2, 4), PICTURE),
        "instance-norm2d": (lambda: nn.InstanceNorm2d(4, affine=True), PICTURE),
        "instance-norm1d": (lambda: nn.InstanceNorm1d(4), SERIES),
        "instance-norm3d": (lambda: nn.InstanceNorm3d(2), SPACE),
        "rms-norm": (lambda: nn.RMSNorm(16), ROWS),
        "local-response-norm": (lambda: nn.LocalResponseNorm(3), PICTURE),
        "pixel-shuffle": (lambda: nn.PixelShuffle(2), PICTURE),
        "pixel-unshuffle": (lambda: nn.PixelUnshuffle(3), PICTURE),
        "channel-shuffle": (lambda: nn.ChannelShuffle(2), PICTURE),
        "unfold": (lambda: nn.Unfold(3, padding=1, stride=2), PICTURE),
        "fold": (lambda: nn.Fold((6, 6), 3, stride=1), normal(1, 18, 16)),
        "fold-strided": (lambda: nn.Fold((8, 8), 2, stride=2), normal(1, 12, 16)),
        "reflection-pad1d": (lambda: nn.ReflectionPad1d(3), SERIES),
        "replication-pad3d": (lambda: nn.ReplicationPad3d(1), SPACE),
        "zero-pad-negative": (lambda: nn.ZeroPad2d((-1, 2, 1, -2)), PICTURE),
        "constant-pad": (lambda: nn.ConstantPad2d(2, 3.5), PICTURE),
        "circular-pad2d": (lambda: nn.CircularPad2d((1, 2, 0, 3)), PICTURE),
        "upsample-nearest": (lambda: nn.Upsample(scale_factor=3), PICTURE),
        "upsample-bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), PICTURE),
        "upsample-bilinear-corners": (lambda: nn.Upsample(size=(17, 9), mode="bilinear", align_corners=True), PICTURE),
        "upsample-bicubic": (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), PICTURE),
        "upsample-linear1d": (lambda: nn.Upsample(scale_factor=1.5, mode="linear"), SERIES),
        "upsample-trilinear": (lambda: nn.Upsample(scale_factor=2, mode="trilinear"), SPACE),
        "embedding-padding": (lambda: nn.Embedding(30, 8, padding_idx=0), integers(0, 30, 1, 7)),
        "embedding-max-norm": (lambda: nn.Embedding(30, 8, max_norm=1.0), integers(0, 30, 1, 7)),
        "embedding-bag-mean": (lambda: nn.EmbeddingBag(30, 8), integers(0, 30, 2, 5)),
        "embedding-bag-max": (lambda: nn.EmbeddingBag(30, 8, mode="max"), integers(0, 30, 2, 5)),
        "cosine-similarity": (lambda: _Pairs(nn.CosineSimilarity(dim=-1)), ROWS),
        "pairwise-distance": (lambda: _Pairs(nn.PairwiseDistance()), ROWS),
        "softmax2d": (lambda: nn.Softmax2d(), PICTURE),
    }


class _Pairs(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> Any:
        return self.module(x[:, :3], x[:, 3:])


ACTIVATIONS = (
    "CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish",
    "PReLU", "RReLU", "ReLU6", "SELU", "SiLU", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanhshrink", "Threshold",
)  # fmt: skip


def _activation(name: str) -> nn.Module:
    options: dict[str, Any] = {"Threshold": {"threshold": 0.1, "value": 20.0}, "LogSoftmax": {"dim": -1}, "Softmin": {"dim": 1}}
    return nn.Sequential(nn.Linear(16, 12), getattr(nn, name)(**options.get(name, {})))


def _sequences() -> dict[str, tuple[Callable[[], nn.Module], dict[str, Data]]]:
    steps, one = normal(1, 6, 5), normal(2, 1, 7)
    return {
        "rnn-tanh-2-layers": (lambda: nn.RNN(5, 7, num_layers=2, batch_first=True), {"x": steps}),
        "rnn-relu-both-ways": (lambda: First(nn.RNN(5, 7, nonlinearity="relu", bidirectional=True, batch_first=True)), {"x": steps}),
        "gru-states": (lambda: nn.GRU(5, 7, num_layers=2, batch_first=True), {"x": steps, "h": one}),
        "gru-both-ways": (lambda: First(nn.GRU(5, 7, num_layers=2, bidirectional=True, batch_first=True)), {"x": steps}),
        "lstm-states": (lambda: _States(), {"x": steps, "h": one, "c": one}),
        "lstm-both-ways-3": (lambda: First(nn.LSTM(5, 7, num_layers=3, bidirectional=True)), {"x": steps}),
        "lstm-projection": (lambda: First(nn.LSTM(5, 8, proj_size=4, batch_first=True)), {"x": steps}),
        "lstm-packed": (lambda: Packed(nn.LSTM(5, 7, batch_first=True)), {"x": steps, "lengths": integers(1, 7, 1)}),
        "gru-packed": (lambda: Packed(nn.GRU(5, 7, batch_first=True)), {"x": steps, "lengths": integers(6, 7, 1)}),
        "lstm-cell": (lambda: _Cell(), {"x": normal(1, 6, 5)}),
        "attention-module": (lambda: Same(nn.MultiheadAttention(16, 4, batch_first=True)), {"x": ROWS}),
        "attention-biased": (lambda: Same(nn.MultiheadAttention(16, 2, add_bias_kv=True, batch_first=True)), {"x": ROWS}),
        "encoder-layer": (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), {"x": ROWS}),
        "encoder-layer-gelu-first": (
            lambda: nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", norm_first=True, batch_first=True), {"x": ROWS},
        ),
        "encoder-2-layers-causal": (lambda: _Causal(), {"x": ROWS}),
        "decoder-layer": (lambda: nn.TransformerDecoderLayer(16, 4, 32, batch_first=True), {"x": ROWS, "m": normal(1, 4, 16)}),
        "transformer-whole": (
            lambda: nn.Transformer(16, 2, 1, 1, 32, batch_first=True), {"x": normal(1, 4, 16), "y": normal(1, 3, 16)},
        ),
    }  # fmt: skip


class _States(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(5, 7, num_layers=2, batch_first=True)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        y, (last, cell) = self.inner(x, (h, c))
        return y, last, cell


class _Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(5, 7), nn.Linear(7, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, c = torch.zeros(1, 7), torch.zeros(1, 7)
        for at in range(x.shape[1]):
            h, c = self.cell(x[:, at], (h, c))
        return self.head(h)  # type: ignore[no-any-return]


class _Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.layers(x, mask=mask, is_causal=True)  # type: ignore[no-any-return]


def cases() -> Sequence[Case]:
    """All of them."""
    plain: dict[str, tuple[Callable[[], nn.Module], dict[str, Data]]] = {}
    for group in (_convolutions(), _pools(), _norms_and_shapes()):
        plain |= {slug: (build, {"x": data}) for slug, (build, data) in group.items()}
    plain["bilinear"] = (lambda: nn.Bilinear(16, 8, 3), {"x": normal(2, 16), "y": normal(2, 8)})
    for name in ACTIVATIONS:
        plain[f"act-{name.lower()}"] = (lambda name=name: _activation(name), {"x": ROWS})  # type: ignore[misc]
    plain |= _sequences()
    return [torch_case(f"nn-{slug}", ROUTE, build, data, number) for number, (slug, (build, data)) in enumerate(plain.items())]
