"""One replay over HTTP of a `lambdascale serve` whose agents are killed meanwhile."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import httpx

from lambdascale.experiments.asking import PATIENCE_S, Heard, Question, ask
from lambdascale.experiments.endpoint_process import EndpointProcess, endpoint_process
from lambdascale.experiments.run import in_thread

LOST, RETURNED = "lambdascale_nodes_lost_total", "lambdascale_nodes_returned_total"
RETURN_S, LOOK_S = 60.0, 0.25


@dataclass(frozen=True, slots=True)
class Kill:
    """An agent was killed `at_s`, while so many replicas and pipelines served so many requests."""

    at_s: float
    in_flight: int
    servers: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What all clients heard, in the order of the questions, the kills, and the metrics after it all."""

    begun_s: float
    heard: tuple[Heard, ...]
    kills: tuple[Kill, ...]
    metrics: dict[str, float]


def replay(
    options: Sequence[object],
    asked: Sequence[Question],
    seconds: float,
    kill_times: Sequence[float],
    whom: Random,
) -> Seen:
    """Start an endpoint with these options, ask every question at its time, and kill agents at theirs.

    The metrics are those after all answers, kills and `seconds`; nodes that are on their way back by then are
    waited for. Raises LambdaScaleError.
    """
    seen: list[Seen] = []
    with endpoint_process(options) as endpoint:

        async def work() -> None:
            seen.append(await _replay(endpoint, asked, seconds, kill_times, whom))

        in_thread(work())
    return seen[0]


async def _replay(
    endpoint: EndpointProcess,
    asked: Sequence[Question],
    seconds: float,
    kill_times: Sequence[float],
    whom: Random,
) -> Seen:
    begun_s, model = time.monotonic(), endpoint.models[0]

    async def at(time_s: float) -> None:
        await asyncio.sleep(begun_s + time_s - time.monotonic())

    async def one(client: httpx.AsyncClient, question: Question) -> Heard:
        await at(question.request.arrival_s)
        return await ask(client, model, question)

    async def kill(time_s: float) -> Kill:
        await at(time_s)
        return await asyncio.to_thread(_kill, endpoint, whom, begun_s)

    async with httpx.AsyncClient(
        base_url=endpoint.address, headers=endpoint.headers, timeout=PATIENCE_S,
        limits=httpx.Limits(max_connections=None),
    ) as client:  # fmt: skip
        kills = asyncio.gather(*map(kill, kill_times))
        heard = await asyncio.gather(*(one(client, question) for question in asked))
        killed = await kills
        await at(seconds)
        metrics = await asyncio.to_thread(endpoint.metrics)
        metrics |= await asyncio.to_thread(_returned, endpoint)
    return Seen(begun_s, tuple(heard), tuple(killed), metrics)


def _kill(endpoint: EndpointProcess, whom: Random, begun_s: float) -> Kill:
    """Kill one of the agents that live, whatever it is doing."""
    metrics = endpoint.metrics()
    whom.choice(endpoint.agents()).kill()
    in_flight = int(metrics["lambdascale_requests_in_flight"])
    return Kill(time.monotonic() - begun_s, in_flight, int(metrics["lambdascale_pipelines"]))


def _returned(endpoint: EndpointProcess) -> dict[str, float]:
    """Return how many nodes have come back, once all that were lost have, or it takes too long."""
    until_s = time.monotonic() + RETURN_S
    while True:
        metrics = endpoint.metrics()
        if metrics[LOST] == metrics[RETURNED] or time.monotonic() > until_s:
            return {name: metrics[name] for name in (LOST, RETURNED)}
        time.sleep(LOOK_S)
