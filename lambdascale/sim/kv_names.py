"""How symbolic KV entries move: the KV region holds their names, and what a name stands for is known to all.

The region has the size of a real one, so a transfer takes as long as a real one. *Exposed* entries of a
layer and slot are a content there, named by their hash. Whoever *adopts* the range looks up what it finds:
nothing, half a transfer or a flipped byte stands for no entries at all. As in real memory, a step writes
over what a peer was to be sent, and a peer over what a step needs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from lambdascale.engine.kv import KvLayout
from lambdascale.sim.content import put_content
from lambdascale.sim.mixing import U64
from lambdascale.sim.regions import SizedRegion, clear, fingerprint
from lambdascale.transport.base import Region

_MAX_NAMES = 1 << 15  # the newest; a transfer is over long before so many more have begun


class KvContents:
    """What the names stand for; one for all engines whose regions may exchange them."""

    def __init__(self) -> None:
        self._entries: dict[int, U64] = {}

    def keep(self, found: int, entries: U64) -> None:
        """Remember what a range with this fingerprint stands for."""
        self._entries.pop(found, None)
        self._entries[found] = entries
        if len(self._entries) > _MAX_NAMES:
            del self._entries[next(iter(self._entries))]

    def get(self, found: int, length: int) -> U64:
        """Return `length` entries; zeros, which are absent entries, if there are none by that name."""
        entries = self._entries.get(found)
        if entries is None or len(entries) != length:
            return np.zeros(length, np.uint64)
        return entries


class KvNames:
    """One KV region as one engine uses it; it starts empty. Layers are counted from 0."""

    def __init__(self, layout: KvLayout, region: Region, contents: KvContents) -> None:
        self._layout = layout
        self._region = region
        self._contents = contents
        clear(region, 0, layout.nbytes)
        shape = layout.num_layers, layout.max_slots
        self._seen = np.full(shape, self._find(0, 0, layout.max_length), np.uint64)
        self._lengths = np.zeros(shape, np.int64)  # of what was exposed or adopted last
        version = region.version if isinstance(region, SizedRegion) else -1
        # The region's version when `_seen` was true of it.
        self._versions = np.full(shape, version, np.int64)

    def write(self, layer: int, slot: int, entries: U64) -> None:
        """Put the name of `entries`, which start at position 0, into the region."""
        content = xxhash.xxh3_64_intdigest(entries.tobytes())
        for offset, nbytes in self._ranges(layer, slot, len(entries)):
            put_content(content, 0, self._region, offset, nbytes)
        self._contents.keep(self._find(layer, slot, len(entries)), entries)
        self._note(layer, slot, len(entries))

    def read(self, layer: int, slot: int, length: int) -> U64:
        """Return the entries that the region names for [0, length)."""
        self._note(layer, slot, length)
        return self._contents.get(self._find(layer, slot, length), length)

    def settle(
        self, layers: slice, slots: Sequence[int], starts: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Prepare for entries from `starts` on; return each (layer, slot) that a peer has written over.

        Its entries are lost, and so are the names of what is about to be written over.
        """
        lost = [at for at in self._changed(layers, slots) if self._differs(*at)]
        stale = _places(self._lengths[layers, slots] > starts)
        for layer, slot in [*lost, *((layers.start + i, slots[j]) for i, j in stale)]:
            for offset, nbytes in self._ranges(layer, slot, self._layout.max_length):
                clear(self._region, offset, nbytes)
            self._note(layer, slot, 0)
        if isinstance(self._region, SizedRegion):
            self._versions[layers, slots] = self._region.version
        return lost

    def _changed(self, layers: slice, slots: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Where something may have happened; anyone may write bytes at any time."""
        version = self._region.version if isinstance(self._region, SizedRegion) else 0
        for i, j in _places(self._versions[layers, slots] != version):
            yield layers.start + i, slots[j]

    def _differs(self, layer: int, slot: int) -> bool:
        return self._find(layer, slot, self._layout.max_length) != int(self._seen[layer, slot])

    def _note(self, layer: int, slot: int, length: int) -> None:
        self._seen[layer, slot] = self._find(layer, slot, self._layout.max_length)
        self._lengths[layer, slot] = length

    def _find(self, layer: int, slot: int, length: int) -> int:
        """The fingerprint of positions [0, length)."""
        ((offset, nbytes),) = self._ranges(layer, slot, length) or ((0, 0),)
        return fingerprint(self._region, offset, nbytes)

    def _ranges(self, layer: int, slot: int, length: int) -> tuple[tuple[int, int], ...]:
        return self._layout.ranges(slot, layer + 1, layer + 2, length)


def _places(mask: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Where a mask is true; mostly nowhere, which is soon said."""
    return np.argwhere(mask).tolist() if mask.any() else []
