"""What a model is, read from its Hugging Face configuration: sizes, cost per token, and the layout.

`ModelShape` knows every tensor of the supported architectures by name and shape, so the layout of an
image is known before a byte of it exists (paper.md e, "tensor packing"). No I/O, no torch. How a
tensor is used is the engine's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.layout import ALIGNMENT, DTYPE_BYTES, ImageLayout, TensorSpec

Named = tuple[str, tuple[int, ...]]  # a tensor's name and shape


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one `model_type` differs from plain Llama.

    `qkv_bias` and `output_bias` are None where the configuration's `attention_bias` decides. The
    defaults stand for keys that a configuration leaves out; None derives them from the others.
    """

    qkv_bias: bool | None
    output_bias: bool | None
    mlp_bias: bool | None = False
    qk_norm: bool = False
    num_kv_heads: int | None = None
    head_dim: int | None = None


ARCHITECTURES = {
    "llama": Architecture(qkv_bias=None, output_bias=None, mlp_bias=None),
    "mistral": Architecture(qkv_bias=False, output_bias=False, num_kv_heads=8),
    "qwen2": Architecture(qkv_bias=True, output_bias=False, num_kv_heads=32),
    "qwen3": Architecture(
        qkv_bias=None, output_bias=None, qk_norm=True, num_kv_heads=32, head_dim=128
    ),
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a decoder-only transformer; `context_length` in tokens."""

    model_type: str
    num_layers: int
    hidden: int
    vocab: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    tied: bool
    context_length: int
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False

    def __post_init__(self) -> None:
        sizes = (self.num_layers, self.hidden, self.vocab, self.num_kv_heads, self.head_dim)
        if min(*sizes, self.intermediate, self.context_length) < 1:
            raise ModelError(f"every size of a model must be at least 1, which fails for {self}")
        if self.num_heads % self.num_kv_heads:
            raise ModelError(
                f"num_attention_heads is {self.num_heads}; it must be a multiple of "
                f"num_key_value_heads ({self.num_kv_heads})"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ModelShape":
        """Read a Hugging Face configuration (the content of config.json).

        Raises ModelError if the architecture is not supported or a key is missing or no integer.
        """
        model_type = str(config.get("model_type"))
        if model_type not in ARCHITECTURES:
            known = ", ".join(sorted(ARCHITECTURES))
            raise ModelError(f"architecture {model_type!r} is not supported; use one of {known}")
        if config.get("quantization_config"):
            raise ModelError("the checkpoint is quantised; use one in float32, bfloat16 or float16")
        own = ARCHITECTURES[model_type]
        hidden, heads = _integer(config, "hidden_size"), _integer(config, "num_attention_heads")
        attention_bias = bool(config.get("attention_bias"))
        return cls(
            model_type=model_type,
            num_layers=_integer(config, "num_hidden_layers"),
            hidden=hidden,
            vocab=_integer(config, "vocab_size"),
            num_heads=heads,
            num_kv_heads=_optional(config, "num_key_value_heads", own.num_kv_heads, heads),
            head_dim=_optional(config, "head_dim", own.head_dim, hidden // heads),
            intermediate=_integer(config, "intermediate_size"),
            tied=bool(config.get("tie_word_embeddings")),
            context_length=_integer(config, "max_position_embeddings"),
            qkv_bias=attention_bias if own.qkv_bias is None else own.qkv_bias,
            output_bias=attention_bias if own.output_bias is None else own.output_bias,
            mlp_bias=bool(config.get("mlp_bias")) if own.mlp_bias is None else own.mlp_bias,
            qk_norm=own.qk_norm,
        )

    def kv_bytes_per_token(self, dtype: str) -> int:
        """Bytes of keys and values that one token leaves in all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * _element_nbytes(dtype)

    def flops_per_token(self, context: int = 0) -> int:
        """FLOPs of one token through all layers and the output head, attending to `context` tokens.

        Two per weight of a matrix; the embedding is a look-up and costs nothing.
        """
        matrices = sum(prod(s) for _, s in self.layer_tensors(0) if len(s) == 2)
        attention = 2 * self.num_heads * self.head_dim * context
        return 2 * (self.num_layers * (matrices + attention) + self.vocab * self.hidden)

    def parts(self) -> list[list[Named]]:
        """Return names and shapes of all tensors by part, in execution order."""
        embedding: list[Named] = [("model.embed_tokens.weight", (self.vocab, self.hidden))]
        last: list[Named] = [("model.norm.weight", (self.hidden,))]
        if not self.tied:
            last.append(("lm_head.weight", (self.vocab, self.hidden)))
        return [embedding, *(self.layer_tensors(i) for i in range(self.num_layers)), last]

    def layer_tensors(self, layer: int) -> list[Named]:
        """Return names and shapes of one decoder layer.

        Query, key and value matrices lie side by side, and so do gate and up: an engine may fuse them
        without a copy.
        """
        hidden, inner = self.hidden, self.intermediate
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        one: list[Named] = [("input_layernorm.weight", (hidden,))]
        one += _linears("self_attn", {"q": q, "k": kv, "v": kv}, hidden, self.qkv_bias)
        if self.qk_norm:
            one += [(f"self_attn.{n}_norm.weight", (self.head_dim,)) for n in "qk"]
        one += _linears("self_attn", {"o": hidden}, q, self.output_bias)
        one += [("post_attention_layernorm.weight", (hidden,))]
        one += _linears("mlp", {"gate": inner, "up": inner}, hidden, self.mlp_bias)
        one += _linears("mlp", {"down": hidden}, inner, self.mlp_bias)
        return [(f"model.layers.{layer}.{name}", shape) for name, shape in one]

    def layout(self, name: str, dtype: str) -> ImageLayout:
        """Place every tensor of the model called `name`, aligned, in execution order."""
        width = _element_nbytes(dtype)
        tensors: list[TensorSpec] = []
        part_offsets = [0]
        for part, named in enumerate(self.parts()):
            nbytes = [prod(shape) * width for _, shape in named]
            starts = list(accumulate(map(_aligned, nbytes), initial=part_offsets[-1]))
            tensors += [
                TensorSpec(tensor, shape, start, size, part)
                for (tensor, shape), start, size in zip(named, starts, nbytes, strict=False)
            ]
            part_offsets.append(starts[-1])
        return ImageLayout(name, dtype, tuple(part_offsets), tuple(tensors), self.tied)


def _linears(module: str, outputs: Mapping[str, int], inputs: int, bias: bool) -> list[Named]:
    names = {f"{module}.{n}_proj": size for n, size in outputs.items()}
    weights: list[Named] = [(f"{name}.weight", (size, inputs)) for name, size in names.items()]
    biases: list[Named] = [(f"{name}.bias", (size,)) for name, size in names.items() if bias]
    return weights + biases


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _element_nbytes(dtype: str) -> int:
    if dtype not in DTYPE_BYTES:
        raise ConfigError(f"dtype {dtype!r} is unknown; use one of {sorted(DTYPE_BYTES)}")
    return DTYPE_BYTES[dtype]


def _integer(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise ModelError(f"{key} is {value!r} in config.json; it must be a positive integer")
    return value


def _optional(config: Mapping[str, Any], key: str, default: int | None, derived: int) -> int:
    """A key that may be absent (the architecture's default) or null (derived from others)."""
    if key in config:
        return derived if config[key] is None else _integer(config, key)
    return default or derived
