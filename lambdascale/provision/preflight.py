"""Preflight: probe every node of a cluster, or this machine alone, before anything is run there.

One probe per node and place as an agent would have it, over the transport that the agents will use.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from lambdascale.fleet.placement import Placement
from lambdascale.provision.checks import Check, Probed, Wanted, checks_of
from lambdascale.provision.cluster_file import ClusterFile
from lambdascale.provision.facts import Facts
from lambdascale.provision.probe import Probe
from lambdascale.transport.auth import make_secret
from lambdascale.units import gbps

READINGS = 5  # of a clock; the quickest answer says most
ALL_PAIRS = 8  # with more nodes than this, each writes to its neighbours only

Ask = Callable[..., Awaitable[Any]]  # the method of a probe by its name, and its arguments


def preflight(cluster: ClusterFile | None, image: str) -> list[tuple[Check, ...]]:
    """Return the checks of each node of `cluster` (None: this machine), where the file `image` is wanted."""
    if cluster is None:
        return _finished(_probe([_local(Probe(None))], Wanted("shm", 0, 0.0, image)))
    rate = gbps(cluster.imposed_gbps or cluster.link_gbps)
    wanted = Wanted(cluster.transport, cluster.agents.gpus, rate, image)
    return _on_ray(cluster.agents, wanted)


def _on_ray(placement: Placement, wanted: Wanted) -> list[tuple[Check, ...]]:
    from lambdascale.fleet.connection import actors, ask, connected, end, in_order, reserved

    placement = replace(placement, per_node=1)
    with connected(placement), reserved(placement) as group:
        probes = actors(placement, group, Probe, placement.network)
        try:
            probes, _ = in_order(probes, ask([probe.address.remote() for probe in probes]))
            return _finished(_probe([_remote(probe) for probe in probes], wanted))
        finally:
            end(probes)


def _finished(work: Coroutine[Any, Any, list[tuple[Check, ...]]]) -> list[tuple[Check, ...]]:
    """Run `work` in a thread of its own: a notebook cell already runs inside an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _local(probe: Probe) -> Ask:
    return lambda name, *arguments: getattr(probe, name)(*arguments)


def _remote(probe: Any) -> Ask:
    return lambda name, *arguments: getattr(probe, name).remote(*arguments)


async def _probe(nodes: list[Ask], wanted: Wanted) -> list[tuple[Check, ...]]:
    facts: list[Facts] = [await ask("facts", wanted.image) for ask in nodes]
    clocks = [await _clock(ask) for ask in nodes]
    async with _opened(nodes, wanted.transport) as addresses:
        slowest = [await _slowest(n, ask, addresses) for n, ask in enumerate(nodes)]
    rows = zip(facts, clocks, slowest, strict=True)
    probed = [Probed(n, f, *clock, link) for n, (f, clock, link) in enumerate(rows)]
    return [checks_of(each, wanted) for each in probed]


async def _clock(ask: Ask) -> tuple[float, float]:
    """How far a clock is ahead of ours, and how uncertain that is: half of the quickest round trip."""
    readings = []
    for _ in range(READINGS):
        before = time.time()
        there = await ask("clock")
        after = time.time()
        readings.append(((after - before) / 2, there - (before + after) / 2))
    uncertain_s, offset_s = min(readings)
    return offset_s, uncertain_s


@asynccontextmanager
async def _opened(nodes: list[Ask], transport: str) -> AsyncIterator[list[str]]:
    """Open every node's transport; yield their addresses."""
    secret = make_secret()
    try:
        yield [await ask("open", transport, n, secret) for n, ask in enumerate(nodes)]
    finally:
        for ask in nodes:
            await ask("close")


async def _slowest(node: int, ask: Ask, addresses: list[str]) -> float | None:
    """Write to other nodes, one after the other; return the lowest rate, None if there is no other."""
    count = len(addresses)
    reach = count if count <= ALL_PAIRS else 2
    peers = [(node + step) % count for step in range(1, reach)]
    rates = [await ask("send", peer, addresses[peer]) for peer in peers]
    return min(rates, default=None)
