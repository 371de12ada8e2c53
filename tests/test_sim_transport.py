"""The simulated transport: the time a write takes, what it carries, and what faults do to it.

What every transport must do is in the conformance checks, which it passes on both clocks; the rest is
what only the simulated one does.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine

import pytest
import xxhash
from transport_conformance import CHECKS, Opener

from lambdascale.errors import ConfigError, PeerGoneError
from lambdascale.sim.extents import Extent
from lambdascale.sim.loop import run
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.regions import SizedRegion
from lambdascale.sim.transport import SimTransport
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Transport

RATE = 1000.0  # bytes/s
IMAGE = 1


async def nodes(network: SimNetwork, count: int, sized: bool = False) -> list[SimTransport]:
    made = [SimTransport(network, i, RATE, 0 if sized else None) for i in range(count)]
    for transport in made:
        await transport.register(IMAGE, 10_000)
        transport.grant(IMAGE, IMAGE, [(0, 10_000)])
    return made


async def joined(src: SimTransport, dst: SimTransport, lane: Lane = Lane.BULK) -> Link:
    return await src.connect(dst.node, dst.address, lane)


async def write(link: Link, src: SimTransport, offset: int, nbytes: int, tag: int = 0) -> float:
    await link.write(src.region(IMAGE), offset, nbytes, IMAGE, offset, tag)
    return asyncio.get_running_loop().time()


def timed(scenario: Callable[[], Awaitable[list[float]]]) -> list[float]:
    async def main() -> list[float]:
        return list(await scenario())

    return run(main())


def opener() -> Opener:
    network = SimNetwork(latency_s=1e-5)

    async def open_one(node: int, secret: bytes, rate: float) -> Transport:
        return SimTransport(network, node, rate, secret=secret)

    return open_one


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_conforms_in_virtual_time(
    check: Callable[[Opener], Coroutine[None, None, None]],
) -> None:
    run(check(opener()))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.usefixtures("impatient")
def test_it_conforms_on_the_wall_clock(
    check: Callable[[Opener], Coroutine[None, None, None]],
) -> None:
    asyncio.run(check(opener()))


def test_a_write_takes_bytes_over_rate_and_one_latency() -> None:
    async def scenario() -> list[float]:
        a, b = await nodes(SimNetwork(latency_s=0.5), 2)
        link = await joined(a, b)  # one round trip: 1 s
        return [await write(link, a, 0, 2000), await write(link, a, 0, 0)]

    assert timed(scenario) == [1.0 + 2.0 + 0.5, 3.5 + 0.5]


def test_writes_in_flight_hide_the_latency() -> None:
    async def scenario() -> list[float]:
        a, b = await nodes(SimNetwork(latency_s=0.5), 2)
        link = await joined(a, b)
        return await asyncio.gather(*(write(link, a, 0, 1000) for _ in range(3)))

    assert timed(scenario) == [2.5, 3.5, 4.5]


def test_every_operation_occupies_the_port() -> None:
    async def scenario() -> list[float]:
        a, b = await nodes(SimNetwork(occupancy_s=0.25), 2)
        link = await joined(a, b)
        return await asyncio.gather(*(write(link, a, 0, 500) for _ in range(2)))

    assert timed(scenario) == [0.75, 1.5]


def test_two_senders_share_a_receiver_and_two_receivers_share_a_sender() -> None:
    async def scenario() -> list[float]:
        a, b, c, d = await nodes(SimNetwork(), 4)
        into = [(await joined(a, c), a), (await joined(b, c), b)]
        one = await asyncio.gather(*(write(link, src, 0, 1000) for link, src in into))
        out = [await joined(d, a), await joined(d, b)]
        two = await asyncio.gather(*(write(link, d, 0, 1000) for link in out))
        return [*one, *two]

    assert timed(scenario) == [1.0, 2.0, 3.0, 4.0]


def test_both_directions_of_a_link_are_independent() -> None:
    async def scenario() -> list[float]:
        a, b = await nodes(SimNetwork(), 2)
        there, back = await joined(a, b), await joined(b, a)
        return await asyncio.gather(write(there, a, 0, 1000), write(back, b, 0, 1000))

    assert timed(scenario) == [1.0, 1.0]


def test_express_writes_pass_bulk_ones_but_keep_their_own_order() -> None:
    async def scenario() -> list[float]:
        a, b = await nodes(SimNetwork(), 2)
        bulk, express = await joined(a, b), await joined(a, b, Lane.EXPRESS)
        jobs = [
            write(bulk, a, 0, 5000, 1),
            write(express, a, 0, 100, 2),
            write(express, a, 0, 0, 3),
        ]
        times = await asyncio.gather(*jobs)
        notices = [await b.receive() for _ in jobs]
        assert [n.tag for n in notices if isinstance(n, Notice)] == [2, 3, 1]
        return times

    assert timed(scenario) == [5.1, 0.1, 0.1]  # the port has carried 5100 bytes


def test_a_node_can_be_slowed() -> None:
    async def scenario() -> list[float]:
        network = SimNetwork()
        a, b = await nodes(network, 2)
        link = await joined(a, b)
        first = asyncio.ensure_future(write(link, a, 0, 1000))
        await asyncio.sleep(0.5)
        network.slow(0, RATE / 4)
        return [await write(link, a, 0, 1000), await first]

    assert timed(scenario) == [5.0, 1.0]


@pytest.mark.parametrize("sized", [False, True])
def test_a_corrupted_write_changes_the_checksum_of_that_block_only(sized: bool) -> None:
    async def main() -> None:
        network = SimNetwork()
        a, b = await nodes(network, 2, sized)
        source, target = a.region(IMAGE), b.region(IMAGE)
        mark(source)
        network.corrupt(lambda d: d.dst == 1 and d.offset == 2000)
        link = await joined(a, b)
        for offset in range(0, 10_000, 1000):
            await write(link, a, offset, 1000)
        same = [
            await source.checksum(o, 1000) == await target.checksum(o, 1000)
            for o in range(0, 10_000, 1000)
        ]
        assert same == [o != 2000 for o in range(0, 10_000, 1000)]
        await write(link, a, 2000, 1000)
        assert await source.checksum(0, 10_000) == await target.checksum(0, 10_000)

    run(main())


def mark(region: object) -> None:
    if isinstance(region, SizedRegion):
        region.put(0, region.nbytes, [Extent(0, region.nbytes, 77, 0)])


def test_a_sized_region_has_no_bytes_and_says_so() -> None:
    async def main() -> None:
        (a,) = await nodes(SimNetwork(), 1, sized=True)
        with pytest.raises(ConfigError, match="sized"):
            _ = a.region(IMAGE).view

    run(main())


def test_seventy_billion_parameters_need_no_memory() -> None:
    async def main() -> float:
        network, size, count = SimNetwork(), 140 * 10**9, 64
        a, b = (SimTransport(network, i, 50e9, 1 << 20) for i in range(2))
        source, target = await a.register(7, size), await b.register(7, size)
        b.grant(7, 7, [(0, size)])
        assert isinstance(source, SizedRegion)
        source.put(0, size, [Extent(0, size, 42, 0)])
        link = await joined(a, b)
        cuts = [size * i // count for i in range(count + 1)]
        for low, high in itertools.pairwise(cuts):
            await link.write(source, low, high - low, 7, low, 0)
        assert source.fingerprint(0, size) == target.fingerprint(0, size)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(2.8)


def test_a_sized_region_tells_missing_moved_and_stale_ranges_apart() -> None:
    region, other = SizedRegion(1, 100), SizedRegion(1, 100)
    region.put(0, 100, [Extent(0, 100, 5, 0)])
    other.put(0, 50, [Extent(0, 50, 5, 0)])
    missing = other.fingerprint(0, 100)
    other.put(50, 50, [Extent(50, 100, 5, 0)])
    moved = other.fingerprint(0, 100)
    other.put(50, 50, [Extent(50, 100, 4, 50)])
    stale = other.fingerprint(0, 100)
    other.put(50, 50, [Extent(50, 100, 5, 50)])
    assert other.fingerprint(0, 100) == region.fingerprint(0, 100)
    assert len({region.fingerprint(0, 100), missing, moved, stale}) == 4


def test_a_sized_region_forgets_what_is_released() -> None:
    async def main() -> None:
        region, other = SizedRegion(1, 100), SizedRegion(1, 100)
        for each in (region, other):
            each.put(0, 100, [Extent(0, 100, 5, 0)])
        await region.touch(0, 100)
        assert region.fingerprint(0, 100) == other.fingerprint(0, 100)
        await region.release(20, 30)
        assert region.fingerprint(0, 20) == other.fingerprint(0, 20)
        assert region.fingerprint(50, 50) == other.fingerprint(50, 50)
        assert region.fingerprint(20, 30) == SizedRegion(2, 100).fingerprint(20, 30)

    run(main())


def test_a_backed_checksum_is_xxh3_of_the_bytes() -> None:
    async def main() -> None:
        (a,) = await nodes(SimNetwork(), 1)
        a.region(IMAGE).view[3:6] = b"abc"
        expected = xxhash.xxh3_64_intdigest(b"abc")
        assert await a.region(IMAGE).checksum(3, 3) == expected

    run(main())


def test_killing_a_node_fails_writes_to_it_and_tells_those_it_wrote_to() -> None:
    async def main() -> None:
        network = SimNetwork()
        a, b, c = await nodes(network, 3)
        to_b, from_b = await joined(a, b), await joined(b, c)
        pending = asyncio.ensure_future(write(to_b, a, 0, 5000))
        lost = asyncio.ensure_future(write(from_b, b, 0, 5000))
        await asyncio.sleep(1.0)
        network.kill(1)
        assert await c.receive() == PeerLost(1, Lane.BULK)
        assert asyncio.get_running_loop().time() == 1.0
        with pytest.raises(PeerGoneError, match="node 1 is gone"):
            await pending
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await lost  # the dead do not notice
        with pytest.raises(PeerGoneError):
            await write(to_b, a, 0, 0)
        with pytest.raises(PeerGoneError, match="nobody answers"):
            await joined(a, b)

    run(main())
