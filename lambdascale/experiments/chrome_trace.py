"""A run as a Chrome trace: a file that Perfetto (ui.perfetto.dev) and chrome://tracing open.

    cluster       phases of the run; curves: nodes assigned, requests waiting and being answered
    node n        blocks in flight, what it serves as, which model it is assigned to, what it holds
    model m       a row per scale-out with its phases back to back; how its nodes started

When a block began to move is not recorded: its span begins with the arrival before it, and is no longer
than the median gap between arrivals (as in `figures/block_gantt.py`). What never ended lasts to the end.
Set-up has negative times in the tables; here the first event is at 0.
"""

import json
from pathlib import Path

import pandas as pd

from lambdascale.cluster.records import ORIGINS, TIERS
from lambdascale.errors import ConfigError
from lambdascale.experiments.chrome_events import Event, Process, in_order
from lambdascale.experiments.chrome_spans import (
    block_spans,
    lasting_spans,
    phase_spans,
    stage_spans,
    start_moments,
    switch_moments,
)
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.summary import end_s

_CLUSTER_PID, _FIRST_NODE_PID = 1, 2
_TIER_NAMES = {"gpu": "GPU holds", "host": "host memory holds", "ssd": "SSD holds"}


def chrome_trace(result: RunResult, run: str | None = None) -> dict[str, object]:
    """Return the trace of one run (default: the first) as JSON-ready data; raises ConfigError."""
    one = result.only(run or result.specs[0].label)
    nodes = _numbers(one)
    models = pd.concat([one.scale_outs["model"], one.starts["model"]]).unique()
    first_model_pid = _FIRST_NODE_PID + max(nodes, default=-1) + 1
    processes = [
        _cluster(one),
        *(_node(one, node) for node in nodes),
        *(_model(one, model, first_model_pid + i) for i, model in enumerate(models)),
    ]
    events: list[Event] = [event for process in processes for event in process.events]
    return {
        "traceEvents": in_order(events),
        "displayTimeUnit": "ms",
        "otherData": {"run": one.specs[0].label, "provenance": one.provenance},
    }


def save_chrome_trace(result: RunResult, path: Path, run: str | None = None) -> None:
    """Write the trace of one run (default: the first) to a file; raises ConfigError."""
    text = json.dumps(chrome_trace(result, run), allow_nan=False)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write the Chrome trace to {path} ({error.strerror}); name another file"
        ) from error


def _numbers(one: RunResult) -> list[int]:
    frames = one.nodes, one.blocks, one.pipelines, one.allocations, one.residency
    return sorted({int(node) for frame in frames for node in frame["node"]})


def _cluster(one: RunResult) -> Process:
    process = Process(_CLUSTER_PID, "cluster")
    process.thread("phases", phase_spans(one.phases))
    for model in one.allocations["model"].unique():
        mine = one.allocations[one.allocations["model"] == model]
        name = f"nodes assigned to {model}" if model else "nodes assigned"
        ends = mine["until_s"].dropna()
        process.counter(name, [*((t, 1) for t in mine["from_s"]), *((t, -1) for t in ends)])
    requests = one.requests
    first = (requests["arrival_s"] + requests["ttft_s"]).dropna()
    arrived, finished = requests["arrival_s"], requests["finished_s"].dropna()
    waiting = [*((t, 1) for t in arrived), *((t, -1) for t in first)]
    process.counter("requests waiting for a first token", waiting)
    answered = [*((t, 1) for t in first), *((t, -1) for t in finished)]
    process.counter("requests being answered", answered)
    return process


def _node(one: RunResult, node: int) -> Process:
    until_s = end_s(one)
    process = Process(_FIRST_NODE_PID + node, f"node {node}")
    blocks, held = _of(one.blocks, node), _of(one.residency, node)
    for origin in ORIGINS:
        mine = blocks[blocks["origin"] == origin].sort_values("arrived_s")
        process.thread(f"blocks in flight ({origin})", block_spans(mine))
    process.thread("serves as", stage_spans(_of(one.pipelines, node), until_s))
    process.instants("requests moved here", switch_moments(_of(one.switches, node)))
    process.thread("assigned to", lasting_spans(_of(one.allocations, node), until_s))
    for tier in TIERS:
        process.thread(_TIER_NAMES[tier], lasting_spans(held[held["tier"] == tier], until_s))
    return process


def _model(one: RunResult, model: str, pid: int) -> Process:
    process = Process(pid, f"model {model}".strip())
    mine = one.scale_outs[one.scale_outs["model"] == model]
    for scale_out in mine["scale_out"].unique():
        phases = mine[mine["scale_out"] == scale_out]
        process.thread(f"scale-out {scale_out}", phase_spans(phases))
    starts = one.starts[one.starts["model"] == model]
    process.instants("starts", start_moments(starts))
    return process


def _of(frame: pd.DataFrame, node: int) -> pd.DataFrame:
    return frame[frame["node"] == node]
