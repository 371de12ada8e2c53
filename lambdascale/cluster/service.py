"""One deployed model: its router, its replicas and pipelines, its scale-outs.

What the agents report comes in, what they must do goes out by `send`. Which nodes it may have is the
controller's to say.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.clock import now
from lambdascale.cluster.deployment import Deployment
from lambdascale.cluster.growth import FULL_SPEED, Growth
from lambdascale.cluster.paces import Paces
from lambdascale.cluster.records import PipelineRecord, RunLog, TokenRecord
from lambdascale.cluster.router import Router, Server, Work
from lambdascale.cluster.stock import Send, Stock
from lambdascale.cluster.switching import Switching
from lambdascale.control import messages as m
from lambdascale.pipeline.execution import ExecutionPipeline
from lambdascale.workload.request import Request


@dataclass(slots=True)
class Served:
    """A pipeline that serves: `instance` is whose replica it is (None: an execution pipeline)."""

    record: PipelineRecord
    growth: Growth
    instance: int | None
    idle_since_s: float
    draining: bool = False  # it is to go once it serves nobody
    dissolving: bool = False  # its head has been told to stop

    @property
    def head(self) -> int:
        return self.record.stages[0].node


class Service:
    """Serves the requests of one model on the instances it is given."""

    def __init__(
        self,
        deployment: Deployment,
        max_queue: int | None,
        stock: Stock,
        switching: Switching,
        send: Send,
        log: RunLog,
    ) -> None:
        self.deployment = deployment
        self.model = deployment.model
        self.router = Router(max_queue)
        self.served: dict[int, Served] = {}
        self.growths: dict[int, Growth] = {}
        self.arrivals: deque[float] = deque()
        self.paces = Paces()
        self._stock = stock
        self._switching = switching
        self._send = send
        self._log = log
        self._growth_of: dict[int, Growth] = {}  # instance → the scale-out it came by

    @property
    def replicas(self) -> tuple[Served, ...]:
        """The instances that serve by themselves and are not to go."""
        return tuple(s for s in self.served.values() if s.instance is not None and not s.draining)

    @property
    def num_instances(self) -> int:
        """How many instances it has, loading or serving, and is to keep."""
        return len(self._growth_of) - sum(s.draining for s in self.served.values())

    @property
    def idle_for_s(self) -> tuple[float, ...]:
        """For how long each instance that serves nobody has been idle."""
        idle = (s for s in self.replicas if not self.router.server(s.record.pipeline).serving)
        return tuple(now() - s.idle_since_s for s in idle)

    @property
    def scaling(self) -> bool:
        """Is any instance still loading?"""
        return any(not growth.formation.settled for growth in self.growths.values())

    @property
    def over(self) -> bool:
        """Is nothing waiting, being served or growing?"""
        return self.router.idle and not self.growths

    def submit(self, request: Request) -> None:
        """Take a request in; raises OverloadedError."""
        self.router.enqueue(Work(request, since_s=now()))
        self.arrivals.append(now())
        self.dispatch()

    def cancel(self, request: int) -> None:
        """Forget a request, wherever it is."""
        server = self.router.cancel(request)
        if server is not None:
            self._send(server.head, m.Cancel(server.pipeline, request))
            self._note_idle(self.served[server.pipeline])
        self.paces.forget(request)
        self._settled(request)

    def dispatch(self) -> None:
        """Send waiting requests to whoever has room."""
        for server, work in self.router.dispatch():
            self.paces.begun(work.request.id)
            submit = m.Submit(server.pipeline, work.request, tuple(work.generated))
            self._send(server.head, submit)

    def begin(self, growth: Growth) -> None:
        """A scale-out has begun: its members are assigned to this model."""
        self.growths[growth.number] = growth
        self._growth_of.update(dict.fromkeys(growth.plan.members, growth))
        self._reshape(growth)
        self.dispatch()  # hot members serve at once

    def cover(self, coverage: m.Coverage) -> None:
        """Blocks have arrived on a member's GPU."""
        growth = self.growth_of(coverage.node)
        growth.arrived(coverage.node, [a.block for a in coverage.arrivals], self._send)
        if growth.formation.covered:
            self._log.phase("covered")
        if growth.formation.complete:
            self._log.phase("complete")
            self._unpin(growth)
        self._reshape(growth)

    def growth_of(self, node: int) -> Growth:
        """Return the scale-out by which `node` came to this model."""
        return self._growth_of[self._stock.slices[self.model].instance(node)]

    def _unpin(self, growth: Growth) -> None:
        """Everything has been sent: sources may leave their tiers again."""
        pinned, growth.pinned = growth.pinned, []
        self._stock.unpin_all(self.model, pinned)

    def _reshape(self, growth: Growth) -> None:
        """Mode-switch complete members, and form the execution pipelines that have become possible."""
        changes = growth.formation.decide()
        for pipeline in changes.leaving:
            self._dissolve(self.served[pipeline])
        for replica in changes.replicas:
            self._form(replica, growth, replica.head)
        for formed in changes.pipelines:
            self._log.phase("pipeline formed")
            self._form(formed, growth, None)
        if growth.formation.settled:
            self._log.phase("switched")
            growth.phases.reached("switched")

    def _form(self, formed: ExecutionPipeline, growth: Growth, instance: int | None) -> None:
        stages = self._stock.slices[self.model].stages(formed.stages)
        kind = "pipeline" if instance is None else "replica"
        record = PipelineRecord(
            formed.id, kind, stages, self._log.since(), formed=True, model=self.model
        )
        self.served[formed.id] = Served(record, growth, instance, now())
        capacity = self.deployment.limits.max_slots
        self._send(stages[0].node, m.Form(formed.id, self.model, stages, capacity))
        step_s = self.paces.step_s(instance is not None)
        server = Server(formed.id, stages[0].node, instance is not None, capacity, step_s=step_s)
        self.router.add(server)
        self._log.add(record)

    def emit(self, message: m.Tokens) -> bool:
        """A step has produced tokens; True if more than these has changed."""
        served = self.served[message.pipeline]
        changed = self._first_token(served)
        server = self.router.server(message.pipeline)
        server.step_s = self.paces.stepped(message.pipeline, message.time_s, server.whole)
        for t in message.tokens:
            if self.router.extend(message.pipeline, t.request, t.token, t.last):
                self._log.add(
                    TokenRecord(
                        t.request, t.position, t.token, self._log.since(message.time_s),
                        served.head, message.pipeline, served.record.kind, t.last,
                    )
                )  # fmt: skip
            if t.last:
                self.paces.ended(t.request)
            changed |= self._settled(t.request) | t.last
            changed |= self._switching.resumed(self, t.request)
        self._note_idle(served)
        return changed

    def _first_token(self, served: Served) -> bool:
        """Note the token; True if it is the first of what a scale-out has brought."""
        growth = served.growth
        if served.instance not in growth.plan.whole:
            self._log.phase("first token of a receiver")
        return self._is_new(served) and growth.phases.reached("first token")

    def cancelled(self, message: m.Cancelled) -> None:
        """A cancelled request has left its slot."""
        if message.pipeline in self.served:
            self.router.freed(message.pipeline, message.request)
            self._switching.resumed(self, message.request)
            self._note_idle(self.served[message.pipeline])

    def shrink(self, count: int) -> None:
        """Let `count` instances go, idle ones first; they finish what they have."""
        by_load = sorted(
            self.replicas,
            key=lambda s: (len(self.router.server(s.record.pipeline).serving), s.idle_since_s),
        )
        for served in by_load[: max(count, 0)]:
            self._drain(served)

    def vacate(self, node: int) -> None:
        """Let the instance on `node` go, if it serves already."""
        instance = self._stock.slices[self.model].instance(node)
        for served in self.replicas:
            if served.instance == instance:
                self._drain(served)

    def _drain(self, served: Served) -> None:
        served.draining = True
        self.router.drain(served.record.pipeline)
        self._leave_if_drained(served)

    def reclaim(self, count: int) -> int:
        """Let up to `count` draining instances stay after all, if they may; return how many did."""
        draining = [
            s
            for s in self.served.values()
            if s.draining and not s.dissolving and not self._is_kept(s)
        ]
        for served in draining[:count]:
            served.draining = False
            self.router.undrain(served.record.pipeline)
        self.dispatch()
        return len(draining[:count])

    def _is_kept(self, served: Served) -> bool:
        """Are its nodes kept for another model?"""
        is_kept_from = self._stock.assignments.is_kept_from
        return any(is_kept_from(self.model, stage.node) for stage in served.record.stages)

    def _note_idle(self, served: Served) -> None:
        """Note since when it serves nobody, if so."""
        if not self.router.server(served.record.pipeline).serving:
            served.idle_since_s = now()
            self.paces.paused(served.record.pipeline)
            self._leave_if_drained(served)

    def _leave_if_drained(self, served: Served) -> None:
        """Let it stop if it is to go, serves nobody and sends no KV entries."""
        server = self.router.server(served.record.pipeline)
        busy = server.serving or server.ending or self._switching.sends_from(served.head)
        if served.draining and not busy:
            self._dissolve(served)

    def _dissolve(self, served: Served) -> None:
        if not served.dissolving:
            served.dissolving = True
            self.router.drain(served.record.pipeline)
            self._send(served.head, m.Dissolve(served.record.pipeline))

    def dissolved(self, message: m.Dissolved) -> None:
        """A pipeline has stopped: its requests move, its members are free or replicas of their own."""
        served = self.served.pop(message.pipeline)
        record, growth = served.record, served.growth
        self.paces.gone(message.pipeline)
        self._log.add(
            PipelineRecord(
                record.pipeline, record.kind, record.stages, self._log.since(), formed=False,
                model=self.model,
            )
        )  # fmt: skip
        self.router.remove(message.pipeline, [u.request for u in message.unfinished], now())
        if served.instance is not None:
            del self._growth_of[served.instance]
            self._stock.release(served.instance, self.model)
            return
        growth.resuming.update(dict.fromkeys(self.router.resumed))
        self._switching.switch(self, served, message)

    def free(self, growth: Growth, pipeline: int, lingering: Sequence[int]) -> None:
        """Members of a dissolved pipeline are free, but for those whose KV entries are still leaving."""
        growth.formation.dissolved(pipeline, lingering)
        self._reshape(growth)
        for served in [s for s in self.served.values() if s.draining]:
            self._leave_if_drained(served)

    def replica_of(self, node: int) -> int:
        """Return the pipeline id of the replica on `node`."""
        return next(
            pipeline
            for pipeline, s in self.served.items()
            if s.instance is not None and s.head == node
        )

    def _settled(self, request: int) -> bool:
        """A request is served, or over; True if it had to move and a scale-out waited for it."""
        waited = [growth for growth in self.growths.values() if request in growth.resuming]
        for growth in waited:
            del growth.resuming[request]
        return bool(waited)

    def conclude(self) -> None:
        """Forget the scale-outs that are over; their sources may leave their tiers again."""
        for growth in list(self.growths.values()):
            if growth.over and not self._awaits_token(growth):
                growth.phases.reached(FULL_SPEED)
                del self.growths[growth.number]
                self._unpin(growth)
                self.paces.grew(now() - growth.begun_s)

    def _awaits_token(self, growth: Growth) -> bool:
        """Has what a scale-out brought been given work, and not answered yet?"""
        return not growth.phases.has("first token") and any(
            self.router.server(pipeline).serving
            for pipeline, served in self.served.items()
            if served.growth is growth and self._is_new(served)
        )

    def _is_new(self, served: Served) -> bool:
        """Did it have to load, unlike those that were complete before? If all were, each counts."""
        return served.instance not in served.growth.plan.whole or not served.growth.plan.groups
