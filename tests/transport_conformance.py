"""The behaviour every transport body must show, on the wall clock or on the virtual one.

Each check takes an opener and uses only the `Transport` interface, asyncio and the loop's clock. A test
module of a body runs them all:  `@pytest.mark.parametrize("check", CHECKS)` … `asyncio.run(check(opener))`.
"""

import asyncio
import math
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from lambdascale.errors import AuthError, ConfigError, GrantError, PeerGoneError
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Region, Transport

Opener = Callable[[int, bytes, float], Awaitable[Transport]]
Check = Callable[[Opener], Coroutine[None, None, None]]
SECRET = b"the secret of the conformance test"
KIB, MIB = 1 << 10, 1 << 20
SLOWNESS = float(
    os.environ.get("TRANSPORT_SLOWNESS", "1")
)  # of emulated devices, in a virtual machine
DEADLINE_SECONDS = 30.0 * SLOWNESS


@asynccontextmanager
async def opened(
    opener: Opener, count: int, rate: float = math.inf
) -> AsyncIterator[list[Transport]]:
    """Open transports of nodes 0 … count − 1; whatever happens, it ends within the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        nodes = [await opener(node, SECRET, rate) for node in range(count)]
        try:
            yield nodes
        finally:
            for node in nodes:
                await node.close()


async def link(source: Transport, target: Transport, lane: Lane = Lane.BULK) -> Link:
    return await source.connect(target.node, target.address, lane)


async def room(node: Transport, key: int, nbytes: int, touched: bool = True) -> Region:
    """Register a region and grant all of it, under the same number."""
    region = await node.register(key, nbytes, touched)
    node.grant(key, key, [(0, nbytes)])
    return region


async def filled(node: Transport, key: int, nbytes: int) -> Region:
    region = await node.register(key, nbytes)
    region.view[:] = random.Random(1000 * node.node + key).randbytes(nbytes)
    return region


async def notices(node: Transport, count: int) -> list[Notice]:
    events = [await node.receive() for _ in range(count)]
    assert all(isinstance(event, Notice) for event in events), events
    return [event for event in events if isinstance(event, Notice)]


def now() -> float:
    return asyncio.get_running_loop().time()


async def writes_arrive_in_the_order_they_were_posted(opener: Opener) -> None:
    count, size = 200, 4 * KIB
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 1, count * size), await room(b, 2, count * size)
        to_b = await link(a, b)
        await asyncio.gather(
            *(to_b.write(source, i * size, size, 2, i * size, i) for i in range(count))
        )
        got = await notices(b, count)
        assert got == [Notice(0, i, 2, i * size, size) for i in range(count)]
        assert target.view == source.view


async def writes_to_several_regions_keep_their_order(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source = await filled(a, 1, KIB)
        for key in range(5):
            await room(b, key, KIB)
        to_b = await link(a, b)
        await asyncio.gather(*(to_b.write(source, 0, KIB, i % 5, 0, i) for i in range(50)))
        assert [n.tag for n in await notices(b, 50)] == list(range(50))


async def a_large_write_arrives_whole(opener: Opener) -> None:
    size = 64 * MIB
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 1, size), await room(b, 1, size)
        to_b = await link(a, b)
        await to_b.write(source, 0, size, 1, 0, 7)
        assert await notices(b, 1) == [Notice(0, 7, 1, 0, size)]
        assert await target.checksum(0, size) == await source.checksum(0, size)


async def a_write_of_nothing_only_notifies(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 1, KIB), await room(b, 1, KIB)
        to_b = await link(a, b)
        await to_b.write(source, KIB, 0, 1, 5, 2**32 - 1)
        assert await notices(b, 1) == [Notice(0, 2**32 - 1, 1, 5, 0)]
        assert bytes(target.view) == bytes(KIB)


async def odd_offsets_touch_no_neighbouring_byte(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 1, 8 * KIB), await room(b, 1, 8 * KIB)
        to_b = await link(a, b)
        await to_b.write(source, 13, 4099, 1, 1021, 0)
        expected = bytes(1021) + bytes(source.view[13 : 13 + 4099]) + bytes(8 * KIB - 1021 - 4099)
        assert bytes(target.view) == expected


async def many_peers_write_at_once(opener: Opener) -> None:
    peers, count, size = 8, 25, 16 * KIB
    async with opened(opener, peers + 1) as (sink, *senders):
        target = await room(sink, 0, peers * count * size)

        async def send(sender: Transport) -> Region:
            source = await filled(sender, 0, count * size)
            to_sink, base = await link(sender, sink), (sender.node - 1) * count * size
            await asyncio.gather(
                *(
                    to_sink.write(source, i * size, size, 0, base + i * size, i)
                    for i in range(count)
                )
            )
            return source

        sources = await asyncio.gather(*(send(sender) for sender in senders))
        got = await notices(sink, peers * count)
        for sender in senders:
            assert [n.tag for n in got if n.peer == sender.node] == list(range(count))
        assert bytes(target.view) == b"".join(bytes(source.view) for source in sources)


async def both_directions_and_lanes_are_independent(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        of_a, of_b = await filled(a, 1, KIB), await filled(b, 1, KIB)
        await room(a, 2, 2 * KIB)
        await room(b, 2, 2 * KIB)
        for node, peer, source in ((a, b, of_a), (b, a, of_b)):
            for lane in Lane:
                out = await link(node, peer, lane)
                await out.write(source, 0, KIB, 2, lane * KIB, lane)
        assert (
            [n.tag for n in await notices(a, 2)] == [n.tag for n in await notices(b, 2)] == [0, 1]
        )


async def a_checksum_tells_ranges_apart(opener: Opener) -> None:
    async with opened(opener, 1) as (a,):
        region = await filled(a, 1, 2 * MIB)
        first = await region.checksum(0, MIB)
        assert first == await region.checksum(0, MIB)
        assert first != await region.checksum(MIB, MIB)
        region.view[MIB - 1] ^= 1
        assert first != await region.checksum(0, MIB)
        with pytest.raises(ConfigError, match="region 1"):
            await region.checksum(MIB, MIB + 1)


async def one_sender_shares_its_rate_among_receivers(opener: Opener) -> None:
    rate, count, size = 20e6 / SLOWNESS, 8, 256 * KIB
    async with opened(opener, 3, rate) as (a, b, c):
        source = await filled(a, 0, size)
        for node in (b, c):
            await room(node, 0, size)
        links = [await link(a, b), await link(a, c)]
        began = now()
        await asyncio.gather(
            *(out.write(source, 0, size, 0, 0, i) for i in range(count) for out in links)
        )
        check_seconds(now() - began, 2 * count * size / rate)


async def two_senders_share_the_rate_of_a_receiver(opener: Opener) -> None:
    rate, count, size = 20e6 / SLOWNESS, 8, 256 * KIB
    async with opened(opener, 3, rate) as (a, b, c):
        await room(c, 0, size)
        links = [(await filled(node, 0, size), await link(node, c)) for node in (a, b)]
        began = now()
        await asyncio.gather(
            *(out.write(source, 0, size, 0, 0, i) for i in range(count) for source, out in links)
        )
        check_seconds(now() - began, 2 * count * size / rate)


def check_seconds(seconds: float, expected: float) -> None:
    """Pacing never runs ahead; it may lag by what a busy two-core machine adds to a sleep."""
    assert 0.999 * expected <= seconds <= 1.15 * expected + 0.05


async def express_does_not_wait_behind_bulk(opener: Opener) -> None:
    rate, size = 10e6 / SLOWNESS, MIB
    async with opened(opener, 2, rate) as (a, b):
        source = await filled(a, 0, size)
        await room(b, 0, size)
        bulk, express = await link(a, b), await link(a, b, Lane.EXPRESS)
        began = now()
        blocks = asyncio.gather(*(bulk.write(source, 0, size, 0, 0, i) for i in range(4)))
        await asyncio.sleep(0.01)
        await express.write(source, 0, KIB, 0, 0, 99)
        assert now() - began < 0.1 * SLOWNESS < 4 * size / rate
        assert [n.tag for n in await notices(b, 5)] == [99, 0, 1, 2, 3]
        await blocks


async def the_death_of_a_receiver_fails_pending_and_later_writes(opener: Opener) -> None:
    async with opened(opener, 2, 1e6) as (a, b):
        source = await filled(a, 0, MIB)
        await room(b, 0, MIB)
        to_b = await link(a, b)
        writes = [asyncio.create_task(to_b.write(source, 0, MIB, 0, 0, i)) for i in range(3)]
        await asyncio.sleep(0.05)
        began = now()
        await b.close()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert now() - began < SLOWNESS
        assert [(type(error), getattr(error, "peer", None)) for error in results] == [
            (PeerGoneError, 1)
        ] * 3
        with pytest.raises(PeerGoneError, match="node 1"):
            await to_b.write(source, 0, 1, 0, 0, 0)


async def the_death_of_a_sender_is_received_once_per_link(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source = await filled(a, 0, KIB)
        await room(b, 0, KIB)
        bulk = await link(a, b)
        await link(a, b, Lane.EXPRESS)
        await bulk.write(source, 0, KIB, 0, 0, 5)
        await a.close()
        events = [await b.receive() for _ in range(3)]
        assert events[0] == Notice(0, 5, 0, 0, KIB)
        assert sorted(e.lane for e in events[1:] if isinstance(e, PeerLost) and e.peer == 0) == [
            0,
            1,
        ]


async def closing_one_link_leaves_the_others(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source = await filled(a, 0, KIB)
        await room(b, 0, KIB)
        bulk, express = await link(a, b), await link(a, b, Lane.EXPRESS)
        await bulk.close()
        assert await b.receive() == PeerLost(0, Lane.BULK)
        with pytest.raises(PeerGoneError):
            await bulk.write(source, 0, KIB, 0, 0, 1)
        await express.write(source, 0, KIB, 0, 0, 2)
        assert [n.tag for n in await notices(b, 1)] == [2]


async def bad_ranges_are_refused_and_the_link_survives(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 0, 4 * KIB), await room(b, 1, KIB)
        to_b = await link(a, b)
        bad = [(0, 5 * KIB, 1, 0), (-1, 1, 1, 0), (4 * KIB, 1, 1, 0), (0, -1, 1, 0)]
        bad += [(0, KIB, 1, 1), (0, 1, 1, KIB), (0, 1, 1, -1), (0, 4 * KIB, 1, 0)]
        for offset, nbytes, key, target_offset in bad:
            with pytest.raises(ConfigError, match="region"):
                await to_b.write(source, offset, nbytes, key, target_offset, 0)
        with pytest.raises(ConfigError, match="tag"):
            await to_b.write(source, 0, 1, 1, 0, 2**32)
        assert bytes(target.view) == bytes(KIB)
        await to_b.write(source, 0, KIB, 1, 0, 3)
        assert [n.tag for n in await notices(b, 1)] == [3]


async def a_bad_write_among_good_ones_fails_alone(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 0, 64 * KIB), await room(b, 1, 32 * KIB)
        to_b = await link(a, b)
        results = await asyncio.gather(
            to_b.write(source, 0, KIB, 1, 0, 0),
            to_b.write(source, 0, 33 * KIB, 1, 0, 1),
            to_b.write(source, KIB, KIB, 1, KIB, 2),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), ConfigError, type(None)]
        assert [n.tag for n in await notices(b, 2)] == [0, 2]
        assert target.view[: 2 * KIB] == source.view[: 2 * KIB]


async def nothing_is_written_without_a_living_grant(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 0, 4 * KIB), await b.register(1, 4 * KIB)
        to_b = await link(a, b)
        b.grant(77, 1, [(KIB, KIB)])
        await to_b.write(source, 0, KIB, 77, KIB, 1)
        for offset, nbytes in ((0, KIB), (KIB + 1, KIB), (2 * KIB, 1), (0, 4 * KIB)):
            with pytest.raises(ConfigError, match="grants of its region"):
                await to_b.write(source, 0, nbytes, 77, offset, 2)
        await b.revoke(77)
        target.view[:] = bytes(4 * KIB)
        with pytest.raises(GrantError, match="node 1 grants nothing"):
            await to_b.write(source, 0, KIB, 77, KIB, 3)
        b.grant(78, 1, [(0, 2 * KIB)])
        await to_b.write(source, 0, 2 * KIB, 78, 0, 4)
        expected = bytes(source.view[: 2 * KIB]) + bytes(2 * KIB)
        assert bytes(target.view) == expected
        with pytest.raises(GrantError):
            await to_b.write(source, 0, KIB, 1, 0, 5)  # the number of a region is no key
        assert bytes(target.view) == expected
        assert [n.tag for n in await notices(b, 2)] == [1, 4]


async def a_grant_may_be_of_several_ranges(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 0, 3 * KIB), await b.register(1, 3 * KIB)
        to_b = await link(a, b)
        b.grant(7, 1, [(0, KIB), (2 * KIB, KIB)])
        for i, offset in enumerate((0, 2 * KIB)):
            await to_b.write(source, offset, KIB, 7, offset, i)
        assert bytes(target.view[KIB : 2 * KIB]) == bytes(KIB)
        assert target.view[2 * KIB :] == source.view[2 * KIB :]
        with pytest.raises(ConfigError, match="region"):
            await to_b.write(source, 0, 4, 7, 3 * KIB - 1, 9)


async def a_grant_may_be_known_to_the_writer_first(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 0, KIB), await b.register(1, KIB)
        to_b = await link(a, b)
        writes = [asyncio.create_task(to_b.write(source, 0, KIB, 5 + i, 0, i)) for i in (0, 1)]
        await asyncio.sleep(0.05)
        assert bytes(target.view) == bytes(KIB)
        for key in (6, 5):
            b.grant(key, 1, [(0, KIB)])
            await asyncio.sleep(0.05)
        await asyncio.gather(*writes)
        assert [n.tag for n in await notices(b, 2)] == [0, 1]
        assert target.view == source.view


async def grants_lie_inside_regions_and_keys_are_fresh(opener: Opener) -> None:
    async with opened(opener, 1) as (a,):
        await a.register(1, KIB)
        a.grant(5, 1, [(0, KIB)])
        bad = [
            (5, 1, [(0, 1)]),
            (6, 2, [(0, 1)]),
            (6, 1, [(0, KIB + 1)]),
            (6, 1, [(-1, 1)]),
            (6, 1, []),
        ]
        for key, region, spans in [*bad, (-1, 1, [(0, 1)])]:
            with pytest.raises(ConfigError, match=r"region|grant"):
                a.grant(key, region, spans)
        await a.revoke(5)
        await a.revoke(5)
        a.grant(5, 1, [(0, 1)])


async def a_fenced_process_writes_nothing_more_but_its_successor_does(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 0, KIB), await room(b, 1, KIB)
        bulk, express = await link(a, b), await link(a, b, Lane.EXPRESS)
        await bulk.write(source, 0, KIB, 1, 0, 0)
        await express.write(source, 0, 0, 1, 0, 1)
        await b.fence(0)
        target.view[:] = bytes(KIB)
        for out in (bulk, express):
            with pytest.raises(PeerGoneError, match="node 1"):
                await out.write(source, 0, KIB, 1, 0, 2)
        with pytest.raises(PeerGoneError, match="node 1"):
            await (await link(a, b)).write(source, 0, KIB, 1, 0, 3)
        assert bytes(target.view) == bytes(KIB)
        events = [await b.receive() for _ in range(4)]
        assert {e.lane for e in events if isinstance(e, PeerLost)} == {Lane.BULK, Lane.EXPRESS}
        async with opened(opener, 1) as (again,):
            await (await link(again, b)).write(await filled(again, 0, KIB), 0, KIB, 1, 0, 4)
        assert target.view == source.view


async def who_was_fenced_and_begins_another_life_may_come_again(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 0, KIB), await room(b, 1, KIB)
        await (await link(a, b)).write(source, 0, 0, 1, 0, 0)
        await b.fence(0)
        a.renew()
        await (await link(a, b)).write(source, 0, KIB, 1, 0, 1)
        assert target.view == source.view


async def a_region_key_is_registered_once(opener: Opener) -> None:
    async with opened(opener, 1) as (a,):
        region = await a.register(3, KIB)
        assert (region.key, region.nbytes, bytes(region.view)) == (3, KIB, bytes(KIB))
        for key, nbytes in ((3, KIB), (4, 0), (-1, KIB)):
            with pytest.raises(ConfigError, match="region"):
                await a.register(key, nbytes)


async def memory_that_is_not_touched_is_used_like_any_other(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source = await filled(a, 0, 64 * KIB)
        target = await room(b, 1, MIB, touched=False)
        assert (target.key, target.nbytes) == (1, MIB)
        to_b = await link(a, b)
        await to_b.write(source, 0, 64 * KIB, 1, 500 * KIB, 3)
        assert await notices(b, 1) == [Notice(0, 3, 1, 500 * KIB, 64 * KIB)]
        assert target.view[500 * KIB : 564 * KIB] == source.view
        assert not any(target.view[: 500 * KIB])
        assert not any(target.view[564 * KIB :])
        await target.touch(0, MIB)
        assert target.view[500 * KIB : 564 * KIB] == source.view


async def a_released_range_is_zero_and_can_be_used_again(opener: Opener) -> None:
    low, high = 1021, 41 * KIB + 7
    async with opened(opener, 2) as (a, b):
        source, target = await filled(a, 1, 64 * KIB), await room(b, 1, 64 * KIB)
        alias, to_b = target.view[:], await link(a, b)
        for again in range(2):
            await to_b.write(source, 0, 64 * KIB, 1, 0, again)
            assert target.view == source.view
            await target.release(low, high - low)
            assert not any(alias[low:high])
            assert (alias[:low], alias[high:]) == (source.view[:low], source.view[high:])
            await target.touch(low, high - low)
            assert not any(alias[low:high])
        await target.release(0, 0)
        await target.touch(64 * KIB, 0)
        for offset, nbytes in ((-1, 1), (0, 64 * KIB + 1), (64 * KIB, 1), (0, -1)):
            for change in (target.release, target.touch):
                with pytest.raises(ConfigError, match="region 1"):
                    await change(offset, nbytes)


async def a_wrong_secret_is_refused_and_others_are_served(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        stranger = await opener(5, b"another secret", math.inf)
        with pytest.raises(AuthError, match="secret"):
            await stranger.connect(b.node, b.address, Lane.BULK)
        await stranger.close()
        source = await filled(a, 0, KIB)
        await room(b, 0, KIB)
        await (await link(a, b)).write(source, 0, KIB, 0, 0, 1)
        assert await notices(b, 1) == [Notice(0, 1, 0, 0, KIB)]


async def connecting_to_the_dead_or_the_wrong_node_fails(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        with pytest.raises(PeerGoneError, match="node 7"):
            await a.connect(7, b.address, Lane.BULK)
        await b.close()
        with pytest.raises(PeerGoneError, match="node 1"):
            await a.connect(1, b.address, Lane.BULK)


async def a_closed_transport_says_so(opener: Opener) -> None:
    async with opened(opener, 2) as (a, b):
        source = await filled(a, 0, KIB)
        out, waiting = await link(a, b), asyncio.create_task(a.receive())
        await asyncio.sleep(0)
        await a.close()
        await a.close()
        for attempt in (
            waiting,
            a.receive(),
            a.register(1, KIB),
            link(a, b),
            out.write(source, 0, 1, 0, 0, 0),
        ):
            with pytest.raises(PeerGoneError, match="closed"):
                await attempt


CHECKS: tuple[Check, ...] = (
    writes_arrive_in_the_order_they_were_posted,
    writes_to_several_regions_keep_their_order,
    a_large_write_arrives_whole,
    a_write_of_nothing_only_notifies,
    odd_offsets_touch_no_neighbouring_byte,
    many_peers_write_at_once,
    both_directions_and_lanes_are_independent,
    a_checksum_tells_ranges_apart,
    one_sender_shares_its_rate_among_receivers,
    two_senders_share_the_rate_of_a_receiver,
    express_does_not_wait_behind_bulk,
    the_death_of_a_receiver_fails_pending_and_later_writes,
    the_death_of_a_sender_is_received_once_per_link,
    closing_one_link_leaves_the_others,
    bad_ranges_are_refused_and_the_link_survives,
    a_bad_write_among_good_ones_fails_alone,
    nothing_is_written_without_a_living_grant,
    a_grant_may_be_of_several_ranges,
    a_grant_may_be_known_to_the_writer_first,
    grants_lie_inside_regions_and_keys_are_fresh,
    a_fenced_process_writes_nothing_more_but_its_successor_does,
    who_was_fenced_and_begins_another_life_may_come_again,
    a_region_key_is_registered_once,
    memory_that_is_not_touched_is_used_like_any_other,
    a_released_range_is_zero_and_can_be_used_again,
    a_wrong_secret_is_refused_and_others_are_served,
    connecting_to_the_dead_or_the_wrong_node_fails,
    a_closed_transport_says_so,
)
