"""The symbolic model: what comes out of a step, as a hash chain over all that should matter to it.

    embedding   h = H(token, position, part 0)
    layer l     entry = H(h, l);  h = H(h, sum of entries 0 … position, part l + 1)
    last part   row = H(h, part L + 1);  token = row, joined with part 0 if the head is tied

A part stands for what the image region holds of it at that moment. No time passes here.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lambdascale.engine.base import Chunk, EngineLimits, Pick, Rows, Step
from lambdascale.engine.kv import layers_among
from lambdascale.errors import ConfigError
from lambdascale.sim.kv import SymbolicCache
from lambdascale.sim.kv_names import KvNames
from lambdascale.sim.mixing import ODD, U64, fold, join, name
from lambdascale.sim.prepared import STATE_NBYTES, Prepared
from lambdascale.sim.weights import Weights
from lambdascale.transport.base import Region

Ints = npt.NDArray[np.int64]
_KEY, _DRAW = 1, 2  # what a name is for


class HashChain:
    """A model at byte `offset` of an image region, with KV entries whose names go to a KV region."""

    def __init__(self, model: Prepared, image: Region, offset: int, names: KvNames) -> None:
        self.layout = model.layout
        self.cache = SymbolicCache(model.layout.num_layers, model.limits)
        self._names = names
        self._limits = model.limits
        self._widths = model.widths
        self._vocab = model.vocab
        self._weights = Weights(model.layout, image, offset)
        keys = [name(_KEY, layer) for layer in range(model.layout.num_layers)]
        self._keys = np.array(keys, np.uint64)

    def check(self, step: Step) -> None:
        """Raise ConfigError if `step` exceeds what was prepared."""
        limits, slots = self._limits, [chunk.slot for chunk in step.chunks]
        layers_among(step.first, step.stop, self.layout.num_layers)
        if not 0 < step.num_tokens <= limits.max_step_tokens:
            raise ConfigError(
                f"step has {step.num_tokens} tokens; give 1 to {limits.max_step_tokens}"
            )
        if len(set(slots)) < len(slots):
            raise ConfigError(f"slots {slots} repeat; give a step one chunk per slot")
        for chunk in step.chunks:
            _check_chunk(chunk, limits)
        given = step.tokens if step.first == 0 else step.rows
        if given is None or len(given) != step.num_tokens:
            raise ConfigError(f"a step from part {step.first} needs {step.num_tokens} inputs")

    def forward(self, step: Step) -> Rows:
        """Run a checked step."""
        positions = self.cache.names(step.chunks)
        if step.rows is None:
            tokens = np.array(step.tokens, np.int64).astype(np.uint64)
            state = join(join(tokens, positions), self._weights.of(0))
        else:
            state = _states(step.rows, self._widths.row_nbytes)
        layers = layers_among(step.first, step.stop, self.layout.num_layers)
        if layers.stop > layers.start:
            state = self._layers(layers, step.chunks, positions, state)
        if step.stop < self.layout.num_parts:
            return _rows(state, self._widths.row_nbytes)
        ends = np.cumsum([chunk.length for chunk in step.chunks])
        final = join(
            state[ends[[c.emit for c in step.chunks]] - 1],
            self._weights.of(self.layout.num_parts - 1),
        )
        return _rows(final, self._widths.final_row_nbytes)

    def _layers(self, layers: slice, chunks: Sequence[Chunk], positions: U64, state: U64) -> U64:
        ends = np.cumsum([chunk.length for chunk in chunks])
        self._settle(layers, [c.slot for c in chunks], [c.start for c in chunks])
        seen = self.cache.seek(layers, chunks)
        entries = np.empty((len(seen), len(state)), np.uint64)
        for i, layer in enumerate(range(layers.start, layers.stop)):
            entry = entries[i]
            np.multiply(state, ODD, out=entry)
            entry += self._keys[layer]
            prefix = _accumulated(fold(entry + positions), seen[i], ends)
            seen[i] = prefix[ends - 1]
            prefix += entry
            prefix += self._weights.of(layer + 1)
            state = fold(prefix)
        self.cache.commit(layers, chunks, entries, seen)
        return state

    def expose(self, slot: int, layers: slice, length: int) -> None:
        """Name the entries of positions [0, length) in the KV region."""
        self._settle(layers, [slot], [length])
        for layer in range(layers.start, layers.stop):
            self._names.write(layer, slot, self.cache.entries(layer, slot, length))

    def adopt(self, slot: int, layers: slice, length: int) -> None:
        """Take the entries of positions [0, length) from the KV region, as far as they are there."""
        found = [self._names.read(i, slot, length) for i in range(layers.start, layers.stop)]
        self.cache.adopt(layers, slot, np.array(found, np.uint64).T)

    def _settle(self, layers: slice, slots: Sequence[int], starts: Sequence[int]) -> None:
        for layer, slot in self._names.settle(layers, slots, starts):
            self.cache.lose(layer, slot)

    def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        """Return one token per row; greedy unless a temperature is given."""
        states = _states(rows, self._widths.final_row_nbytes)
        if len(states) != len(picks):
            raise ConfigError(f"{len(states)} rows cannot be sampled by {len(picks)} picks")
        if self.layout.tied:
            states = join(states, self._weights.of(0))
        return [self._token(s, p) for s, p in zip(states.tolist(), picks, strict=True)]

    def _token(self, state: int, pick: Pick) -> int:
        if pick.sampling.temperature > 0:
            state = name(_DRAW, state, pick.sampling.seed, pick.request, pick.position)
        return state % self._vocab


def _accumulated(terms: U64, before: U64, ends: Ints) -> U64:
    """Sum `terms` up within each chunk, whose rows end at `ends`, on top of what was `before` it."""
    if len(terms) > len(ends):
        np.cumsum(terms, out=terms)
        base = before.copy()
        base[1:] -= terms[ends[:-1] - 1]
        terms += np.repeat(base, np.diff(ends, prepend=0))
    else:
        terms += before
    return terms


def _rows(state: U64, nbytes: int) -> Rows:
    rows = np.zeros((len(state), nbytes), np.uint8)
    rows[:, :STATE_NBYTES] = state.view(np.uint8).reshape(-1, STATE_NBYTES)
    return rows


def _states(rows: Rows, nbytes: int) -> U64:
    if rows.shape[1:] != (nbytes,):
        raise ConfigError(f"rows are {rows.shape[1:]} bytes wide; this model needs {nbytes}")
    states: U64 = np.ascontiguousarray(rows[:, :STATE_NBYTES]).view(np.uint64)[:, 0]
    return states


def _check_chunk(chunk: Chunk, limits: EngineLimits) -> None:
    if not 0 <= chunk.slot < limits.max_slots:
        raise ConfigError(f"slot is {chunk.slot}; max_slots is {limits.max_slots}")
    if chunk.start < 0 or chunk.length < 1 or chunk.start + chunk.length > limits.max_length:
        raise ConfigError(f"{chunk} does not lie inside [0, {limits.max_length}) (max_length)")
