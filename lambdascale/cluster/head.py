"""The head stage of an execution pipeline: admits requests, forms micro-batches, samples.

One lane per micro-batch; each lane goes round the pipeline by itself, so as many micro-batches are in
flight as there are stages and nothing runs in lock-step (paper.md c.7, without its global step). A
replica is the pipeline whose only stage is the whole model.
"""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from lambdascale.clock import now
from lambdascale.cluster.activation import Activation
from lambdascale.cluster.batch import Composed, MicroBatch
from lambdascale.cluster.relay import Relay
from lambdascale.control.base import Channel
from lambdascale.control.messages import Dissolved, Form, Tokens
from lambdascale.engine.base import Engine, EngineLimits, Rows, Step
from lambdascale.errors import ConfigError
from lambdascale.workload.request import Request


class Head:
    """Serves requests on the pipeline described by `form` until it is dissolved."""

    def __init__(
        self,
        form: Form,
        engine: Engine,
        limits: EngineLimits,
        max_lanes: int,
        relay: Relay,
        channel: Channel,
    ) -> None:
        self._form = form
        self._engine = engine
        self._budget = limits.max_step_tokens
        self._relay = relay
        self._channel = channel
        self._lanes = _lanes(min(len(form.stages), max_lanes), min(form.capacity, limits.max_slots))
        self._work = [asyncio.Event() for _ in self._lanes]
        self._trips: dict[int, asyncio.Future[Rows]] = {}
        self._dissolving = False

    def submit(self, request: Request, generated: Sequence[int]) -> None:
        """Admit a request into the micro-batch with the fewest sequences."""
        free = [i for i, lane in enumerate(self._lanes) if not lane.full]
        if not free:
            raise ConfigError(f"pipeline {self._form.pipeline} has no free slot")
        lane = min(free, key=lambda i: len(self._lanes[i]))
        self._lanes[lane].admit(request, generated)
        self._work[lane].set()

    def dissolve(self) -> None:
        """Let every lane stop at its next step boundary."""
        self._dissolving = True
        for event in self._work:
            event.set()

    def home(self, activation: Activation, rows: Rows) -> None:
        """Final rows of a lane have come back."""
        self._trips.pop(activation.lane).set_result(rows)

    async def run(self) -> None:
        """Serve until dissolved, then tell the controller which requests must move."""
        async with asyncio.TaskGroup() as group:
            for lane in range(len(self._lanes)):
                group.create_task(self._serve(lane))
        unfinished = sorted(request for lane in self._lanes for request in lane.requests)
        self._channel.send(Dissolved(self._form.pipeline, tuple(unfinished)))

    async def _serve(self, lane: int) -> None:
        batch = self._lanes[lane]
        while True:
            await self._work[lane].wait()
            if self._dissolving:
                return
            step = batch.compose(self._budget)
            if step.chunks:
                tokens = batch.commit(step, await self._round(lane, step))
                if tokens:
                    self._channel.send(Tokens(self._form.pipeline, now(), tokens))
            if not len(batch) and not self._dissolving:
                self._work[lane].clear()

    async def _round(self, lane: int, step: Composed) -> list[int]:
        """Take one step through all stages and sample."""
        first = self._form.stages[0]
        rows = await self._engine.forward(Step(0, first.stop, step.chunks, tokens=step.tokens))
        if len(self._form.stages) > 1:
            rows = await self._trip(lane, step, rows)
        return await self._engine.sample(rows, step.picks) if step.picks else []

    async def _trip(self, lane: int, step: Composed, rows: Rows) -> Rows:
        back: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._trips[lane] = back
        form, width = self._form, rows.shape[1]
        activation = Activation(form.pipeline, lane, 1, form.stages, step.chunks, width)
        await self._relay.send_on(activation, rows, self.home)
        return await back


def _lanes(count: int, capacity: int) -> list[MicroBatch]:
    """Split `capacity` KV slots into `count` contiguous runs (fewer if there are too few slots)."""
    count = min(count, capacity)
    cuts = [i * capacity // count for i in range(count + 1)]
    return [MicroBatch(range(a, b)) for a, b in pairwise(cuts)]
