"""Where an agent process begins: real leaves around the same `Agent` that the simulation runs."""

import asyncio
from functools import partial
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
    control = StreamControl(secret)
    transport = await open_transport(agent.transport, agent.node, secret, agent.rate, agent.host)
    storage = FileStorage(ssd_rate=agent.ssd_rate, pcie_rate=agent.pcie_rate)

    def make_engine() -> TorchEngine:
        return TorchEngine(floor=agent.floor)

    connect = partial(control.connect, agent.controller, agent.node)
    ssd = Path(agent.ssd)
    leaves = Leaves(connect, transport, make_engine, storage, ssd, agent.lease_s)
    await Agent(agent.node, leaves).run()
