"""The pipelines of one model that serve: they are formed, become idle, drain and dissolve.

An instance that is to go takes no more requests, finishes what it has, and only then dissolves; until then it
may be kept after all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lambdascale.clock import now
from lambdascale.cluster.deployment import Deployment
from lambdascale.cluster.growth import Growth
from lambdascale.cluster.paces import Paces
from lambdascale.cluster.records import PipelineRecord, RunLog
from lambdascale.cluster.router import Router, Server
from lambdascale.cluster.stock import Send, Stock
from lambdascale.cluster.switching import Switching
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.control.keys import new_key
from lambdascale.pipeline.execution import ExecutionPipeline


@dataclass(slots=True)
class Served:
    """A pipeline that serves: `instance` is whose replica it is (None: an execution pipeline)."""

    record: PipelineRecord
    growth: Growth
    instance: int | None
    idle_since_s: float
    dissolving: bool = False  # its head has been told to stop

    @property
    def pipeline(self) -> int:
        return self.record.pipeline

    @property
    def head(self) -> int:
        return self.record.stages[0].node

    @property
    def nodes(self) -> tuple[int, ...]:
        """Those of its stages, the head first."""
        return tuple(dict.fromkeys(stage.node for stage in self.record.stages))

    @property
    def is_new(self) -> bool:
        """Did it have to load, unlike those that were complete before? If all were, each counts."""
        return self.instance not in self.growth.plan.whole or not self.growth.plan.groups


class Pipelines:
    """What serves one model; the router sees each as a server."""

    def __init__(
        self,
        deployment: Deployment,
        system: SystemSpec,
        router: Router,
        paces: Paces,
        stock: Stock,
        switching: Switching,
        send: Send,
        log: RunLog,
    ) -> None:
        self.served: dict[int, Served] = {}
        self._parted: dict[int, Served] = {}  # pipelines that have lost a stage
        self._draining: set[int] = set()  # who are to go once they serve nobody
        self._model = deployment.model
        self._deployment = deployment
        self._system = system
        self._router = router
        self._paces = paces
        self._stock = stock
        self._switching = switching
        self._send = send
        self._log = log

    @property
    def replicas(self) -> tuple[Served, ...]:
        """The instances that serve by themselves and are not to go."""
        return tuple(
            s
            for s in self.served.values()
            if s.instance is not None and s.pipeline not in self._draining and not s.dissolving
        )

    @property
    def num_draining(self) -> int:
        return len(self._draining)

    @property
    def idle_for_s(self) -> tuple[float, ...]:
        """For how long each instance that serves nobody has been idle."""
        at, server = now(), self._router.server
        idle = (s for s in self.replicas if not server(s.pipeline).serving)
        return tuple(at - s.idle_since_s for s in idle)

    def replica_of(self, node: int) -> int:
        """Return the pipeline id of the replica on `node`."""
        return next(
            pipeline
            for pipeline, s in self.served.items()
            if s.instance is not None and s.head == node
        )

    def form(self, formed: ExecutionPipeline, growth: Growth, instance: int | None) -> None:
        """Let a pipeline serve, of all members of `instance` or of some of several."""
        stages, whole = self._stock.slices[self._model].stages(formed.stages), instance is not None
        record = PipelineRecord(
            formed.id, "replica" if whole else "pipeline", stages, self._log.since(), formed=True,
            model=self._model,
        )  # fmt: skip
        self.served[formed.id] = served = Served(record, growth, instance, now())
        hop_s, lock_step = (0.0, False) if whole else (self._system.hop_s, self._system.lock_step)
        key = new_key()
        for node in served.nodes[1:]:
            self._send(node, m.Join(formed.id, key))
        self._send(served.head, m.Form(formed.id, self._model, stages, key, hop_s, lock_step))
        capacity = self._deployment.pipeline_capacity(len(formed.members))
        step_s = self._paces.step_s(whole)
        self._router.add(Server(formed.id, served.head, whole, capacity, step_s=step_s))
        self._log.add(record)

    def dissolve(self, served: Served) -> None:
        """Tell the head to stop, once."""
        if not served.dissolving:
            served.dissolving = True
            self._router.drain(served.pipeline)
            self._send(served.head, m.Dissolve(served.pipeline))

    def dissolved(self, message: m.Dissolved) -> Served:
        """It has stopped: whom it served waits to be resumed."""
        served = self.served[message.pipeline]
        self._remove(served, [u.request for u in message.unfinished])
        if served.pipeline not in self._parted:
            self._part(served)
        return served

    def settle(self) -> None:
        """Nothing that has to do with lost nodes is under way."""
        parted, self._parted = self._parted, {}
        for served in parted.values():
            self._part(served)

    def _part(self, served: Served) -> None:
        """Nothing travels from stage to stage any more."""
        if len(served.nodes) > 1:
            for node in served.nodes:
                self._send(node, m.Leave(served.pipeline))

    def through(self, node: int) -> list[Served]:
        """Return the pipelines that have a stage on `node`."""
        pipelines = self.served.values()
        return [s for s in pipelines if any(stage.node == node for stage in s.record.stages)]

    def lose(self, served: Served, node: int) -> None:
        """A stage is gone: without its head it is no more, else the head stops by itself."""
        self._parted[served.pipeline] = served
        if served.head == node:
            self._remove(served, ())
            return
        served.dissolving = True
        self._draining.discard(served.pipeline)
        self._router.drain(served.pipeline)

    def _remove(self, served: Served, unfinished: Sequence[int]) -> None:
        del self.served[served.pipeline]
        self._draining.discard(served.pipeline)
        self._paces.gone(served.pipeline)
        self._log.add(replace(served.record, time_s=self._log.since(), formed=False))
        self._router.remove(served.pipeline, unfinished, now())

    def shrink(self, count: int) -> None:
        """Let `count` instances go, idle ones first."""
        if count <= 0:
            return
        by_load = sorted(
            self.replicas,
            key=lambda s: (len(self._router.server(s.pipeline).serving), s.idle_since_s),
        )
        for served in by_load[:count]:
            self._drain(served)

    def vacate(self, node: int) -> None:
        """Let the instance on `node` go, if it serves already."""
        instance = self._stock.slices[self._model].instance(node)
        for served in self.replicas:
            if served.instance == instance:
                self._drain(served)

    def reclaim(self, count: int) -> int:
        """Let up to `count` draining instances stay after all, if they may; return how many did."""
        if not count or not self._draining:
            return 0
        draining = [
            s for s in self.served.values() if s.pipeline in self._draining and self._may_stay(s)
        ]
        for served in draining[:count]:
            self._draining.discard(served.pipeline)
            self._router.undrain(served.pipeline)
        return len(draining[:count])

    def note_idle(self, served: Served) -> None:
        """Note since when it serves nobody, if so."""
        if not self._router.server(served.pipeline).serving:
            served.idle_since_s = now()
            self._paces.paused(served.pipeline)
            self._leave_if_drained(served)

    def entries_left(self) -> None:
        """KV entries have left where they were: who waited for that may go."""
        for served in list(self.served.values()):
            self._leave_if_drained(served)

    def _may_stay(self, served: Served) -> bool:
        """Can it still, and are its nodes kept for nobody else?"""
        is_kept_from = self._stock.assignments.is_kept_from
        kept = any(is_kept_from(self._model, stage.node) for stage in served.record.stages)
        return not served.dissolving and not kept

    def _drain(self, served: Served) -> None:
        self._draining.add(served.pipeline)
        self._router.drain(served.pipeline)
        self._leave_if_drained(served)

    def _leave_if_drained(self, served: Served) -> None:
        """Let it stop if it is to go, serves nobody and sends no KV entries."""
        server = self._router.server(served.pipeline)
        busy = server.serving or server.ending or self._switching.sends_from(served.head)
        if served.pipeline in self._draining and not busy:
            self.dissolve(served)
