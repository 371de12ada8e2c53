"""The simulated control plane: order, latency, and the ways in which a connection can be lost."""

import asyncio

import pytest

from lambdascale.control.base import Channel
from lambdascale.control.messages import Address, Dissolve, Hello, Message, OpenTick
from lambdascale.errors import PeerGoneError
from lambdascale.sim.control import SimControl
from lambdascale.sim.loop import run


async def connected(control: SimControl, node: int = 3) -> tuple[Channel, Channel]:
    """Return the agent's end and the controller's."""
    listener = await control.listen()
    agent = await control.connect(listener.address, node)
    return agent, await listener.accept()


async def drained(channel: Channel) -> list[Message]:
    """Everything that still comes until the channel ends."""
    messages = []
    try:
        while True:
            messages.append(await channel.receive())
    except PeerGoneError:
        return messages


def test_messages_keep_their_order_and_arrive_after_the_latency() -> None:
    async def main() -> None:
        control = SimControl(latency_s=0.25)
        agent, controller = await connected(control)
        assert (agent.peer, controller.peer) == (-1, 3)
        assert asyncio.get_running_loop().time() == 0.5
        for tick in range(10):
            controller.send(OpenTick(0, tick))
        agent.send(Hello(3, Address("here", 1, 2)))
        assert [await agent.receive() for _ in range(10)] == [OpenTick(0, i) for i in range(10)]
        assert await controller.receive() == Hello(3, Address("here", 1, 2))
        assert asyncio.get_running_loop().time() == 0.75

    run(main())


def test_what_was_sent_before_a_close_or_a_kill_still_arrives() -> None:
    async def main(kill: bool) -> None:
        control = SimControl(latency_s=0.25)
        agent, controller = await connected(control)
        agent.send(OpenTick(0, 1))
        agent.send(OpenTick(0, 2))
        if kill:
            control.kill(3)
        else:
            await agent.close()
            await agent.close()
        with pytest.raises(PeerGoneError):
            agent.send(OpenTick(0, 3))
        controller.send(Dissolve(1))  # not known yet
        assert await drained(controller) == [OpenTick(0, 1), OpenTick(0, 2)]
        with pytest.raises(PeerGoneError, match="node 3 is gone"):
            controller.send(Dissolve(2))
        if not kill:
            assert await drained(agent) == []

    run(main(kill=False))
    run(main(kill=True))


def test_a_severed_connection_is_noticed_at_both_ends_and_loses_what_was_on_its_way() -> None:
    async def main() -> None:
        control = SimControl(latency_s=0.25)
        agent, controller = await connected(control)
        agent.send(OpenTick(0, 1))
        controller.send(OpenTick(0, 2))
        control.sever(3)
        assert await drained(controller) == []
        assert await drained(agent) == []

    run(main())


def test_a_partition_holds_messages_back_and_its_end_delivers_them_in_order() -> None:
    async def main() -> None:
        control = SimControl(latency_s=0.25)
        agent, controller = await connected(control)
        control.partition(3)
        agent.send(OpenTick(0, 1))
        agent.send(OpenTick(0, 2))
        await agent.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await controller.receive()
        control.partition()
        assert await drained(controller) == [OpenTick(0, 1), OpenTick(0, 2)]

    run(main())


def test_nobody_answers_at_a_wrong_closed_or_cut_off_address() -> None:
    async def main() -> None:
        control = SimControl()
        listener = await control.listen()
        control.partition(5)
        with pytest.raises(PeerGoneError, match="nobody answers"):
            await control.connect(listener.address, 5)
        await control.connect(listener.address, 4)
        await listener.close()
        for address in (listener.address, "nowhere"):
            with pytest.raises(PeerGoneError, match="nobody answers"):
                await control.connect(address, 4)

    run(main())


def test_another_controller_listens_where_the_last_one_did() -> None:
    async def main() -> None:
        control = SimControl(latency_s=0.25)
        first = await control.listen()
        waiting = await control.connect(first.address, 1)
        await first.close()
        assert await drained(waiting) == [], "whom it did not accept it leaves"
        with pytest.raises(PeerGoneError, match="nobody answers"):
            await control.connect(first.address, 3)
        second = await control.listen()
        assert second.address == first.address
        await control.connect(first.address, 3)
        assert (await second.accept()).peer == 3

    run(main())
