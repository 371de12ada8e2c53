"""Many clients at a time for a while: no error, fair first tokens, memory that does not grow. A soak.

Fair: who asks first has a first token first, up to those that are admitted together. A request is overtaken
by another that was sent later and has its first token earlier.
"""

import asyncio
import time
from bisect import bisect_right, insort
from dataclasses import dataclass, field

import numpy as np
import openai
import psutil
import pytest
from openai import AsyncOpenAI
from serving import KEY, Server, serving

pytestmark = pytest.mark.alone

MODEL, NODES, SLOTS = "smollm2-135m", 2, 16
MAX_TOKENS, WARM_UP = 24, 0.25  # of the time: what is allocated until then is not growth
GROWTH = 64 << 20  # bytes; a leak of a kilobyte per request or of a record per token would be more
UNFAIR = 3.0  # a first token at p99 by the median one; in a first-come queue of one length they are alike
TOGETHER = NODES * SLOTS  # a request may be overtaken by those that are admitted beside it, no more
MAX_QUEUE = 32


@dataclass
class Seen:
    """What all clients have seen: when each request was sent, and when its first token came."""

    first_tokens: list[tuple[float, float]] = field(default_factory=list)
    retry_after_s: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def settled(self) -> list[tuple[float, float]]:
        """Without those that were sent before anybody had an answer, all in one moment."""
        begun_s = min(first_s for _, first_s in self.first_tokens)
        return sorted(pair for pair in self.first_tokens if pair[0] > begun_s)

    @property
    def ttft_s(self) -> list[float]:
        return [first_s - asked_s for asked_s, first_s in self.settled]


def overtaken(pairs: list[tuple[float, float]]) -> int:
    """The most requests that were sent after one and had their first token before it."""
    later, most = list[float](), 0
    for _, first_s in sorted(pairs, reverse=True):
        most = max(most, bisect_right(later, first_s))
        insort(later, first_s)
    return most


def test_a_request_is_overtaken_by_later_ones_that_are_sooner():
    assert overtaken([(0.0, 1.0), (0.1, 2.0), (0.2, 3.0)]) == 0
    assert overtaken([(0.0, 9.0), (0.1, 2.0), (0.2, 8.0), (0.3, 7.0)]) == 3


async def ask(client: AsyncOpenAI, until_s: float, number: int, seen: Seen) -> None:
    """Ask one thing after the other."""
    while time.monotonic() < until_s:
        begun_s, num = time.monotonic(), 0
        try:
            stream = await client.completions.create(
                model=MODEL, prompt=f"Client {number} says", max_tokens=MAX_TOKENS, stream=True,
                temperature=1.0, seed=number,
            )  # fmt: skip
        except openai.RateLimitError as refused:
            seen.retry_after_s.append(float(refused.response.headers["retry-after"]))
            await asyncio.sleep(seen.retry_after_s[-1])
            continue
        async with stream:
            async for _ in stream:
                if num == 0:
                    seen.first_tokens.append((begun_s, time.monotonic()))
                num += 1
        assert num > 0


def memory_of(server: Server) -> int:
    """The bytes of memory of the server and its agents."""
    root = psutil.Process(server.process.pid)
    return sum(process.memory_info().rss for process in (root, *server.agents()))


async def crowd(server: Server, num_clients: int, seconds: float) -> Seen:
    """Let all clients ask at once, and look at the memory after a warm-up."""
    seen, begun_s = Seen(), time.monotonic()
    async with (
        AsyncOpenAI(base_url=server.address, api_key=KEY, max_retries=0, timeout=300) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(num_clients):
            group.create_task(ask(client, begun_s + seconds, number, seen))
        while time.monotonic() < begun_s + seconds:
            await asyncio.sleep(0.5)
            if time.monotonic() > begun_s + WARM_UP * seconds:
                seen.memory.append(memory_of(server))
    return seen


def crowd_of(request: pytest.FixtureRequest) -> tuple[int, float]:
    """How many clients ask for how many seconds."""
    num_clients = request.config.getoption("--clients")
    if not num_clients:
        pytest.skip("a soak of minutes: make soak, or give --clients 200")
    return num_clients, request.config.getoption("--load-s")


def test_a_crowd_is_served_fairly_in_bounded_memory(request: pytest.FixtureRequest):
    num_clients, seconds = crowd_of(request)
    with serving(MODEL, "--nodes", NODES, "--slots", SLOTS, "--max-length", 64) as server:
        seen = asyncio.run(crowd(server, num_clients, seconds))
        assert server.metric("lambdascale_queue_length") == 0
    (p50, p99), most = np.quantile(seen.ttft_s, (0.5, 0.99)), overtaken(seen.settled)
    grown = max(seen.memory) - seen.memory[0]
    print(
        f"{num_clients} clients for {seconds:g} s: {len(seen.first_tokens)} answers, first token p50 "
        f"{p50:.1f} s, p99 {p99:.1f} s, longest {max(seen.ttft_s):.1f} s, overtaken by {most} at most; "
        f"{len(seen.retry_after_s)} refused; {seen.memory[0] >> 20} MiB after warm-up, at most "
        f"{grown >> 20} MiB more"
    )
    assert not seen.retry_after_s, "there is room for everybody in the queue"
    assert p99 < UNFAIR * p50
    assert most <= TOGETHER
    assert grown < GROWTH


def test_a_crowd_beyond_the_queue_is_told_when_to_come_again(request: pytest.FixtureRequest):
    num_clients, seconds = crowd_of(request)
    limits = ("--slots", SLOTS, "--max-length", 64, "--max-queue", MAX_QUEUE)
    with serving(MODEL, "--nodes", NODES, *limits) as server:
        seen = asyncio.run(crowd(server, num_clients, seconds / 4))
    print(
        f"queue of {MAX_QUEUE}: {len(seen.first_tokens)} answers, {len(seen.retry_after_s)} refused, to come "
        f"again after {min(seen.retry_after_s):g} to {max(seen.retry_after_s):g} s"
    )
    assert seen.first_tokens
    assert all(seconds >= 1 for seconds in seen.retry_after_s)
