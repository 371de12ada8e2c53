"""The part of an execution pipeline that every stage plays: run my range, hand the rows on.

Stages are stateless but for their KV: each activation carries its pipeline's stages, so a stage needs
no set-up before the first micro-batch reaches it. The controller is not on this path.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

from lambdascale.cluster.activation import Activation, put, take
from lambdascale.cluster.links import Links
from lambdascale.cluster.seat import Seat
from lambdascale.cluster.tags import INBOX, Kind, tag
from lambdascale.engine.base import Rows, Step
from lambdascale.transport.base import Lane, Notice, Region, Transport

Home = Callable[[Activation, Rows], None]


class Relay:
    """Receives activations from the inbox, runs this node's range, sends on; final rows go `home`."""

    def __init__(
        self, node: int, seat: Seat, inbox: Region, outbox: Region, slot: int, links: Links,
        transport: Transport,
    ) -> None:  # fmt: skip
        self._node = node
        self._seat = seat
        self._inbox = inbox
        self._outbox = outbox
        self._slot = slot
        self._links = links
        self._transport = transport
        self._keys: dict[int, int] = {}  # by pipeline
        self._broken: set[int] = set()
        self._resting = False

    def rest(self) -> None:
        """Drop whatever comes."""
        self._resting = True

    async def begin(self) -> None:
        """Work for another controller, whose pipelines have nothing to do with those before."""
        for pipeline in list(self._keys):
            await self.leave(pipeline)
        self._resting = False
        self._broken.clear()

    def join(self, pipeline: int, key: int) -> None:
        """Let the stages of a pipeline write into our inbox under `key`, as we write into theirs."""
        self._keys[pipeline] = key
        self._transport.grant(key, INBOX, [(0, self._inbox.nbytes)])

    async def leave(self, pipeline: int) -> None:
        """Nothing more of a pipeline comes."""
        await self._transport.revoke(self._keys.pop(pipeline))

    def drop(self, pipelines: Collection[int]) -> None:
        """Drop what comes of pipelines that have lost a stage."""
        self._broken.update(pipelines)

    def _is_dropped(self, activation: Activation) -> bool:
        return self._resting or activation.pipeline in self._broken

    async def received(self, notice: Notice, home: Home) -> None:
        """Handle an activation that a peer wrote into our inbox."""
        slot = self._inbox.view[notice.offset : notice.offset + notice.nbytes]
        await self._enter(*take(slot), home)

    async def send_on(self, activation: Activation, rows: Rows, home: Home) -> None:
        """Bring `rows` to stage `activation.hop`, or home after the last one."""
        if self._is_dropped(activation):
            return
        stages = activation.stages
        target = stages[activation.hop % len(stages)].node
        if target == self._node:
            await self._enter(activation, rows, home)
            return
        if activation.hop_s:
            await asyncio.sleep(activation.hop_s)
        offset = activation.lane * self._slot
        nbytes = put(self._outbox.view[offset : offset + self._slot], activation, rows)
        notice, out = tag(Kind.ACTIVATION, activation.lane), self._outbox
        key = self._keys[activation.pipeline]
        await self._links.write(target, Lane.EXPRESS, out, offset, nbytes, key, offset, notice)

    async def _enter(self, activation: Activation, rows: Rows, home: Home) -> None:
        if self._is_dropped(activation):
            return
        if activation.hop == len(activation.stages):
            home(activation, rows)
            return
        stage = activation.stages[activation.hop]
        step = Step(stage.first, stage.stop, activation.chunks, rows=rows)
        engine = await self._seat.engine()
        out = await engine.forward(step)
        onward = replace(activation, hop=activation.hop + 1, row_nbytes=out.shape[1])
        await self.send_on(onward, out, home)
