"""The symbolic model: what comes out of a step, as a chain of numbers over all that should matter to it.

    embedding   h = H(token, position, part 0)
    layers      see `layers`: h and what is seen of earlier positions, linear in both
    last part   row = H(h, part L + 1);  token = row, joined with part 0 if the head is tied

A part stands for what the image region holds of it at that moment. No time passes here.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lambdascale.engine.base import Chunk, EngineLimits, Pick, Rows, Step
from lambdascale.engine.kv import layers_among
from lambdascale.errors import ConfigError
from lambdascale.sim.kv import SymbolicCache
from lambdascale.sim.kv_names import KvNames
from lambdascale.sim.lanes import decode_one
from lambdascale.sim.layers import LayerRange
from lambdascale.sim.mixing import U64, join, join_each, join_one, name
from lambdascale.sim.prepared import STATE_NBYTES, Prepared
from lambdascale.sim.weights import Weights
from lambdascale.transport.base import Region

_DRAW = 2  # what a name is for


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
        if step.rows is None:
            positions = [p for c in step.chunks for p in range(c.start, c.start + c.length)]
            state = self._embedded(np.array(step.tokens, np.int64).astype(np.uint64), positions)
        else:
            state = _states(step.rows, self._widths.row_nbytes)
        layers = layers_among(step.first, step.stop, self.layout.num_layers)
        if layers.stop > layers.start:
            state = self._layers(layers, step.chunks, state)
        if step.stop < self.layout.num_parts:
            return _rows(state, self._widths.row_nbytes)
        ends = np.cumsum([chunk.length for chunk in step.chunks])
        emitting = ends[[c.emit for c in step.chunks]] - 1
        return _rows(self._final(state[emitting]), self._widths.final_row_nbytes)

    def _embedded(self, tokens: U64, positions: Sequence[int]) -> U64:
        return join(join(tokens, self.cache.places[positions]), self._weights.of(0))

    def _final(self, state: U64) -> U64:
        return join(state, self._weights.of(self.layout.num_parts - 1))

    def _layers(self, layers: slice, chunks: Sequence[Chunk], state: U64) -> U64:
        self._settle(layers, [c.slot for c in chunks], [c.start for c in chunks])
        seen, cache = self.cache.seek(layers, chunks), self.cache
        run = self._range(layers)
        if len(state) == len(chunks):
            state, entries = run.run(state, seen)
            seen += entries * cache.places[[c.start for c in chunks]][:, None]
        elif len(chunks) == 1 and len(state) < layers.stop - layers.start:
            start = chunks[0].start
            state, entries, seen = run.run_short(
                state, seen, cache.places[start : start + len(state)]
            )
        else:
            state, entries = run.run_chunks(state, seen, chunks, cache.places)
        cache.commit(layers, chunks, entries, seen)
        return state

    def generate(self, step: Step, picks: Sequence[Pick], num_steps: int) -> list[list[int]]:
        """Run a checked step of one token per sequence, and then on with what each has sampled.

        Return the tokens of each of `num_steps` steps.
        """
        layers, chunks = slice(0, self.layout.num_layers), step.chunks
        starts = [chunk.start for chunk in chunks]
        self._settle(layers, [c.slot for c in chunks], starts)
        seen, run = self.cache.seek(layers, chunks), self._range(layers)
        places = self.cache.places[np.array(starts) + np.arange(num_steps)[:, None]]
        made = [list(step.tokens or ())]
        whole = [Chunk(c.slot, c.start, num_steps, c.emit) for c in chunks]
        if len(chunks) == 1:
            turns = places[:, 0].tolist()
            alone = self._next_of_one(picks[0], turns, made)
            late, end = decode_one(run, seen[0], alone, turns)
            self.cache.commit_later(whole[0], late, end)
        else:
            entries, seen = run.decode(seen, self._next_state(picks, places.tolist(), made), places)
            rows = entries.swapaxes(0, 1).reshape(-1, layers.stop)
            self.cache.commit(layers, whole, rows, seen)
        return made[1:]

    def _next_of_one(
        self, pick: Pick, places: list[int], made: list[list[int]]
    ) -> Callable[[int | None, int], int]:
        """As `_next_state`, for one sequence."""
        first = int(self._weights.of(0))
        last = int(self._weights.of(self.layout.num_parts - 1))
        ((token,),) = made

        def next_state(out: int | None, i: int) -> int:
            nonlocal token
            if out is not None:
                row = join_one(out, last)
                state = join_one(row, first) if self.layout.tied else row
                token = self._token(state, pick, pick.position + i - 1)
                made.append([token])
            at = places[i] if i < len(places) else places[-1]
            return join_one(join_one(token, at), first)

        return next_state

    def _next_state(
        self, picks: Sequence[Pick], places: list[list[int]], made: list[list[int]]
    ) -> Callable[[U64 | None, int], U64]:
        """What comes out of the last layer makes tokens, which go to `made`; they make the next embedding."""
        count = len(picks)
        first = [int(self._weights.of(0))] * count
        last = [int(self._weights.of(self.layout.num_parts - 1))] * count

        def next_state(out: U64 | None, i: int) -> U64:
            if out is not None:
                made.append(self._sampled(join_each(out.tolist(), last), picks, i - 1))
            at = places[i] if i < len(places) else places[-1]
            return np.array(join_each(join_each(made[-1], at), first), np.uint64)

        return next_state

    def _range(self, layers: slice) -> LayerRange:
        return self._weights.range(layers)

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
        return self._sampled(states.tolist(), picks, 0)

    def _sampled(self, states: list[int], picks: Sequence[Pick], ahead: int) -> list[int]:
        """Choose the tokens `ahead` positions behind those of `picks`."""
        if self.layout.tied:
            states = join_each(states, [int(self._weights.of(0))] * len(states))
        pairs = zip(states, picks, strict=True)
        return [self._token(state, pick, pick.position + ahead) for state, pick in pairs]

    def _token(self, state: int, pick: Pick, position: int) -> int:
        if pick.sampling.temperature > 0:
            state = name(_DRAW, state, pick.sampling.seed, pick.request, position)
        return state % self._vocab


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
