"""The KV cache of the symbolic engine: one 64-bit entry per (slot, position, layer); 0 is absent.

What a position sees of a layer is the sum over all earlier positions p of entry[p] · place(p), taken over
the entries that are really there. A sum can be extended by a whole chunk at once, and it changes if any
entry is missing, stale, or at another position. Nothing is ever refused: a wrong cache is wrong tokens.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from lambdascale.engine.base import Chunk, EngineLimits
from lambdascale.sim.mixing import U64, odd_numbers

Late = tuple[Chunk, Callable[[], U64]]


class SymbolicCache:
    """KV entries for `limits.max_slots` sequences; memory is taken as slots are first used.

    `places`: the odd factor by which each position counts.
    """

    def __init__(self, num_layers: int, limits: EngineLimits) -> None:
        self._shape = limits.max_length, num_layers
        self._entries: list[U64 | None] = [None] * limits.max_slots
        self._late: defaultdict[int, list[Late]] = defaultdict(list)
        self._sums = np.zeros((limits.max_slots, num_layers), np.uint64)
        self._ends = np.zeros((limits.max_slots, num_layers), np.int64)
        self.places = odd_numbers(limits.max_length)

    def seek(self, layers: slice, chunks: Sequence[Chunk]) -> U64:
        """Return what the first position of every chunk sees: [chunks, layers].

        Entries from a chunk's start on are forgotten; a start at 0 forgets the whole sequence.
        """
        if len(chunks) == 1:
            return self._seek_one(layers, chunks[0])
        slots = [chunk.slot for chunk in chunks]
        starts = np.array([chunk.start for chunk in chunks])
        moved = (self._ends[slots, layers] != starts[:, None]).any(axis=1)
        for chunk in (chunks[i] for i in np.flatnonzero(moved).tolist()):
            self._rewind(layers, chunk.slot, chunk.start)
        return self._sums[slots, layers]

    def _seek_one(self, layers: slice, chunk: Chunk) -> U64:
        """Do so for one chunk, which is several times as fast."""
        if (self._ends[chunk.slot, layers] != chunk.start).any():
            self._rewind(layers, chunk.slot, chunk.start)
        return self._sums[chunk.slot : chunk.slot + 1, layers].copy()

    def commit(self, layers: slice, chunks: Sequence[Chunk], entries: U64, sums: U64) -> None:
        """Store what was made: `entries` [rows, layers], and `sums` [chunks, layers] after it."""
        row = 0
        for i, chunk in enumerate(chunks):
            slot, stop, after = chunk.slot, chunk.start + chunk.length, row + chunk.length
            self._sums[slot, layers] = sums[i]
            self._ends[slot, layers] = stop
            self._slot(slot)[chunk.start : stop, layers] = entries[row:after]
            row = after

    def commit_later(self, chunk: Chunk, entries: Callable[[], U64], sums: U64) -> None:
        """Do as `commit` does for all layers of one chunk, whose entries are made when they are looked at."""
        self._sums[chunk.slot] = sums
        self._ends[chunk.slot] = chunk.start + chunk.length
        self._late[chunk.slot].append((chunk, entries))

    def entries(self, layer: int, slot: int, length: int) -> U64:
        """Return a copy of the entries of positions [0, length)."""
        return self._slot(slot)[:length, layer].copy()

    def adopt(self, layers: slice, slot: int, entries: U64) -> None:
        """Hold `entries` [positions, layers] from position 0 on and nothing behind them."""
        if layers.stop > layers.start:
            self._slot(slot)[: len(entries), layers] = entries
            self._rewind(layers, slot, len(entries))

    def lose(self, layer: int, slot: int) -> None:
        """Lose all entries of a layer, as if something else had been written over them."""
        self._slot(slot)[:, layer] = 0
        self._sums[slot, layer] = 0

    def drop(self, layer: int, slot: int, position: int) -> None:
        """Lose one entry, as a transfer of KV might."""
        self._slot(slot)[position, layer] = 0
        self._rewind(slice(layer, layer + 1), slot, int(self._ends[slot, layer]))

    def _slot(self, slot: int) -> U64:
        entries = self._entries[slot]
        if entries is None:
            entries = self._entries[slot] = np.zeros(self._shape, np.uint64)
        for chunk, made in self._late.pop(slot, ()):
            entries[chunk.start : chunk.start + chunk.length] = made()
        return entries

    def _rewind(self, layers: slice, slot: int, start: int) -> None:
        """Forget entries from `start` on and sum up those before it."""
        if start == 0 and (layers.start, layers.stop) == (0, self._shape[1]):
            self._late.pop(slot, None)
        entries = self._slot(slot)[:, layers]
        entries[start : int(self._ends[slot, layers].max())] = 0
        self._sums[slot, layers] = (entries[:start] * self.places[:start, None]).sum(axis=0)
        self._ends[slot, layers] = start
