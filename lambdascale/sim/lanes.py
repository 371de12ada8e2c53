"""One sequence taken through all its layers again and again, as whole numbers and not as arrays.

What `layers` says, for one position per step: with a = seen ÷ A + w ÷ A, the sum N a over lower layers, state
s and place p,

    out = (s + sum of a) · through;   entry = N a + s;   a += p · entry

Every step is a polynomial in N, so the numbers t[k] = sum of Nᵏ a go their own way: out needs t[0] alone, and
t[k] += p · (t[k + 1] + s · C(L, k + 1)). All t are lanes of 192 bits in one Python integer, wide enough for
what two multiplications of 64 bits make: a step is a shift, two products and a mask, whatever the number of
layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import comb

import numpy as np

from lambdascale.sim.layers import LayerRange
from lambdascale.sim.mixing import MASK, U64

WORDS = 3  # 64-bit words in a lane
LANE = 64 * WORDS


@dataclass(frozen=True, slots=True)
class Lanes:
    """Of a range of so many layers: t = `sums` @ a, a = `layers` @ t; `growth` and `mask` are packed."""

    sums: U64
    layers: U64
    growth: int
    mask: int

    @classmethod
    def of(cls, num_layers: int) -> "Lanes":
        """Work out the tables: binomials mod 2⁶⁴, and those that undo them."""
        above = range(num_layers)[::-1]  # layers above each layer
        counts = range(num_layers)
        sums = [[comb(n, k) for n in above] for k in counts]
        layers = [[(-1) ** (k - n) * comb(k, n) if k >= n else 0 for k in counts] for n in above]
        growth = [comb(num_layers, k + 1) for k in counts]
        packed = (_packed(_table(numbers)) for numbers in (growth, [MASK] * num_layers))
        return cls(_table(sums), _table(layers), *packed)


@cache
def lanes(num_layers: int) -> Lanes:
    """Return `Lanes.of`, worked out once."""
    return Lanes.of(num_layers)


def decode_one(
    run: LayerRange, seen: U64, next_state: Callable[[int | None, int], int], places: list[int]
) -> tuple[Callable[[], U64], U64]:
    """Do as `LayerRange.decode` does for one sequence: `seen` [layers] → entries [steps, layers], seen.

    What is returned works the entries out: mostly nobody ever asks for them.
    """
    table, through = lanes(len(run.over)), int(run.through)
    growth, mask = table.growth, table.mask
    top = _packed(table.sums @ (seen * run.over + run.weights))
    tops, states = list[int](), list[int]()
    out: int | None = None
    for i, place in enumerate(places):
        state = next_state(out, i)
        states.append(state)
        tops.append(top)
        out = (state + top) * through & MASK
        top = top + ((top >> LANE) + state * growth) * place & mask
    next_state(out, len(places))
    (added,) = _unpacked([top], len(run.over)) @ table.layers.T
    return partial(_entries, run, tops, states), (added - run.weights) * run.before


def _entries(run: LayerRange, tops: list[int], states: list[int]) -> U64:
    count = len(run.over)
    added = _unpacked(tops, count) @ lanes(count).layers.T
    made = np.add.accumulate(added, axis=1) - added
    made += np.array(states, np.uint64)[:, None]
    entries: U64 = made * run.before
    return entries


def _table(numbers: list[list[int]] | list[int]) -> U64:
    """Numbers mod 2⁶⁴."""
    return (np.array(numbers, object) & MASK).astype(np.uint64)


def _packed(numbers: U64) -> int:
    words = np.zeros((len(numbers), WORDS), np.uint64)
    words[:, 0] = numbers
    return int.from_bytes(words.astype("<u8").tobytes(), "little")


def _unpacked(packed: list[int], count: int) -> U64:
    """Return what is in each lane: [numbers, lanes]."""
    nbytes = count * LANE // 8
    words = np.frombuffer(b"".join(number.to_bytes(nbytes, "little") for number in packed), "<u8")
    numbers: U64 = words.reshape(len(packed), count, WORDS)[:, :, 0].astype(np.uint64)
    return numbers
