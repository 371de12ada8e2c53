"""The simulated `Storage`: images and copies come at the bandwidth of their tier, in virtual time."""

import math
from pathlib import Path

from lambdascale.errors import ModelError
from lambdascale.sim.content import put_image
from lambdascale.sim.regions import SimRegion, SizedRegion, check_range, copy, new_region
from lambdascale.storage.rates import Rates
from lambdascale.transport.base import Region


class SimStorage:
    """Loads at `bandwidth` bytes/s in all, and stores so too; copies at `pcie_bandwidth` per direction.

    Moves of a kind that run at once wait for one another. What was stored is found again; all other
    images are as `content` has them.
    """

    def __init__(self, bandwidth: float, pcie_bandwidth: float = math.inf) -> None:
        self._rates = Rates(bandwidth, pcie_bandwidth)
        self._stored: dict[Path, SimRegion] = {}

    async def load(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        check_range(region, offset, nbytes)
        async with self._rates.load(nbytes):
            pass
        if image in self._stored:
            self._recall(image, image_offset, region, offset, nbytes)
        else:
            put_image(image, image_offset, region, offset, nbytes)

    async def copy(
        self, source: Region, source_offset: int, target: Region, target_offset: int, nbytes: int
    ) -> None:
        check_range(source, source_offset, nbytes)
        check_range(target, target_offset, nbytes)
        async with self._rates.copy(source, target, nbytes):
            pass
        copy(source, source_offset, nbytes, target, target_offset)

    async def store(self, region: Region, offset: int, nbytes: int, image: Path) -> None:
        check_range(region, offset, nbytes)
        async with self._rates.store(nbytes):
            pass
        sized_above = 0 if isinstance(region, SizedRegion) else None
        stored = new_region(region.key, nbytes, sized_above)
        copy(region, offset, nbytes, stored, 0)
        self._stored[image] = stored

    async def close(self) -> None:
        self._rates.close()

    def _recall(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        stored = self._stored[image]
        if image_offset + nbytes > stored.nbytes:
            raise ModelError(f"image {image} ends at byte {stored.nbytes}; store all of the model")
        copy(stored, image_offset, nbytes, region, offset)
