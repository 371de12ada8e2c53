"""The head stage of an execution pipeline: admits requests, forms micro-batches, samples.

One lane per micro-batch; each lane goes round the pipeline by itself, so as many micro-batches are in
flight as there are stages, and they wait for one another only in lock-step. A replica is the pipeline
whose only stage is the whole model.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

from lambdascale.clock import now
from lambdascale.cluster.activation import Activation
from lambdascale.cluster.batch import Composed, MicroBatch
from lambdascale.cluster.lock_step import FreeRun, LockStep
from lambdascale.cluster.relay import Relay
from lambdascale.control import messages as m
from lambdascale.engine.base import Engine, EngineLimits, Round, Rows, Step
from lambdascale.errors import PeerGoneError
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request


class Head:
    """Serves requests on the pipeline described by `form` until it is dissolved."""

    def __init__(
        self,
        form: m.Form,
        limits: EngineLimits,
        max_lanes: int,
        relay: Relay,
        send: Callable[[m.Message], None],
        parked: Collection[int] = (),
    ) -> None:
        self._form = form
        self._budget = limits.max_step_tokens
        self._relay = relay
        self._send = send
        self._lanes = _lanes(min(len(form.stages), max_lanes), limits.max_slots)
        self._steps = LockStep(form.hop_s) if form.lock_step else FreeRun()
        self._work = [asyncio.Event() for _ in self._lanes]
        self._interrupts = [asyncio.Event() for _ in self._lanes]
        self._waiting: deque[tuple[Request, Sequence[int]]] = deque()
        self._coming: dict[int, m.Adopt] = {}  # requests whose KV entries are on their way
        self._cancelled: dict[int, None] = {}
        self._trips: dict[int, asyncio.Future[Rows]] = {}
        self._dissolving = False
        self._broken: PeerGoneError | None = None  # a stage is gone
        self.ended = asyncio.Event()
        self._parked = set(parked)
        for slot in parked:
            self._reserve(slot)

    def submit(self, request: Request, generated: Sequence[int]) -> None:
        """Admit a request as soon as a slot is free."""
        self._waiting.append((request, generated))
        self._admit()

    def unpark(self, slot: int) -> None:
        """What a parked slot held has left: let it be used."""
        if slot in self._parked:
            self._parked.discard(slot)
            self._lane_of(slot).release(slot)
            self._admit()

    def expect(self, adopt: m.Adopt) -> None:
        """Keep the slot of a request whose KV entries are coming."""
        self._coming[adopt.request.id] = adopt
        self._reserve(adopt.slot)

    def resume(self, adopt: m.Adopt, length: int) -> None:
        """The KV entries of `length` tokens of an expected request are here: go on with it."""
        del self._coming[adopt.request.id]
        lane = self._lane_of(adopt.slot)
        lane.resume(adopt.request, adopt.generated, adopt.slot, length)
        self._stir(self._lanes.index(lane))

    def cancel(self, request: int) -> None:
        """Forget a request at the next step boundary of its lane."""
        self._cancelled[request] = None
        self._wake()

    def dissolve(self) -> None:
        """Let every lane stop at its next step boundary."""
        self._dissolving = True
        self._wake()

    def lose(self, node: int) -> bool:
        """Stop where we are if `node` was one of the stages; is it?"""
        if all(stage.node != node for stage in self._form.stages):
            return False
        self.break_off(PeerGoneError(node, "it was a stage"))
        return True

    def break_off(self, why: PeerGoneError) -> None:
        """Stop where we are."""
        self._broken = self._broken or why
        for trip in self._trips.values():
            trip.set_exception(self._broken)
        self._trips.clear()
        self._steps.fail(self._broken)
        self.dissolve()

    def home(self, activation: Activation, rows: Rows) -> None:
        """Final rows of a lane have come back."""
        self._trips.pop(activation.lane).set_result(rows)

    async def run(self, engine: Engine) -> None:
        """Serve until dissolved, then tell the controller which requests must move."""
        async with asyncio.TaskGroup() as group:
            for lane in range(len(self._lanes)):
                group.create_task(self._serve(lane, engine))
        self._send(m.Dissolved(self._form.pipeline, tuple(self._unfinished())))
        self.ended.set()

    def _unfinished(self) -> list[m.Seated]:
        """Whom the controller must bring elsewhere; those whose KV entries never came have none."""
        seated = [
            m.Seated(run.request.id, run.slot, run.computed)
            for lane in self._lanes
            for run in lane.running
        ]
        seated += [m.Seated(request.id, 0, 0) for request, _ in self._waiting]
        seated += [m.Seated(request, 0, 0) for request in self._coming]
        return sorted(seated, key=lambda s: s.request)

    def _admit(self) -> None:
        """Let waiting requests into the micro-batches with the fewest sequences."""
        while self._waiting:
            free = [i for i, lane in enumerate(self._lanes) if not lane.full]
            if not free:
                return
            chosen = min(free, key=lambda i: len(self._lanes[i]))
            self._lanes[chosen].admit(*self._waiting.popleft())
            self._stir(chosen)

    def _wake(self) -> None:
        for lane in range(len(self._lanes)):
            self._stir(lane)

    def _stir(self, lane: int) -> None:
        """Something has changed for a lane: it looks again at its next step boundary."""
        self._work[lane].set()
        self._interrupts[lane].set()

    def _reserve(self, slot: int) -> None:
        for lane in self._lanes:
            lane.reserve(slot)

    def _lane_of(self, slot: int) -> MicroBatch:
        return next(lane for lane in self._lanes if slot in lane.slots)

    async def _serve(self, lane: int, engine: Engine) -> None:
        with contextlib.suppress(PeerGoneError):
            await self._go_round(lane, engine)

    async def _go_round(self, lane: int, engine: Engine) -> None:
        batch = self._lanes[lane]
        while True:
            await self._work[lane].wait()
            self._forget(batch)
            if self._dissolving:
                return
            step = batch.compose(self._budget)
            if step.chunks:
                rounds = await self._rounds(lane, step, engine)
                outputs = batch.commit(step, [r.tokens for r in rounds])
                if outputs:
                    times = tuple(r.time_s for r in rounds)
                    self._send(m.Tokens(self._form.pipeline, times, outputs))
                self._admit()
            if not len(batch) and not self._dissolving:
                self._work[lane].clear()

    def _forget(self, batch: MicroBatch) -> None:
        """Between two steps: drop what was cancelled, and say that its slot is free."""
        for request in [r for r in self._cancelled if self._drop(batch, r)]:
            del self._cancelled[request]
            self._send(m.Cancelled(self._form.pipeline, request))
            self._admit()

    def _drop(self, batch: MicroBatch, request: int) -> bool:
        """Remove a request from `batch`; False if another lane has it, or its KV entries are coming."""
        batch.cancel(request)
        self._waiting = deque(entry for entry in self._waiting if entry[0].id != request)
        others = (run.request.id for lane in self._lanes for run in lane.running)
        return request not in self._coming and request not in others

    async def _rounds(self, lane: int, step: Composed, engine: Engine) -> list[Round]:
        """Take a step, and as many more as the engine takes in one go."""
        first = self._form.stages[0]
        if len(self._form.stages) > 1 or len(step.picks) < len(step.tokens):
            tokens = await self._round(lane, step, engine)
            return [Round(now(), tokens)]
        self._interrupts[lane].clear()
        whole = Step(0, first.stop, step.chunks, tokens=step.tokens)
        most = self._lanes[lane].num_sure(step)
        return await engine.generate(whole, step.picks, most, self._interrupts[lane])

    async def _round(self, lane: int, step: Composed, engine: Engine) -> list[int]:
        """Take one step through all stages and sample."""
        first = self._form.stages[0]
        self._check_whole()
        await self._steps.enter()
        rows = await engine.forward(Step(0, first.stop, step.chunks, tokens=step.tokens))
        for stages in _trips(self._form):
            self._check_whole()
            await self._steps.proceed()
            self._check_whole()
            rows = await self._trip(lane, step, rows, stages)
        ids = await engine.sample(rows, step.picks) if step.picks else []
        self._steps.leave()
        return ids

    async def _trip(self, lane: int, step: Composed, rows: Rows, stages: tuple[Stage, ...]) -> Rows:
        """Take `rows` of the first of `stages` through the others and back."""
        back: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._trips[lane] = back
        form, width = self._form, rows.shape[1]
        hop_s = 0.0 if form.lock_step else form.hop_s
        activation = Activation(form.pipeline, lane, 1, stages, step.chunks, width, hop_s)
        await self._relay.send_on(activation, rows, self.home)
        return await back

    def _check_whole(self) -> None:
        """Raise PeerGoneError if a stage is gone: nothing would come back from it."""
        if self._broken is not None:
            raise self._broken


def _trips(form: m.Form) -> Sequence[tuple[Stage, ...]]:
    """The stages that rows go through before they come back: all others, or one by one in lock-step."""
    head, *others = form.stages
    if form.lock_step:
        return [(head, stage) for stage in others]
    return [form.stages] if others else []


def _lanes(count: int, num_slots: int) -> list[MicroBatch]:
    """Split the KV slots into `count` contiguous runs (fewer if there are too few slots)."""
    count = min(count, num_slots)
    cuts = [i * num_slots // count for i in range(count + 1)]
    return [MicroBatch(range(a, b)) for a, b in pairwise(cuts)]
