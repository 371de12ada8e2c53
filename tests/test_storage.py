"""Loading ranges of an image file into registered memory."""

import asyncio
import mmap
import os
import threading
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from storage_conformance import CHECKS, Check

from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.checksum import checksum
from lambdascale.storage.base import Storage
from lambdascale.storage.files import FileStorage

pytestmark = pytest.mark.alone

NBYTES = 1_000_003


PAGE = mmap.PAGESIZE


@dataclass
class Memory:
    """A region of plain memory; that of a map starts at a page."""

    memory: bytearray | mmap.mmap
    key: int = 0

    @property
    def nbytes(self) -> int:
        return len(self.memory)

    @property
    def view(self) -> memoryview:
        return memoryview(self.memory)

    async def checksum(self, offset: int, nbytes: int) -> int:
        return checksum(self.view[offset : offset + nbytes])

    async def touch(self, offset: int, nbytes: int) -> None:
        return

    async def release(self, offset: int, nbytes: int) -> None:
        self.memory[offset : offset + nbytes] = bytes(nbytes)


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


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_conforms_on_the_wall_clock(check: Check, tmp_path: Path):
    def opener(ssd_rate: float, pcie_rate: float) -> Storage:
        return FileStorage(2, 64 << 10, ssd_rate, pcie_rate, copy_nbytes=7000)

    asyncio.run(check(opener, tmp_path))


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


def uncache(image: Path) -> None:
    """Put the file on the disk and out of the page cache."""
    with image.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def is_cached(image: Path, offset: int) -> bool:
    """Can the byte at `offset` be read without waiting for a disk?"""
    with image.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False


def can_pass_the_cache(image: Path) -> bool:
    uncache(image)
    if is_cached(image, NBYTES // 2):
        return False
    try:
        os.close(os.open(image, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def from_disk() -> int:
    """Bytes that this process has had read from disks."""
    fields = Path("/proc/self/io").read_text().split()
    return int(fields[fields.index("read_bytes:") + 1])


async def load_into(region: Memory, image: Path, start: int, offset: int, nbytes: int) -> None:
    storage = FileStorage(num_threads=2, chunk_nbytes=32 * PAGE)
    try:
        await storage.load(image, start, region, offset, nbytes)
    finally:
        await storage.close()


EDGES = [0, 1, PAGE - 1, PAGE, PAGE + 1]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("shift", [0, 1, PAGE // 2])
def test_every_edge_is_read_right_from_the_page_cache_and_past_it(cached, shift, image):
    """`shift` is how far places in memory and file differ modulo a page; only 0 allows direct reads."""
    data = image.read_bytes()
    for start in EDGES:
        for stop in (start + 1, start + 40 * PAGE, *(100 * PAGE + edge for edge in EDGES), NBYTES):
            offset, nbytes = start % PAGE + shift, stop - start
            with mmap.mmap(-1, NBYTES + 2 * PAGE) as memory:
                if not cached:
                    uncache(image)
                asyncio.run(load_into(Memory(memory), image, start, offset, nbytes))
                assert memory[:] == bytes(offset) + data[start:stop] + bytes(
                    len(memory) - offset - nbytes
                )


def test_a_load_leaves_the_page_cache_as_it_was(image):
    if not can_pass_the_cache(image):
        pytest.skip("the file system of the temporary folder does not take direct reads")
    with mmap.mmap(-1, NBYTES) as memory:
        for cached in (False, True):
            uncache(image)
            if cached:
                image.read_bytes()
            before = from_disk()
            asyncio.run(load_into(Memory(memory), image, 0, 0, NBYTES))
            assert is_cached(image, NBYTES // 2) == cached
            assert (from_disk() - before >= NBYTES // PAGE * PAGE) != cached
            assert memory[:] == image.read_bytes()


def test_a_file_that_ends_too_early_is_named_past_the_page_cache_too(image):
    uncache(image)
    with (
        mmap.mmap(-1, 2 * NBYTES) as memory,
        pytest.raises(ModelError, match=rf"ends at byte {NBYTES}, before the range"),
    ):
        asyncio.run(load_into(Memory(memory), image, 0, 0, NBYTES + PAGE))


def test_a_store_that_fails_or_is_cancelled_leaves_the_old_image_and_nothing_else(tmp_path):
    old = tmp_path / "image"
    old.write_bytes(b"old")

    async def run() -> None:
        storage = FileStorage(num_threads=1, chunk_nbytes=4096, ssd_rate=1e6)
        region = Memory(bytearray(1 << 20))
        task = asyncio.create_task(storage.store(region, 0, 1 << 20, old))
        await asyncio.sleep(0.02)
        assert len(list(tmp_path.iterdir())) == 2, "it is being written"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(
            ModelError, match=r"cannot write image .*image.inside \(Not a directory"
        ):
            await storage.store(region, 0, 10, old / "inside")
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(ModelError, match=r"cannot write image .*folder \(Is a directory"):
            await storage.store(region, 0, 10, folder)
        folder.rmdir()
        await storage.close()

    asyncio.run(run())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("rates", [{"ssd_rate": 0.0}, {"pcie_rate": -1.0}])
def test_rates_that_cannot_work_are_refused(rates):
    with pytest.raises(ConfigError, match="rate is"):
        FileStorage(**rates)
