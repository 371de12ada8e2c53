"""The simulated `Fleet`: agents are tasks around the same `Agent` as in production, on simulated leaves.

A kill ends the agent's connections first, so whatever its task still does on its way out, like the
memory of a killed process, reaches nobody.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from lambdascale.cluster.agent import Agent, Leaves
from lambdascale.cluster.tags import INBOX, KV, OUTBOX
from lambdascale.engine.base import Step
from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.fleet.base import AgentSpec
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.control import SimControl
from lambdascale.sim.engine import SymbolicEngine, ignore
from lambdascale.sim.jitter import Jitter
from lambdascale.sim.kv_names import KvContents
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.pcie import Pcie
from lambdascale.sim.storage import Images, SimStorage
from lambdascale.sim.transport import SimTransport

ObserveNode = Callable[[int, Step, float, float], None]


@dataclass(frozen=True, slots=True)
class SimHost:
    """What simulated nodes have besides their rates and device.

    Regions above `sized_above` bytes without memory (None: all have memory; KV caches never have);
    activation rows as wide as the real model's if `wide_rows`; stragglers, jitter and a shared PCIe link
    if `conditions` have them. `observe` is told of every step of every node.
    """

    sized_above: int | None = None
    wide_rows: bool = False
    conditions: Conditions = field(default_factory=Conditions)
    observe: ObserveNode | None = None


class SimFleet:
    """Agents on one simulated network and control plane; what was on an SSD outlives its agent."""

    def __init__(
        self, network: SimNetwork, control: SimControl, host: SimHost | None = None
    ) -> None:
        self._network = network
        self._control = control
        self._host = host or SimHost()
        self._contents = KvContents()
        self.agents: dict[int, Agent] = {}  # for tests that look inside
        self._specs: dict[int, AgentSpec] = {}
        self._agents: dict[int, asyncio.Task[None]] = {}
        self._disks: defaultdict[int, Images] = defaultdict(dict)
        self._killed: dict[int, None] = {}
        self._ended: asyncio.Queue[int] = asyncio.Queue()

    async def start(self, agents: tuple[AgentSpec, ...]) -> None:
        while not self._ended.empty():  # who died before is to live again
            self._ended.get_nowait()
        for spec in agents:
            self._specs[spec.node] = spec
            await self.restart(spec.node)

    async def restart(self, node: int) -> None:
        if node not in self._agents or self._agents[node].done():
            self._killed.pop(node, None)
            work = self._run(self._specs[node])
            self._agents[node] = asyncio.create_task(work, name=f"agent {node}")

    async def died(self) -> int:
        return await self._ended.get()

    async def kill(self, node: int) -> None:
        self._kill(node)

    def kill_at(self, node: int, time_s: float) -> None:
        """Kill an agent at `time_s` of the loop's clock."""
        asyncio.get_running_loop().call_at(time_s, self._kill, node)

    async def close(self) -> None:
        """Kill whatever is left; then raise what an agent ended with if it is none of our errors."""
        for node in self._agents:
            self._kill(node)
        if self._agents:
            await asyncio.wait(self._agents.values())
        bugs = [bug for node in self._agents if (bug := self._bug_of(node)) is not None]
        self._agents.clear()
        if bugs:
            raise bugs[0]

    def _kill(self, node: int) -> None:
        if node in self._agents and not self._agents[node].done():
            self._killed[node] = None
            self._network.kill(node)
            self._control.kill(node)
            self._agents[node].cancel()

    def _bug_of(self, node: int) -> BaseException | None:
        """How an agent ended, if that was neither by its own will, nor named, nor our doing."""
        task = self._agents[node]
        error = None if task.cancelled() else task.exception()
        if node in self._killed:
            return None
        if isinstance(error, BaseExceptionGroup):
            return error.split(LambdaScaleError)[1]
        return None if isinstance(error, LambdaScaleError) else error

    async def _run(self, spec: AgentSpec) -> None:
        try:
            await self._agent(spec)
        finally:
            self._ended.put_nowait(spec.node)

    async def _agent(self, spec: AgentSpec) -> None:
        if spec.floor is None:
            raise ConfigError(f"agent {spec.node} has no device model; a simulated one needs it")
        slowdown, wide_rows = self._host.conditions.slowdown(spec.node), self._host.wide_rows
        device = spec.floor.slowed(slowdown)
        watch = self._host.observe
        observe = ignore if watch is None else partial(watch, spec.node)

        def make_engine() -> SymbolicEngine:
            return SymbolicEngine(device, wide_rows, self._contents, observe)

        transport, storage = self._links(_slowed(spec, slowdown))
        connect = partial(self._control.connect, spec.controller, spec.node)
        ssd = Path(f"ssd-of-{spec.node}")
        leaves = Leaves(connect, transport, make_engine, storage, ssd, spec.lease_s)
        self.agents[spec.node] = Agent(spec.node, leaves)
        await self.agents[spec.node].run()

    def _links(self, spec: AgentSpec) -> tuple[SimTransport, SimStorage]:
        """What moves the bytes of one node."""
        host, conditions = self._host, self._host.conditions
        pcie = Pcie(spec.pcie_rate) if conditions.pcie_shared else None
        transport = SimTransport(
            self._network,
            spec.node,
            spec.rate,
            host.sized_above,
            backed=(INBOX, OUTBOX),
            sized=(KV,),
            pcie=pcie,
        )
        jitter = Jitter(conditions.jitter, conditions.seed, spec.node)
        disk = self._disks[spec.node]
        return transport, SimStorage(spec.ssd_rate, spec.pcie_rate, pcie, jitter, disk)


def _slowed(spec: AgentSpec, factor: float) -> AgentSpec:
    """The same node with all rates `factor` times lower."""
    return replace(
        spec,
        rate=spec.rate / factor,
        ssd_rate=spec.ssd_rate / factor,
        pcie_rate=spec.pcie_rate / factor,
    )
