"""The simulated `Storage`: images come at the bandwidth of their tier, in virtual time."""

import asyncio
from pathlib import Path

from lambdascale.errors import ModelError
from lambdascale.sim.content import put_image
from lambdascale.sim.regions import check_range
from lambdascale.transport.base import Lane, Region
from lambdascale.transport.pacing import Port


class SimStorage:
    """Loads at `bandwidth` bytes/s in all: loads that run at once wait for one another."""

    def __init__(self, bandwidth: float) -> None:
        self._port = Port(bandwidth)
        self._loads: dict[asyncio.Future[None], None] = {}
        self._closed = False

    async def load(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        if self._closed:
            raise _closed(image)
        check_range(region, offset, nbytes)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._loads[done] = None
        timer = loop.call_at(self._port.leave(loop.time(), nbytes, Lane.BULK), _finish, done)
        try:
            await done
        finally:
            timer.cancel()
            self._loads.pop(done, None)
        put_image(image, image_offset, region, offset, nbytes)

    async def close(self) -> None:
        self._closed = True
        for done in self._loads:
            if not done.done():
                done.set_exception(ModelError("the storage was closed while an image was loading"))


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _closed(image: Path) -> ModelError:
    return ModelError(f"the storage is closed; {image} cannot be loaded from it")
