"""Loading ranges of an image file into registered memory."""

import asyncio
import threading
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.checksum import checksum
from lambdascale.storage.base import Storage
from lambdascale.storage.files import FileStorage

NBYTES = 1_000_003


@dataclass
class Memory:
    """A region of plain memory."""

    memory: bytearray
    key: int = 0

    @property
    def nbytes(self) -> int:
        return len(self.memory)

    @property
    def view(self) -> memoryview:
        return memoryview(self.memory)

    async def checksum(self, offset: int, nbytes: int) -> int:
        return checksum(self.view[offset : offset + nbytes])


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.bin"
    path.write_bytes(bytes(i * i % 251 for i in range(NBYTES)))
    return path


def load(image, *ranges, nbytes=NBYTES, **settings):
    """Load (image_offset, offset, nbytes) ranges at once into zeroed memory and return it."""

    async def run() -> bytes:
        storage: Storage = FileStorage(**settings)
        region = Memory(bytearray(nbytes))
        try:
            await asyncio.gather(
                *(
                    storage.load(image, start, region, offset, size)
                    for start, offset, size in ranges
                )
            )
        finally:
            await storage.close()
        return bytes(region.memory)

    return asyncio.run(run())


@pytest.mark.parametrize("chunk", [1000, 4096, 8 << 20])
def test_a_load_brings_the_bytes_of_the_file(chunk, image):
    assert load(image, (0, 0, NBYTES), chunk_nbytes=chunk) == image.read_bytes()


def test_a_load_touches_only_its_range(image):
    data = image.read_bytes()
    got = load(image, (100, 7, 5000), chunk_nbytes=999)
    assert got[7:5007] == data[100:5100]
    assert not any(got[:7])
    assert not any(got[5007:])


def test_loads_at_once_fill_the_image_in_pieces(image):
    cuts = [0, 1, 70_000, 400_000, NBYTES]
    ranges = [(a, a, b - a) for a, b in pairwise(cuts)]
    assert load(image, *ranges, chunk_nbytes=10_000) == image.read_bytes()


def test_a_load_of_nothing_is_done_at_once(image):
    assert load(image, (NBYTES, 5, 0), nbytes=10) == bytes(10)


def test_a_file_that_ends_too_early_is_named(image):
    with pytest.raises(ModelError, match=rf"ends at byte {NBYTES}, before the range"):
        load(image, (10, 0, NBYTES))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read image .*absent \(No such file"):
        load(tmp_path / "absent", (0, 0, 10))


@pytest.mark.parametrize("bad", [(0, 1, NBYTES), (0, -1, 10), (-1, 0, 10), (0, 0, -1)])
def test_a_range_outside_the_region_is_refused(bad, image):
    with pytest.raises(ConfigError, match="cannot load"):
        load(image, bad)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="0 threads"):
        FileStorage(num_threads=0)


def test_a_cancelled_load_writes_nothing_afterwards_and_leaves_no_thread(tmp_path):
    zeros, ones = tmp_path / "zeros", b"\1" * (32 << 20)
    with zeros.open("wb") as file:
        file.truncate(len(ones))

    async def run() -> None:
        storage, region = FileStorage(num_threads=2, chunk_nbytes=32 << 10), Memory(bytearray(ones))
        task = asyncio.create_task(storage.load(zeros, 0, region, 0, len(ones)))
        await asyncio.sleep(0)  # all reads are queued, some run
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        region.memory[:] = ones
        await asyncio.sleep(0.05)
        assert region.memory == ones
        region.memory.clear()  # raises BufferError while anybody holds a view
        again = Memory(bytearray(b"\1" * 10))
        await storage.load(zeros, 0, again, 0, 9)
        assert again.memory == bytes(9) + b"\1"
        await storage.close()

    asyncio.run(run())
    assert not [t for t in threading.enumerate() if t.name.startswith("storage")]
