"""The agent of one device: does what the controller says, over whichever leaves it was given.

The same code runs as a subprocess on real leaves and as a task on simulated ones. An agent lives no
longer than its control channel.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambdascale.cluster.activation import Activation, slot_nbytes
from lambdascale.cluster.exchange import BlockExchange
from lambdascale.cluster.head import Head
from lambdascale.cluster.links import Links
from lambdascale.cluster.relay import Relay
from lambdascale.cluster.reporter import Reporter
from lambdascale.cluster.tags import IMAGE, INBOX, KV, OUTBOX, Kind, tag, untag
from lambdascale.control import messages as m
from lambdascale.control.base import Channel
from lambdascale.engine.base import Engine, Rows
from lambdascale.errors import ConfigError, LambdaScaleError, PeerGoneError, plain
from lambdascale.model.blocks import BlockMap
from lambdascale.storage.base import Storage
from lambdascale.transport.base import Lane, Notice, Transport


class _Stopped(Exception):  # noqa: N818 - the usual way to end a TaskGroup, not an error
    """The controller said Stop: end the task group and everything in it."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Everything an agent touches the world with."""

    channel: Channel
    transport: Transport
    engine: Engine
    storage: Storage


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `Prepare` made: the model's place on this node and those who work on it."""

    prepare: m.Prepare
    exchange: BlockExchange
    relay: Relay


class Agent:
    """Serves one controller until told to stop; `run` raises what went wrong, after reporting it."""

    def __init__(self, node: int, leaves: Leaves) -> None:
        self._node = node
        self._leaves = leaves
        self._links = Links(leaves.transport)
        self._reporter = Reporter(node, leaves.channel)
        self._heads: dict[int, Head] = {}
        self._loaded: Loaded | None = None
        self._tasks = asyncio.TaskGroup()

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
            await self._leaves.engine.close()
            await self._leaves.transport.close()
            await channel.close()

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(PeerGoneError):  # the controller may have gone meanwhile
            self._leaves.channel.send(m.Failed(self._node, type(error).__name__, str(error)))

    def _report(self) -> m.Report:
        counts = self._leaves.engine.counts
        return m.Report(self._node, counts.steps, counts.overruns)

    async def _obey(self) -> None:
        """Do what the controller says until it says Stop."""
        while not isinstance(message := await self._leaves.channel.receive(), m.Stop):
            self._handle(message)

    def _handle(self, message: m.Message) -> None:
        match message:
            case m.Prepare():
                self._spawn(self._prepare(message))
            case m.Connect():
                self._spawn(self._connect(message))
            case m.Multicast():
                sends = self._model.exchange.send_all(
                    message.sends, message.window, message.barrier
                )
                self._spawn(sends)
            case m.OpenTick():
                self._spawn(self._model.exchange.open_tick(message.tick))
            case m.Form():
                self._form(message)
            case m.Submit():
                self._heads[message.pipeline].submit(message.request, message.generated)
            case m.Dissolve():
                self._heads[message.pipeline].dissolve()
            case _:
                raise ConfigError(f"an agent cannot handle {type(message).__name__}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(work)

    @property
    def _model(self) -> Loaded:
        if self._loaded is None:
            raise ConfigError(f"node {self._node} was told to work before it was prepared")
        return self._loaded

    async def _prepare(self, prepare: m.Prepare) -> None:
        """Allocate, register and build everything; a source also loads and verifies its image."""
        transport, engine, limits = self._leaves.transport, self._leaves.engine, prepare.limits
        image = await transport.register(IMAGE, prepare.layout.nbytes)
        widths = await engine.prepare(prepare.layout, prepare.config, limits)
        await engine.attach(image, 0, await transport.register(KV, engine.kv.nbytes))
        row, final = widths.row_nbytes, widths.final_row_nbytes
        slot = slot_nbytes(limits, prepare.layout.num_parts, row, final)
        inbox = await transport.register(INBOX, slot * prepare.max_lanes)
        outbox = await transport.register(OUTBOX, slot * prepare.max_lanes)
        blocks = BlockMap.of(prepare.layout, len(prepare.checksums))
        exchange = BlockExchange(image, outbox, blocks, prepare.checksums, self._links)
        relay = Relay(self._node, engine, inbox, outbox, slot, self._links)
        self._loaded = Loaded(prepare, exchange, relay)
        if prepare.load:
            image_file = Path(prepare.image)
            await self._leaves.storage.load(image_file, 0, image, 0, prepare.layout.nbytes)
            await exchange.verify_all()
        self._leaves.channel.send(m.Prepared(self._node))

    async def _connect(self, message: m.Connect) -> None:
        self._links.learn(message.addresses)
        async with asyncio.TaskGroup() as group:
            for peer in message.bulk:
                group.create_task(self._warm(peer, Lane.BULK, IMAGE))
            for peer in message.express:
                group.create_task(self._warm(peer, Lane.EXPRESS, INBOX))
        self._leaves.channel.send(m.Connected(self._node))

    async def _warm(self, peer: int, lane: Lane, target: int) -> None:
        """Open a link and make its first write, an empty one."""
        link = await self._links.get(peer, lane)
        await link.write(self._model.exchange.outbox, 0, 0, target, 0, tag(Kind.WARM, 0))

    def _form(self, form: m.Form) -> None:
        model = self._model
        limits, lanes = model.prepare.limits, model.prepare.max_lanes
        head = Head(form, self._leaves.engine, limits, lanes, model.relay, self._leaves.channel)
        self._heads[form.pipeline] = head
        self._spawn(self._serve(form.pipeline, head))

    async def _serve(self, pipeline: int, head: Head) -> None:
        await head.run()
        del self._heads[pipeline]

    async def _watch(self) -> None:
        """Handle what peers write to us. A lost peer is the controller's to notice, not ours."""
        while True:
            event = await self._leaves.transport.receive()
            if isinstance(event, Notice):
                self._spawn(self._noticed(event))

    async def _noticed(self, notice: Notice) -> None:
        kind, value = untag(notice.tag)
        match kind:
            case Kind.WARM:
                pass
            case Kind.BLOCK:
                arrival = await self._model.exchange.arrived(notice, value, self._corrupt)
                if arrival is not None:
                    self._reporter.add(arrival)
            case Kind.RESEND:
                await self._model.exchange.send(notice.peer, value)
            case Kind.ACTIVATION:
                await self._model.relay.received(notice, self._home)

    def _corrupt(self, block: int, src: int) -> None:
        self._leaves.channel.send(m.CorruptBlock(self._node, block, src))

    def _home(self, activation: Activation, rows: Rows) -> None:
        self._heads[activation.pipeline].home(activation, rows)
