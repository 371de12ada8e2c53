"""Continuous batching, as plain state: which sequences run in a micro-batch and what its next step does.

A sequence is its tokens (prompt and generated alike) and how many of them have KV entries. Everything
pending is run: one token in decode, a chunk of the prompt in prefill, prompt and generated tokens again
after a mode switch (KV recomputation). So prefill, decode and resumption are one case.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from lambdascale.control.messages import Output
from lambdascale.engine.base import Chunk, Pick
from lambdascale.workload.request import Request


@dataclass(slots=True)
class Running:
    """A request being served in KV slot `slot`; the first `computed` of `tokens` have KV entries."""

    request: Request
    tokens: list[int]
    slot: int
    computed: int = 0
    begun: bool = False  # it has produced a token here

    @property
    def num_pending(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def position(self) -> int:
        """The number of the next output token, from 0."""
        return len(self.tokens) - len(self.request.prompt)

    @property
    def finished(self) -> bool:
        stopped = self.position > 0 and self.tokens[-1] in self.request.stop
        return stopped or self.position >= self.request.max_tokens


@dataclass(frozen=True, slots=True)
class Composed:
    """One step of a micro-batch: its chunks, their token ids, and what to pick from the final rows."""

    chunks: tuple[Chunk, ...]
    tokens: tuple[int, ...]
    picks: tuple[Pick, ...]


class MicroBatch:
    """Sequences that step together in the KV slots `slots`."""

    def __init__(self, slots: range) -> None:
        self.slots = slots
        self._free = list(slots)
        self._running: dict[int, Running] = {}  # least recently served first

    def __len__(self) -> int:
        return len(self._running)

    @property
    def full(self) -> bool:
        return not self._free

    @property
    def running(self) -> tuple[Running, ...]:
        """The requests that are not finished."""
        return tuple(self._running.values())

    def admit(self, request: Request, generated: Sequence[int]) -> None:
        """Take in a request that already has `generated` tokens; needs a free slot."""
        self.resume(request, generated, heapq.heappop(self._free), computed=0)

    def resume(self, request: Request, generated: Sequence[int], slot: int, computed: int) -> None:
        """Go on with a request in `slot`, which is not free: `computed` tokens have entries there."""
        tokens = [*request.prompt, *generated]
        self._running[slot] = Running(request, tokens, slot, computed)

    def reserve(self, slot: int) -> None:
        """Take a slot out of use, if it is one of these."""
        if slot in self._free:
            self._free.remove(slot)
            heapq.heapify(self._free)

    def release(self, slot: int) -> None:
        """Put a reserved slot into use."""
        heapq.heappush(self._free, slot)

    def cancel(self, request: int) -> None:
        """Forget a request between two steps, if it is here; its slot is free."""
        for run in self.running:
            if run.request.id == request:
                del self._running[run.slot]
                self.release(run.slot)

    def compose(self, budget: int) -> Composed:
        """Return the next step of at most `budget` tokens.

        Decodes come first and prefills take the rest, at least half if any waits; both in turn, so
        that nobody starves.
        """
        chunks, tokens, picks = [], [], []
        for run in self._next(budget):
            length = min(run.num_pending, budget)
            if length == 0:
                break
            budget -= length
            self._running[run.slot] = self._running.pop(run.slot)  # to the end of the queue
            emit = length == run.num_pending
            chunks.append(Chunk(run.slot, run.computed, length, emit))
            tokens.extend(run.tokens[run.computed : run.computed + length])
            if emit:
                picks.append(Pick(run.request.draw_id, run.position, run.request.sampling))
        return Composed(tuple(chunks), tuple(tokens), tuple(picks))

    def _next(self, budget: int) -> list[Running]:
        decodes = [run for run in self._running.values() if run.num_pending == 1]
        prefills = [run for run in self._running.values() if run.num_pending > 1]
        return decodes[: budget - budget // 2 if prefills else budget] + prefills

    def num_sure(self, step: Composed) -> int:
        """Return for how many steps it can only go on like this: everybody decodes, nobody comes to an end.

        The first token of a request here is news, and its step one of its own.
        """
        runs = [self._running[chunk.slot] for chunk in step.chunks]
        alike = len(step.picks) == len(step.tokens) == len(self._running)
        if not alike or any(run.request.stop or not run.begun for run in runs):
            return 1
        return min(run.request.max_tokens - run.position for run in runs)

    def commit(self, step: Composed, rounds: Sequence[Sequence[int]]) -> tuple[Output, ...]:
        """Record what a step sampled, or several alike; free the slots of who has finished."""
        produced = []
        picked = count()
        for chunk in step.chunks:
            run = self._running[chunk.slot]
            run.computed += chunk.length + len(rounds) - 1
            if chunk.emit:
                pick = next(picked)
                produced.append(self._emitted(run, tuple(ids[pick] for ids in rounds)))
        return tuple(produced)

    def _emitted(self, run: Running, tokens: tuple[int, ...]) -> Output:
        position, run.begun = run.position, True
        run.tokens.extend(tokens)
        if run.finished:
            del self._running[run.slot]
            self.release(run.slot)
        return Output(run.request.id, position, tokens, run.finished)
