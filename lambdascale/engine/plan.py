"""Where the tokens of one step lie: which KV cells they fill and which keys they see.

Several sequences of different lengths share a step without padding. Their tokens lie one after another
in a single row of hidden states; one-token chunks (decode) form one batch over KV slots, longer chunks
(prefill) stand alone. Everything here is computed once per step and shared by all layers.

    K, V per layer   [slots, kv_heads, max_length, head_dim], a view of the KV region
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lambdascale.engine.base import Chunk
from lambdascale.engine.kv import KvLayout

_MAX_HOLES = 0.5  # foreign slots per own slot that a contiguous slot range may contain


@dataclass(frozen=True, slots=True)
class RaggedCache:
    """Keys and values of every slot, one [slots, kv_heads, max_length, head_dim] pair per layer."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @classmethod
    def over(cls, memory: Tensor, layout: KvLayout, dtype: torch.dtype) -> "RaggedCache":
        """Lay zeroed pairs over the bytes `memory`.

        Masked cells enter the arithmetic too, so they must be finite.
        """
        size = layout.max_slots, layout.heads, layout.max_length, -1
        planes = memory[: layout.nbytes].zero_().view(dtype).view(2 * layout.num_layers, *size)
        return cls(tuple(planes[::2]), tuple(planes[1::2]))


@dataclass(frozen=True, slots=True)
class Decode:
    """The one-token chunks of a step as one batch over the slots `slots`.

    `rows` maps a batch entry to its row of the step, and `entries` a chunk to its batch entry, so that a
    slot range may have holes; both are None when entry i is row i of the step. `lengths` per entry.
    """

    slots: slice | Tensor
    rows: Tensor | None
    entries: Tensor | None
    chunk_rows: Tensor
    lengths: Tensor
    shortest: int
    longest: int
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def low(self, window: int | None) -> int:
        """The first position that any entry may look at."""
        return 0 if window is None else max(0, self.shortest - window)

    def mask(self, window: int | None, like: Tensor) -> Tensor:
        """0 where an entry looks and −inf elsewhere: [entries, 1, 1, longest − low]."""
        if window not in self.masks:
            at = torch.arange(self.low(window), self.longest, device=like.device)
            hidden = at >= self.lengths[:, None]
            if window is not None:
                hidden |= at < self.lengths[:, None] - window
            self.masks[window] = _additive(hidden, like)[:, None, None, :]
        return self.masks[window]


@dataclass(frozen=True, slots=True)
class Prefill:
    """A chunk of several tokens: rows [row, row + length) are positions from `start` in `slot`."""

    row: int
    slot: int
    start: int
    length: int
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        return self.start + self.length

    def low(self, window: int | None) -> int:
        """The first position that any of its tokens may look at."""
        return 0 if window is None else max(0, self.start + 1 - window)

    def plain(self, window: int | None) -> bool:
        """Whether attention is causal over the chunk itself and needs no mask."""
        return self.start == 0 and (window is None or self.length <= window)

    def mask(self, window: int | None, like: Tensor) -> Tensor:
        """0 where a token looks and −inf elsewhere: [length, stop − low]."""
        if window not in self.masks:
            query = torch.arange(self.start, self.stop, device=like.device)[:, None]
            key = torch.arange(self.low(window), self.stop, device=like.device)
            hidden = key > query
            if window is not None:
                hidden |= key <= query - window
            self.masks[window] = _additive(hidden, like)
        return self.masks[window]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The tokens of one step over `cache`: `positions` [T], KV `cells` [T · kv_heads], the chunks."""

    cache: RaggedCache
    positions: Tensor
    cells: Tensor
    decode: Decode | None
    prefills: tuple[Prefill, ...]

    @classmethod
    def of(cls, chunks: Sequence[Chunk], cache: RaggedCache) -> "StepPlan":
        """Lay out `chunks` over `cache`."""
        _, heads, max_length, _ = cache.keys[0].shape
        device = cache.keys[0].device
        slots, starts, lengths = np.array([(c.slot, c.start, c.length) for c in chunks]).T
        rows = np.cumsum(lengths) - lengths
        positions = np.arange(lengths.sum()) + np.repeat(starts - rows, lengths)
        lanes = np.repeat(slots, lengths)[:, None] * heads + np.arange(heads)
        cells = lanes * max_length + positions[:, None]
        one = lengths == 1
        long = zip(*(a[~one].tolist() for a in (rows, slots, starts, lengths)), strict=True)
        return cls(
            cache,
            torch.from_numpy(positions).to(device),
            torch.from_numpy(cells.reshape(-1)).to(device),
            _decode(rows[one], slots[one], starts[one] + 1, len(positions), device),
            tuple(Prefill(*numbers) for numbers in long),
        )


Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def _decode(
    rows: Ints, slots: Ints, lengths: Ints, step: int, device: torch.device
) -> Decode | None:
    if not len(rows):
        return None
    low, high = int(slots.min()), int(slots.max()) + 1
    dense = high - low <= len(slots) * (1 + _MAX_HOLES)
    entries = slots - low if dense else np.arange(len(slots))
    num_entries = high - low if dense else len(slots)
    entry_rows = _spread(rows, entries, num_entries, int(rows[0]))
    aligned = num_entries == step and bool((entry_rows == np.arange(step)).all())
    return Decode(
        slots=slice(low, high) if dense else torch.from_numpy(slots.copy()).to(device),
        rows=None if aligned else torch.from_numpy(entry_rows).to(device),
        entries=None if aligned else torch.from_numpy(entries).to(device),
        chunk_rows=torch.from_numpy(rows.copy()).to(device),
        lengths=torch.from_numpy(_spread(lengths, entries, num_entries, 1)).to(device),
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
    )


def _spread(values: Ints, entries: Ints, num_entries: int, hole: int) -> Ints:
    out = np.full(num_entries, hole, dtype=np.int64)
    out[entries] = values
    return out


def _additive(hidden: Tensor, like: Tensor) -> Tensor:
    return like.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
