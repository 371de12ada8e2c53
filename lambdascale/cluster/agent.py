"""The agent of one device: does what the controller says, over whichever leaves it was given.

The same code runs as a subprocess on real leaves and as a task on simulated ones. An agent lives no
longer than its control channel, unless it has a lease: then it falls quiet, keeps what it holds, and looks
for its controller, or the next one at the same address, until the lease runs out.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambdascale.clock import now
from lambdascale.cluster.activation import slot_nbytes
from lambdascale.cluster.links import Links
from lambdascale.cluster.reporter import Reporter
from lambdascale.cluster.tags import GPU, INBOX, Kind, tag, untag
from lambdascale.cluster.workplace import Losing, Workplace, prepare
from lambdascale.control import messages as m
from lambdascale.control.base import Channel
from lambdascale.control.keys import new_key
from lambdascale.engine.base import Engine
from lambdascale.errors import ConfigError, DeadlineError, LambdaScaleError, PeerGoneError, plain
from lambdascale.storage.base import Storage
from lambdascale.transport.base import Lane, Notice, Transport

SOON_S, SELDOM_S = 0.05, 1.0  # between two tries to find a controller: at first, and later on


class _Stopped(Exception):  # noqa: N818 - the usual way to end a TaskGroup, not an error
    """The controller said Stop: end the task group and everything in it."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Everything an agent touches the world with; one engine is made per model.

    `connect` opens a channel to the controller; without one the agent lives for `lease_s`. `ssd` is the
    folder to which images go that are stored later.
    """

    connect: Callable[[], Coroutine[Any, Any, Channel]]
    transport: Transport
    make_engine: Callable[[], Engine]
    storage: Storage
    ssd: Path = Path("ssd")
    lease_s: float = 0.0


class Agent:
    """Serves one controller until told to stop; `run` raises what went wrong, after reporting it."""

    def __init__(self, node: int, leaves: Leaves) -> None:
        self._node = node
        self._leaves = leaves
        self._links = Links(leaves.transport, self._broken)
        self._address = m.Address(leaves.transport.address, new_key(), new_key())
        self._reporter = Reporter(node)
        self._channel: Channel | None = None
        self._prepared: m.Prepare | None = None
        self._workplace: Workplace | None = None
        self._engines: dict[str, Engine] = {}
        self._tasks = asyncio.TaskGroup()
        self._work: dict[asyncio.Task[None], None] = {}  # for the controller of now
        self._brief: dict[asyncio.Task[None], None] = {}  # what comes to its end by itself, soon

    async def run(self) -> None:
        """Work until Stop, or until there has been no controller for as long as the lease lasts."""
        try:
            await self._serve(await self._reach(now()))
        finally:
            await self._leaves.storage.close()
            for engine in self._engines.values():
                await engine.close()
            await self._leaves.transport.close()
            if self._channel is not None:
                await self._channel.close()

    async def _serve(self, channel: Channel) -> None:
        """Work for one controller after the other; tell it why if that must end."""
        try:
            async with self._tasks:
                self._tasks.create_task(self._reporter.run())
                self._tasks.create_task(self._watch())
                while not await self._obey(channel):
                    channel = await self._rest(channel)
                raise _Stopped
        except* _Stopped:
            self._reporter.send(self._report())
        except* LambdaScaleError as group:
            self._fail(plain(group))
        except* Exception as group:
            self._fail(plain(group))
            raise

    def _fail(self, error: BaseException) -> None:
        self._reporter.send(m.Failed(self._node, type(error).__name__, str(error)))

    def _report(self) -> m.Report:
        counts = [engine.counts for engine in self._engines.values()]
        steps, overruns = sum(c.steps for c in counts), sum(c.overruns for c in counts)
        return m.Report(self._node, steps, overruns)

    async def _reach(self, since_s: float) -> Channel:
        """Connect to the controller; raises PeerGoneError if none has answered `lease_s` after `since_s`."""
        end_s, wait_s = since_s + self._leaves.lease_s, SOON_S
        while True:
            try:
                self._channel = await self._leaves.connect()
                return self._channel
            except (PeerGoneError, DeadlineError):
                if now() + wait_s > end_s:
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, SELDOM_S)

    async def _rest(self, channel: Channel) -> Channel:
        """The controller is gone: let all that is under way end, keep what is verified, find the next one."""
        since_s = now()
        await channel.close()
        await self._links.lose_all()
        if self._workplace is not None:
            await self._workplace.rest()
        while self._work:
            await asyncio.wait(self._work)
        self._leaves.transport.renew()
        return await self._reach(since_s)

    async def _obey(self, channel: Channel) -> bool:
        """Do what the controller says; True if it said Stop, False if it is gone and there is a lease."""
        self._reporter.connect(channel)
        leaves = self._leaves
        self._reporter.send(m.Hello(self._node, self._address, leaves.lease_s))
        while True:
            try:
                message = await channel.receive()
            except PeerGoneError:
                if not leaves.lease_s:
                    raise
                return False
            if isinstance(message, m.Stop):
                return True
            self._do(message)

    def _do(self, message: m.Message) -> None:
        """Do what can be done at once, and begin the rest."""
        if isinstance(message, m.Prepare):
            self._spawn(self._prepare(message))
        elif isinstance(message, m.Connect):
            for peer in self._links.learn(message.addresses):
                self._place.found(peer)
            self._spawn(self._connect(message))
        elif isinstance(message, m.Ping):
            self._reporter.send(m.Pong(self._node))
        elif isinstance(message, m.NodeLost):
            self._lose(message)
        elif (work := self._place.handle(message)) is not None:
            task = self._spawn(work)
            if isinstance(message, m.SendKv | m.Resend):
                self._note(task)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._work[task] = None
        task.add_done_callback(self._work.pop)
        return task

    def _note(self, task: asyncio.Task[None]) -> None:
        self._brief[task] = None
        task.add_done_callback(self._brief.pop)

    def _broken(self, peer: int) -> None:
        self._reporter.send(m.Unreachable(self._node, peer))

    def _lose(self, message: m.NodeLost) -> None:
        """Begin nothing more with a node that is gone, and answer when what has begun is over."""
        self._links.lose(message.node)
        losing = self._place.lose(message)
        self._spawn(self._answer(message, losing))

    async def _answer(self, message: m.NodeLost, losing: Losing) -> None:
        """What had come is handled; what was on its way does not come any more."""
        await self._leaves.transport.fence(message.node)
        brief = list(self._brief)
        await self._place.moves.lose(message.node)
        await losing.over()
        if brief:
            await asyncio.wait(brief)
        self._reporter.flush()
        delivered = tuple(
            m.Delivered(number, t.dst, t.block)
            for number, sends in losing.sends.items()
            for t in sends.delivered
        )
        self._reporter.send(m.LossNoted(self._node, message.node, delivered))

    @property
    def _place(self) -> Workplace:
        if self._workplace is None:
            raise ConfigError(f"node {self._node} was told to work before it was prepared")
        return self._workplace

    async def _prepare(self, message: m.Prepare) -> None:
        """Get ready for a controller; what was prepared for an earlier one serves this one, too."""
        if self._prepared is None:
            await self._set_up(message)
            self._prepared = message
        elif message != self._prepared:
            raise ConfigError(
                f"node {self._node} was prepared for other models or memory by an earlier controller; start "
                "the same deployment, or new agents"
            )
        if self._brief:  # what peers wrote before they fell quiet
            await asyncio.wait(self._brief)
        held = await self._place.begin()
        self._reporter.flush()
        self._reporter.send(m.Prepared(self._node, held))

    async def _set_up(self, message: m.Prepare) -> None:
        leaves = self._leaves
        self._reporter.report_s = message.report_s
        slots = []
        for hosted in message.models:
            engine = self._engines[hosted.model] = leaves.make_engine()
            layout, limits = hosted.image.layout, hosted.limits
            widths = await engine.prepare(layout, hosted.image.config, limits)
            row, final = widths.row_nbytes, widths.final_row_nbytes
            slots.append(slot_nbytes(limits, layout.num_parts, row, final))
        self._workplace = await prepare(
            message, self._node, leaves.transport, leaves.storage, leaves.ssd, self._engines, max(slots),
            self._links, self._reporter,
        )  # fmt: skip
        leaves.transport.grant(self._address.bulk, GPU, [(0, 0)])
        leaves.transport.grant(self._address.express, INBOX, [(0, 0)])

    async def _connect(self, message: m.Connect) -> None:
        outbox, nothing = self._place.outbox, tag(Kind.WARM, 0)
        async with asyncio.TaskGroup() as group:
            for peer in message.bulk:
                group.create_task(self._links.warm(peer, Lane.BULK, outbox, nothing))
            for peer in message.express:
                group.create_task(self._links.warm(peer, Lane.EXPRESS, outbox, nothing))
        self._reporter.send(m.Connected(self._node, message.token))

    async def _watch(self) -> None:
        """Handle what peers write to us. A lost peer is the controller's to notice, not ours."""
        while True:
            event = await self._leaves.transport.receive()
            if isinstance(event, Notice):
                self._note(self._spawn(self._noticed(event)))

    async def _noticed(self, notice: Notice) -> None:
        kind, value = untag(notice.tag)
        match kind:
            case Kind.WARM:
                pass
            case Kind.BLOCK:
                await self._place.holdings.arrived(notice, value)
            case Kind.ACTIVATION:
                await self._place.relay.received(notice, self._place.home)
            case Kind.KV:
                await self._place.moves.arrived(notice.peer, value)
