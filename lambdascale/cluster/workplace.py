"""What an agent works with once it is prepared: arenas, the seat, heads of pipelines, KV moves.

Messages are handled in the order they came; what takes time is returned as work for a task of its own.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambdascale.cluster.activation import Activation
from lambdascale.cluster.copies import Sends
from lambdascale.cluster.head import Head
from lambdascale.cluster.holdings import Holdings
from lambdascale.cluster.kv_moves import KvMoves
from lambdascale.cluster.links import Links
from lambdascale.cluster.relay import Relay
from lambdascale.cluster.reporter import Reporter
from lambdascale.cluster.seat import Seat
from lambdascale.cluster.tags import GPU, HOST, INBOX, KV, OUTBOX
from lambdascale.control import messages as m
from lambdascale.control.base import CONTROLLER
from lambdascale.engine.base import Engine, EngineLimits, Rows
from lambdascale.errors import ConfigError, PeerGoneError
from lambdascale.storage.base import Storage
from lambdascale.storage.tiers import Tier
from lambdascale.transport.base import Region, Transport

Work = Coroutine[Any, Any, None]


@dataclass(frozen=True, slots=True)
class Losing:
    """What a node has begun that has to do with one that is gone: sends by scale-out, ends to wait for."""

    sends: Mapping[int, Sends]
    ends: Sequence[asyncio.Event]

    async def over(self) -> None:
        """Wait until none of it is under way."""
        for end in self.ends:
            await end.wait()


class Workplace:
    """Carries out every message but those of bringing up."""

    def __init__(
        self,
        limits: Mapping[str, EngineLimits],
        max_lanes: int,
        outbox: Region,
        holdings: Holdings,
        seat: Seat,
        relay: Relay,
        moves: KvMoves,
        reporter: Reporter,
    ) -> None:
        self._limits = limits
        self._max_lanes = max_lanes
        self.outbox = outbox
        self.holdings = holdings
        self._seat = seat
        self.relay = relay
        self.moves = moves
        self._reporter = reporter
        self._heads: dict[int, Head] = {}

    def handle(self, message: m.Message) -> Work | None:
        """Do what can be done at once; return what takes time."""
        match message:
            case m.Hold():
                self.holdings.hold(message)
            case m.Rekey():
                return self.holdings.rekey(message)
            case m.Drop():
                return self._drop(message)
            case m.Serve():
                copy = self.holdings.copy(Tier.GPU, message.model)
                return _done(self._seat.take(message.model, copy))
            case m.Load():
                return self.holdings.load(message)
            case m.Multicast():
                return self.holdings.send_all(message)
            case m.OpenTick():
                return self.holdings.open_tick(message)
            case m.Resend():
                return self.holdings.resend(message)
            case m.Form():
                return self._form(message)
            case m.Join():
                self.relay.join(message.pipeline, message.key)
            case m.Leave():
                return self.relay.leave(message.pipeline)
            case m.Adopt():
                head = self._heads[message.pipeline]
                head.expect(message)
                return self._adopt(head, message)
            case m.SendKv():
                self.moves.park(message.slot)
                return self._send_kv(message)
            case m.Submit():
                self._heads[message.pipeline].submit(message.request, message.generated)
            case m.Cancel():
                if message.pipeline in self._heads:  # else it has just dissolved
                    self._heads[message.pipeline].cancel(message.request)
            case m.Dissolve():
                self._heads[message.pipeline].dissolve()
            case _:
                raise ConfigError(f"an agent cannot handle {type(message).__name__}")
        return None

    def home(self, activation: Activation, rows: Rows) -> None:
        """Final rows of a pipeline whose head is here."""
        self._heads[activation.pipeline].home(activation, rows)

    def _form(self, form: m.Form) -> Work:
        head = Head(
            form, self._limits[form.model], self._max_lanes, self.relay, self._reporter.send,
            self.moves.parked,
        )  # fmt: skip
        self._heads[form.pipeline] = head
        if len(form.stages) > 1:
            self.relay.join(form.pipeline, form.key)
        return self._serve(form.pipeline, head)

    async def _serve(self, pipeline: int, head: Head) -> None:
        await head.run(await self._seat.engine())
        del self._heads[pipeline]

    def lose(self, message: m.NodeLost) -> Losing:
        """Begin nothing more that has to do with a node that is gone; return what is to come to its end."""
        self.relay.drop(message.pipelines)
        broken = [head for head in self._heads.values() if head.lose(message.node)]
        sends = self.holdings.stop(message.scale_outs)
        loads = [load for model in message.forsaken for load in self.holdings.forsake(model)]
        courses = [*(s.course for s in sends.values()), *loads]
        return Losing(sends, [*(c.over for c in courses), *(head.ended for head in broken)])

    def found(self, peer: int) -> None:
        """A peer that was gone is back."""
        self.moves.found(peer)

    async def rest(self) -> None:
        """Let everything that is under way come to its end; copies stay."""
        self.relay.rest()
        self.holdings.rest()
        for head in self._heads.values():
            head.break_off(PeerGoneError(CONTROLLER))
        await self.moves.rest()

    async def begin(self) -> tuple[m.Held, ...]:
        """Work for a controller, the first or another, when all is quiet; return what is held."""
        await self._seat.clear()
        await self.relay.begin()
        self.moves.begin()
        return await self.holdings.begin()

    async def _adopt(self, head: Head, adopt: m.Adopt) -> None:
        whole = await self.moves.take(adopt.slot, adopt.length, adopt.pieces)
        head.resume(adopt, adopt.length if whole else 0)

    async def _send_kv(self, move: m.SendKv) -> None:
        await self.moves.send(move)
        if move.slot not in self.moves.parked:
            for head in self._heads.values():
                head.unpark(move.slot)

    def _drop(self, message: m.Drop) -> Work | None:
        ending = self.holdings.drop(message)
        leaving = self._seat.leave(message.model) if message.tier is Tier.GPU else None
        return ending if leaving is None else _both(ending, leaving)


async def _both(work: Work | None, change: asyncio.Future[None]) -> None:
    if work is not None:
        await work
    await change


async def _done(change: asyncio.Future[None]) -> None:
    await change


async def prepare(
    message: m.Prepare,
    node: int,
    transport: Transport,
    storage: Storage,
    ssd: Path,
    engines: Mapping[str, Engine],
    slot: int,
    links: Links,
    reporter: Reporter,
) -> Workplace:
    """Register every region of a node and put together what works on them; inbox slots of `slot` bytes."""
    limits = {hosted.model: hosted.limits for hosted in message.models}
    arenas = {Tier.GPU: await transport.register(GPU, message.gpu_nbytes)}
    if message.host_nbytes:
        arenas[Tier.HOST] = await transport.register(HOST, message.host_nbytes, touched=False)
    inbox = await transport.register(INBOX, slot * message.max_lanes)
    outbox = await transport.register(OUTBOX, slot * message.max_lanes)
    kv = await transport.register(KV, max(engine.kv.nbytes for engine in engines.values()))
    images = {hosted.model: hosted.image for hosted in message.models}
    seat = Seat(engines, kv)
    return Workplace(
        limits,
        message.max_lanes,
        outbox,
        Holdings(node, arenas, images, links, transport, storage, ssd, reporter),
        seat,
        Relay(node, seat, inbox, outbox, slot, links, transport),
        KvMoves(kv, seat, links, transport),
        reporter,
    )
