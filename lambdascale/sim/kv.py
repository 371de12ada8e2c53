"""The KV cache of the symbolic engine: one 64-bit entry per (slot, position, layer); 0 is absent.

What a position sees of a layer is the sum over all earlier positions p of H(entry[p], p), taken over
the entries that are really there. A sum can be extended by a whole chunk at once, and it changes if any
entry is missing, stale, or at another position. Nothing is ever refused: a wrong cache is wrong tokens.
"""

from collections.abc import Sequence

import numpy as np

from lambdascale.engine.base import Chunk, EngineLimits
from lambdascale.sim.mixing import U64, fold

_POSITIONS = np.uint64(0x632BE59BD9B4E019)  # sets the names of positions apart from their numbers


class SymbolicCache:
    """KV entries for `limits.max_slots` sequences; memory is taken as slots are first used."""

    def __init__(self, num_layers: int, limits: EngineLimits) -> None:
        self._shape = limits.max_length, num_layers
        self._entries: list[U64 | None] = [None] * limits.max_slots
        self._sums = np.zeros((num_layers, limits.max_slots), np.uint64)
        self._ends = np.zeros((num_layers, limits.max_slots), np.int64)
        self._names = np.arange(limits.max_length, dtype=np.uint64) * _POSITIONS

    def seek(self, layers: slice, chunks: Sequence[Chunk]) -> U64:
        """Return what the first position of every chunk sees: [layers, chunks].

        Entries from a chunk's start on are forgotten; a start at 0 forgets the whole sequence.
        """
        slots = [chunk.slot for chunk in chunks]
        starts = np.array([chunk.start for chunk in chunks])
        moved = (self._ends[layers, slots] != starts).any(axis=0)
        for chunk in (chunks[i] for i in np.flatnonzero(moved).tolist()):
            self._rewind(layers, chunk.slot, chunk.start)
        return self._sums[layers, slots]

    def commit(self, layers: slice, chunks: Sequence[Chunk], entries: U64, sums: U64) -> None:
        """Store what a step made: `entries` [layers, rows], and `sums` [layers, chunks] after it."""
        slots = [chunk.slot for chunk in chunks]
        self._sums[layers, slots] = sums
        self._ends[layers, slots] = [chunk.start + chunk.length for chunk in chunks]
        row = 0
        for chunk in chunks:
            stop, after = chunk.start + chunk.length, row + chunk.length
            self._slot(chunk.slot)[chunk.start : stop, layers] = entries[:, row:after].T
            row = after

    def names(self, chunks: Sequence[Chunk]) -> U64:
        """Return the 64-bit names of all positions, chunk after chunk."""
        if all(chunk.length == 1 for chunk in chunks):
            return self._names[[chunk.start for chunk in chunks]]
        return np.concatenate([self._names[c.start : c.start + c.length] for c in chunks])

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
        self._sums[layer, slot] = 0

    def drop(self, layer: int, slot: int, position: int) -> None:
        """Lose one entry, as a transfer of KV might."""
        self._slot(slot)[position, layer] = 0
        end = int(self._ends[layer, slot])
        self._rewind(slice(layer, layer + 1), slot, end)

    def _slot(self, slot: int) -> U64:
        entries = self._entries[slot]
        if entries is None:
            entries = self._entries[slot] = np.zeros(self._shape, np.uint64)
        return entries

    def _rewind(self, layers: slice, slot: int, start: int) -> None:
        """Forget entries from `start` on and sum up those before it."""
        entries = self._slot(slot)[:, layers]
        entries[start : int(self._ends[layers, slot].max())] = 0
        seen = entries[:start]
        sums = fold(seen + self._names[:start, None])
        self._sums[layers, slot] = np.where(seen != 0, sums, np.uint64(0)).sum(axis=0)
        self._ends[layers, slot] = start
