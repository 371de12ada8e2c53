"""A `transformers` model whose parameters are views of a packed image, built before there is one.

The modules are made on the meta device, the slow part. `alias` then turns every parameter into a zero-copy
view of an image, in milliseconds: a byte that lands in the region is in the model. Also the rotary
tables, which no checkpoint carries.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from lambdascale.engine import attention
from lambdascale.engine.linear import use_onednn
from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.layout import ImageLayout, TensorSpec
from lambdascale.model.shape import ModelShape

_STATIC_ROPE = ("default", "linear", "llama3", "yarn")  # frequencies that no length changes


@dataclass(frozen=True, slots=True)
class Placed:
    """A parameter: attribute `name` of `module` is tensor `spec` of the image, or `empty` without one."""

    module: nn.Module
    name: str
    spec: TensorSpec
    empty: nn.Parameter


@dataclass(frozen=True, slots=True)
class AliasedModel:
    """The parts of a causal language model, in the order of execution; `cos`, `sin` per position."""

    embedding: nn.Module
    layers: tuple[nn.Module, ...]
    norm: nn.Module
    head: nn.Module
    parameters: tuple[Placed, ...]
    cos: Tensor
    sin: Tensor
    dtype: torch.dtype
    hidden: int
    vocabulary: int
    kv_heads: int
    head_dim: int

    def alias(self, image: Tensor, parts: range, start: int) -> None:
        """Make the parameters of `parts` views of `image`, bytes from `start` of the packed image on."""
        for placed in self.parameters:
            if placed.spec.part in parts:
                view = _view(image, placed.spec, self.dtype, start)
                setattr(placed.module, placed.name, nn.Parameter(view, requires_grad=False))

    def release(self) -> None:
        """Let go of the image."""
        for placed in self.parameters:
            setattr(placed.module, placed.name, placed.empty)


def build(layout: ImageLayout, config_text: str, max_length: int) -> AliasedModel:
    """Build the model of `config_text`, with rotary tables for `max_length` positions.

    Raises ModelError if the model is not supported or an image of `layout` would not hold its
    parameters, and ConfigError if `max_length` exceeds the model's context.
    """
    attention.register()
    context = ModelShape.from_config(json.loads(config_text)).context_length
    if max_length > context:
        raise ConfigError(f"max_length is {max_length}; the context of this model is {context}")
    dtype = getattr(torch, layout.dtype)
    model = _skeleton(config_text, dtype)
    config, decoder = model.config, model.model
    parameters = _placed(model, layout)
    cos, sin = _rotary(decoder.rotary_emb, config, max_length, dtype)
    return AliasedModel(
        embedding=decoder.embed_tokens,
        layers=tuple(decoder.layers),
        norm=decoder.norm,
        head=model.lm_head,
        parameters=parameters,
        cos=cos,
        sin=sin,
        dtype=dtype,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        kv_heads=config.num_key_value_heads,
        head_dim=decoder.layers[0].self_attn.head_dim,
    )


def _skeleton(config_text: str, dtype: torch.dtype) -> Any:
    config = AutoConfig.for_model(**json.loads(config_text))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention.RAGGED)
    if dtype == torch.float32:
        use_onednn(model)
    return model.eval().requires_grad_(False)


def as_bytes(memory: memoryview) -> Tensor:
    """The memory as a tensor; numpy keeps the buffer exported, so the region cannot vanish under it."""
    return torch.from_numpy(np.frombuffer(memory, dtype=np.uint8))


def _placed(model: Any, layout: ImageLayout) -> tuple[Placed, ...]:
    specs = {spec.name: spec for spec in layout.tensors}
    if layout.tied:
        specs["lm_head.weight"] = specs["model.embed_tokens.weight"]
    tensors = model.state_dict(keep_vars=True)
    expected = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    held = {name: spec.shape for name, spec in specs.items()}
    wrong = sorted(name for name, _ in expected.items() ^ held.items())
    if wrong:
        raise ModelError(
            f"image of {layout.model} and its config disagree on {wrong[0]}; pack the model again"
        )
    owners = {name: model.get_submodule(name.rpartition(".")[0]) for name in specs}
    return tuple(
        Placed(owners[name], name.rpartition(".")[2], spec, tensors[name])
        for name, spec in specs.items()
    )


def _view(image: Tensor, spec: TensorSpec, dtype: torch.dtype, start: int) -> Tensor:
    offset = spec.offset - start
    return image[offset : offset + spec.nbytes].view(dtype).view(spec.shape)


def _rotary(rotary: Any, config: Any, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    kind = rotary.rope_type
    if kind not in _STATIC_ROPE:
        raise ModelError(f"rope_type {kind!r} changes with the length; supported: {_STATIC_ROPE}")
    positions = torch.arange(length)[None]
    cos, sin = type(rotary)(config)(torch.empty(0, dtype=dtype), positions)
    return cos[0], sin[0]
