"""The behaviour every fleet body must show, on the wall clock or on the virtual one.

Each check takes a maker of a control, a fleet and the device of its agents, which connect and stay, or crash
at birth. A test module of a body runs them all with `@pytest.mark.parametrize("check", CHECKS)`.
"""

import math
from collections.abc import Callable, Coroutine

import pytest

from lambdascale.clock import deadline
from lambdascale.cluster.members import Members
from lambdascale.control.base import Channel, Control
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import PeerGoneError
from lambdascale.fleet.base import AgentSpec, Fleet

SECRET = b"a secret of sixteen bytes or more"
DEVICE = DeviceModel(1e9, 1e12)
Maker = Callable[[bool], tuple[Control, Fleet, DeviceModel | None]]
Check = Callable[[Maker], Coroutine[None, None, None]]


def specs(address: str, count: int, floor: DeviceModel | None) -> tuple[AgentSpec, ...]:
    return tuple(AgentSpec(node, address, "shm", math.inf, floor) for node in range(count))


async def gone(channel: Channel) -> None:
    with pytest.raises(PeerGoneError, match=f"node {channel.peer} is gone"):
        await read_all(channel)
    await channel.close()


async def read_all(channel: Channel) -> None:
    while True:
        await channel.receive()


async def agents_start_are_killed_and_do_not_outlive_the_fleet(make: Maker) -> None:
    control, fleet, floor = make(False)
    listener = await control.listen()
    async with deadline(20, "the whole test"):
        await fleet.start(specs(listener.address, 3, floor))
        channels = {}
        while len(channels) < 3:
            channel = await listener.accept()
            channels[channel.peer] = channel
        assert sorted(channels) == [0, 1, 2]
        await fleet.kill(1)
        assert await fleet.died() == 1
        await gone(channels[1])
        await fleet.kill(1)
        await fleet.kill(7)
        await fleet.close()
        assert {await fleet.died(), await fleet.died()} == {0, 2}
        for channel in channels.values():
            await gone(channel)
        await fleet.close()
        await listener.close()


async def an_agent_that_has_ended_is_started_again(make: Maker) -> None:
    control, fleet, floor = make(False)
    listener = await control.listen()
    async with deadline(20, "the whole test"):
        agents = specs(listener.address, 2, floor)
        await fleet.start(agents)
        channels = [await listener.accept() for _ in agents]
        await fleet.restart(0)  # it lives, so nothing happens
        await fleet.kill(1)
        assert await fleet.died() == 1
        await fleet.restart(1)
        channels.append(await listener.accept())
        assert channels[-1].peer == 1
        await fleet.kill(1)
        assert await fleet.died() == 1
        await fleet.start(agents)
        channels.append(await listener.accept())
        assert channels[-1].peer == 1
        await fleet.close()
        assert {await fleet.died(), await fleet.died()} == {0, 1}
        for channel in channels:
            await gone(channel)
        await listener.close()


async def an_agent_that_dies_at_birth_is_reported_promptly(make: Maker) -> None:
    control, fleet, floor = make(True)
    listener = await control.listen()
    async with deadline(5, "the report of a death"):
        await fleet.start(specs(listener.address, 2, floor))
        with pytest.raises(PeerGoneError, match=r"node [01] is gone: the agent ended while"):
            await Members(listener, fleet, 2).join()
    await fleet.close()
    await listener.close()


async def a_fleet_that_was_never_started_closes(make: Maker) -> None:
    _, fleet, _ = make(False)
    await fleet.close()
    await fleet.close()


CHECKS: tuple[Check, ...] = (
    agents_start_are_killed_and_do_not_outlive_the_fleet,
    an_agent_that_has_ended_is_started_again,
    an_agent_that_dies_at_birth_is_reported_promptly,
    a_fleet_that_was_never_started_closes,
)
