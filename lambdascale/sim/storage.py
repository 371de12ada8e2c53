"""The simulated `Storage`: images and copies come at the bandwidth of their tier, in virtual time."""

import math
from pathlib import Path

from lambdascale.errors import ModelError
from lambdascale.sim.content import put_image
from lambdascale.sim.jitter import Jitter
from lambdascale.sim.pcie import Pcie
from lambdascale.sim.regions import SimRegion, SizedRegion, check_range, copy, new_region
from lambdascale.storage.rates import Rates
from lambdascale.transport.base import Region
from lambdascale.transport.pacing import Port

Images = dict[Path, SimRegion]


class SimStorage:
    """Loads at `bandwidth` bytes/s in all, and stores so too; copies at `pcie_bandwidth` per direction.

    Moves of a kind that run at once wait for one another, and with `pcie` for all else that crosses that
    link. Their times vary by `jitter`. What was stored is on `disk`, and found again there; all other images
    are as `content` has them.
    """

    def __init__(
        self,
        bandwidth: float,
        pcie_bandwidth: float = math.inf,
        pcie: Pcie | None = None,
        jitter: Jitter | None = None,
        disk: Images | None = None,
    ) -> None:
        self._rates = Rates(bandwidth, pcie_bandwidth)
        self._pcie = pcie
        self._jitter = jitter or Jitter(0.0, 0)
        self._stored: Images = {} if disk is None else disk

    async def load(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        check_range(region, offset, nbytes)
        async with self._rates.load(self._size(nbytes), *self._crossed(None, region)):
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
        crossed = self._crossed(source, target)
        async with self._rates.copy(source, target, self._size(nbytes), *crossed):
            pass
        copy(source, source_offset, nbytes, target, target_offset)

    async def store(self, region: Region, offset: int, nbytes: int, image: Path) -> None:
        check_range(region, offset, nbytes)
        async with self._rates.store(self._size(nbytes), *self._crossed(region, None)):
            pass
        sized_above = 0 if isinstance(region, SizedRegion) else None
        stored = new_region(region.key, nbytes, sized_above)
        copy(region, offset, nbytes, stored, 0)
        self._stored[image] = stored

    def has(self, image: Path) -> bool:
        return image in self._stored

    async def close(self) -> None:
        self._rates.close()

    def _size(self, nbytes: int) -> int:
        """What takes as long as `nbytes` do this time."""
        return round(nbytes * self._jitter.factor())

    def _crossed(self, source: Region | None, target: Region | None) -> tuple[Port, ...]:
        return self._pcie.crossed(source, target) if self._pcie else ()

    def _recall(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        stored = self._stored[image]
        if image_offset + nbytes > stored.nbytes:
            raise ModelError(f"image {image} ends at byte {stored.nbytes}; store all of the model")
        copy(stored, image_offset, nbytes, region, offset)
