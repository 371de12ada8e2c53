"""Port bookkeeping: the rate holds, idle ports add nothing, express writes only take their share."""

import asyncio
import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_conformance import filled, link, notices, now, opened, room

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Lane
from lambdascale.transport.pacing import Port
from lambdascale.transport.registry import ON_ANY_HOST, open_transport

pytestmark = pytest.mark.alone

RATE = 100.0


def test_back_to_back_writes_leave_at_the_rate_and_an_idle_receiver_adds_nothing():
    egress, ingress = Port(RATE), Port(RATE)
    left = [egress.leave(0.0, 50, Lane.BULK) for _ in range(3)]
    assert left == [0.5, 1.0, 1.5]
    assert [ingress.arrive(t, 50, Lane.BULK) for t in left] == left


def test_two_senders_share_a_receiver():
    ingress = Port(RATE)
    shown = [ingress.arrive(0.5, 50, Lane.BULK), ingress.arrive(0.5, 50, Lane.BULK)]
    assert shown == [0.5, 1.0]


def test_an_express_write_overtakes_and_costs_bulk_writes_exactly_its_own_bytes():
    egress, ingress = Port(RATE), Port(RATE)
    assert egress.leave(0.0, 100, Lane.BULK) == 1.0
    assert egress.leave(0.2, 10, Lane.EXPRESS) == pytest.approx(0.3)
    assert egress.leave(0.2, 100, Lane.BULK) == pytest.approx(2.1)
    assert ingress.arrive(1.0, 100, Lane.BULK) == 1.0
    assert ingress.arrive(1.5, 10, Lane.EXPRESS) == 1.5
    assert ingress.arrive(2.0, 100, Lane.BULK) == pytest.approx(2.1)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1000), st.sampled_from(Lane)), min_size=1)
)
def test_no_port_passes_more_than_its_rate(writes: list[tuple[float, int, Lane]]):
    egress, now, total, last = Port(RATE), 0.0, 0, 0.0
    for gap, nbytes, lane in writes:
        now += gap
        total += nbytes
        last = max(last, egress.leave(now, nbytes, lane))
    bulk = [n for _, n, lane in writes if lane is Lane.BULK]
    assert last >= sum(bulk) / RATE - 1e-9
    assert egress.leave(now, 0, Lane.BULK) >= total / RATE - 1e-9


def test_no_limit_and_impossible_rates():
    assert Port(math.inf).leave(3.0, 10**12, Lane.BULK) == 3.0
    for rate in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="link rate"):
            Port(rate)


@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_the_bytes_travel_during_the_slot_and_are_seen_at_its_end(name: str):
    """Else copying and waking up would come on top of the slot, and an emulated link be a slower one."""

    async def check(nbytes: int = 1 << 20, slot_s: float = 0.4) -> None:
        async with opened(partial(open_transport, name), 2, nbytes / slot_s) as (a, b):
            source, target = await filled(a, 0, nbytes), await room(b, 0, nbytes)
            out = await link(a, b)
            await out.write(source, 0, 0, 0, 0, 7)
            await notices(b, 1)
            began = now()
            writing = asyncio.create_task(out.write(source, 0, nbytes, 0, 0, 8))
            seen = asyncio.create_task(b.receive())
            await asyncio.sleep(slot_s / 2)
            assert target.view[: nbytes - 1] == source.view[: nbytes - 1]
            assert not seen.done()
            await seen
            await writing
            assert target.view == source.view
            assert now() - began >= slot_s

    asyncio.run(check())
