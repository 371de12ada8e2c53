"""The controller: many models, three tiers, one cluster (architecture.md, "The life of a scale-out").

A thin shell: messages go to the model or the node they are about, decisions are asked for whenever
something has changed. It is on no data path: no block, activation or next token waits for it.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from lambdascale.clock import deadline
from lambdascale.cluster.balance import Balance
from lambdascale.cluster.bring_up import bring_up, preparation
from lambdascale.cluster.deployment import ClusterSpec, Deployment, check, check_requests, model_of
from lambdascale.cluster.heartbeat import Heartbeat
from lambdascale.cluster.members import Came, Died, Ended, Event, Members
from lambdascale.cluster.records import (
    BlockRecord,
    CorruptRecord,
    NodeRecord,
    RefusedRecord,
    RunLog,
)
from lambdascale.cluster.recovery import Recovery
from lambdascale.cluster.returns import Returns
from lambdascale.cluster.service import Service
from lambdascale.cluster.stock import Stock
from lambdascale.cluster.switching import Switching
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.errors import OverloadedError
from lambdascale.multicast.schedule import Transfer
from lambdascale.pipeline.switch import Method
from lambdascale.storage.tiers import Tier
from lambdascale.workload.request import Request


class Controller:
    """Serves requests for the deployed models; `log` shows what happens."""

    def __init__(
        self,
        system: SystemSpec,
        cluster: ClusterSpec,
        deployments: Sequence[Deployment],
        members: Members,
        log: RunLog,
    ) -> None:
        check(system, cluster, tuple(deployments))
        self._cluster = cluster
        self._members = members
        self._log = log
        self.stock = Stock(cluster, deployments, system, members.send, log)
        method = None if system.kv_switch == "cost" else Method(system.kv_switch)
        switching = Switching(method, cluster, members.send, log)
        self.services = {
            d.model: Service(d, system, self.stock, switching, members.send, log)
            for d in deployments
        }
        self._balance = Balance(system, cluster, self.services, self.stock, members, log)
        self._recovery = Recovery(
            system, cluster, self.services, self.stock, self._balance.expansion, members, log,
            self._balance.decide,
        )  # fmt: skip
        self._prepare = preparation(system, cluster, self.services)
        self._returns = Returns(self._prepare, cluster, self.stock, self._recovery, members, log)
        self._heartbeat = Heartbeat(members, cluster.heartbeat_s, cluster.silence_s)
        self._balance.paused = lambda: self._recovery.under_way
        self._pending = 0
        self._open = False  # requests may come that nobody has told it of
        self._given_up: set[int] = set()  # cancelled requests that have not been taken in
        self._over = asyncio.Event()

    @property
    def num_alive(self) -> int:
        """How many nodes there are at this moment."""
        return len(self._members.alive)

    async def run(self, requests: Sequence[Request]) -> None:
        """Bring up the agents, serve every request, dismiss the agents; raises ConfigError at once."""
        log = self._log
        check_requests([service.deployment for service in self.services.values()], requests)
        log.restart()
        self._pending = len(requests)
        async with deadline(self._cluster.timeout_s, "the whole run"):
            await bring_up(
                self._prepare, self._cluster, self.services, self.stock, self._members, log
            )
            await self._serve(requests)
            log.phase("finished")
            reports = await self._members.dismiss()
            for report in reports:
                log.add(NodeRecord(report.node, report.steps, report.overruns))
            self._recovery.check(len(reports))

    async def _serve(self, requests: Sequence[Request]) -> None:
        """From the start until everything is answered and nothing grows any more."""
        self._log.restart()
        self._log.phase("started")
        self.stock.begin()
        self._balance.begin()
        self._changed()
        await _until(
            self._over,
            self._arrive(requests),
            self._react(),
            self._balance.run(),
            self._returns.run(),
            self._heartbeat.run(),
        )

    async def _arrive(self, requests: Sequence[Request]) -> None:
        """Let requests in when their time comes (open loop); refused ones try again when they are told to."""
        async with asyncio.TaskGroup() as retries:
            for request in sorted(requests, key=lambda r: r.arrival_s):
                if (wait_s := request.arrival_s - self._log.since()) > 0:
                    await asyncio.sleep(wait_s)  # those of one moment are decided upon together
                if (again_s := self._admitted(request)) is not None:
                    retries.create_task(self._retry(request, again_s))
        self._changed()

    async def _retry(self, request: Request, wait_s: float) -> None:
        while True:
            await asyncio.sleep(wait_s)
            refused_s = self._admitted(request)
            if refused_s is None:
                return
            wait_s = refused_s

    def _admitted(self, request: Request) -> float | None:
        """Submit; None if it was taken in or given up, else seconds to wait before trying again."""
        try:
            if request.id not in self._given_up:
                self.submit(request)
        except OverloadedError as error:
            wait_s = error.retry_after_s
            model = self._service(request).model
            self._log.add(RefusedRecord(request.id, model, self._log.since(), wait_s))
            return wait_s
        self._pending -= 1
        return None

    async def serve(self, ready: asyncio.Event) -> None:
        """Bring up the agents, set `ready`, and serve what is submitted, for ever."""
        log = self._log
        log.restart()
        async with deadline(self._cluster.timeout_s, "the start of the cluster"):
            await bring_up(
                self._prepare, self._cluster, self.services, self.stock, self._members, log
            )
        self._open = True
        ready.set()
        await self._serve(())

    def submit(self, request: Request) -> None:
        """Take in a request; raises OverloadedError with the seconds to wait, ConfigError."""
        self._service(request).submit(request)
        self._recovery.give_up()
        self._balance.wake()

    def cancel(self, request: Request) -> None:
        """Give up a request, even one that has not come yet; its slot is free at the next step boundary."""
        if self._pending:
            self._given_up.add(request.id)
        self._service(request).cancel(request.id)
        self._changed()

    def _service(self, request: Request) -> Service:
        return self.services[model_of(request, self.services)]

    async def _react(self) -> None:
        while True:
            message = await self._members.next()
            if isinstance(message, m.Unreachable):
                await self._members.end(message.peer, f"node {message.node} could not reach it")
            self._handle(message)

    def _handle(self, message: m.Message | Event) -> None:
        match message:
            case Ended():
                self._returns.ended(message.node)
                if message.node in self.stock.assignments.of:
                    self._recovery.ended(message)
            case Died():
                self._returns.died(message.node)
                self._recovery.died(message.node)
            case Came():
                self._returns.came(message)
                self._recovery.quiet(message.node)
            case m.Prepared():
                self._returns.prepared(message)
            case m.LossNoted():
                self._recovery.noted(message)
            case m.SendsStopped():
                self._recovery.stopped(message)
            case m.Written():
                self._recovery.wrote(message)
                return
            case m.Coverage():
                if not self._cover(message):
                    return
            case m.Tokens():
                if not self._serving(message.pipeline).emit(message):
                    return
            case m.Dissolved():
                self._serving(message.pipeline).dissolved(message)
            case m.Cancelled():
                for service in self.services.values():
                    service.cancelled(message)
            case m.CorruptBlock():
                self._corrupt(message)
            case m.Connected():
                self._balance.connected(message)
        self._returns.go_on()
        self._changed()

    def _changed(self) -> None:
        """Something has: give work to whom has room, decide anew, notice the end."""
        for service in self.services.values():
            if service.awake:
                service.dispatch()
                service.conclude()
        self._recovery.give_up()
        self._balance.wake()
        if not (self._pending or self._open) and all(s.over for s in self.services.values()):
            self._over.set()

    def _serving(self, pipeline: int) -> Service:
        return next(s for s in self.services.values() if pipeline in s.pipelines.served)

    def _cover(self, coverage: m.Coverage) -> bool:
        """Blocks have arrived; True if more than these has changed."""
        log, node = self._log, coverage.node
        if coverage.tier is Tier.GPU:
            log.phase("first block")
        for a in coverage.arrivals:
            times = log.since(a.arrived_s), log.since(a.verified_s)
            log.add(BlockRecord(node, a.block, a.src, *times, coverage.model, a.origin))
        blocks = [a.block for a in coverage.arrivals]
        changed = self.stock.arrived(node, coverage.tier, coverage.model, blocks)
        if coverage.tier is Tier.GPU:
            changed |= self.services[coverage.model].cover(coverage)
        return changed

    def _corrupt(self, message: m.CorruptBlock) -> None:
        """Let who sent a corrupted block send it again."""
        node, model, src = message.node, message.model, message.src
        self._log.add(CorruptRecord(node, message.block, src, self._log.since()))
        if not self.services[model].has(node):
            return
        growth = self.services[model].growth_of(node)
        sender = growth.sender_of(message.block, node, src)
        if sender is None or src not in self._members.alive or growth.repairing:
            growth.spoil(node, message.block)
            return
        target = self.stock.target(node, model)
        transfer = Transfer(0, sender, node, message.block)
        self._members.send(sender, m.Resend(model, growth.tier_of(sender), transfer, target))


async def _until(over: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Work until `over`; raise what any of it raises."""
    tasks = [asyncio.ensure_future(w) for w in work]
    ended = asyncio.ensure_future(over.wait())
    try:
        pending = {ended, *tasks}
        while not ended.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (ended, *tasks):
            task.cancel()
        await asyncio.wait((ended, *tasks))
