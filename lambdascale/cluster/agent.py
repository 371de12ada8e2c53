"""The agent of one device: does what the controller says, over whichever leaves it was given.

The same code runs as a subprocess on real leaves and as a task on simulated ones. An agent lives no
longer than its control channel.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambdascale.cluster import holdings
from lambdascale.cluster.activation import slot_nbytes
from lambdascale.cluster.links import Links
from lambdascale.cluster.reporter import Reporter
from lambdascale.cluster.sends import Sends
from lambdascale.cluster.tags import GPU, INBOX, Kind, tag, untag
from lambdascale.cluster.workplace import Losing, Workplace, prepare
from lambdascale.control import messages as m
from lambdascale.control.base import Channel
from lambdascale.engine.base import Engine
from lambdascale.errors import ConfigError, LambdaScaleError, PeerGoneError, plain
from lambdascale.storage.base import Storage
from lambdascale.transport.base import Lane, Notice, Transport


class _Stopped(Exception):  # noqa: N818 - the usual way to end a TaskGroup, not an error
    """The controller said Stop: end the task group and everything in it."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Everything an agent touches the world with; one engine is made per model.

    `ssd` is the folder to which images go that are stored later.
    """

    channel: Channel
    transport: Transport
    make_engine: Callable[[], Engine]
    storage: Storage
    ssd: Path = Path("ssd")


class Agent:
    """Serves one controller until told to stop; `run` raises what went wrong, after reporting it."""

    def __init__(self, node: int, leaves: Leaves) -> None:
        self._node = node
        self._leaves = leaves
        self._links = Links(leaves.transport, self._broken)
        self._reporter = Reporter(node, leaves.channel)
        self._workplace: Workplace | None = None
        self._engines: dict[str, Engine] = {}
        self._tasks = asyncio.TaskGroup()
        self._brief: dict[asyncio.Task[None], None] = {}  # what comes to its end by itself, soon

    async def run(self) -> None:
        """Introduce this agent and work until Stop or until the controller is gone."""
        channel = self._leaves.channel
        channel.send(m.Hello(self._node, self._leaves.transport.address))
        try:
            async with self._tasks:
                self._spawn(self._reporter.run())
                self._spawn(self._watch())
                await self._obey()
                raise _Stopped
        except* _Stopped:
            self._leaves.channel.send(self._report())
        except* LambdaScaleError as group:
            self._fail(plain(group))
        except* Exception as group:
            self._fail(plain(group))
            raise
        finally:
            await self._leaves.storage.close()
            for engine in self._engines.values():
                await engine.close()
            await self._leaves.transport.close()
            await channel.close()

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(PeerGoneError):  # the controller may have gone meanwhile
            self._leaves.channel.send(m.Failed(self._node, type(error).__name__, str(error)))

    def _report(self) -> m.Report:
        counts = [engine.counts for engine in self._engines.values()]
        steps, overruns = sum(c.steps for c in counts), sum(c.overruns for c in counts)
        return m.Report(self._node, steps, overruns)

    async def _obey(self) -> None:
        """Do what the controller says until it says Stop."""
        while not isinstance(message := await self._leaves.channel.receive(), m.Stop):
            if isinstance(message, m.Prepare):
                self._spawn(self._prepare(message))
            elif isinstance(message, m.Connect):
                self._spawn(self._connect(message))
            elif isinstance(message, m.NodeLost):
                self._lose(message)
            elif isinstance(message, m.StopSends):
                stopped = self._place.holdings.stop(message.scale_outs)
                last = message.scale_outs[-1]
                self._spawn(self._halt(stopped, message.slow, scale_out=last))
            elif (work := self._place.handle(message)) is not None:
                task = self._spawn(work)
                if isinstance(message, m.SendKv):
                    self._note(task)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(work)

    def _note(self, task: asyncio.Task[None]) -> None:
        self._brief[task] = None
        task.add_done_callback(self._brief.pop)

    def _broken(self, peer: int) -> None:
        with contextlib.suppress(PeerGoneError):  # `_obey` notices
            self._leaves.channel.send(m.Unreachable(self._node, peer))

    def _lose(self, message: m.NodeLost) -> None:
        """Begin nothing more with a node that is gone, and answer when what has begun is over."""
        self._links.lose(message.node)
        losing = self._place.lose(message)
        self._spawn(self._halt(losing.sends, (), lost=message.node))
        self._spawn(self._answer(message, losing, list(self._brief)))

    async def _answer(
        self, message: m.NodeLost, losing: Losing, brief: list[asyncio.Task[None]]
    ) -> None:
        await self._place.moves.lose(message.node)
        await losing.over()
        if brief:
            await asyncio.wait(brief)
        self._reporter.flush()
        self._leaves.channel.send(
            m.LossNoted(self._node, message.node, holdings.delivered(losing.sends))
        )

    async def _halt(
        self, sends: Mapping[int, Sends], slow: Sequence[int], lost: int | None = None,
        scale_out: int | None = None,
    ) -> None:  # fmt: skip
        """Answer when none of these sends is under way but those to and from slow nodes."""
        for each in sends.values():
            await each.quiet(slow)
        self._reporter.flush()
        done, coming = holdings.delivered(sends), holdings.coming(sends)
        with contextlib.suppress(PeerGoneError):  # `_obey` notices
            self._leaves.channel.send(m.SendsStopped(self._node, lost, scale_out, done, coming))

    @property
    def _place(self) -> Workplace:
        if self._workplace is None:
            raise ConfigError(f"node {self._node} was told to work before it was prepared")
        return self._workplace

    async def _prepare(self, message: m.Prepare) -> None:
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
        leaves.channel.send(m.Prepared(self._node))

    async def _connect(self, message: m.Connect) -> None:
        self._links.learn(message.addresses)
        async with asyncio.TaskGroup() as group:
            for peer in message.bulk:
                group.create_task(self._warm(peer, Lane.BULK, GPU))
            for peer in message.express:
                group.create_task(self._warm(peer, Lane.EXPRESS, INBOX))
        self._leaves.channel.send(m.Connected(self._node, message.token))

    async def _warm(self, peer: int, lane: Lane, target: int) -> None:
        """Open a link and make its first write, an empty one."""
        outbox, nothing = self._place.outbox, tag(Kind.WARM, 0)
        await self._links.write(peer, lane, outbox, 0, 0, target, 0, nothing)

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
