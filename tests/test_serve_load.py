"""Many clients at a time for a while: no error, fair first tokens, memory that does not grow. A soak."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
import openai
import psutil
import pytest
from openai import AsyncOpenAI
from serving import KEY, Server, serving

pytestmark = pytest.mark.alone

MAX_TOKENS, WARM_UP = 24, 0.25  # of the time: what is allocated until then is not growth
GROWTH = 64 << 20  # bytes; a leak of a kilobyte per request or of a record per token would be more
UNFAIR = 3.0  # a first token at p99 by the median one; in a first-come queue of one length they are alike


@dataclass
class Seen:
    """What all clients have seen."""

    first_token_s: list[float]
    num_refused: int = 0


async def ask(client: AsyncOpenAI, model: str, until_s: float, number: int, seen: Seen) -> None:
    """Ask one thing after the other."""
    while time.monotonic() < until_s:
        begun_s, num = time.monotonic(), 0
        try:
            stream = await client.completions.create(
                model=model, prompt=f"Client {number} says", max_tokens=MAX_TOKENS, stream=True,
                temperature=1.0, seed=number,
            )  # fmt: skip
        except openai.RateLimitError as refused:
            seen.num_refused += 1
            await asyncio.sleep(float(refused.response.headers["retry-after"]))
            continue
        async with stream:
            async for _ in stream:
                if num == 0:
                    seen.first_token_s.append(time.monotonic() - begun_s)
                num += 1
        assert num > 0


async def crowd(server: Server, num_clients: int, seconds: float) -> tuple[Seen, list[int]]:
    """Let all clients ask at once; also the bytes of memory of the server, sampled after a warm-up."""
    seen, memory, process = Seen([]), list[int](), psutil.Process(server.process.pid)
    begun_s = time.monotonic()
    async with (
        AsyncOpenAI(base_url=server.address, api_key=KEY, max_retries=0, timeout=120) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(num_clients):
            group.create_task(ask(client, server.model, begun_s + seconds, number, seen))
        while time.monotonic() < begun_s + seconds:
            await asyncio.sleep(0.5)
            if time.monotonic() > begun_s + WARM_UP * seconds:
                memory.append(process.memory_info().rss)
    return seen, memory


def test_a_crowd_is_served_fairly_in_bounded_memory(request: pytest.FixtureRequest):
    num_clients = request.config.getoption("--clients")
    if not num_clients:
        pytest.skip("a soak of minutes: make soak, or give --clients 200")
    seconds = request.config.getoption("--load-s")
    with serving("smollm2-135m", "--nodes", 2, "--slots", 16, "--max-length", 64) as server:
        seen, memory = asyncio.run(crowd(server, num_clients, seconds))
        assert server.metric("lambdascale_queue_length") == 0
    p50, p99 = np.quantile(seen.first_token_s[num_clients:], (0.5, 0.99))
    print(
        f"{len(seen.first_token_s)} answers, first token p50 {p50:.2f} s, p99 {p99:.2f} s, "
        f"{seen.num_refused} refused, memory grew by {(memory[-1] - memory[0]) >> 20} MiB"
    )
    assert p99 < UNFAIR * p50
    assert memory[-1] - memory[0] < GROWTH
