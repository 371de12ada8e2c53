"""The layers of the symbolic model: linear in 64-bit numbers, so that a range is a few array operations.

    entry[l] = h[l];   h[l + 1] = a[l] · (h[l] + seen[l] + w[l])

`seen` is what the cache sums up over earlier positions, w[l] a name of what the image holds for the layer and
a[l] an odd number of its own. With A[l] = a[first] ⋯ a[l − 1], which has an inverse mod 2⁶⁴, h[l] = A[l] ·
(h[first] + sum of (seen[j] + w[j]) ÷ A[j] over j < l): no layer waits for the one before it. What is linear
cannot hide a difference: a wrong weight, entry or order is another number at the end of the range.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lambdascale.engine.base import Chunk
from lambdascale.sim.mixing import U64, inverses, odd_numbers


@dataclass(frozen=True, slots=True)
class LayerRange:
    """Layers `layers` as arrays over them: `before` is A, `over` its inverse, `weights` w ÷ A.

    `through` is the product of all a.
    """

    layers: slice
    before: U64
    over: U64
    weights: U64
    through: np.uint64

    @classmethod
    def of(cls, layers: slice, weight_of: Callable[[int], np.uint64]) -> "LayerRange":
        """Take the weights of the layers as they are now."""
        before, over, through = _factors(layers.start, layers.stop)
        names = [weight_of(layer) for layer in range(layers.start, layers.stop)]
        weights = np.array(names, np.uint64).reshape(len(names)) * over
        return cls(layers, before, over, weights, through)

    def run(self, state: U64, seen: U64) -> tuple[U64, U64]:
        """Take one position per row through: `state` [rows], `seen` [rows, layers] → new state, entries."""
        added = seen * self.over
        added += self.weights
        sums = np.add.accumulate(added, axis=1)
        entries = sums - added
        entries += state[:, None]
        entries *= self.before
        return (state + sums[:, -1]) * self.through, entries

    def decode(
        self, seen: U64, next_state: Callable[[U64 | None, int], U64], places: U64
    ) -> tuple[U64, U64]:
        """Take one position per row through, again and again: `places` [steps, rows] → entries, seen.

        `next_state` makes the state of step i from the one that came out of the step before. The same as
        `run` over and over, on seen ÷ A and entries ÷ A, which spares most of the work.
        """
        steps, rows = places.shape
        added = seen * self.over + self.weights
        made = np.empty((steps, rows, len(self.over)), np.uint64)
        out: U64 | None = None
        for i in range(steps):
            state, entry = next_state(out, i), made[i]
            sums = np.add.accumulate(added, axis=1)
            np.subtract(sums, added, out=entry)
            entry += state[:, None]
            out = (state + sums[:, -1]) * self.through
            added += entry * places[i][:, None]
        next_state(out, steps)
        return made * self.before, (added - self.weights) * self.before

    def run_short(self, state: U64, seen: U64, places: U64) -> tuple[U64, U64, U64]:
        """Take one chunk of few positions through, one by one: `state` [rows] → new state, entries, seen."""
        out = np.empty_like(state)

        def next_state(made: U64 | None, i: int) -> U64:
            if made is not None:
                out[i - 1 : i] = made
            return state[i : i + 1]

        entries, seen = self.decode(seen, next_state, places[:, None])
        return out, entries[:, 0], seen

    def run_chunks(
        self, state: U64, seen: U64, chunks: Sequence[Chunk], places: U64
    ) -> tuple[U64, U64]:
        """Take chunks of several positions through, layer by layer; `seen` [chunks, layers] is advanced."""
        lengths = [chunk.length for chunk in chunks]
        at = np.concatenate([places[c.start : c.start + c.length] for c in chunks])
        starts = np.cumsum(lengths, dtype=np.int64) - np.array(lengths)
        entries = np.empty((len(state), len(self.before)), np.uint64)
        factors, weights = odd_numbers(self.layers.stop)[self.layers], self.weights * self.before
        for i in range(len(factors)):
            entries[:, i] = state
            terms = state * at
            sums = np.add.accumulate(terms)
            base = sums[starts] - terms[starts] - seen[:, i]
            earlier = sums - terms - np.repeat(base, lengths)
            seen[:, i] += np.add.reduceat(terms, starts)
            state = (state + earlier + weights[i : i + 1]) * factors[i : i + 1]
        return state, entries


@lru_cache(1 << 12)
def _factors(start: int, stop: int) -> tuple[U64, U64, np.uint64]:
    """A, its inverses and the product of all a, for layers [start, stop)."""
    factors = odd_numbers(stop)[start:]
    products = np.multiply.accumulate(np.concatenate([np.ones(1, np.uint64), factors]))
    before, over = products[:-1], inverses(products[:-1])
    before.flags.writeable = over.flags.writeable = False
    return before, over, products[-1]
