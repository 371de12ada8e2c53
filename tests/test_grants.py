"""Who may write what: keys that are not known, or no more, and what a peer leaves on its way when it dies."""

import asyncio
import math
from collections import defaultdict

import pytest
from serverless import Serverless, burst, deploy
from transport_conformance import KIB, SECRET, filled, link

from lambdascale.clock import now
from lambdascale.cluster.records import BlockRecord
from lambdascale.cluster.recovery import Recovery
from lambdascale.control import messages as m
from lambdascale.errors import GrantError
from lambdascale.sim import loop
from lambdascale.sim.network import Delivery, SimNetwork
from lambdascale.sim.transport import SimTransport
from lambdascale.storage.tiers import Tier
from lambdascale.transport import incoming
from lambdascale.transport.base import Notice, Transport
from lambdascale.transport.grants import PATIENCE_S
from lambdascale.transport.registry import ON_ANY_HOST, open_transport

COUNT, RATE = 4, 100e3
LATENCY_S = 0.05


async def refused(a: Transport, b: Transport) -> float:
    """Write under keys that nobody grants; return how long that took."""
    source, target = await filled(a, 0, KIB), await b.register(1, KIB)
    to_b, begun_s = await link(a, b), now()
    for key in (1, 2**64 - 1):
        with pytest.raises(GrantError, match="node 1 grants nothing under this key"):
            await to_b.write(source, 0, KIB, key, 0, 0)
    assert not any(target.view)
    return now() - begun_s


def test_a_key_that_nobody_makes_known_is_refused_after_a_while():
    async def body() -> None:
        network = SimNetwork()
        a, b = (SimTransport(network, node) for node in (0, 1))
        assert await refused(a, b) == 2 * PATIENCE_S

    loop.run(body())


@pytest.mark.alone
@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_so_it_is_by_real_transports(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(incoming, "PATIENCE_S", 0.1)

    async def body() -> None:
        a, b = [await open_transport(name, node, SECRET) for node in (0, 1)]
        assert await refused(a, b) >= 0.2
        await a.close()
        await b.close()

    asyncio.run(body())


@pytest.mark.alone
@pytest.mark.parametrize("fenced", [False, True])
def test_what_a_lost_peer_has_in_socket_buffers_does_not_land_behind_a_fence(fenced: bool):
    """Bytes come in slowly here, so that later writes are still on their way when it is given up."""

    async def body() -> None:
        a, b = [
            await open_transport("tcp", node, SECRET, rate)
            for node, rate in ((0, math.inf), (1, RATE))
        ]
        source, target = await filled(a, 0, 16 * KIB), await b.register(1, 16 * COUNT * KIB)
        b.grant(7, 1, [(0, target.nbytes)])
        to_b = await link(a, b)
        writes = [
            asyncio.create_task(to_b.write(source, 0, 16 * KIB, 7, 16 * KIB * i, i))
            for i in range(COUNT)
        ]
        assert isinstance(await b.receive(), Notice)
        if fenced:
            await b.fence(0)
        landed = bytes(target.view)
        while isinstance(event := await b.receive(), Notice) and event.tag != COUNT - 1:
            continue
        assert (bytes(target.view) == landed) == fenced
        await asyncio.gather(*writes, return_exceptions=True)
        await a.close()
        await b.close()

    asyncio.run(body())


@pytest.mark.parametrize("fenced", [False, True])
def test_nor_does_it_in_a_simulation(fenced: bool):
    async def body() -> None:
        network = SimNetwork(latency_s=1.0)
        a, b = (SimTransport(network, node) for node in (0, 1))
        source, target = await filled(a, 0, KIB), await b.register(1, KIB)
        b.grant(7, 1, [(0, KIB)])
        to_b = await link(a, b)
        writing = asyncio.ensure_future(to_b.write(source, 0, KIB, 7, 0, 0))
        await asyncio.sleep(0.5)
        network.kill(0)
        if fenced:
            await b.fence(0)
        await asyncio.sleep(1.0)
        assert any(target.view) is not fenced
        assert not writing.done(), "the dead do not notice"
        writing.cancel()

    loop.run(body())


class Far(SimNetwork):
    """A network on which writes take long to arrive, and that notes when they land."""

    def __init__(self) -> None:
        super().__init__(LATENCY_S)
        self.landed_s: defaultdict[int, list[float]] = defaultdict(list)

    def spoils(self, delivery: Delivery) -> bool:
        self.landed_s[delivery.src].append(now())
        return super().spoils(delivery)


@pytest.mark.parametrize("after", range(1, 8))
def test_nothing_of_a_node_lands_where_its_end_has_been_noted(
    after: int, monkeypatch: pytest.MonkeyPatch
):
    """Its blocks are under way for longer than the news of its end."""
    noted_s: list[float] = []
    network = Far()
    monkeypatch.setattr("serverless.SimNetwork", lambda *_: network)
    noted = Recovery.noted

    def note(self: Recovery, message: m.LossNoted) -> None:
        noted_s.append(now())
        noted(self, message)

    monkeypatch.setattr(Recovery, "noted", note)
    num_seen = 0

    def watch(run: Serverless, record: object) -> None:
        nonlocal num_seen
        num_seen += isinstance(record, BlockRecord) and record.src == 0 and record.node != 0
        if num_seen == after:
            run.later(0.03, lambda: run.kill(0, "as planned"))

    run = Serverless(
        [deploy("a", initial={0: Tier.GPU, 1: Tier.SSD})], burst(6, max_tokens=30), watch=watch
    ).run()
    assert run.harmed
    assert len(noted_s) == 3
    assert max(network.landed_s[0]) <= noted_s[0]
