"""Runs steps over an aliased model, synchronously: the part of the engine that knows tensors.

Rows enter and leave as bytes; every conversion is a view. It is used from one thread only. Between
`detach` and `attach` it holds no memory but the modules and the rotary tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lambdascale.engine.aliased import as_bytes, build
from lambdascale.engine.base import EngineLimits, Pick, Rows, RowWidths, Step
from lambdascale.engine.kv import KvLayout, layers_among
from lambdascale.engine.plan import RaggedCache, StepPlan
from lambdascale.engine.presence import Presence
from lambdascale.engine.sampling import choose
from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.layout import ImageLayout


@dataclass(frozen=True, slots=True)
class Attached:
    """The KV cache and what it holds."""

    cache: RaggedCache
    presence: Presence


class Runner:
    """One model and, while it is attached to memory, its KV cache."""

    def __init__(self, layout: ImageLayout, config: str, limits: EngineLimits) -> None:
        self.layout = layout
        self._limits = limits
        self._model = model = build(layout, config, limits.max_length)
        self.kv = KvLayout(
            num_layers=layout.num_layers,
            planes=2,
            max_slots=limits.max_slots,
            heads=model.kv_heads,
            max_length=limits.max_length,
            cell_nbytes=model.head_dim * model.dtype.itemsize,
        )
        final = model.hidden if layout.tied else model.vocabulary
        width = model.dtype.itemsize
        self.widths = RowWidths(model.hidden * width, final * width)
        self._attached: Attached | None = None

    def attach(self, image: memoryview, kv: memoryview, parts: range) -> None:
        """Alias `parts` to `image`, which starts with them, and lay an empty cache over `kv`."""
        if self._attached is not None:
            raise ConfigError(f"{self.layout.model} is attached already; detach it first")
        self._model.alias(as_bytes(image), parts, self.layout.part_offsets[parts.start])
        cache = RaggedCache.over(as_bytes(kv), self.kv, self._model.dtype)
        self._attached = Attached(cache, Presence(self.layout.num_layers, self._limits))

    def detach(self) -> None:
        """Let go of the memory."""
        self._attached = None
        self._model.release()

    @property
    def presence(self) -> Presence:
        """What the cache holds; ModelError if there is none."""
        return self._held().presence

    def _held(self) -> Attached:
        if self._attached is None:
            raise ModelError("the engine has no model in memory; attach it first")
        return self._attached

    @torch.inference_mode()
    def forward(self, step: Step) -> Rows:
        """Run `step`; see `Engine.forward`."""
        held = self._held()
        held.presence.check(step)
        hidden = self._embed(step) if step.first == 0 else self._take(step)
        hidden = self._run_layers(step, hidden[None], held.cache)[0]
        if step.stop == self.layout.num_parts:
            hidden = self._finish(step, hidden)
        held.presence.commit(step)
        return _to_rows(hidden)

    @torch.inference_mode()
    def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        """Choose one token per final row; see `Engine.sample`."""
        self._held()
        if len(rows) != len(picks):
            raise ConfigError(f"{len(rows)} rows for {len(picks)} picks; give one row per pick")
        if not picks:
            return []
        final = _to_tensor(rows, self.widths.final_row_nbytes, self._model.dtype)
        return choose(self._model.head(final) if self.layout.tied else final, picks)

    def _embed(self, step: Step) -> Tensor:
        tokens = torch.as_tensor(step.tokens or (), dtype=torch.long)
        if len(tokens) != step.num_tokens:
            raise ConfigError(
                f"{len(tokens)} tokens for {step.num_tokens} positions; give one each"
            )
        wrong = tokens[(tokens < 0) | (tokens >= self._model.vocabulary)]
        if len(wrong):
            raise ConfigError(
                f"token {int(wrong[0])} is outside the vocabulary; check the tokenizer"
            )
        hidden: Tensor = self._model.embedding(tokens)
        return hidden

    def _take(self, step: Step) -> Tensor:
        if step.rows is None or len(step.rows) != step.num_tokens:
            given = 0 if step.rows is None else len(step.rows)
            raise ConfigError(f"{given} rows for {step.num_tokens} positions; give one each")
        return _to_tensor(step.rows, self.widths.row_nbytes, self._model.dtype)

    def _run_layers(self, step: Step, hidden: Tensor, cache: RaggedCache) -> Tensor:
        layers = self._model.layers[layers_among(step.first, step.stop, self.layout.num_layers)]
        if not layers:
            return hidden
        plan = StepPlan.of(step.chunks, cache)
        at = plan.positions
        rotary = (self._model.cos[at][None], self._model.sin[at][None])
        for layer in layers:
            hidden = layer(hidden, position_embeddings=rotary, ragged=plan)
        return hidden

    def _finish(self, step: Step, hidden: Tensor) -> Tensor:
        """Norm, and the head if it is not tied, for the last row of every emitting chunk."""
        last = np.cumsum([chunk.length for chunk in step.chunks]) - 1
        emitting = last[[chunk.emit for chunk in step.chunks]]
        final: Tensor = self._model.norm(hidden[torch.from_numpy(emitting)])
        if not self.layout.tied:
            final = self._model.head(final)
        return final


def _to_rows(tensor: Tensor) -> Rows:
    return tensor.contiguous().view(torch.uint8).numpy()


def _to_tensor(rows: Rows, row_nbytes: int, dtype: torch.dtype) -> Tensor:
    """The rows as numbers, copied only if they are read-only or strided."""
    if rows.shape[1:] != (row_nbytes,):
        raise ConfigError(f"rows are {rows.shape[1:]} bytes wide; this model needs {row_nbytes}")
    return torch.from_numpy(np.require(rows, np.uint8, ["C", "W"])).view(dtype)
