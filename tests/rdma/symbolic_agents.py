"""Agents as in production, but for the engine: it computes tokens by hashing what the image region holds.

So the multicast runs without torch, and a byte that is missing or wrong makes other tokens. Run by the
nursery of a local fleet.
"""

import asyncio
from functools import partial
from pathlib import Path

from lambdascale.cluster.agent import Agent, Leaves
from lambdascale.control.streams import StreamControl
from lambdascale.engine.device import DeviceModel
from lambdascale.fleet.base import AgentSpec
from lambdascale.fleet.local import parse_assignment
from lambdascale.sim.engine import SymbolicEngine
from lambdascale.storage.files import FileStorage
from lambdascale.transport.registry import open_transport

DEVICE = DeviceModel(bandwidth=1e12, flops=1e15)


def main(argument: str) -> None:
    """Run the agent until it is stopped."""
    asyncio.run(run(*parse_assignment(argument)))


async def run(agent: AgentSpec, secret: bytes) -> None:
    connect = partial(StreamControl(secret).connect, agent.controller, agent.node)
    transport = await open_transport(agent.transport, agent.node, secret, agent.rate, agent.host)
    storage = FileStorage(ssd_rate=agent.ssd_rate, pcie_rate=agent.pcie_rate)
    leaves = Leaves(connect, transport, lambda: SymbolicEngine(DEVICE), storage, Path(agent.ssd))
    await Agent(agent.node, leaves).run()
