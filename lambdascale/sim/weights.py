"""What an image region holds for each part of a model, as 64-bit names taken at the moment of use."""

from bisect import bisect_left, bisect_right

import numpy as np

from lambdascale.model.layout import ImageLayout
from lambdascale.sim.layers import LayerRange
from lambdascale.sim.mixing import name
from lambdascale.sim.regions import SizedRegion, fingerprint
from lambdascale.transport.base import Region


class Weights:
    """Names of the parts of `layout` in `image`, where it begins at `start`.

    Bytes are hashed anew every time, since anyone may write them; a sized region knows its changes,
    so there the names are kept until one touches their part.
    """

    def __init__(self, layout: ImageLayout, image: Region, start: int) -> None:
        self._layout = layout
        self._image = image
        self._start = start
        self._version = -1
        self._kept: dict[int, np.uint64] = {}
        self._ranges: dict[tuple[int, int], LayerRange] = {}

    def of(self, part: int) -> np.uint64:
        """Return the name of what `part` holds now; an absent byte makes another name."""
        self._renew()
        if part not in self._kept:
            self._kept[part] = self._hash(part)
        return self._kept[part]

    def range(self, layers: slice) -> LayerRange:
        """Return layers, counted from 0, with what the image holds of them now."""
        self._renew()
        key = layers.start, layers.stop
        if key not in self._ranges:
            self._ranges[key] = LayerRange.of(layers, lambda layer: self.of(layer + 1))
        return self._ranges[key]

    def _renew(self) -> None:
        """Forget what may no longer be true."""
        image = self._image
        if not isinstance(image, SizedRegion):
            self._kept.clear()
            self._ranges.clear()
        elif image.version != self._version:
            for offset, nbytes in image.changes_since(self._version):
                self._forget(offset - self._start, offset - self._start + nbytes)
            self._version = image.version

    def _forget(self, low: int, high: int) -> None:
        """Bytes [low, high) of the image have changed."""
        offsets = self._layout.part_offsets
        parts = range(max(bisect_right(offsets, low) - 1, 0), bisect_left(offsets, high))
        for part in parts:
            self._kept.pop(part, None)
        for first, stop in [
            key for key in self._ranges if key[0] < parts.stop - 1 and parts.start <= key[1]
        ]:
            del self._ranges[first, stop]

    def _hash(self, part: int) -> np.uint64:
        offset = self._start + self._layout.part_offsets[part]
        nbytes = self._layout.part_nbytes(part)
        return np.uint64(name(part, fingerprint(self._image, offset, nbytes)))
