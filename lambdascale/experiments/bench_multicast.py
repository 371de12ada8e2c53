"""Multicast bench: 512 MiB from one node to three, in four processes, against memcpy and plain sockets.

    copies    three copies of the image between touched buffers, one thread: the unit of every ratio
    shm, tcp  our transports; `verified` adds a checksum of each block before it counts or is forwarded
    sockets   the same schedule and buffers over blocking sockets and threads: no frames, no replies

Connections are warm and memory is touched. The contestants take turns in every round, so that a busy
machine slows all of them; read the ratios, not the seconds.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from lambdascale.experiments.bench_node import Task, serve
from lambdascale.multicast.plan import plan
from lambdascale.multicast.schedule import Schedule
from lambdascale.units import MIB, milliseconds

NUM_NODES = 4
NUM_SOURCES = 1
NUM_BLOCKS = 16
NUM_BYTES = 512 * MIB
ROUNDS = 9
CONTESTANTS = ("shm", "shm verified", "tcp", "tcp verified", "sockets")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds over the rounds, and the same in units of the three copies."""

    min_s: float
    median_s: float
    min_ratio: float
    median_ratio: float


def copy_seconds(source: np.ndarray[Any, Any], targets: Sequence[np.ndarray[Any, Any]]) -> float:
    """Time one copy of `source` into each of `targets`, on this thread."""
    began = time.monotonic()
    for target in targets:
        np.copyto(target, source)
    return time.monotonic() - began


class Parent:
    """The node processes, and what they ask of each other on the way to the first round."""

    def __init__(self, schedule: Schedule, nbytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for node in range(schedule.num_nodes):
            ours, theirs = context.Pipe()
            task = Task(node, schedule, nbytes)
            process = context.Process(target=serve, args=(task, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        while self._share():
            pass

    def _share(self) -> bool:
        """Hand what every node said to every node; False once they have nothing more to say."""
        said = [pipe.recv() for pipe in self._pipes]
        if said[0] is None:
            return False
        (topic,) = said[0]
        self._tell({topic: [each[topic] for each in said]})
        return True

    def _tell(self, message: object) -> None:
        for pipe in self._pipes:
            pipe.send(message)

    def run(self, contestant: str) -> float:
        """Time one multicast, from the first node's start to the last node's end."""
        self._tell(contestant)
        spans = [pipe.recv() for pipe in self._pipes]
        return float(max(ended for _, ended in spans) - min(began for began, _ in spans))

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()


def measure(nbytes: int = NUM_BYTES, rounds: int = ROUNDS) -> dict[str, Timing]:
    """Run every contestant `rounds` times, after one round to warm up."""
    schedule = plan("kway", NUM_NODES, NUM_SOURCES, NUM_BLOCKS)
    source, target = np.ones(nbytes, np.uint8), np.ones(nbytes, np.uint8)
    copies = [target] * (NUM_NODES - NUM_SOURCES)
    seconds: dict[str, list[float]] = {name: [] for name in ("copies", *CONTESTANTS)}
    with closing(Parent(schedule, nbytes)) as parent:
        for _ in range(1 + rounds):
            seconds["copies"].append(copy_seconds(source, copies))
            for name in CONTESTANTS:
                seconds[name].append(parent.run(name))
    unit = seconds["copies"][1:]
    return {name: _timing(values[1:], unit) for name, values in seconds.items()}


def _timing(seconds: Sequence[float], unit: Sequence[float]) -> Timing:
    low, middle = min(seconds), statistics.median(seconds)
    return Timing(low, middle, low / min(unit), middle / statistics.median(unit))


def table(timings: Mapping[str, Timing]) -> str:
    """Lay the timings out, one contestant a line."""
    lines = ["                 min ms  median ms   ÷ copies (min, median)   ÷ sockets (median)"]
    for name, timing in timings.items():
        lines.append(
            f"{name:14} {milliseconds(timing.min_s):9.1f} {milliseconds(timing.median_s):9.1f}"
            f" {timing.min_ratio:12.2f} {timing.median_ratio:8.2f}"
            f" {timing.median_s / timings['sockets'].median_s:18.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print the timings as JSON")
    parser.add_argument("--mib", type=int, default=NUM_BYTES // MIB, help="size of the image")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds after the first")
    arguments = parser.parse_args()
    if arguments.mib < 1 or arguments.rounds < 1:
        parser.error("--mib and --rounds must be at least 1")
    timings = measure(arguments.mib * MIB, arguments.rounds)
    if arguments.json:
        print(json.dumps({name: asdict(timing) for name, timing in timings.items()}, indent=2))
    else:
        print(table(timings))


if __name__ == "__main__":
    main()
