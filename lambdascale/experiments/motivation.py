"""The paper's motivation (Figures 2 and 3): models rarely are in host memory when they are needed.

Not a simulation of caches alone: the controller itself serves the requests, in virtual time, as a system
that knows neither multicast nor execute-while-load, so that every node loads for itself (paper.md a.2).
A request is served alone and in one step, which takes as long as all steps of the authors' request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from math import inf

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.config import SystemSpec
from lambdascale.experiments.cached import Case
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.model.nominal import fine_tuned
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.engine_spec import AUTHORS, DTYPE, STEPS
from lambdascale.sim.models import nominal_model
from lambdascale.sim.testbeds import TESTBED1
from lambdascale.units import gigabytes
from lambdascale.workload.arrivals import Bursts, bursty, poisson, spread
from lambdascale.workload.rate import thinned
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow, find_trace, read_trace

KEEP_ALIVE_S = 15.0  # of the paper
TIMER_S = 1e-3  # a copy leaves when its timer fires, which is a little after its keep-alive
TIMEOUT_S = 1e6  # virtual seconds
TRACES = {
    "BurstGPT": "burstgpt_head_10h",
    "Azure": "azure_conv_30min",
    "λScale trace 0": "lambdascale_trace0_30min",
}

LOCAL = SystemSpec(
    name="local caching",
    execute_while_load=False,
    sources=(),
    shifted_loads=False,
    gpu_keep_alive_s=0.0,
    host_keep_alive_s=KEEP_ALIVE_S,
)


def caching(
    model: str, num_models: int, places: int, num_nodes: int, gpu_keep_alive_s: float = 0.0
) -> TraceSpec:
    """Return nodes that cache for themselves: one model on the GPU, `places` in host memory, all on SSD."""
    nbytes = nominal_model(model, DTYPE).layout.nbytes
    return TraceSpec(
        models=fine_tuned(model, num_models),
        dtype=DTYPE,
        system=replace(LOCAL, gpu_keep_alive_s=gpu_keep_alive_s),
        policy=ScalingPolicy(target=1.0),
        replay=Replay(1.0, max_prompt=1, max_output=1),
        num_nodes=num_nodes,
        num_blocks=1,
        max_slots=1,
        host_gb=gigabytes((places + 0.5) * nbytes),  # half a place: none is lost to rounding
        link_gbps=TESTBED1.link_gbps,
        pcie_gbps=TESTBED1.pcie_gbps,
        ssd_gbps=TESTBED1.ssd_gbps,
        device=AUTHORS.device(model, TESTBED1).slowed(STEPS),
        timeout_s=TIMEOUT_S,
        clock="virtual",
    )


def residency_cases(
    models: Sequence[str],
    num_models: int,
    places: int,
    requests_per_minute: float,
    duration_s: float,
    seed: int,
) -> list[Case]:
    """Return Figure 2, once per model: one node, Poisson arrivals, LRU alone and with the keep-alive."""
    cases: list[Case] = []
    for model in models:
        spec = caching(model, num_models, places, num_nodes=1)
        rows = poisson(spec.models, requests_per_minute / 60, duration_s, seed)
        lru = replace(spec.system, host_keep_alive_s=inf)
        cases.append((replace(spec, system=lru, label=f"{model}, LRU"), rows))
        cases.append((replace(spec, label=f"{model}, LRU and {KEEP_ALIVE_S:g} s"), rows))
    return cases


def stays(result: RunResult) -> pd.DataFrame:
    """Return one row per run: how long models stayed in host memory, of those that have left it.

    `in_memory` is how many were there on average, which Little's law gives: loads/s × mean stay.
    """
    return pd.DataFrame([_stays(result, spec.label) for spec in result.specs])


def _stays(result: RunResult, run: str) -> dict[str, object]:
    one = result.only(run)
    host = one.residency[one.residency["tier"] == "host"]
    seconds = (host["until_s"] - host["from_s"]).dropna()
    duration_s = float(one.requests["finished_s"].max())
    return {
        "run": run,
        "stays": len(seconds),
        "shorter": float((seconds < KEEP_ALIVE_S - TIMER_S).mean()),
        "within": float((seconds <= KEEP_ALIVE_S + TIMER_S).mean()),
        "median_s": float(seconds.median()),
        "mean_s": float(seconds.mean()),
        "in_memory": len(host) / duration_s * float(seconds.mean()),
        "from_ssd": float((one.starts["start"] == "ssd").mean()),
    }


def read_traces(folder: str, max_rate: float, seed: int) -> dict[str, tuple[TraceRow, ...]]:
    """Return those of TRACES that are in `folder`; what is faster than `max_rate` per second is thinned."""
    found = {label: find_trace(name, folder) for label, name in TRACES.items()}
    return {label: thinned(read_trace(p), max_rate, seed) for label, p in found.items() if p}


def tenant_cases(
    spec: TraceSpec,
    requests_per_minute: float,
    duration_s: float,
    seed: int,
    bursts: Bursts,
    traces: Mapping[str, Sequence[TraceRow]],
) -> list[Case]:
    """Return Figure 3: steady and bursty tenants of equal means, and traces spread over as many tenants."""
    rate, names = requests_per_minute / 60, spec.models
    rows = {
        "steady": poisson(names, rate, duration_s, seed),
        "bursty": bursty(names, rate, duration_s, seed, bursts),
        **{name: spread(trace, names, seed) for name, trace in traces.items()},
    }
    return [(replace(spec, label=name), trace) for name, trace in rows.items()]


def load_types(result: RunResult) -> pd.DataFrame:
    """Return one row (run, start) per load, and one *hot* for each request that none was begun for."""
    runs = []
    for spec in result.specs:
        one = result.only(spec.label)
        loads = one.starts.loc[one.starts["start"] != "hot", "start"]
        num_hot = max(0, len(one.requests) - len(loads))
        starts = [*chain(loads, repeat("hot", num_hot))]
        runs.append(pd.DataFrame({"run": spec.label, "start": starts}))
    return pd.concat(runs, ignore_index=True)


def load_shares(result: RunResult) -> pd.DataFrame:
    """Return one row per run: the shares of requests that were hot, from memory and from SSD."""
    rows = load_types(result)
    shares = rows.groupby("run", sort=False)["start"].value_counts(normalize=True)
    table = shares.unstack(fill_value=0).reindex(columns=["hot", "warm", "ssd"], fill_value=0.0)
    table.insert(0, "requests", rows["run"].value_counts())
    return table.reset_index()


def stay_metrics(table: pd.DataFrame, places: int) -> list[Metric]:
    """Models in memory ÷ places, on average; and the shares of stays of at most KEEP_ALIVE_S."""
    found = [metric("fig02.in_memory_over_places", table["in_memory"] / places, "simulated")]
    for row in table.to_dict("records"):
        policy = word(row["run"].partition(", ")[2])
        found.append(metric(f"fig02.{policy}.within_15s", row["within"], "simulated"))
    return found


def load_metrics(table: pd.DataFrame) -> list[Metric]:
    """The shares of requests that waited for an SSD, by trace."""
    return [
        metric(f"fig03.{word(row['run'])}.from_ssd", row["ssd"], "simulated")
        for row in table.to_dict("records")
    ]
