"""The controller: grows a model from k to N nodes while requests are served (architecture.md, "life").

It plans once, hands each agent its part, and then only reacts to coverage, tokens and dissolved
pipelines. It is on no data path: no block, activation or next token waits for it.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.clock import deadline
from lambdascale.cluster.barrier import Barrier
from lambdascale.cluster.members import Members
from lambdascale.cluster.records import (
    BlockRecord,
    CorruptRecord,
    NodeRecord,
    PipelineRecord,
    RunLog,
    TokenRecord,
)
from lambdascale.cluster.router import Router, Server, Work
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.control import messages as m
from lambdascale.engine.base import EngineLimits
from lambdascale.model.blocks import BlockMap
from lambdascale.model.layout import ImageLayout
from lambdascale.model.shape import ModelShape
from lambdascale.multicast.plan import plan
from lambdascale.pipeline.costs import part_nbytes
from lambdascale.pipeline.execution import ExecutionPipeline
from lambdascale.pipeline.formation import Formation
from lambdascale.workload.request import Request

PREPARE_S = 120.0
CONNECT_S = 30.0


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The model to scale: where its image lies, its configuration, layout and block checksums."""

    path: str
    config: str
    layout: ImageLayout
    checksums: tuple[int, ...]

    @property
    def context_length(self) -> int:
        """Tokens that a sequence of this model may have."""
        return ModelShape.from_config(json.loads(self.config)).context_length


class Controller:
    """Runs one scale-out; `log` shows what happens."""

    def __init__(
        self,
        system: SystemSpec,
        scale: ScaleSpec,
        image: ImageSource,
        members: Members,
        log: RunLog,
    ) -> None:
        self._system = system
        self._scale = scale
        self._image = image
        self._members = members
        self._log = log
        self._router = Router()
        schedule = plan(
            system.algorithm, scale.num_nodes, scale.num_sources, scale.num_blocks, system.order
        )
        self._schedule = schedule
        self._formation = Formation(
            schedule.subgroups,
            schedule.num_sources,
            BlockMap.of(image.layout, schedule.num_blocks),
            part_nbytes(image.layout),
            system.execute_while_load,
        )
        self._barrier = Barrier(schedule)
        self._pipelines: dict[int, PipelineRecord] = {}
        self._num_waiting = 0

    async def run(self, requests: Sequence[Request]) -> None:
        """Bring up the agents, scale out, serve every request, dismiss the agents."""
        log = self._log
        log.restart()
        async with deadline(self._scale.timeout_s, "the whole run"):
            await self._members.join()
            log.phase("agents up")
            await self._prepare()
            log.phase("prepared")
            await self._connect()
            log.phase("connected")
            await self._serve(requests)
            log.phase("finished")
            for report in await self._members.dismiss():
                log.add(NodeRecord(report.node, report.steps, report.overruns))

    async def _prepare(self) -> None:
        scale, image = self._scale, self._image
        max_length = min(scale.max_length, image.context_length)
        limits = EngineLimits(scale.max_slots, max_length, scale.max_step_tokens)
        for node in range(scale.num_nodes):
            load = node < scale.num_sources
            lanes = scale.num_nodes
            message = m.Prepare(
                image.path, image.config, image.layout, image.checksums, limits, lanes, load
            )
            self._members.send(node, message)
        await self._members.gather(m.Prepared, "the preparation of all nodes", PREPARE_S)

    async def _connect(self) -> None:
        """Open every link the plan needs, and those that pipelines may need, before time counts."""
        schedule = self._schedule
        for node in range(self._scale.num_nodes):
            bulk = sorted({t.dst for t in schedule.sends_of(node)})
            express = [n for n in self._scale.destinations if n != node]
            links = tuple(express) if node in self._scale.destinations else ()
            self._members.send(node, m.Connect(self._members.addresses, tuple(bulk), links))
        await self._members.gather(m.Connected, "the connection of all nodes", CONNECT_S)

    async def _serve(self, requests: Sequence[Request]) -> None:
        """From the start of the scale-out until all nodes are replicas and all requests answered."""
        self._log.restart()
        self._log.phase("started")
        self._reshape()
        self._multicast()
        self._num_waiting = len(requests)
        work = [asyncio.ensure_future(w) for w in (self._arrive(requests), self._react())]
        try:
            await asyncio.gather(*work)
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)

    async def _react(self) -> None:
        while not (self._switched and self._num_waiting == 0 and self._router.idle):
            self._handle(await self._members.receive())

    @property
    def _switched(self) -> bool:
        """Is every node a replica?"""
        replicas = sum(len(p.stages) == 1 for p in self._pipelines.values())
        return replicas == self._scale.num_nodes

    async def _arrive(self, requests: Sequence[Request]) -> None:
        """Let requests in when their time comes (open loop)."""
        for request in sorted(requests, key=lambda r: r.arrival_s):
            await asyncio.sleep(request.arrival_s - self._log.since())
            self._router.enqueue(Work(request))
            self._num_waiting -= 1
            self._dispatch()

    def _multicast(self) -> None:
        schedule, barrier = self._schedule, self._system.barrier
        for node in range(self._scale.num_nodes):
            sends = schedule.sends_of(node)
            self._members.send(node, m.Multicast(sends, self._system.window, barrier))
            if barrier:
                self._members.send(node, m.OpenTick(1))

    def _handle(self, message: m.Message) -> None:
        match message:
            case m.Coverage():
                self._cover(message)
            case m.Tokens():
                self._emit(message)
            case m.Dissolved():
                self._dissolved(message)
            case m.CorruptBlock():
                record = CorruptRecord(message.node, message.block, message.src, self._log.since())
                self._log.add(record)
        self._dispatch()

    def _cover(self, coverage: m.Coverage) -> None:
        log, node = self._log, coverage.node
        log.phase("first block")
        for a in coverage.arrivals:
            times = log.since(a.arrived_s), log.since(a.verified_s)
            log.add(BlockRecord(node, a.block, a.src, *times))
        blocks = [a.block for a in coverage.arrivals]
        self._formation.arrived(node, blocks)
        if self._formation.covered:
            log.phase("covered")
        if self._formation.complete:
            log.phase("complete")
        if self._system.barrier:
            for group, tick in self._barrier.arrived(node, blocks):
                self._members.tell(group, m.OpenTick(tick))
        self._reshape()

    def _reshape(self) -> None:
        """Mode-switch complete nodes, and form the execution pipelines that have become possible."""
        changes = self._formation.decide()
        for pipeline in changes.leaving:
            self._router.drain(pipeline)
            self._members.send(self._pipelines[pipeline].stages[0].node, m.Dissolve(pipeline))
        for replica in changes.replicas:
            self._form(replica)
        if self._switched:
            self._log.phase("switched")
        for formed in changes.pipelines:
            self._log.phase("pipeline formed")
            self._form(formed)

    def _form(self, formed: ExecutionPipeline) -> None:
        pipeline, stages, head = formed.id, formed.stages, formed.head
        whole = len(stages) == 1
        capacity = self._scale.max_slots
        self._members.send(head, m.Form(pipeline, stages, capacity))
        self._router.add(Server(pipeline, head, whole, capacity))
        kind = "replica" if whole else "pipeline"
        record = PipelineRecord(pipeline, kind, stages, self._log.since(), formed=True)
        self._pipelines[pipeline] = record
        self._log.add(record)

    def _dissolved(self, message: m.Dissolved) -> None:
        record = self._pipelines.pop(message.pipeline)
        gone = PipelineRecord(
            record.pipeline, record.kind, record.stages, self._log.since(), formed=False
        )
        self._log.add(gone)
        self._router.remove(message.pipeline, message.unfinished)
        self._formation.dissolved(message.pipeline)
        self._reshape()

    def _emit(self, message: m.Tokens) -> None:
        record = self._pipelines[message.pipeline]
        node, time_s = record.stages[0].node, self._log.since(message.time_s)
        if node >= self._scale.num_sources:
            self._log.phase("first token of a receiver")
        for t in message.tokens:
            self._router.extend(message.pipeline, t.request, t.token, t.last)
            token = TokenRecord(
                t.request, t.position, t.token, time_s, node, message.pipeline, record.kind, t.last
            )
            self._log.add(token)

    def _dispatch(self) -> None:
        for server, work in self._router.dispatch():
            submit = m.Submit(server.pipeline, work.request, tuple(work.generated))
            self._members.send(server.head, submit)
