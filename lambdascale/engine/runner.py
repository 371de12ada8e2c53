"""Runs steps over an aliased model, synchronously: the part of the engine that knows tensors.

Rows enter and leave as bytes; every conversion is a view. It is used from one thread only.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lambdascale.engine.aliased import build
from lambdascale.engine.base import EngineLimits, Pick, Rows, Step
from lambdascale.engine.plan import RaggedCache, StepPlan
from lambdascale.engine.presence import Presence
from lambdascale.engine.sampling import choose
from lambdascale.errors import ConfigError
from lambdascale.model.layout import ImageLayout


class Runner:
    """One model, its KV cache and what the cache holds."""

    def __init__(
        self, layout: ImageLayout, config: str, image: memoryview, limits: EngineLimits
    ) -> None:
        self._layout = layout
        self._model = model = build(layout, config, image, limits.max_length)
        shape = (limits.max_slots, model.kv_heads, limits.max_length, model.head_dim)
        self._cache = RaggedCache.allocate(layout.num_layers, shape, model.cos)
        self._presence = Presence(layout.num_layers, limits)

    @property
    def row_nbytes(self) -> int:
        return self._model.hidden * self._model.dtype.itemsize

    @property
    def final_row_nbytes(self) -> int:
        width = self._model.hidden if self._layout.tied else self._model.vocabulary
        return width * self._model.dtype.itemsize

    @torch.inference_mode()
    def forward(self, step: Step) -> Rows:
        """Run `step`; see `Engine.forward`."""
        self._presence.check(step)
        hidden = self._embed(step) if step.first == 0 else self._take(step)
        hidden = self._run_layers(step, hidden[None])[0]
        if step.stop == self._layout.num_parts:
            hidden = self._finish(step, hidden)
        self._presence.commit(step)
        return _to_rows(hidden)

    @torch.inference_mode()
    def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        """Choose one token per final row; see `Engine.sample`."""
        if len(rows) != len(picks):
            raise ConfigError(f"{len(rows)} rows for {len(picks)} picks; give one row per pick")
        if not picks:
            return []
        final = _to_tensor(rows, self.final_row_nbytes, self._model.dtype)
        return choose(self._model.head(final) if self._layout.tied else final, picks)

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
        return _to_tensor(step.rows, self.row_nbytes, self._model.dtype)

    def _run_layers(self, step: Step, hidden: Tensor) -> Tensor:
        layers = self._model.layers[max(step.first, 1) - 1 : max(step.stop - 1, 0)]
        if not layers:
            return hidden
        plan = StepPlan.of(step.chunks, self._cache)
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
        if not self._layout.tied:
            final = self._model.head(final)
        return final


def _to_rows(tensor: Tensor) -> Rows:
    return tensor.contiguous().view(torch.uint8).numpy()


def _to_tensor(rows: Rows, row_nbytes: int, dtype: torch.dtype) -> Tensor:
    """The rows as numbers, copied only if they are read-only or strided."""
    if rows.shape[1:] != (row_nbytes,):
        raise ConfigError(f"rows are {rows.shape[1:]} bytes wide; this model needs {row_nbytes}")
    return torch.from_numpy(np.require(rows, np.uint8, ["C", "W"])).view(dtype)
