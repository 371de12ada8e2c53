"""What an image region holds for each part of a model, as 64-bit names taken at the moment of use."""

import numpy as np

from lambdascale.model.layout import ImageLayout
from lambdascale.sim.layers import LayerRange
from lambdascale.sim.mixing import name
from lambdascale.sim.regions import SizedRegion, fingerprint
from lambdascale.transport.base import Region


class Weights:
    """Names of the parts of `layout` in `image`, where it begins at `start`.

    Bytes are hashed anew every time, since anyone may write them; a sized region counts its changes,
    so there the names are kept until one happens.
    """

    def __init__(self, layout: ImageLayout, image: Region, start: int) -> None:
        self._layout = layout
        self._image = image
        self._start = start
        self._version: int | None = None
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
        version = self._image.version if isinstance(self._image, SizedRegion) else None
        if version is None or version != self._version:
            self._version = version
            self._kept.clear()
            self._ranges.clear()

    def _hash(self, part: int) -> np.uint64:
        offset = self._start + self._layout.part_offsets[part]
        nbytes = self._layout.part_nbytes(part)
        return np.uint64(name(part, fingerprint(self._image, offset, nbytes)))
