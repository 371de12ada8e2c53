"""The simulated storage: the time of a load, and what an image contains whether it exists or not."""

import asyncio
from pathlib import Path

import pytest
from storage_conformance import CHECKS, Check

from lambdascale.errors import ConfigError, ModelError
from lambdascale.sim.loop import run
from lambdascale.sim.regions import new_region
from lambdascale.sim.storage import SimStorage

NOWHERE = Path("no") / "such.image"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_conforms_in_virtual_time(check: Check, tmp_path: Path) -> None:
    run(check(SimStorage, tmp_path))


@pytest.mark.parametrize("sized", [None, 0])
def test_content_survives_all_tiers(sized: int | None) -> None:
    """SSD → GPU → host → another image → GPU, at other offsets, with and without bytes."""

    async def main() -> None:
        storage, gpu, host = SimStorage(1e9), new_region(1, 900, sized), new_region(4, 900, sized)
        await storage.load(NOWHERE, 0, gpu, 0, 300)
        loaded = gpu.fingerprint(0, 300)
        await storage.copy(gpu, 0, host, 450, 300)
        await storage.store(host, 450, 300, Path("stored.image"))
        await host.release(0, 900)
        assert host.fingerprint(450, 300) != loaded
        await storage.load(Path("stored.image"), 0, gpu, 600, 300)
        assert gpu.fingerprint(600, 300) == loaded

    run(main())


def test_loads_share_the_bandwidth_and_arrive_one_after_the_other() -> None:
    async def main() -> list[float]:
        storage, region = SimStorage(bandwidth=1000.0), new_region(1, 3000, None)

        async def load(offset: int) -> float:
            await storage.load(NOWHERE, offset, region, offset, 1000)
            return asyncio.get_running_loop().time()

        return await asyncio.gather(*(load(offset) for offset in (0, 1000, 2000)))

    assert run(main()) == [1.0, 2.0, 3.0]


def test_a_range_holds_nothing_before_its_load_is_over() -> None:
    async def main() -> None:
        storage, region = SimStorage(bandwidth=1000.0), new_region(1, 1000, None)
        load = asyncio.ensure_future(storage.load(NOWHERE, 0, region, 0, 1000))
        await asyncio.sleep(0.5)
        assert bytes(region.view) == bytes(1000)
        await load
        assert bytes(region.view) != bytes(1000)

    run(main())


def test_a_file_that_exists_is_read_as_it_is(tmp_path: Path) -> None:
    image = tmp_path / "true.image"
    image.write_bytes(bytes(range(200)))

    async def main() -> None:
        storage, region = SimStorage(1e9), new_region(1, 100, None)
        await storage.load(image, 7, region, 10, 50)
        assert bytes(region.view) == bytes(10) + bytes(range(7, 57)) + bytes(40)
        with pytest.raises(ModelError, match="ends at byte 200"):
            await storage.load(image, 150, region, 0, 100)

    run(main())


@pytest.mark.parametrize("sized", [None, 0])
def test_contents_depend_on_path_and_place_and_not_on_the_cut(sized: int | None) -> None:
    async def main() -> None:
        storage = SimStorage(1e9)
        whole, parts, other = (new_region(1, 1000, sized) for _ in range(3))
        await storage.load(NOWHERE, 3, whole, 0, 1000)
        for low in range(0, 1000, 125):
            await storage.load(NOWHERE, 3 + low, parts, low, 125)
        await storage.load(Path("another.image"), 3, other, 0, 1000)
        prints = [region.fingerprint(0, 1000) for region in (whole, parts, other)]
        assert prints[0] == prints[1] != prints[2]
        assert whole.fingerprint(0, 100) != whole.fingerprint(100, 100)
        assert parts.fingerprint(301, 17) == whole.fingerprint(301, 17)

    run(main())


def test_bad_ranges_and_a_closed_storage_are_refused() -> None:
    async def main() -> None:
        storage, region = SimStorage(1.0), new_region(1, 100, None)
        with pytest.raises(ConfigError, match="region 1"):
            await storage.load(NOWHERE, 0, region, 1, 100)
        loading = asyncio.ensure_future(storage.load(NOWHERE, 0, region, 0, 100))
        await asyncio.sleep(1)
        await storage.close()
        with pytest.raises(ModelError, match="closed"):
            await loading
        with pytest.raises(ModelError, match="closed"):
            await storage.load(NOWHERE, 0, region, 0, 100)

    run(main())
