"""Where an agent process begins: real leaves around the same `Agent` that the simulation runs."""

import asyncio
from pathlib import Path

from lambdascale.cluster.agent import Agent, Leaves
from lambdascale.control.streams import StreamControl
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.fleet.base import AgentSpec
from lambdascale.fleet.local import parse_assignment
from lambdascale.storage.files import FileStorage
from lambdascale.transport.registry import open_transport


def main(argument: str) -> None:
    """Run the agent described by an encoded assignment until it is stopped."""
    agent, secret = parse_assignment(argument)
    asyncio.run(_run(agent, secret))


async def _run(agent: AgentSpec, secret: bytes) -> None:
    channel = await StreamControl(secret).connect(agent.controller, agent.node)
    transport = await open_transport(agent.transport, agent.node, secret, agent.rate, agent.host)
    storage = FileStorage(ssd_rate=agent.ssd_rate, pcie_rate=agent.pcie_rate)

    def make_engine() -> TorchEngine:
        return TorchEngine(floor=agent.floor)

    leaves = Leaves(channel, transport, make_engine, storage, Path(agent.ssd))
    await Agent(agent.node, leaves).run()
