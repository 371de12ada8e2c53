"""Serverless runs in virtual time for tests: several symbolic models on nodes with three tiers.

Whatever a test is about, every run is checked: copies after every event, and at the end the tokens, that
every request was answered once, and that no pin, no slot and no copy is left over.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

from checked import CheckedController

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.members import Members
from lambdascale.cluster.records import FailedRecord, Record, RunLog, TokenRecord
from lambdascale.config import SystemSpec
from lambdascale.control.base import Control
from lambdascale.engine.base import EngineLimits
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.session import Session
from lambdascale.fleet.base import AgentSpec
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.policy import ScalingPolicy
from lambdascale.sim import loop
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.control import SimControl
from lambdascale.sim.fleet import SimFleet, SimHost
from lambdascale.sim.models import image_checksums, symbolic_model
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.reference import reference_tokens
from lambdascale.storage.arena import PAGE
from lambdascale.storage.tiers import Capacity, Tier
from lambdascale.workload.request import Request, Sampling

R = TypeVar("R")
LATENCY_S = 20e-6
LONGEST = 40  # tokens of an answer that are computed at once, for all runs that ask for it
STEP_S = 0.01  # of a decode step of model "a"
MODELS: Mapping[str, PackedModel] = {
    "a": symbolic_model(num_layers=8, hidden=32),
    "b": symbolic_model(num_layers=6, hidden=32),
    "c": symbolic_model(num_layers=10, hidden=16, tied=False),
}
NBYTES = MODELS["a"].layout.nbytes
DEVICE = DeviceModel(bandwidth=NBYTES / STEP_S, flops=1e12)


def room(*models: str) -> int:
    """Return the bytes that copies of these models take."""
    return sum(-(-MODELS[model].layout.nbytes // PAGE) * PAGE for model in models)


@cache
def image(model: str, num_blocks: int) -> ImageSource:
    packed = MODELS[model]
    checksums = image_checksums(packed, num_blocks)
    return ImageSource.of(packed, checksums)


def deploy(
    model: str,
    policy: ScalingPolicy | None = None,
    initial: Mapping[int, Tier] | None = None,
    num_blocks: int = 16,
    max_slots: int = 4,
    nodes_per_instance: int = 1,
    in_flight: int | None = None,
) -> Deployment:
    """Deploy one of MODELS; by default it scales by concurrency and lets nothing go for long."""
    limits = EngineLimits(max_slots, max_length=256, max_step_tokens=16)
    policy = policy or ScalingPolicy(target=1.0, idle_s=0.5)
    return Deployment(
        model,
        image(model, num_blocks),
        limits,
        policy,
        initial or {},
        nodes_per_instance,
        in_flight,
    )


def ask(
    id: int,
    model: str = "a",
    at: float = 0.0,
    max_tokens: int = 20,
    prompt: int = 5,
    temperature: float = 0.0,
) -> Request:
    """A request with a prompt of its own."""
    tokens = tuple((id * 37 + 11 * j) % 1000 for j in range(prompt))
    return Request(id, tokens, max_tokens, Sampling(temperature, seed=5), (), at, model)


def burst(
    count: int, model: str = "a", at: float = 0.0, first: int = 0, **options: int | float
) -> tuple[Request, ...]:
    """`count` requests at once, numbered from `first` on."""
    return tuple(ask(first + i, model, at, **options) for i in range(count))


@dataclass
class Serverless:
    """One run; `watch` sees every record and may disturb the run by `network` and `controller`."""

    deployments: Sequence[Deployment]
    requests: Sequence[Request]
    num_nodes: int = 4
    system: SystemSpec = field(default_factory=SystemSpec)
    gpu: int = room("a", "b", "c")
    host: int = room("a", "b", "c")
    ssd: int = room("a", "b", "c")
    load_s: float = 1.0  # of model "a" over a link
    pcie_s: float = 0.5
    ssd_s: float = 4.0
    preconnect: bool = True
    nodes_per_host: int = 1
    local_s: float = 0.05  # of model "a" between nodes of a host
    conditions: Conditions = field(default_factory=Conditions)
    watch: Callable[["Serverless", Record], None] = lambda run, record: None
    cancelled: set[int] = field(default_factory=set)
    timeout_s: float = 600.0
    lease_s: float = 0.0
    restart_s: float | None = None
    harm: list[str] = field(default_factory=list)  # what was done, when and why
    harmed: set[int] = field(default_factory=set)  # whose agents were killed or cut off
    num_controllers: int = 0
    past: list[Record] = field(default_factory=list)  # under earlier controllers
    heartbeat_s: float = 0.0

    def run(self) -> "Serverless":
        """Run to the end in virtual time and check what holds for every run."""
        self.disturbed()
        self.check_tokens()
        return self

    def disturbed(self) -> "Serverless":
        """Run without looking at the tokens."""
        local_rate = NBYTES / self.local_s
        self.network = SimNetwork(
            LATENCY_S,
            self.conditions.occupancy_s,
            self.nodes_per_host,
            local_rate,
            self.conditions.connect_s,
            self.conditions.jitter,
            self.conditions.seed,
            self.conditions.corruption,
        )
        self.control = SimControl(LATENCY_S)
        self.fleet = SimFleet(self.network, self.control, SimHost(conditions=self.conditions))
        self.log = RunLog(self._seen)
        loop.run(_Session.of(self).run(self.control, self.fleet, self.log))
        left = self.network._members, self.control._agents, self.control._listeners
        assert not any(left), "nothing is left behind"
        return self

    def _seen(self, record: Record) -> None:
        if isinstance(record, FailedRecord):
            assert not self.controller.stock.exists(record.model), f"{record.model} is there"
        self.watch(self, record)

    @property
    def rate(self) -> float:
        """Bytes per second of a link."""
        return NBYTES / self.load_s

    def cancel(self, request: int) -> None:
        """Cancel a request."""
        self.cancelled.add(request)
        self.controller.cancel(next(r for r in self.requests if r.id == request))

    def kill(self, node: int, why: str) -> None:
        """Kill an agent, if it lives."""
        if not self.fleet._agents[node].done():
            self._note(f"node {node} killed", why)
            self.harmed.add(node)
            self.fleet._kill(node)

    def sever(self, node: int, why: str) -> None:
        """Cut an agent off from its controller."""
        self._note(f"node {node} cut off", why)
        self.harmed.add(node)
        self.control.sever(node)

    def restart_controller(self, why: str) -> None:
        """End the controller, and let another one begin at the same address over the same agents."""
        self._note("controller ended", why)
        self.ending.set()

    def _note(self, what: str, why: str) -> None:
        self.harm.append(f"{asyncio.get_running_loop().time():.6f} s: {what}: {why}")

    def unanswered(self) -> tuple[Request, ...]:
        """The requests that clients ask again when the controller is gone; the others are over."""
        expected, found = self.expected(), self.outputs()
        over = {r.request for r in self.records(TokenRecord) if r.last} | self.failed
        left = [r for r in self.requests if r.id not in over | self.cancelled]
        for request in left:
            got = found[request.id]
            assert got == expected[request.id][: len(got)], f"request {request.id}"
        ids, since_s = {r.id for r in left}, self.log.since()
        records = self.log.records
        self.past += [r for r in records if not (isinstance(r, TokenRecord) and r.request in ids)]
        self.log = RunLog(self._seen)
        return tuple(replace(r, arrival_s=max(0.0, r.arrival_s - since_s)) for r in left)

    @property
    def failed(self) -> set[int]:
        """The requests that could not be answered."""
        return {record.request for record in self.records(FailedRecord)}

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something in the run after a while."""
        asyncio.get_running_loop().call_later(delay_s, act)

    def records(self, kind: type[R]) -> list[R]:
        """Return all records of a kind."""
        return [r for r in (*self.past, *self.log.records) if isinstance(r, kind)]

    def tokens(self, request: int) -> list[TokenRecord]:
        """Return the tokens of a request in the order in which they came."""
        return [record for record in self.records(TokenRecord) if record.request == request]

    def first_token_s(self, request: int) -> float:
        return self.tokens(request)[0].time_s

    def outputs(self) -> dict[int, tuple[int, ...]]:
        """Return the tokens of every request."""
        found: dict[int, list[int]] = {request.id: [] for request in self.requests}
        for record in self.records(TokenRecord):
            found[record.request].append(record.token)
        return {request: tuple(tokens) for request, tokens in found.items()}

    def expected(self) -> dict[int, tuple[int, ...]]:
        """Return what an undisturbed run would answer."""
        return {r.id: _answer(r)[: r.max_tokens] for r in self.requests}

    def check_tokens(self) -> None:
        """Every request got its own tokens, each once and in order; cancelled ones the first of them."""
        expected, found = self.expected(), self.outputs()
        for request in self.requests:
            got = found[request.id]
            if request.id in self.cancelled | self.failed:
                assert got == expected[request.id][: len(got)]
            else:
                assert got == expected[request.id], f"request {request.id}"
            mine = self.tokens(request.id)
            assert [t.position for t in mine] == list(range(len(mine)))
            assert not any(t.last for t in mine[:-1])


def _answer(request: Request) -> tuple[int, ...]:
    """At least as many tokens as were asked for."""
    assert not request.stop
    whole = replace(request, arrival_s=0.0, max_tokens=max(request.max_tokens, LONGEST))
    return _generated(whole)


@cache
def _generated(request: Request) -> tuple[int, ...]:
    return reference_tokens(MODELS[request.model or "a"], [request])[request.id]


@dataclass(frozen=True, slots=True)
class _Session(Session):
    harness: Serverless | None = None

    @classmethod
    def of(cls, run: Serverless) -> "_Session":
        system = run.system
        link, ssd = system.link_rate(run.rate), system.tier_rate(NBYTES / run.ssd_s)
        pcie = system.tier_rate(NBYTES / run.pcie_s)
        cluster = ClusterSpec(
            run.num_nodes,
            Capacity(run.gpu, run.host, run.ssd),
            run.timeout_s,
            run.preconnect,
            link,
            LATENCY_S,
            DEVICE,
            run.nodes_per_host,
            run.conditions.decision_s,
            run.conditions.set_up,
            run.restart_s,
            heartbeat_s=run.heartbeat_s,
        )
        agents = tuple(
            AgentSpec(node, "", "sim", link, DEVICE, ssd, pcie, lease_s=run.lease_s)
            for node in cluster.nodes
        )
        return cls(run.system, cluster, tuple(run.deployments), run.requests, agents, run)

    def controller(self, members: Members, log: RunLog) -> Controller:
        run = self.harness
        assert run is not None
        run.controller = controller = CheckedController(
            self.system, self.cluster, self.deployments, members, log
        )
        controller.fleet, controller.harmed = run.fleet, run.harmed
        return controller

    async def run(self, control: Control, fleet: SimFleet, log: RunLog, work: None = None) -> None:
        """Run to the end, under one controller after the other."""
        run, left = self.harness, self.requests
        assert run is not None
        async with AsyncExitStack() as stack:
            stack.push_async_callback(fleet.close)
            while left is not None:
                left = await self._under_a_controller(run, control, fleet, left)

    async def _under_a_controller(
        self, run: Serverless, control: Control, fleet: SimFleet, requests: Sequence[Request]
    ) -> tuple[Request, ...] | None:
        """Serve requests; return what is left when the controller has ended, None at the end."""
        run.ending = asyncio.Event()
        run.num_controllers += 1
        async with AsyncExitStack() as stack:
            listener = await control.listen()
            stack.push_async_callback(listener.close)
            members = Members(listener, fleet, self.cluster.num_nodes)
            stack.push_async_callback(members.close)
            controller = self.controller(members, run.log)
            await fleet.start(tuple(agent.at(listener.address) for agent in self.agents))
            serving = asyncio.ensure_future(controller.run(requests))
            ending = asyncio.ensure_future(run.ending.wait())
            await asyncio.wait((serving, ending), return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if serving.done():
                return serving.result()
            serving.cancel()
            await asyncio.wait((serving,))
        return run.unanswered()
