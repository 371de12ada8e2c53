"""Which KV entries exist: a cheap check that a step continues what its slot really holds.

A sequence whose range of layers has grown, or whose slot was given to another one, has entries missing;
running on would give wrong tokens silently, so the step is refused.
"""

from collections.abc import Sequence

import numpy as np

from lambdascale.engine.base import Chunk, EngineLimits, Step
from lambdascale.errors import ConfigError, ModelError


class Presence:
    """Tokens present per layer and slot."""

    def __init__(self, num_layers: int, limits: EngineLimits) -> None:
        self._limits = limits
        self._present = np.zeros((num_layers, limits.max_slots), dtype=np.int64)

    def check(self, step: Step) -> None:
        """Raise ConfigError if `step` exceeds what was prepared, ModelError if KV entries are missing."""
        parts = len(self._present) + 2
        if not 0 <= step.first < step.stop <= parts:
            raise ConfigError(f"parts [{step.first}, {step.stop}) are not among the {parts} parts")
        if not 0 < step.num_tokens <= self._limits.max_step_tokens:
            limit = self._limits.max_step_tokens
            raise ConfigError(
                f"step has {step.num_tokens} tokens; give 1 to {limit} (max_step_tokens)"
            )
        for chunk in step.chunks:
            self._check_chunk(chunk)
        slots = [chunk.slot for chunk in step.chunks]
        if len(set(slots)) < len(slots):
            raise ConfigError(f"slots {slots} repeat; give a step one chunk per slot")
        self._check_present(step)

    def commit(self, step: Step) -> None:
        """Record that `step` ran."""
        held = self._present[_layers(step)]
        for chunk in step.chunks:
            if chunk.start == 0 and held[:, chunk.slot].any():
                self._present[:, chunk.slot] = 0  # a new sequence: what other layers hold is stale
            held[:, chunk.slot] = chunk.start + chunk.length

    def _check_chunk(self, chunk: Chunk) -> None:
        limits = self._limits
        if not 0 <= chunk.slot < limits.max_slots:
            raise ConfigError(f"slot is {chunk.slot}; max_slots is {limits.max_slots}")
        if chunk.start < 0 or chunk.length < 1:
            raise ConfigError(f"{chunk} is empty or starts before 0; give at least one position")
        if chunk.start + chunk.length > limits.max_length:
            end = chunk.start + chunk.length
            raise ConfigError(
                f"sequence would have {end} tokens; max_length is {limits.max_length}"
            )

    def _check_present(self, step: Step) -> None:
        held = self._present[_layers(step)]
        chunks: Sequence[Chunk] = [chunk for chunk in step.chunks if chunk.start > 0]
        for chunk in chunks:
            wrong = held[:, chunk.slot][held[:, chunk.slot] != chunk.start]
            if len(wrong):
                raise ModelError(
                    f"slot {chunk.slot} holds {wrong[0]} tokens where {chunk.start} are needed;"
                    " start the sequence again at 0"
                )


def _layers(step: Step) -> slice:
    """The layers of a step, counted from 0, out of its parts (part 1 is layer 0)."""
    return slice(max(step.first, 1) - 1, max(step.stop - 1, 0))
