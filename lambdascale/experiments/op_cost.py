"""What one write costs on our transports on this machine, as the `LinkCost` that plans are priced with.

Two processes, one link; o is the occupancy, L the latency. One, two or sixteen writes are in flight:

    sixteen   the port is never idle (if L < 15·o): seconds per write = o + bytes ÷ rate, a line over sizes
    one       nothing overlaps: seconds per write = L + o + bytes ÷ rate
    two       what the runtime does; the fit predicts max(port, one ÷ 2), printed against the measured

A write is done when its sender knows that the receiver has it, as the runtime counts it. Writes go round a
region larger than the caches, as the blocks of a model do. Sizes take turns in every round and the median
counts, so that a busy machine slows all of them.
"""

import argparse
import asyncio
import json
import multiprocessing
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import numpy as np

from lambdascale.experiments.machine import machine
from lambdascale.multicast.costs import LinkCost
from lambdascale.transport.base import Lane, Link, PeerLost, Region
from lambdascale.transport.registry import ON_ANY_HOST, TRANSPORTS, open_transport
from lambdascale.units import MIB

SIZES = (0, 4096, 65536, MIB // 4, MIB, 4 * MIB, 16 * MIB)
WINDOWS = (1, 2, 16)
ROUNDS = 7
SLICE_S = 0.02  # seconds of writing per size, window and round, roughly
FEWEST, MOST = 16, 2000  # writes in one such slice
REGION = 0
REGION_BYTES = 256 * MIB  # more than any cache

Seconds = Mapping[tuple[int, int], float]  # (bytes, window) → seconds per write


@dataclass(frozen=True, slots=True)
class OpCost:
    """The fitted cost of a link, and by how much it misses the measured times of two in flight.

    `error` is the median of |predicted ÷ measured − 1| over the sizes.
    """

    transport: str
    link: LinkCost
    error: float
    seconds: Seconds


def fit(seconds: Seconds) -> LinkCost:
    """Return the cost that explains the measured seconds per write best, every size by its relative error.

    >>> cost = fit({(n, w): max(2e-6 + n / 1e9, (9e-6 + n / 1e9) / w)
    ...             for n in (0, 1000, 1000000) for w in (1, 2, 16)})
    >>> f"{cost.occupancy_s:.1e} {cost.latency_s:.1e} {cost.rate:.1e}"
    '2.0e-06 7.0e-06 1.0e+09'
    """
    sizes = sorted({nbytes for nbytes, _ in seconds})
    many = max(window for _, window in seconds)
    port = np.array([seconds[nbytes, many] for nbytes in sizes])
    slope, occupancy = np.polyfit(np.array(sizes, float), port, 1, w=1 / port)
    occupancy_s = max(0.0, float(occupancy))
    alone = [seconds[nbytes, 1] - (occupancy_s + nbytes * float(slope)) for nbytes in sizes]
    return LinkCost(occupancy_s, max(0.0, statistics.median(alone)), 1 / float(slope))


def predicted(cost: LinkCost, nbytes: int, window: int) -> float:
    """Return the seconds per write with `window` of them in flight on one link."""
    busy_s = cost.busy_s(nbytes)
    return max(busy_s, (busy_s + cost.latency_s) / window)


def measure(transport: str, sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> OpCost:
    """Measure one transport between two processes; `sizes` in bytes up to REGION_BYTES, at least two."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    secret = secrets.token_bytes(16)
    receiver = context.Process(target=_receive, args=(transport, secret, theirs), daemon=True)
    receiver.start()
    theirs.close()
    try:
        seconds = asyncio.run(_write(transport, secret, ours.recv(), sizes, rounds))
    except BaseException:
        receiver.terminate()  # nobody has connected to it whose end it would notice
        raise
    finally:
        ours.close()
        receiver.join()
    link = fit(seconds)
    misses = [abs(predicted(link, n, 2) / seconds[n, 2] - 1) for n in sizes]
    return OpCost(transport, link, statistics.median(misses), seconds)


def _receive(transport: str, secret: bytes, parent: Connection) -> None:
    """Take writes until the writer is gone."""
    asyncio.run(_receive_all(transport, secret, parent))


async def _receive_all(transport: str, secret: bytes, parent: Connection) -> None:
    receiver = await open_transport(transport, 1, secret)
    try:
        await receiver.register(REGION, REGION_BYTES)
        receiver.grant(REGION, REGION, [(0, REGION_BYTES)])
        parent.send(receiver.address)
        while not isinstance(await receiver.receive(), PeerLost):
            pass
    finally:
        await receiver.close()


async def _write(
    transport: str, secret: bytes, address: str, sizes: Sequence[int], rounds: int
) -> Seconds:
    writer = await open_transport(transport, 0, secret)
    try:
        source = await writer.register(REGION, REGION_BYTES)
        link = await writer.connect(1, address, Lane.BULK)
        await link.write(source, 0, source.nbytes, REGION, 0, 0)  # map and touch both ends
        found: dict[tuple[int, int], list[float]] = {}
        for _ in range(rounds):
            for nbytes in sizes:
                for window in WINDOWS:
                    each = await _seconds_per_write(link, source, nbytes, window)
                    found.setdefault((nbytes, window), []).append(each)
        return {key: statistics.median(values) for key, values in found.items()}
    finally:
        await writer.close()


async def _seconds_per_write(link: Link, source: Region, nbytes: int, window: int) -> float:
    """Time a slice of writes, `window` of them in flight; as many as fit by the time of the first ones."""
    trial = await _timed(link, source, nbytes, window, FEWEST)
    count = max(FEWEST, min(MOST, round(SLICE_S / (trial / FEWEST))))
    return await _timed(link, source, nbytes, window, count) / count


async def _timed(link: Link, source: Region, nbytes: int, window: int, count: int) -> float:
    places = REGION_BYTES // nbytes if nbytes else 1
    offsets = iter([i % places * nbytes for i in range(count)])

    async def keep_one_in_flight() -> None:
        for offset in offsets:  # shared: each write is posted once
            await link.write(source, offset, nbytes, REGION, offset, 0)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(window, count)):
            group.create_task(keep_one_in_flight())
    return time.perf_counter() - began


def table(costs: Sequence[OpCost]) -> str:
    """Lay out the measured seconds per write, and the cost that they come to."""
    lines = [f"{'':6} {'bytes':>10} " + " ".join(f"{f'µs, {w} in flight':>16}" for w in WINDOWS)]
    for cost in costs:
        for nbytes in sorted({nbytes for nbytes, _ in cost.seconds}):
            cells = (f"{cost.seconds[nbytes, window] * 1e6:16.1f}" for window in WINDOWS)
            lines.append(f"{cost.transport:6} {nbytes:10d} {' '.join(cells)}")
    for cost in costs:
        link = cost.link
        lines.append(
            f"{cost.transport:6} LinkCost(occupancy_s={link.occupancy_s:.3g}, "
            f"latency_s={link.latency_s:.3g}, rate={link.rate:.4g})  "
            f"two in flight predicted within {cost.error:.0%}"
        )
    return "\n".join(lines)


def as_json(costs: Sequence[OpCost]) -> str:
    """Return the costs, the times behind them and the machine as JSON."""
    rows = [
        {
            "transport": cost.transport,
            **asdict(cost.link),
            "error": cost.error,
            "writes": [
                {"nbytes": nbytes, "window": window, "seconds": seconds}
                for (nbytes, window), seconds in cost.seconds.items()
            ],
        }
        for cost in costs
    ]
    return json.dumps({"machine": machine(), "costs": rows}, indent=2)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print the costs as JSON")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument(
        "--transport",
        choices=tuple(TRANSPORTS),
        action="append",
        help="default: those that need no device",
    )
    arguments = parser.parse_args()
    names = arguments.transport or ON_ANY_HOST
    costs = [measure(name, rounds=arguments.rounds) for name in names]
    print(as_json(costs) if arguments.json else table(costs))


if __name__ == "__main__":
    main()
