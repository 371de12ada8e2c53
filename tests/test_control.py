"""Control streams: order, typed values, proof of the secret, and a peer that goes away."""

import asyncio
import math
from typing import get_args

import pytest

from lambdascale.control import messages as m
from lambdascale.control.streams import StreamControl
from lambdascale.engine.base import EngineLimits
from lambdascale.errors import AuthError, PeerGoneError
from lambdascale.model.image import ImageSource
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.schedule import Transfer
from lambdascale.pipeline.stages import Stage
from lambdascale.storage.tiers import Tier
from lambdascale.workload.request import Request, Sampling

IMAGE = ImageSource(
    "image", "{}", ImageLayout("m", "float32", (0, 1, 2, 3), (), True), (1, 2**64 - 1)
)
ASKED = Request(7, (1, 2), 4, Sampling(0.5, seed=3), (9,), 1.5, "m")

HERE, THERE = m.Address("here", 1, 2**64 - 1), m.Address("there", 3, 4)

EXAMPLES: list[m.Message] = [
    m.Hello(3, HERE),
    m.Prepare((m.Hosted("m", IMAGE, EngineLimits(4, 128)),), 4096, 0, 4, 0.003),
    m.Prepared(3),
    m.Connect(-1, {0: HERE, 3: THERE}, (3,), ()),
    m.Connected(3, -1),
    m.Hold("m", Tier.GPU, -128, 1, 3, 2**64 - 1),
    m.Rekey("m", 2**63),
    m.Drop("m", Tier.HOST, 64, 3, True),
    m.Serve("m"),
    m.Load("m", Tier.SSD, Tier.HOST, (2, 0, 1)),
    m.Multicast(6, "m", Tier.HOST, (Transfer(1, 0, 2, 5),), {2: m.Target(-64, 77)}, 2, False),
    m.OpenTick(6, 1, 0.003),
    m.Coverage(2, "m", Tier.GPU, (m.Arrival(5, 0, "network", 1.5, math.inf),)),
    m.CorruptBlock(2, "m", 5, 0),
    m.Resend("m", Tier.GPU, Transfer(0, 0, 2, 5), m.Target(64, 78)),
    m.Form(1, "m", (Stage(2, 0, 3), Stage(3, 3, 5)), 79, 0.002, True),
    m.Join(1, 79),
    m.Leave(1),
    m.Submit(1, ASKED, (4, 5)),
    m.Adopt(1, ASKED, (4, 5), 3, 17, (m.KvPiece(2, 0, 3, 80),)),
    m.SendKv(2, 3, 0, 3, 17, 80),
    m.Cancel(1, 7),
    m.Cancelled(1, 7),
    m.Tokens(1, (2.5,), (m.Output(7, 0, (11,), False),)),
    m.Dissolve(1),
    m.Dissolved(1, (m.Seated(7, 3, 17),)),
    m.Stop(),
    m.Report(3, 12, 1),
    m.Failed(3, "CorruptBlockError", "block 5"),
    m.NodeLost(2, (7, 8), (4,), ("m",)),
    m.LossNoted(3, 2, (m.Delivered(7, 1, 5),)),
    m.Unreachable(3, 2),
]  # fmt: skip


def test_there_is_an_example_of_every_message():
    assert {type(message) for message in EXAMPLES} == set(get_args(m.Message))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_a_message_survives_its_wire_form(message: m.Message):
    assert m.decode(m.encode(message)) == message


def test_messages_arrive_in_order_and_a_closed_peer_is_named():
    async def body() -> None:
        control = StreamControl(b"secret")
        listener = await control.listen()
        agent = await control.connect(listener.address, 3)
        channel = await listener.accept()
        assert (channel.peer, agent.peer) == (3, -1)
        for i in range(200):
            agent.send(m.Prepared(i))
        channel.send(m.Stop())
        assert [await channel.receive() for _ in range(200)] == [m.Prepared(i) for i in range(200)]
        assert await agent.receive() == m.Stop()
        await agent.close()
        with pytest.raises(PeerGoneError, match="node 3 is gone"):
            await asyncio.wait_for(channel.receive(), 1)
        await channel.close()
        await listener.close()

    asyncio.run(body())


def test_a_stranger_is_refused_and_does_not_disturb_the_listener():
    async def body() -> None:
        listener = await StreamControl(b"secret").listen()
        with pytest.raises(AuthError):
            await StreamControl(b"guess").connect(listener.address, 1)
        reader, writer = await asyncio.open_connection(*listener.address.split(":"))
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nAccept: everything, really\r\n\r\n" * 4)
        await asyncio.wait_for(reader.read(), 2)
        writer.close()
        await writer.wait_closed()
        friend = await StreamControl(b"secret").connect(listener.address, 2)
        channel = await listener.accept()
        assert channel.peer == 2
        await friend.close()
        await channel.close()
        await listener.close()

    asyncio.run(body())


def test_a_missing_controller_is_named():
    async def body() -> None:
        listener = await StreamControl(b"secret").listen()
        await listener.close()
        with pytest.raises(PeerGoneError, match="nobody answers"):
            await StreamControl(b"secret").connect(listener.address, 1)

    asyncio.run(body())
