"""`make bench`: multicast, storage and batching, each against a yardstick within the same run, and what
one operation of a transport and one plan cost; one table.

The single benches (`bench_multicast`, `op_cost`, `bench_storage`, `bench_engine`) print more. Nothing is
imposed, so all is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence

import msgspec
from transformers.utils.logging import disable_progress_bar

from lambdascale.claims.book import book
from lambdascale.claims.metric import Metric, metric, word
from lambdascale.claims.table import reported
from lambdascale.experiments import bench_engine, bench_multicast, bench_storage, op_cost
from lambdascale.experiments.bench_engine import Batching
from lambdascale.experiments.bench_multicast import Timing
from lambdascale.experiments.bench_storage import Moving
from lambdascale.experiments.op_cost import OpCost
from lambdascale.model.catalogue import load_packed
from lambdascale.model.nominal import nominal_shape
from lambdascale.multicast.choose import choose
from lambdascale.multicast.costs import LinkCost
from lambdascale.transport.registry import ON_ANY_HOST

MODEL = "smollm2-135m"
DTYPES = ("bfloat16", "float32")


def multicast_metrics(timings: Mapping[str, Timing]) -> list[Metric]:
    """Return medians in units of three copies, and tcp in units of plain sockets."""
    found = [
        metric(f"bench.multicast.{word(name)}_over_copies", timings[name].median_ratio, "measured")
        for name in ("shm", "shm verified", "tcp")
    ]
    sockets = timings["tcp"].median_s / timings["sockets"].median_s
    return [*found, metric("bench.multicast.tcp_over_sockets", sockets, "measured")]


def operation_metric(cost: OpCost) -> Metric:
    """Return what a write over a transport costs, as the planner counts it (`plan --occupancy-us …`)."""
    occupancy_us, latency_us = cost.link.occupancy_s * 1e6, cost.link.latency_s * 1e6
    note = f"o {occupancy_us:.0f} µs, L {latency_us:.0f} µs, {cost.link.rate / 1e9:.1f} GB/s"
    return metric(f"bench.write.{cost.transport}.occupancy_us", occupancy_us, "measured", note)


def storage_metrics(moving: Moving) -> list[Metric]:
    """Return a load in units of `readinto`, and a copy between tiers in units of memcpy."""
    return [
        metric("bench.storage.load_over_readinto", moving.load_ratio, "measured"),
        metric("bench.storage.copy_over_memcpy", moving.copy_ratio, "measured"),
    ]


def plan_metric() -> Metric:
    """Return how long it takes to choose a schedule and its block count for a 13B."""
    nbytes = nominal_shape("llama-2-13b").layout("llama-2-13b", "float16").nbytes
    cost = LinkCost(1e-4, 5e-3, 42.1e9)  # latency rules: the most to compare
    started = time.process_time()
    choose(64, 1, nbytes, cost)
    seconds = time.process_time() - started
    return metric("bench.plan.64_nodes_s", seconds, "measured")


def batching_metric(result: Batching) -> Metric:
    """Return the tokens/s of a backlog in units of what `transformers` makes of it."""
    name = f"bench.batching.{result.dtype}_over_transformers"
    return metric(name, result.backlog_ratio, "measured")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all benches; print a table, or a list of JSON objects."""
    parser = argparse.ArgumentParser(description="speeds, as ratios within one run")
    parser.add_argument("--json", action="store_true", help="print a list of results")
    options = parser.parse_args(arguments)
    disable_progress_bar()
    print("multicast of 512 MiB: about a minute", file=sys.stderr)
    found = multicast_metrics(bench_multicast.measure())
    found += [operation_metric(op_cost.measure(transport)) for transport in ON_ANY_HOST]
    found.append(plan_metric())
    print("loads and copies: a few seconds", file=sys.stderr)
    found += storage_metrics(bench_storage.measure(load_packed(MODEL, "float32").image))
    for dtype in DTYPES:
        print(f"batching in {dtype}: about two minutes", file=sys.stderr)
        found.append(batching_metric(bench_engine.measure(dtype)))
    if options.json:
        print(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False))
    else:
        print(reported(found, book()))


if __name__ == "__main__":
    main()
