"""`make bench`: multicast, storage and batching, each against a yardstick within the same run, and what
one operation of a transport costs; one table.

The single benches (`bench_multicast`, `op_cost`, `bench_storage`, `bench_engine`) print more. Nothing is
imposed, so all is measured.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

import msgspec
from transformers.utils.logging import disable_progress_bar

from lambdascale.experiments import bench_engine, bench_multicast, bench_storage, op_cost
from lambdascale.experiments.bench_engine import Batching
from lambdascale.experiments.bench_multicast import Timing
from lambdascale.experiments.bench_storage import Moving
from lambdascale.experiments.claims import Claim, at_least, at_most, reported, table
from lambdascale.experiments.op_cost import OpCost
from lambdascale.model.catalogue import load_packed
from lambdascale.transport.registry import TRANSPORTS

MODEL = "smollm2-135m"
SHM, VERIFIED_SHM, TCP, SOCKETS = 1.2, 2.0, 4.0, 1.1
LOAD, COPY = 1.2, 1.2
BACKLOG = {"bfloat16": 1.5, "float32": 1.1}


def multicast_claims(timings: Mapping[str, Timing]) -> list[Claim]:
    """Return medians in units of three copies, and tcp in units of plain sockets."""
    limits = {"shm": SHM, "shm verified": VERIFIED_SHM, "tcp": TCP}
    found = [
        at_most(
            f"multicast 1 → 3 over {name} ÷ 3 copies", timings[name].median_ratio, limit, "measured"
        )
        for name, limit in limits.items()
    ]
    sockets = timings["tcp"].median_s / timings["sockets"].median_s
    return [
        *found,
        at_most("multicast 1 → 3 over tcp ÷ plain sockets", sockets, SOCKETS, "measured"),
    ]


def operation_claim(cost: OpCost) -> Claim:
    """Return what a write over a transport costs, as the planner counts it (`plan --occupancy-us …`)."""
    occupancy_us, latency_us = cost.link.occupancy_s * 1e6, cost.link.latency_s * 1e6
    obtained = f"o {occupancy_us:.0f} µs, L {latency_us:.0f} µs, {cost.link.rate / 1e9:.1f} GB/s"
    return reported(f"one write over {cost.transport}", obtained, "measured")


def storage_claims(moving: Moving) -> list[Claim]:
    """Return a load in units of `readinto`, and a copy between tiers in units of memcpy."""
    return [
        at_most("load from the page cache ÷ readinto", moving.load_ratio, LOAD, "measured"),
        at_most("copy host → GPU memory ÷ memcpy", moving.copy_ratio, COPY, "measured"),
    ]


def batching_claim(result: Batching) -> Claim:
    """Return the tokens/s of a backlog in units of what `transformers` makes of it."""
    name = f"tokens/s at batch {bench_engine.BATCH}, {result.dtype} ÷ transformers"
    return at_least(name, result.backlog_ratio, BACKLOG[result.dtype], "measured")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all benches; print a table, or a list of JSON objects."""
    parser = argparse.ArgumentParser(description="speeds, as ratios within one run")
    parser.add_argument("--json", action="store_true", help="print a list of results")
    options = parser.parse_args(arguments)
    disable_progress_bar()
    print("multicast of 512 MiB: about a minute", file=sys.stderr)
    found = multicast_claims(bench_multicast.measure())
    found += [operation_claim(op_cost.measure(transport)) for transport in TRANSPORTS]
    print("loads and copies: a few seconds", file=sys.stderr)
    found += storage_claims(bench_storage.measure(load_packed(MODEL, "float32").image))
    for dtype in BACKLOG:
        print(f"batching in {dtype}: about two minutes", file=sys.stderr)
        found.append(batching_claim(bench_engine.measure(dtype)))
    if options.json:
        print(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False))
    else:
        print(table(found))


if __name__ == "__main__":
    main()
