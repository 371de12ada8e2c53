"""A day on a thousand nodes: 100,000 requests of one 7B, served by our system (beyond the paper)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lambdascale.claims.metric import Metric, metric
from lambdascale.experiments.cached import Case
from lambdascale.experiments.load_frames import held, rate
from lambdascale.experiments.placed import on
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.summary import end_s, gpu_seconds, quantile
from lambdascale.experiments.systems import EVENT_DRIVEN, system
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.sim.hardware import AUTHORS, TESTBED1
from lambdascale.workload import authors
from lambdascale.workload.generator import generate
from lambdascale.workload.trace import TraceRow

MODEL = "llama-2-7b"
TRACE = "day-like"
IDLE_S = 15.0  # for which an instance stays without a request
NUM_BLOCKS = 8  # scale-outs here are mostly of one node, where more gain nothing


def case(num_nodes: int, num_requests: int) -> Case:
    """Return our system on that many nodes of testbed 1, every node with the model on SSD, one in memory."""
    spec = TraceSpec(
        models=(MODEL,),
        trace=TRACE,
        replay=authors.replay(MODEL),
        initial_host=1,
        link_gbps=TESTBED1.link_gbps,
        device=TESTBED1.device_of(MODEL),
        preconnect=False,
        every_token=False,
        timeout_s=1e9,
        clock="virtual",
    )
    placed = on(replace(TESTBED1, num_nodes=num_nodes), AUTHORS, spec)
    ours = replace(system("lambdascale"), policy=replace(EVENT_DRIVEN, idle_s=IDLE_S))
    spec = replace(ours.trace(placed), num_blocks=NUM_BLOCKS, label=f"{num_nodes} nodes")
    return spec, _rows(num_requests)


def _rows(num_requests: int) -> Sequence[TraceRow]:
    return [replace(row, model=MODEL) for row in generate(TRACE)[:num_requests]]


def over_time(result: RunResult, num_bins: int = 288) -> pd.DataFrame:
    """Return `from_s requests_per_s gpus` for equal spans of the run: mean rate, most GPUs held at once."""
    frame = rate(result, num_bins)
    edges = [*frame["from_s"], frame["until_s"].iloc[-1]]
    gpus = _most(held(result), edges)
    return frame.drop(columns="until_s").assign(gpus=gpus)


def _most(held: pd.DataFrame, edges: Sequence[float]) -> list[int]:
    """The most GPUs held in each span between edges, those held at its beginning included."""
    times, gpus = held["time_s"].to_numpy(), held["gpus"].to_numpy()
    most = []
    for begin, end in itertools.pairwise(edges):
        first = max(int(np.searchsorted(times, begin, "right")) - 1, 0)
        most.append(int(gpus[first : max(int(np.searchsorted(times, end)), first + 1)].max()))
    return most


def summary(result: RunResult) -> pd.DataFrame:
    """Return one row: requests, scale-outs, most GPUs at once, GPU-seconds, times to first token."""
    ttft = result.requests["ttft_s"]
    row = {
        "num_requests": len(ttft),
        "scale_outs": result.scale_outs["scale_out"].nunique(),
        "most_gpus": int(held(result)["gpus"].max()),
        "gpu_s": gpu_seconds(result.allocations, end_s(result)),
        **{f"ttft_p{percent}_s": quantile(ttft, percent / 100) for percent in (50, 90, 99)},
    }
    return pd.DataFrame([row])


def metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """Times to first token, and GPU time per request."""
    row = table.iloc[0]
    for percent in (50, 90, 99):
        name = f"ttft_p{percent}_s"
        yield metric(f"beyond.thousand.{name}", float(row[name]), "simulated")
    per_request = float(row["gpu_s"] / row["num_requests"])
    yield metric("beyond.thousand.gpu_s_per_request", per_request, "simulated")
