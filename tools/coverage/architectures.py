"""Small models of known architectures, as the transformers package builds them from their configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from tools.coverage.case import Case, Data, integers, normal, pixels, uniform
from tools.coverage.torch_export import torch_case

ROUTE = "Hugging Face architectures"
TOKENS = integers(1, 90, 1, 8)
PICTURE = normal(1, 3, 32, 32)
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 90,
    "max_position_embeddings": 16,
}  # fmt: skip


class Head(nn.Module):
    """One result of a model, called with named arguments; caches off."""

    def __init__(self, inner: nn.Module, names: Sequence[str], result: str) -> None:
        super().__init__()
        self.inner, self.names, self.result = inner, tuple(names), result

    def forward(self, *arguments: Any) -> Any:
        """The result."""
        return getattr(self.inner(**dict(zip(self.names, arguments, strict=True)), **self.extra()), self.result)

    def extra(self) -> dict[str, Any]:
        """What a causal model needs so that it returns no cache."""
        return {"use_cache": False} if "use_cache" in _parameters(self.inner) else {}


def _parameters(module: nn.Module) -> Sequence[str]:
    return module.forward.__code__.co_varnames if hasattr(module.forward, "__code__") else ()


def _build(model: str, config: str, result: str, names: Sequence[str], **options: Any) -> nn.Module:
    import transformers

    made = getattr(transformers, model)(getattr(transformers, config)(**options))
    made.config.use_cache = False
    for one in made.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(one.running_var, 0.5, 2)  # type: ignore[arg-type]
        if isinstance(one, (nn.Linear, nn.Conv2d, nn.Conv1d)) and one.weight.std() < 0.05:
            nn.init.kaiming_uniform_(one.weight, a=2.0)  # initial weights of 0.02 hide what a layer does
    return Head(made, names, result)


def _text() -> dict[str, tuple[Callable[[], nn.Module], dict[str, Data]]]:
    ids = {"input_ids": TOKENS}
    masked: dict[str, Data] = {**ids, "attention_mask": lambda rng, count: _lengths(rng, count)}
    rope = {**SMALL, "num_key_value_heads": 1}
    return {
        "bert": (lambda: _build("BertModel", "BertConfig", "last_hidden_state", list(masked), **SMALL), masked),
        "bert-classifier": (lambda: _build("BertForSequenceClassification", "BertConfig", "logits", list(ids), **SMALL, num_labels=3), ids),
        "bert-mlm": (lambda: _build("BertForMaskedLM", "BertConfig", "logits", list(ids), **SMALL), ids),
        "roberta": (lambda: _build("RobertaModel", "RobertaConfig", "last_hidden_state", list(masked), **{**SMALL, "max_position_embeddings": 20}), masked),
        "distilbert": (lambda: _build("DistilBertForSequenceClassification", "DistilBertConfig", "logits", list(masked), dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=90, max_position_embeddings=16), masked),
        "albert": (lambda: _build("AlbertModel", "AlbertConfig", "last_hidden_state", list(ids), **SMALL, embedding_size=8), ids),
        "electra": (lambda: _build("ElectraForTokenClassification", "ElectraConfig", "logits", list(ids), **SMALL, embedding_size=8), ids),
        "mpnet": (lambda: _build("MPNetModel", "MPNetConfig", "last_hidden_state", list(masked), **{**SMALL, "max_position_embeddings": 20}), masked),
        "deberta-v2": (lambda: _build("DebertaV2Model", "DebertaV2Config", "last_hidden_state", list(masked), **SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]), masked),
        "modernbert": (lambda: _build("ModernBertModel", "ModernBertConfig", "last_hidden_state", list(ids), **SMALL, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2), ids),
        "t5-encoder": (lambda: _build("T5EncoderModel", "T5Config", "last_hidden_state", list(masked), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=90), masked),
        "t5-gated": (lambda: _build("T5EncoderModel", "T5Config", "last_hidden_state", list(ids), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=90, feed_forward_proj="gated-gelu"), ids),
        "gpt2": (lambda: _build("GPT2LMHeadModel", "GPT2Config", "logits", list(ids), n_embd=16, n_layer=2, n_head=2, vocab_size=90, n_positions=16), ids),
        "gpt-neox": (lambda: _build("GPTNeoXForCausalLM", "GPTNeoXConfig", "logits", list(ids), **SMALL), ids),
        "opt": (lambda: _build("OPTForCausalLM", "OPTConfig", "logits", list(ids), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, vocab_size=90, max_position_embeddings=16, word_embed_proj_dim=16), ids),
        "bloom": (lambda: _build("BloomForCausalLM", "BloomConfig", "logits", list(ids), hidden_size=16, n_layer=2, n_head=2, vocab_size=90), ids),
        "llama": (lambda: _build("LlamaForCausalLM", "LlamaConfig", "logits", list(ids), **rope), ids),
        "mistral": (lambda: _build("MistralForCausalLM", "MistralConfig", "logits", list(ids), **rope, sliding_window=4), ids),
        "qwen2": (lambda: _build("Qwen2ForCausalLM", "Qwen2Config", "logits", list(ids), **rope), ids),
        "qwen3": (lambda: _build("Qwen3ForCausalLM", "Qwen3Config", "logits", list(ids), **rope, head_dim=8), ids),
        "gemma2": (lambda: _build("Gemma2ForCausalLM", "Gemma2Config", "logits", list(ids), **rope, head_dim=8, sliding_window=4), ids),
        "phi": (lambda: _build("PhiForCausalLM", "PhiConfig", "logits", list(ids), **SMALL), ids),
        "mixtral": (lambda: _build("MixtralForCausalLM", "MixtralConfig", "logits", list(ids), **rope, num_local_experts=2, num_experts_per_tok=1), ids),
        "xlm-positions": (lambda: _build("XLMRobertaForSequenceClassification", "XLMRobertaConfig", "logits", list(ids), **{**SMALL, "max_position_embeddings": 20}), ids),
    }  # fmt: skip


def _lengths(rng: Any, count: int) -> Any:
    lengths = rng.integers(3, 9, (count, 1, 1))
    return (integers(0, 1, 1, 8)(rng, count) + 1) * (lengths > integers(0, 1, 1, 8)(rng, count) + range(8))


def _vision() -> dict[str, tuple[Callable[[], nn.Module], dict[str, Data]]]:
    x = {"pixel_values": PICTURE}
    vit: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
        "patch_size": 8,
    }

    def see(model: str, config: str, result: str = "logits", **options: Any) -> tuple[Callable[[], nn.Module], dict[str, Data]]:
        return lambda: _build(model, config, result, list(x), **options), x

    return {
        "vit": see("ViTForImageClassification", "ViTConfig", **vit), "deit": see("DeiTForImageClassification", "DeiTConfig", **vit),
        "dinov2": see("Dinov2Model", "Dinov2Config", "last_hidden_state", hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8),
        "beit": see("BeitForImageClassification", "BeitConfig", **vit, use_relative_position_bias=True),
        "swin": see("SwinForImageClassification", "SwinConfig", image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4),
        "swinv2": see("Swinv2ForImageClassification", "Swinv2Config", image_size=32, patch_size=4, embed_dim=8, depths=[2], num_heads=[2], window_size=4),
        "convnext": see("ConvNextForImageClassification", "ConvNextConfig", hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=32, layer_scale_init_value=0.5),
        "convnextv2": see("ConvNextV2ForImageClassification", "ConvNextV2Config", hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=32),
        "mobilenet-v1": see("MobileNetV1ForImageClassification", "MobileNetV1Config", image_size=32, depth_multiplier=0.25, min_depth=4),
        "mobilenet-v2": see("MobileNetV2ForImageClassification", "MobileNetV2Config", image_size=32, depth_multiplier=0.25),
        "resnet": see("ResNetForImageClassification", "ResNetConfig", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
        "resnet-bottleneck": see("ResNetForImageClassification", "ResNetConfig", embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]),
        "regnet": see("RegNetForImageClassification", "RegNetConfig", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4),
        "efficientnet": see("EfficientNetForImageClassification", "EfficientNetConfig", image_size=32, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=64),
        "mobilevit": see("MobileViTForImageClassification", "MobileViTConfig", image_size=32, hidden_sizes=[16, 16, 16], neck_hidden_sizes=[4, 8, 8, 8, 8, 8, 16], num_attention_heads=2),
        "poolformer": see("PoolFormerForImageClassification", "PoolFormerConfig", hidden_sizes=[8, 16], depths=[1, 1], num_encoder_blocks=2, patch_sizes=[7, 3], strides=[4, 2], padding=[2, 1]),
        "segformer": see("SegformerForSemanticSegmentation", "SegformerConfig", hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16, num_labels=3),
        "levit": see("LevitForImageClassification", "LevitConfig", image_size=32, hidden_sizes=[16, 16, 16], num_attention_heads=[2, 2, 2], depths=[1, 1, 1], key_dim=[4, 4, 4]),
        "cvt": see("CvtForImageClassification", "CvtConfig", embed_dim=[8, 8, 16], num_heads=[1, 1, 2], depth=[1, 1, 1]),
        "pvt": see("PvtForImageClassification", "PvtConfig", image_size=32, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
        "clip-vision": see("CLIPVisionModelWithProjection", "CLIPVisionConfig", "image_embeds", **vit, projection_dim=8),
        "siglip-vision": see("SiglipVisionModel", "SiglipVisionConfig", "pooler_output", **vit),
        "yolos": see("YolosForObjectDetection", "YolosConfig", "pred_boxes", **{**vit, "image_size": [32, 32]}, num_detection_tokens=4),
        "dpt": see("DPTForDepthEstimation", "DPTConfig", "predicted_depth", **{**vit, "num_hidden_layers": 4}, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[4, 4, 8, 8], fusion_hidden_size=8, reassemble_factors=[4, 2, 1, 0.5], head_in_index=-1),
        "upernet-free-unet": (lambda: UNet(), {"x": normal(1, 1, 16, 16)}), "yolo-head": (lambda: YoloHead(), {"x": pixels(1, 3, 32, 32)}),
        "ssd-head": (lambda: SsdHead(), {"x": normal(1, 3, 32, 32)}), "detr-like": (lambda: Detr(), {"x": normal(1, 3, 32, 32)}),
        "srcnn": (lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bicubic"), nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)), {"x": uniform(0, 1, 1, 1, 10, 10)}),
        "squeeze-excite": (lambda: SqueezeExcite(), {"x": normal(1, 8, 8, 8)}), "mixer": (lambda: Mixer(), {"x": normal(1, 3, 16, 16)}),
        "vae": (lambda: nn.Sequential(nn.Linear(20, 12), nn.SiLU(), nn.Linear(12, 4), nn.Linear(4, 20), nn.Sigmoid()), {"x": uniform(0, 1, 1, 20)}),
        "tcn": (lambda: Tcn(), {"x": normal(1, 2, 24)}), "graph-convolution": (lambda: GraphConvolution(), {"x": normal(6, 4), "a": lambda r, n: (r.random((n, 6, 6)) < 0.4).astype("float32")}),
        "deepfm": (lambda: DeepFm(), {"fields": integers(0, 40, 1, 6), "numbers": normal(1, 4)}), "nbeats": (lambda: nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 6)), {"x": normal(1, 24, scale=120.0, mean=900.0)}),
    }  # fmt: skip


def _sound() -> dict[str, tuple[Callable[[], nn.Module], dict[str, Data]]]:
    features, wave = {"input_features": normal(1, 8, 40)}, {"input_values": normal(1, 800, scale=0.2)}
    waves: dict[str, Any] = {
        **{k: v for k, v in SMALL.items() if k != "max_position_embeddings"},
        "conv_dim": [8, 8],
        "conv_stride": [5, 4],
        "conv_kernel": [10, 8],
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "num_feat_extract_layers": 2,
    }
    return {
        "whisper-encoder": (lambda: _Whisper(), features),
        "wav2vec2": (lambda: _build("Wav2Vec2Model", "Wav2Vec2Config", "last_hidden_state", list(wave), **waves), wave),
        "wav2vec2-ctc": (lambda: _build("Wav2Vec2ForCTC", "Wav2Vec2Config", "logits", list(wave), **waves, feat_extract_norm="layer", do_stable_layer_norm=True), wave),
        "hubert": (lambda: _build("HubertModel", "HubertConfig", "last_hidden_state", list(wave), **waves), wave),
        "audio-spectrogram": (lambda: _build("ASTForAudioClassification", "ASTConfig", "logits", ["input_values"], hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_length=32, num_mel_bins=16, patch_size=8, frequency_stride=8, time_stride=8), {"input_values": normal(1, 32, 16)}),
        "patchtst": (lambda: _build("PatchTSTForPrediction", "PatchTSTConfig", "prediction_outputs", ["past_values"], num_input_channels=2, context_length=24, patch_length=6, patch_stride=6, d_model=16, num_attention_heads=2, num_hidden_layers=1, ffn_dim=32, prediction_length=4, do_mask_input=False), {"past_values": normal(1, 24, 2)}),
    }  # fmt: skip


class _Whisper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        import transformers
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        config = transformers.WhisperConfig(
            d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, num_mel_bins=8, max_source_positions=20,
            vocab_size=90, decoder_layers=1, decoder_attention_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=1,
        )  # fmt: skip
        self.inner = WhisperEncoder(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).last_hidden_state  # type: ignore[no-any-return]


class UNet(nn.Module):
    """Two scales, with a path across."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The mask."""
        a = torch.relu(self.down(x))
        b = torch.relu(self.low(nn.functional.max_pool2d(a, 2)))
        return torch.sigmoid(self.out(torch.cat([a, self.up(b)], 1)))


class YoloHead(nn.Module):
    """Boxes decoded on a grid with anchors, as YOLOv5 does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 4, 1),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(16, 2 * 8, 1),
        )
        self.anchors = nn.Buffer(torch.tensor([[10.0, 13.0], [30.0, 61.0]]).view(1, 2, 1, 1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of x, y, width, height, objectness, classes."""
        y = self.body(x / 255)
        b, _, h, w = y.shape
        y = y.view(b, 2, 8, h, w).permute(0, 1, 3, 4, 2).sigmoid()
        grid = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")[::-1], -1).float()
        xy = (y[..., :2] * 2 - 0.5 + grid) * 8
        wh = (y[..., 2:4] * 2) ** 2 * self.anchors
        return torch.cat([xy, wh, y[..., 4:]], -1).view(b, -1, 8)


class SsdHead(nn.Module):
    """Box offsets relative to priors, and class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.boxes, self.classes = nn.Conv2d(3, 8, 3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 6, 1)
        self.priors = nn.Buffer(torch.rand(32, 4) * 0.5 + 0.2)

    def forward(self, x: torch.Tensor) -> Any:
        """Boxes as corners, and scores."""
        y = torch.relu(self.body(x))
        offsets = self.boxes(y).permute(0, 2, 3, 1).reshape(1, -1, 4)
        centre = self.priors[:, :2] + offsets[..., :2] * 0.1 * self.priors[:, 2:]
        size = self.priors[:, 2:] * torch.exp(offsets[..., 2:] * 0.2)
        scores = self.classes(y).permute(0, 2, 3, 1).reshape(1, -1, 3).softmax(-1)
        return torch.cat([centre - size / 2, centre + size / 2], -1), scores


class Detr(nn.Module):
    """A convolution, a transformer and learned queries."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 16, 8, 8)
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
        self.queries, self.places = nn.Parameter(torch.randn(4, 16)), nn.Parameter(torch.randn(16, 16))
        self.classes, self.boxes = nn.Linear(16, 5), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> Any:
        """Class scores and boxes."""
        y = self.body(x).flatten(2).transpose(1, 2) + self.places
        y = self.transformer(y, self.queries[None])
        return self.classes(y), self.boxes(y).sigmoid()


class SqueezeExcite(nn.Module):
    """Channels weighted by their means."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x times its gates."""
        return x * torch.sigmoid(self.b(torch.relu(self.a(nn.functional.adaptive_avg_pool2d(x, 1)))))


class Mixer(nn.Module):
    """An MLP-Mixer block."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.tokens, self.channels = nn.Conv2d(3, 12, 4, 4), nn.Linear(16, 16), nn.Linear(12, 12)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = y + nn.functional.gelu(self.tokens(self.norm(y).transpose(1, 2))).transpose(1, 2)
        y = y + nn.functional.gelu(self.channels(self.norm(y)))
        return self.head(y.mean(1))  # type: ignore[no-any-return]


class Tcn(nn.Module):
    """Causal convolutions in time."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 6, 3, dilation=1), nn.Conv1d(6, 3, 3, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last step's forecast."""
        y = torch.relu(self.a(nn.functional.pad(x, (2, 0))))
        return self.b(nn.functional.pad(y, (4, 0)))[..., -1]  # type: ignore[no-any-return]


class GraphConvolution(nn.Module):
    """Neighbours averaged by the adjacency that is given."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """Scores of the nodes."""
        a = a + torch.eye(6)
        degree = a.sum(-1).pow(-0.5)
        a = degree[:, None] * a * degree[None]
        return self.b(a @ torch.relu(self.a(a @ x)))  # type: ignore[no-any-return]


class DeepFm(nn.Module):
    """A factorisation machine beside a small network."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.deep = nn.Embedding(240, 4), nn.Sequential(nn.Linear(28, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, fields: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """A probability."""
        e = self.table(fields + torch.arange(6) * 40)
        pairs = 0.5 * (e.sum(1) ** 2 - (e**2).sum(1)).sum(-1, keepdim=True)
        return torch.sigmoid(pairs + self.deep(torch.cat([e.flatten(1), numbers], 1)))


def cases() -> Sequence[Case]:
    """All of them."""
    every = {**_text(), **_vision(), **_sound()}
    return [torch_case(f"hf-{slug}", ROUTE, build, data, number) for number, (slug, (build, data)) in enumerate(every.items())]
