"""Control streams: order, typed values, proof of the secret, and a peer that goes away."""

import asyncio
import math

import pytest

from lambdascale.control import messages as m
from lambdascale.control.streams import StreamControl
from lambdascale.engine.base import EngineLimits
from lambdascale.errors import AuthError, PeerGoneError
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.schedule import Transfer
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request, Sampling

EXAMPLES: list[m.Message] = [
    m.Hello(3, "somewhere"),
    m.Prepare(
        "image", "{}", ImageLayout("m", "float32", (0, 1, 2, 3), (), True), (1, 2**64 - 1),
        EngineLimits(4, 128), 4, True,
    ),
    m.Multicast((Transfer(1, 0, 2, 5),), 2, False),
    m.Coverage(2, (m.Arrival(5, 0, 1.5, math.inf),)),
    m.Form(1, (Stage(2, 0, 3), Stage(3, 3, 5)), 8),
    m.Submit(1, Request(7, (1, 2), 4, Sampling(0.5, seed=3), (9,)), (4, 5)),
    m.Tokens(1, 2.5, (m.Token(7, 0, 11, False),)),
]  # fmt: skip


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
