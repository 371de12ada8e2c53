"""Storage bench: loads and copies between touched memory, against the shortest program that does the same.

    load   a packed image in the page cache into a region, against one `readinto` of the whole file
    copy   that region into another (host → GPU here), against one memcpy

Both sides take turns in every round, so that a busy machine slows both; read the ratios, not the seconds.
"""

import argparse
import asyncio
import json
import mmap
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lambdascale.errors import ModelError
from lambdascale.model.catalogue import load_packed
from lambdascale.storage.base import Storage
from lambdascale.storage.files import FileStorage
from lambdascale.transport.base import Region
from lambdascale.transport.registry import open_transport
from lambdascale.units import milliseconds

GPU, HOST = 1, 4
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Moving:
    """Median seconds of a load and of a copy, each ours and the reference's."""

    load_s: float
    readinto_s: float
    copy_s: float
    memcpy_s: float

    @property
    def load_ratio(self) -> float:
        return self.load_s / self.readinto_s

    @property
    def copy_ratio(self) -> float:
        return self.copy_s / self.memcpy_s


class Contest:
    """Both sides over memory that is touched: two regions, and two plain buffers."""

    def __init__(self, image: Path, storage: Storage, gpu: Region, host: Region) -> None:
        self._image, self._nbytes = image, image.stat().st_size
        self._storage, self._gpu, self._host = storage, gpu, host
        self._buffers = [mmap.mmap(-1, self._nbytes) for _ in range(2)]
        self._arrays = [np.frombuffer(buffer, np.uint8) for buffer in self._buffers]
        for array in self._arrays:
            array[:] = 1

    async def load(self) -> None:
        await self._storage.load(self._image, 0, self._host, 0, self._nbytes)

    async def readinto(self) -> None:
        with self._image.open("rb", buffering=0) as file:
            if file.readinto(self._buffers[0]) != self._nbytes:
                raise ModelError(
                    f"image {self._image} was not read in one piece; use a smaller one"
                )

    async def copy(self) -> None:
        await self._storage.copy(self._host, 0, self._gpu, 0, self._nbytes)

    async def memcpy(self) -> None:
        np.copyto(self._arrays[1], self._arrays[0])

    def require_intact(self) -> None:
        """Raise ModelError unless all four buffers hold the image."""
        expected = self._arrays[0].data
        if any(
            each != expected for each in (self._arrays[1].data, self._host.view, self._gpu.view)
        ):
            raise ModelError(f"image {self._image} did not arrive; see the bench")


def measure(image: Path, rounds: int = ROUNDS) -> Moving:
    """Let both sides move `image` `rounds` times, after one round to warm up."""
    return asyncio.run(_measure(image, image.stat().st_size, rounds))


async def _measure(image: Path, nbytes: int, rounds: int) -> Moving:
    transport = await open_transport("shm", 0, secrets.token_bytes(16))
    storage = FileStorage()
    try:
        gpu, host = [await transport.register(key, nbytes) for key in (GPU, HOST)]
        contest = Contest(image, storage, gpu, host)
        moves = (contest.load, contest.readinto, contest.copy, contest.memcpy)
        times = [[await _seconds(move) for move in moves] for _ in range(1 + rounds)]
        contest.require_intact()
        return Moving(*map(statistics.median, zip(*times[1:], strict=True)))
    finally:
        await storage.close()
        await transport.close()


async def _seconds(move: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await move()
    return time.perf_counter() - began


def table(moving: Moving) -> str:
    """Lay the times out, one move a line."""
    rows = [
        ("load", moving.load_s, moving.readinto_s, moving.load_ratio),
        ("copy", moving.copy_s, moving.memcpy_s, moving.copy_ratio),
    ]
    lines = [
        f"{name:6} {milliseconds(ours):9.1f} {milliseconds(theirs):13.1f} {ratio:8.2f}"
        for name, ours, theirs, ratio in rows
    ]
    return "\n".join(["         ours ms  reference ms    ratio", *lines])


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print the times as JSON")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds after the first")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    moving = measure(load_packed("smollm2-135m", "float32").image, arguments.rounds)
    print(json.dumps(asdict(moving), indent=2) if arguments.json else table(moving))


if __name__ == "__main__":
    main()
