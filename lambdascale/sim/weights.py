"""What an image region holds for each part of a model, as 64-bit names taken at the moment of use."""

import numpy as np

from lambdascale.model.layout import ImageLayout
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
        self._version = -1
        self._kept: dict[int, np.uint64] = {}

    def of(self, part: int) -> np.uint64:
        """Return the name of what `part` holds now; an absent byte makes another name."""
        if not isinstance(self._image, SizedRegion):
            return self._hash(part)
        if self._image.version != self._version:
            self._version = self._image.version
            self._kept.clear()
        if part not in self._kept:
            self._kept[part] = self._hash(part)
        return self._kept[part]

    def _hash(self, part: int) -> np.uint64:
        offset = self._start + self._layout.part_offsets[part]
        nbytes = self._layout.part_nbytes(part)
        return np.uint64(name(part, fingerprint(self._image, offset, nbytes)))
