"""Serverless runs in virtual time for tests: several symbolic models on nodes with three tiers.

Whatever a test is about, every run is checked: copies after every event, and at the end the tokens, that
every request was answered once, and that no pin, no slot and no copy is left over.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from lambdascale.clock import now
from lambdascale.cluster.controller import Controller
from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.members import Ended, Members
from lambdascale.cluster.records import FailedRecord, Record, RunLog, TokenRecord
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.control.messages import LossNoted
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


class CheckedController(Controller):
    """The controller of production, whose books are checked after every event."""

    fleet: SimFleet
    quiet_s = -math.inf  # since when nothing is under way that has to do with a node that died

    def _handle(self, message: m.Message | Ended) -> None:
        if isinstance(message, Ended):
            assert message.node in self.fleet._killed, f"node {message.node} ended by itself"
        super()._handle(message)
        if isinstance(message, LossNoted) and not self._recovery.under_way:
            self.quiet_s = now()
        self.stock.residency.check_integrity()

    def _cover(self, coverage: m.Coverage) -> bool:
        for arrival in coverage.arrivals:
            tiers = (Tier.GPU, Tier.HOST) if arrival.origin == "network" else ()
            service = self.services[coverage.model]
            late = arrival.arrived_s <= self.quiet_s or arrival.src not in self._members.alive
            if late or not service.has(coverage.node):
                continue  # it was under way when a node died, and came to its end before any copy left
            copies = [self.stock.residency.copy(arrival.src, t, coverage.model) for t in tiers]
            assert not tiers or any(copy and copy.pins for copy in copies), "senders stay"
        return super()._cover(coverage)

    async def _serve(self, requests: Sequence[Request]) -> None:
        await super()._serve(requests)
        await asyncio.sleep(10 * STEP_S)  # what has been sent arrives, and steps come to their ends
        if self._recovery.under_way or self._members.alive.keys() & self.fleet._killed.keys():
            return  # a node has just died, and nobody deals with it any more
        self._check_pins()
        self._check_agents()

    def _check_pins(self) -> None:
        """Assigned copies are pinned once, those that are being copied once more, and no others."""
        stock = self.stock
        served = [(n, Tier.GPU, model) for n, model in stock.assignments.of.items() if model]
        found = {
            (node, tier, copy.model): copy.pins
            for node in self._members.alive
            for tier in Tier
            for copy in stock.residency.copies(node, tier)
            if copy.pins
        }
        assert found == Counter([*served, *stock._demoting])

    def _check_agents(self) -> None:
        """Agents hold the copies that the controller believes in, and serve nobody any more."""
        for node in self._members.alive:
            place = self.fleet.agents[node]._place
            books = {
                (tier, copy.model)
                for tier in (Tier.GPU, Tier.HOST)
                for copy in self.stock.residency.copies(node, tier)
            }
            assert place.holdings._copies.keys() == books
            assert not place.moves.parked
            assert not any(+place.moves._arrived)
            served = [
                v
                for s in self.services.values()
                for v in s.pipelines.served.values()
                if v.head == node
            ]
            staying = {v.record.pipeline for v in served if not v.dissolving}
            assert staying <= place._heads.keys() <= {v.record.pipeline for v in served}
            for head in place._heads.values():
                assert not head._coming
                assert not any(map(len, head._lanes))


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
    kills: dict[int, str] = field(default_factory=dict)
    timeout_s: float = 600.0

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
        self.log = RunLog(lambda record: self.watch(self, record))
        loop.run(_Session.of(self).run(self.control, self.fleet, self.log))
        return self

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
        if node not in self.kills:
            self.kills[node] = f"{asyncio.get_running_loop().time():.6f} s: {why}"
            self.fleet._kill(node)

    @property
    def failed(self) -> set[int]:
        """The requests that could not be answered."""
        return {record.request for record in self.records(FailedRecord)}

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something in the run after a while."""
        asyncio.get_running_loop().call_later(delay_s, act)

    def records(self, kind: type[R]) -> list[R]:
        """Return all records of a kind."""
        return [record for record in self.log.records if isinstance(record, kind)]

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
        answers: dict[int, tuple[int, ...]] = {}
        for deployment in self.deployments:
            mine = [r for r in self.requests if (r.model or "a") == deployment.model]
            answers |= reference_tokens(MODELS[deployment.model], mine)
        return answers

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
        )
        agents = tuple(
            AgentSpec(node, "", "sim", link, DEVICE, ssd, pcie) for node in cluster.nodes
        )
        deployments, deaths = tuple(run.deployments), run.conditions.deaths
        return cls(run.system, cluster, deployments, run.requests, agents, deaths, run)

    def controller(self, members: Members, log: RunLog) -> Controller:
        run = self.harness
        assert run is not None
        run.controller = controller = CheckedController(
            self.system, self.cluster, self.deployments, members, log
        )
        controller.fleet = run.fleet
        return controller
