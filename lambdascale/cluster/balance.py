"""How many instances each model has: observes, asks the policies, shares nodes fairly, grows and shrinks.

Event-driven models are looked at whenever something has changed, polled ones at their own times. Decisions
are pure (`autoscaler`, `shares`, `placement`, `growth_plan`); here they are carried out.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

from lambdascale.clock import now
from lambdascale.cluster.autoscaler import Observation, desired, history_s, recheck_s
from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.expansion import Expansion
from lambdascale.cluster.gathering import gather
from lambdascale.cluster.members import Members
from lambdascale.cluster.records import RunLog
from lambdascale.cluster.service import Service
from lambdascale.cluster.shares import Held, fair_shares
from lambdascale.cluster.stock import Stock
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m

RETRY_S = 1.0  # what could not be done for want of room is tried again so often


class Balance:
    """Keeps the instances of all models as their policies and fairness want them."""

    def __init__(
        self,
        system: SystemSpec,
        cluster: ClusterSpec,
        services: Mapping[str, Service],
        stock: Stock,
        members: Members,
        log: RunLog,
    ) -> None:
        self._services = services
        self._stock = stock
        self.expansion = Expansion(system, cluster, stock, members, log)
        self._changed = asyncio.Event()
        self.paused: Callable[[], bool] = lambda: False  # may nothing be begun now?
        self._spans = {m: s.deployment.nodes_per_instance for m, s in services.items()}
        self._quantum_s = min(s.deployment.policy.quantum_s for s in services.values())
        self._wants = {m: s.deployment.policy.initial_instances for m, s in services.items()}
        self._polls: dict[str, float] = {}  # when a polled model is looked at next
        self._waiting_since: dict[str, float] = {}
        self._holding_since: dict[str, float] = {}

    def begin(self) -> None:
        """Time counts from now on: the first decisions fall at once or after their phase."""
        for model, service in self._services.items():
            if service.deployment.policy.poll_s:
                self._polls[model] = now() + service.deployment.policy.phase_s
        self.decide()

    def wake(self) -> None:
        """Something has changed: decide again soon."""
        self._changed.set()

    def connected(self, message: m.Connected) -> None:
        """A node has the links that a scale-out asked for."""
        self.expansion.connected(message)

    async def run(self) -> None:
        """Decide for ever, whenever something has changed or is due."""
        while True:
            due_s = self._due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if due_s == math.inf else due_s):
                    await self._changed.wait()
            self._changed.clear()
            self.expansion.go_on()
            self._stock.expire()
            self.decide()

    def _due(self) -> float:
        """When something may have to be decided although nothing has happened."""
        dues = [*self._polls.values(), self.expansion.due_s]
        expiry = self._stock.residency.next_expiry(now())
        if expiry is not None:
            dues.append(expiry if expiry > now() else now() + RETRY_S)
        for model, service in self._awake().items():
            if model in self._polls or not service.changes_by_itself:
                continue
            after = recheck_s(service.deployment.policy, self._observe(service))
            if after is not None:
                dues.append(now() + after)
        dues += self._quanta()
        return min(dues, default=math.inf)

    def _quanta(self) -> Iterator[float]:
        """When a model that holds nodes must yield to one that waits."""
        if self._waiting_since:
            for model, since in self._holding_since.items():
                end = since + self._services[model].deployment.policy.quantum_s
                yield end if end > now() else now() + RETRY_S

    def decide(self) -> None:
        """Grow and shrink now."""
        due = [model for model in self._services if self._is_due(model)]
        awake = self._awake()
        for model, service in awake.items():
            if model in due:
                self._wants[model] = self._wanted(model, service)
            self._note_times(model, service)
        shares = self._shares(awake)
        for model, service in awake.items():
            service.pipelines.shrink(service.num_instances - shares[model])
        self._gather(shares)
        for model, service in sorted(awake.items(), key=self._longest_wait):
            self._grow(service, shares[model] - service.num_instances)
            service.dispatch()

    def _wanted(self, model: str, service: Service) -> int:
        """How many instances it should have; none if nodes that are gone have left no copy of it."""
        if not (service.growths or self._stock.exists(model)):
            return 0
        return desired(service.deployment.policy, self._observe(service))

    def _awake(self) -> dict[str, Service]:
        """The models that have anything, or want it: about the others nothing is to be decided."""
        return {
            model: service
            for model, service in self._services.items()
            if service.awake
            or self._wants[model]
            or model in self._waiting_since
            or model in self._holding_since
            or service.deployment.policy.min_instances
        }

    def _longest_wait(self, item: tuple[str, Service]) -> float:
        return self._waiting_since.get(item[0], math.inf)

    def _gather(self, shares: Mapping[str, int]) -> None:
        """Keep nodes for models that span several and find none free side by side; move who is in the way."""
        assignments, services, spans = self._stock.assignments, self._services, self._spans
        assignments.kept = {}
        wanting = [
            model
            for model, share in shares.items()
            if spans[model] > 1
            and share > services[model].num_instances
            and not assignments.free_instances(model)
        ]
        assignments.kept = gather(wanting, spans, assignments.of)
        for node in assignments.kept:
            owner = assignments.of[node]
            if owner is not None:
                services[owner].pipelines.vacate(node)

    def _is_due(self, model: str) -> bool:
        """Is a decision on this model due? Polled ones then wait for their next time."""
        due = self._polls.get(model)
        if due is None:
            return True
        if now() < due:
            return False
        self._polls[model] = due + self._services[model].deployment.policy.poll_s
        return True

    def _note_times(self, model: str, service: Service) -> None:
        """Since when it waits for a first instance, or holds one that is ready."""
        holds = service.num_instances > 0
        if holds or not self._wants[model]:
            self._waiting_since.pop(model, None)
        else:
            self._waiting_since.setdefault(model, now())
        if not holds:
            self._holding_since.pop(model, None)
        elif service.pipelines.replicas:
            self._holding_since.setdefault(model, now())

    def _shares(self, awake: Mapping[str, Service]) -> dict[str, int]:
        held = {model: self._held(model, service) for model, service in awake.items()}
        wants = {model: self._wants[model] for model in awake}
        return fair_shares(wants, self._room(awake), held, self._quantum_s)

    def _room(self, awake: Mapping[str, Service]) -> int:
        """How many nodes there are side by side, as the widest model needs them that fits anywhere."""
        assignments, spans = self._stock.assignments, [self._spans[model] for model in awake]
        rooms = (assignments.num_in_places(span) for span in sorted({1, *spans}, reverse=True))
        return next((room for room in rooms if room), 0)

    def _held(self, model: str, service: Service) -> Held:
        at = now()
        return Held(
            service.num_instances,
            at - self._holding_since.get(model, at),
            at - self._waiting_since.get(model, at),
            service.deployment.nodes_per_instance,
        )

    def _grow(self, service: Service, count: int) -> None:
        count -= service.pipelines.reclaim(max(count, 0))
        concurrent = service.deployment.policy.concurrent
        if count > 0 and not self.paused() and (concurrent or not service.scaling):
            self.expansion.grow(service, count)

    def _observe(self, service: Service) -> Observation:
        deployment, router = service.deployment, service.router
        scale_out_s = self.expansion.expected_s(service)
        reach = history_s(deployment.policy, scale_out_s, service.paces.service_s)
        while service.arrivals and service.arrivals[0] < now() - reach:
            service.arrivals.popleft()
        return Observation(
            now=now(),
            num_waiting=router.num_waiting,
            num_serving=router.num_serving,
            num_instances=service.num_instances,
            num_ready=len(service.pipelines.replicas),
            slots_per_instance=deployment.capacity,
            nodes_per_instance=deployment.nodes_per_instance,
            num_free_nodes=self._stock.assignments.num_free,
            idle_for_s=service.pipelines.idle_for_s,
            arrivals=tuple(service.arrivals),
            scale_out_s=scale_out_s,
            service_s=service.paces.service_s,
            scaling=service.scaling,
            num_scale_outs=service.num_scale_outs,
        )
