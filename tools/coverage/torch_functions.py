"""Functions of torch and torch.nn.functional."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from tools.coverage.case import Case, Data, flags, integers, normal, pixels, table, uniform
from tools.coverage.torch_export import Calls, torch_case

ROUTE = "PyTorch functions"
M, V, P, T3 = normal(1, 6, 8), normal(1, 12), uniform(0.2, 5, 1, 6, 8), normal(2, 3, 4)
Spec = tuple[Callable[..., Any], dict[str, Data]]


def _one(data: Data, **functions: Callable[..., Any]) -> dict[str, Spec]:
    return {name.replace("_", "-"): (function, {"x": data}) for name, function in functions.items()}


def _two(first: Data, second: Data, **functions: Callable[..., Any]) -> dict[str, Spec]:
    return {name.replace("_", "-"): (function, {"x": first, "y": second}) for name, function in functions.items()}


def _pointwise() -> dict[str, Spec]:
    return {
        **_one(
            M,
            abs=torch.abs, atan=torch.atan, ceil_floor=lambda x: torch.ceil(x) + torch.floor(2 * x), cos_sin=lambda x: torch.cos(3 * x) - torch.sin(x),
            erf=torch.erf, erfc=torch.erfc, exp=torch.exp, expm1=torch.expm1, exp2=torch.exp2, gelu_tanh=lambda x: F.gelu(x, approximate="tanh"),
            gelu=F.gelu, round=lambda x: torch.round(3 * x), round_decimals=lambda x: torch.round(x, decimals=1), trunc=torch.trunc,
            frac=torch.frac, sign=torch.sign, clamp=lambda x: x.clamp(-0.5, 1), clamp_min=lambda x: x.clamp(min=0.3),
            clamp_tensors=lambda x: torch.clamp(x, torch.linspace(-1, 0, 8), torch.linspace(0.5, 1, 8)),
            sinh_cosh=lambda x: torch.sinh(x) + torch.cosh(x), asinh=torch.asinh, square=torch.square, pow3=lambda x: x**3, pow_minus2=lambda x: (x.abs() + 1) ** -2,
            pow_real=lambda x: x.abs() ** 1.7, remainder=lambda x: torch.remainder(x, 0.7), fmod=lambda x: torch.fmod(x, 0.7),
            floor_divide=lambda x: torch.div(x, 0.3, rounding_mode="floor"), where=lambda x: torch.where(x > 0.2, x, -x * 2),
            masked_fill=lambda x: x.masked_fill(x < 0, 7.0), logical=lambda x: ((x > 0) & (x < 1) | ~(x > -1)).float(),
            heaviside=lambda x: torch.heaviside(x, torch.tensor(0.5)), sinc=torch.sinc, softplus_beta=lambda x: F.softplus(x, beta=2.0),
            nan_to_num=torch.nan_to_num, isfinite=lambda x: torch.isfinite(x).float() * x, logit=lambda x: torch.logit(torch.sigmoid(x)),
            relu_squared=lambda x: F.relu(x) ** 2, to_int_and_back=lambda x: (x * 10).to(torch.int32).to(torch.float32), swap_sign=lambda x: torch.copysign(torch.tensor(2.0), x),
            lerp=lambda x: torch.lerp(x, torch.ones(8), 0.3), addcmul=lambda x: torch.addcmul(x, x, x, value=0.5), rsub=lambda x: 1 - x,
        ),
        **_one(
            P, log=torch.log, log2_log10=lambda x: torch.log2(x) + torch.log10(x), log1p=torch.log1p, sqrt=torch.sqrt, rsqrt=torch.rsqrt, reciprocal=torch.reciprocal,
            xlogy=lambda x: torch.special.xlogy(x, x), lgamma=torch.lgamma, tan=lambda x: torch.tan(x / 5), entropy=lambda x: -(x * torch.log(x)).sum(-1),
        ),
        **_one(uniform(-0.95, 0.95, 1, 6, 8), acos=torch.acos, asin=torch.asin, atanh=torch.atanh, erfinv=torch.erfinv),
        **_two(
            M, P, divide=lambda x, y: x / y, pow_tensor=lambda x, y: y ** x, atan2=torch.atan2, maximum=torch.maximum, minimum=lambda x, y: torch.minimum(x, y[:, :1]),
            fmod_tensor=torch.fmod, remainder_tensor=torch.remainder, hypot=torch.hypot, compare=lambda x, y: torch.where(x >= y, x, y * 2), logaddexp=torch.logaddexp,
            mse_loss=F.mse_loss, smooth_l1=F.smooth_l1_loss, huber=lambda x, y: F.huber_loss(x, y), bce_logits=lambda x, y: F.binary_cross_entropy_with_logits(x, y / 5),
            kl_div=lambda x, y: F.kl_div(F.log_softmax(x, -1), F.softmax(y, -1), reduction="batchmean"),
        ),
    }  # fmt: skip


def _reductions() -> dict[str, Spec]:
    return {
        **_one(
            M, std=lambda x: x.std(-1), var_biased=lambda x: x.var((1, 2), unbiased=False), var_mean=lambda x: torch.var_mean(x, 1), median=lambda x: x.median(-1)[0],
            logsumexp=lambda x: torch.logsumexp(x, -1), norm_1=lambda x: x.norm(1, -1), norm_2=lambda x: torch.linalg.vector_norm(x, dim=1), norm_3=lambda x: x.norm(3, -1),
            norm_inf=lambda x: torch.linalg.vector_norm(x, float("inf"), dim=-1), frobenius=lambda x: torch.linalg.matrix_norm(x), normalize=F.normalize,
            normalize_l1=lambda x: F.normalize(x, p=1.0, dim=-1), argmax=lambda x: x.argmax(-1), argmin_keep=lambda x: x.argmin(1, keepdim=True), amax=lambda x: x.amax((1, 2)),
            max_with_index=lambda x: x.max(-1), min_index_only=lambda x: x.min(1)[1], aminmax=lambda x: torch.aminmax(x, dim=-1), any_all=lambda x: ((x > 1.5).any(-1).float() + (x > -2).all(-1).float()),
            count_nonzero=lambda x: (x > 0).sum(-1), cumsum=lambda x: x.cumsum(1), cumsum_reversed=lambda x: x.flip(1).cumsum(1).flip(1), cummax=lambda x: torch.cummax(x, 1)[0],
            sort=lambda x: x.sort(-1)[0], sort_descending_both=lambda x: x.sort(1, descending=True), argsort=lambda x: x.argsort(-1), topk=lambda x: x.topk(3, -1), topk_smallest=lambda x: x.topk(2, 1, largest=False)[0],
            kthvalue=lambda x: x.kthvalue(2, -1)[0], quantile=lambda x: torch.quantile(x, 0.25, -1), log_softmax=lambda x: F.log_softmax(x, 1), softmax_scaled=lambda x: F.softmax(x * 20, -1), diff=lambda x: torch.diff(x, dim=-1),
            layer_norm=lambda x: F.layer_norm(x, (8,), eps=1e-3), standardise=lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6), min_max=lambda x: (x - x.amin(-1, True)) / (x.amax(-1, True) - x.amin(-1, True) + 1e-3),
            nll=lambda x: F.nll_loss(F.log_softmax(x[0], -1), torch.tensor([1, 2, 0, 3, 4, 5])), cross_entropy=lambda x: F.cross_entropy(x[0], torch.arange(6)), gumbel_free_softmin=lambda x: F.softmin(x, -1),
        ),
        **_one(uniform(0.5, 1.5, 1, 3, 4), prod=lambda x: x.prod(-1), cumprod=lambda x: x.cumprod(-1), logcumsumexp=lambda x: torch.logcumsumexp(x, -1), geometric=lambda x: x.log().mean(-1).exp()),
    }  # fmt: skip


def _linear() -> dict[str, Spec]:
    return {
        **_one(
            M, einsum_trace=lambda x: torch.einsum("bij,bij->b", x, x), einsum_outer=lambda x: torch.einsum("bi,bj->bij", x[:, 0], x[:, 1]), einsum_diagonal=lambda x: torch.einsum("bii->bi", x[:, :6, :6]),
            einsum_weights=lambda x: torch.einsum("bij,jk->bki", x, torch.linspace(-1, 1, 32).reshape(8, 4)), gram=lambda x: x @ x.transpose(1, 2), covariance=lambda x: torch.cov(x[0]),
            tensordot=lambda x: torch.tensordot(x, torch.linspace(-1, 1, 24).reshape(8, 3), dims=1), cdist=lambda x: torch.cdist(x, x.flip(1)), cdist_weights=lambda x: torch.cdist(x, torch.linspace(-1, 1, 24).reshape(1, 3, 8)), det=lambda x: torch.det(x[:, :3, :3]),
            inverse=lambda x: torch.inverse(x[:, :3, :3] + 4 * torch.eye(3)), cosine=lambda x: F.cosine_similarity(x[:, :, None], x[:, None], dim=-1), outer=lambda x: torch.outer(x[0, 0], x[0, 1]), cross=lambda x: torch.cross(x[..., :3], x[..., 3:6], dim=-1),
            kron=lambda x: torch.kron(x[0, :2, :2], torch.ones(2, 2)), bmm_chain=lambda x: torch.bmm(torch.bmm(x, x.transpose(1, 2)) / 8, x), matrix_power=lambda x: torch.matrix_power(x[:, :4, :4] / 2, 3),
            fft_magnitude=lambda x: torch.fft.rfft(x).abs(), addmm=lambda x: torch.addmm(torch.ones(4), x[0], torch.full((8, 4), 0.1), beta=0.5, alpha=2.0), mv=lambda x: torch.mv(x[0], torch.linspace(0, 1, 8)),
        ),
        **_two(T3, normal(2, 4, 5), einsum_batch=lambda x, y: torch.einsum("bij,bjk->bik", x, y), baddbmm=lambda x, y: torch.baddbmm(torch.ones(1), x, y, alpha=0.5)),
        **_two(normal(1, 2, 4, 8), normal(1, 2, 6, 8), sdpa=lambda x, y: F.scaled_dot_product_attention(x, y, y * 0.5), sdpa_causal=lambda x, y: F.scaled_dot_product_attention(x, y[:, :, :4], y[:, :, 2:], is_causal=True), sdpa_scaled=lambda x, y: F.scaled_dot_product_attention(x, y, y, scale=0.7)),
        "sdpa-bool-mask": (lambda x, m: F.scaled_dot_product_attention(x, x, x, attn_mask=m), {"x": normal(1, 2, 4, 8), "m": flags(1, 1, 4, 4)}),
        "sdpa-float-mask": (lambda x, m: F.scaled_dot_product_attention(x, x, x, attn_mask=m), {"x": normal(1, 2, 4, 8), "m": normal(1, 1, 4, 4)}),
        "sdpa-groups": (lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True), {"q": normal(1, 4, 5, 8), "k": normal(1, 2, 5, 8)}),
        "mask-by-length": (lambda x, n: x.masked_fill((torch.arange(6)[None, :, None] >= n[:, None, None]), 0.0).sum(1) / n[:, None], {"x": M, "n": integers(1, 7, 1)}),
        "mean-pool-masked": (lambda x, m: (x * m[..., None]).sum(1) / m.sum(1, keepdim=True).clamp(min=1e-9), {"x": M, "m": lambda r, n: flags(1, 6)(r, n).astype("float32")}),
        "grid-sample": (lambda x, g: F.grid_sample(x, g, align_corners=False), {"x": normal(1, 2, 6, 6), "g": uniform(-1.1, 1.1, 1, 4, 4, 2)}),
        "grid-sample-border": (lambda x: F.grid_sample(x, F.affine_grid(torch.tensor([[[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1]]]), [1, 2, 8, 8], align_corners=True), padding_mode="border", align_corners=True), {"x": normal(1, 2, 8, 8)}),
        "spatial-transformer": (lambda x, t: F.grid_sample(x, F.affine_grid(t, [1, 1, 6, 6], align_corners=False), align_corners=False), {"x": pixels(1, 1, 6, 6), "t": lambda r, n: (normal(1, 2, 3, scale=0.1)(r, n) + [[1, 0, 0], [0, 1, 0]]).astype("float32")}),
    }  # fmt: skip


def _moves() -> dict[str, Spec]:
    def put(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, 1:3, ::2] = 5.0
        y[:, 0] = x[:, 5] * 2
        return y

    def put_by_mask(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[x < 0] = 0.5
        return y

    return {
        **_one(
            M, roll=lambda x: torch.roll(x, (1, -2), (1, 2)), flip=lambda x: x.flip((1, 2)), tril_triu=lambda x: x.tril(1) + x.triu(2), rot90=lambda x: torch.rot90(x, 1, (1, 2)), put=put, put_by_mask=put_by_mask,
            narrow_strided=lambda x: x[:, 1::2, -3:], chunk_gate=lambda x: torch.mul(*x.chunk(2, -1)), index_select=lambda x: x.index_select(1, torch.tensor([3, 0, 3])), fancy_index=lambda x: x[:, torch.tensor([0, 2]), torch.tensor([1, 5])],
            repeat=lambda x: x.repeat(1, 2, 3), repeat_interleave=lambda x: x.repeat_interleave(2, 1), stack_unbind=lambda x: torch.stack(x.unbind(1)[::-1], -1), unfold_method=lambda x: x.unfold(2, 4, 2), diag_embed=lambda x: torch.diag_embed(x[:, 0]),
            meshgrid=lambda x: torch.stack(torch.meshgrid(x[0, 0], x[0, 1], indexing="ij")), tile_add=lambda x: x + torch.tile(x[:, :1], (1, 6, 1)), movedim_flatten=lambda x: x.movedim(1, 2).flatten(1), expand_as=lambda x: x.mean(1, True).expand_as(x) - x,
            scatter_constant=lambda x: torch.zeros(1, 9, 8).scatter(1, torch.arange(6)[None, :, None].expand(1, 6, 8), x), scatter_add_constant=lambda x: torch.zeros(1, 3, 8).scatter_add(1, (torch.arange(6) // 2)[None, :, None].expand(1, 6, 8), x), index_add=lambda x: torch.zeros(1, 4, 8).index_add(1, torch.tensor([0, 1, 1, 3, 2, 0]), x),
            bucketize=lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5, 2.0])), searchsorted=lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 1.0]), x.contiguous()), block_diag=lambda x: torch.block_diag(x[0, :2, :2], x[0, 2:4, :3]), channel_swap=lambda x: torch.cat([x[..., 4:], x[..., :4]], -1),
            complex_mask=lambda x: torch.where((x.sum(-1, keepdim=True) > 0) & (torch.arange(8) % 2 == 0), x, x.mean()), glu=lambda x: F.glu(x, 1), positions=lambda x: x + torch.cat([torch.sin(torch.arange(6.0))[:, None], torch.cos(torch.arange(6.0))[:, None]] * 4, -1), dropout_eval=lambda x: F.dropout(x, 0.5, training=False),
        ),
        "gather-by-data": (lambda x, i: x.gather(1, i), {"x": M, "i": integers(0, 6, 1, 2, 8)}),
        "scatter-by-data": (lambda x, i: torch.zeros(1, 9, 8).scatter(1, i, x[:, :2]), {"x": M, "i": integers(0, 9, 1, 2, 8)}),
        "scatter-add-by-data": (lambda x, i: torch.zeros(5).scatter_add(0, i, x), {"x": normal(12), "i": integers(0, 5, 12)}),
        "select-row-by-data": (lambda x, i: x[torch.arange(1), i], {"x": M, "i": integers(0, 6, 1)}),
        "put-by-data": (lambda x, i: x.index_put((torch.arange(1), i), torch.ones(1, 8)), {"x": M, "i": integers(0, 6, 1)}),
        "one-hot": (lambda i: F.one_hot(i, 7), {"i": integers(0, 7, 1, 5)}),
        "one-hot-linear": (lambda i, x: F.one_hot(i, 6).float() @ x[0], {"i": integers(0, 6, 1, 5), "x": M}),
        "embedding-and-sum": (lambda i: F.embedding(i, torch.linspace(-2, 2, 200).reshape(50, 4)).sum(1), {"i": integers(0, 50, 1, 9)}),
        "integers-arithmetic": (lambda a, b: (a * 3 + b) % 7 - torch.div(a, 4, rounding_mode="floor"), {"a": integers(0, 50, 1, 8), "b": integers(-20, 20, 1, 8)}),
        "integers-shifts": (lambda a: (a << 2) + (a >> 1) + (a & 6), {"a": integers(0, 60, 1, 8)}),
        "boolean-output": (lambda x: x > 0.3, {"x": M}),
        "interpolate-nearest-down": (lambda x: F.interpolate(x, size=(5, 7), mode="nearest"), {"x": normal(1, 2, 12, 12)}),
        "interpolate-exact": (lambda x: F.interpolate(x, scale_factor=0.5, mode="nearest-exact"), {"x": normal(1, 2, 12, 12)}),
        "interpolate-area": (lambda x: F.interpolate(x, size=(4, 6), mode="area"), {"x": normal(1, 2, 12, 12)}),
        "interpolate-antialias": (lambda x: F.interpolate(x, size=(5, 5), mode="bilinear", antialias=True), {"x": normal(1, 2, 12, 12)}),
        "letterbox-255": (lambda x: F.pad(F.interpolate(x, size=(8, 12), mode="bilinear"), (0, 0, 2, 2), value=114.0) / 255, {"x": pixels(1, 3, 12, 18)}),
        "normalise-picture": (lambda x: (x / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None], {"x": pixels(1, 3, 8, 8)}),
        "uint8-picture": (lambda x: F.avg_pool2d(x.permute(0, 3, 1, 2).float() / 127.5 - 1, 2), {"x": integers(0, 256, 1, 8, 8, 3, dtype="uint8")}),
        "tabular-logs": (lambda x: torch.log1p(x).sum(-1, keepdim=True) - torch.sqrt(x), {"x": table(1, 8)}),
        "tabular-ratio": (lambda x: torch.stack([x[:, 0] / x[:, 1], x[:, 5] / (x[:, 3] + 1)], -1), {"x": table(1, 8)}),
        "double": (lambda x: (x.double() @ torch.linspace(0, 1, 8).double()).float(), {"x": M}),
        "double-input": (lambda x: torch.tanh(x * 2) - 0.5, {"x": lambda r, n: r.standard_normal((n, 1, 8))}),
        "half-precision": (lambda x: torch.relu(x.half() * 2 - 1).float(), {"x": M}),
        "stft-power": (lambda x: torch.stft(x, 16, 8, window=torch.hann_window(16), return_complex=True, center=False).abs() ** 2, {"x": normal(1, 64)}),
    }  # fmt: skip


def cases() -> Sequence[Case]:
    """All of them."""
    every = {**_pointwise(), **_reductions(), **_linear(), **_moves()}
    return [
        torch_case(f"fn-{slug}", ROUTE, lambda function=function: Calls(function), data, number)  # type: ignore[misc]
        for number, (slug, (function, data)) in enumerate(every.items())
    ]
