"""Which KV entries exist: a cheap check that a step continues what its slot really holds.

A sequence whose range of layers has grown, or whose slot was given to another one, has entries missing;
running on would give wrong tokens silently, so the step is refused. Entries that a peer wrote count once
they are adopted.
"""

import numpy as np

from lambdascale.engine.base import Chunk, EngineLimits, Step
from lambdascale.engine.kv import layers_among
from lambdascale.errors import ConfigError, ModelError


class Presence:
    """Tokens present per layer and slot."""

    def __init__(self, num_layers: int, limits: EngineLimits) -> None:
        self._limits = limits
        self._present = np.zeros((num_layers, limits.max_slots), dtype=np.int64)

    def check(self, step: Step) -> None:
        """Raise ConfigError if `step` exceeds what was prepared, ModelError if KV entries are missing."""
        layers = self._layers(step.first, step.stop)
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
        for chunk in step.chunks:
            if chunk.start > 0:
                self._check_held(chunk.slot, layers, chunk.start, chunk.start)

    def commit(self, step: Step) -> None:
        """Record that `step` ran."""
        held = self._present[self._layers(step.first, step.stop)]
        for chunk in step.chunks:
            if chunk.start == 0 and held[:, chunk.slot].any():
                self._present[:, chunk.slot] = 0  # a new sequence: what other layers hold is stale
            held[:, chunk.slot] = chunk.start + chunk.length

    def check_exposed(self, slot: int, first: int, stop: int, length: int) -> None:
        """Raise ModelError unless `slot` holds at least `length` tokens in all layers of these parts."""
        self._check_held(slot, self._layers(first, stop), length, self._limits.max_length)

    def adopt(self, slot: int, first: int, stop: int, length: int) -> None:
        """Record that `slot` was given `length` tokens in the layers of parts [first, stop)."""
        self._present[self._layers(first, stop), slot] = length

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

    def _check_held(self, slot: int, layers: slice, least: int, most: int) -> None:
        held = self._present[layers, slot]
        wrong = held[(held < least) | (held > most)]
        if len(wrong):
            raise ModelError(
                f"slot {slot} holds {wrong[0]} tokens where {least} are needed;"
                " start the sequence again at 0"
            )

    def _layers(self, first: int, stop: int) -> slice:
        return layers_among(first, stop, len(self._present))
