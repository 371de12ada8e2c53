"""How much of the gain continuous batching leaves: a modern engine, and load until the cluster is needed.

One modern GPU would swallow the paper's trace whole. So its requests are repeated (their bursts stay as
long as they are) until, if loads took no time, the peak would need a given share of the cluster. Lengths
are the trace's, cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.paper_load import PAPERS, Fact, Load
from lambdascale.experiments.paper_scale import DTYPE, testbed_of
from lambdascale.experiments.paper_trace import snippet
from lambdascale.experiments.systems import SYSTEMS
from lambdascale.sim.hardware import CONTINUOUS
from lambdascale.sim.models import simulated_model
from lambdascale.workload.rate import scaled
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow

LENGTHS = Replay(speedup=1.0, max_prompt=512, max_output=512)
MOST = 1000.0  # times as many requests


def token_s(model: str) -> float:
    """Return seconds per token of a request on a node whose slots are all in use, half of each filled."""
    hardware = testbed_of(model, "ideal")
    packed = simulated_model(model, DTYPE)
    limits = CONTINUOUS.limits(model, hardware)
    entries = limits.max_slots * limits.max_length / 2 * packed.shape.kv_bytes_per_token(DTYPE)
    device = CONTINUOUS.device(model, hardware)
    parts = len(packed.layout.part_offsets) - 1
    return device.forward_s(packed.layout, 0, parts, limits.max_slots, entries)


def nodes_at_peak(rows: Sequence[TraceRow], model: str) -> float:
    """Return how many nodes' slots requests take at their peak if each is served at once."""
    slots = CONTINUOUS.requests(model, testbed_of(model, "ideal"))
    step_s = token_s(model)
    ends = [(r.arrival_s + step_s * min(r.output_tokens, LENGTHS.max_output), -1) for r in rows]
    changes = sorted([*ends, *((r.arrival_s, 1) for r in rows)])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most / slots


def factor_for(rows: Sequence[TraceRow], model: str, share: float, seed: int = 0) -> float:
    """Return how many times as many requests need `share` of the cluster at their peak, to a percent."""
    wanted = share * testbed_of(model, "ideal").num_nodes
    low, high = 0.0, MOST
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        if nodes_at_peak(scaled(rows, middle, seed), model) > wanted:
            high = middle
        else:
            low = middle
    return low


def loads(
    trace: str, model: str, share: float, duration_s: float, systems: Sequence[str], seed: int = 0
) -> list[Load]:
    """Return systems with continuous batching under the first `duration_s` of a trace, scaled to `share`."""
    rows = [row for row in snippet(trace, model, seed) if row.arrival_s < duration_s]
    factor = factor_for(rows, model, share, seed)
    more = scaled(rows, factor, seed)
    replay = replace(LENGTHS, model=model)
    facts: dict[str, Fact] = {"engine": CONTINUOUS.name, "factor": round(factor, 2), "seed": seed}
    return [Load(SYSTEMS[name], model, more, facts, CONTINUOUS, replay) for name in systems]


def metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """P90 and GPU time of every system ÷ those of the paper's."""
    of = table.set_index("system")
    for name in of.index.drop(PAPERS):
        head = f"beyond.continuous.{word(str(of.loc[name, 'size']))}.{word(name)}"
        for column, what in (("ttft_p90_s", "p90"), ("gpu_s", "gpu_s")):
            ratio = float(of.loc[name, column] / of.loc[PAPERS, column])
            yield metric(f"{head}.{what}_over_lambdascale_paper", ratio, "simulated")
