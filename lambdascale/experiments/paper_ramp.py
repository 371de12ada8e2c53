"""Figure 8 and its variants: tokens per second after 50 requests and the order to scale out came at once.

Rates are those of the authors: one request is a batch of four prompts, so that a step makes four tokens. The
*ramp* starts with the first token of a node that had to load; the sources serve from the beginning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.cached import Case
from lambdascale.experiments.paper_scale import stress
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.system import System
from lambdascale.experiments.systems import system
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.sim.hardware import AUTHORS
from lambdascale.workload.authors import BATCH

SYSTEMS = ("lambdascale-paper", "lambdascale", "faasnet", "nccl", "serverlessllm")
BASELINES = ("faasnet", "nccl", "serverlessllm")
FROM_SSD = "serverlessllm"
LOAD_FIRST = " (load first)"
PAPERS = "lambdascale-paper"
BIN_STEPS = 5  # a bin is so many decode steps, so that a busy instance is as high in each

Ks = Sequence[int]


def cases(model: str, num_nodes: int, ks: Ks, systems: Sequence[str] = SYSTEMS) -> list[Case]:
    """Return the stress test of a model for each k and system; no k, no cases."""
    return [stress(system(name), model, num_nodes, in_gpu=k) for k in ks for name in systems]


def from_host(model: str, num_nodes: int, ks: Ks, systems: Sequence[str]) -> list[Case]:
    """Return the same where k nodes hold the model in host memory and none on a GPU (paper.md d.1)."""
    return [stress(system(name), model, num_nodes, in_host=k) for k in ks for name in systems]


def loading_first(model: str, num_nodes: int, ks: Ks, systems: Sequence[str]) -> list[Case]:
    """Return the stress test with execute-while-load and without it."""
    both = [s for name in systems for s in (system(name), _load_first(system(name)))]
    return [stress(one, model, num_nodes, in_gpu=k) for k in ks for one in both]


def _load_first(one: System) -> System:
    name = one.spec.name + LOAD_FIRST
    return replace(one, spec=replace(one.spec, name=name, execute_while_load=False))


def counts(text: str) -> tuple[int, ...]:
    """Return numbers from a notebook's parameter.

    >>> counts("1, 2"), counts("")
    ((1, 2), ())
    """
    return tuple(int(part) for part in text.split(",") if part.strip())


def throughput(result: RunResult) -> pd.DataFrame:
    """Return one row per bin: `panel system from_s tokens_per_s`."""
    return pd.concat([_binned(result, spec) for spec in _traces(result)], ignore_index=True)


def _binned(result: RunResult, spec: TraceSpec) -> pd.DataFrame:
    times = result.tokens.loc[result.tokens["run"] == spec.label, "time_s"]
    width = BIN_STEPS * AUTHORS.step_s[spec.models[0]]
    edges = np.arange(int(times.max() // width) + 2) * width
    made, _ = np.histogram(times, edges)
    rates = {"from_s": edges[:-1], "tokens_per_s": BATCH * made / width}
    return pd.DataFrame({"panel": _panel(spec), "system": spec.system.name, **rates})


def ramps(result: RunResult) -> pd.DataFrame:
    """Return one row per run: `panel size k nodes system ramp_s loaded_s switched_s finished_s plateau`.

    loaded: all blocks are on all GPUs; switched: every node serves on its own; plateau: tokens of the
    receivers between ramp and loaded, as a share of what they make from then on.
    """
    return pd.DataFrame([_ramp(result, spec) for spec in _traces(result)])


def _ramp(result: RunResult, spec: TraceSpec) -> dict[str, object]:
    one = result.only(spec.label)
    k = spec.initial_gpu or spec.initial_host
    received = one.tokens.loc[one.tokens["node"] >= spec.initial_gpu, "time_s"]
    loaded_s = float(one.blocks.loc[one.blocks["origin"] != "gpu", "verified_s"].max())
    replicas = one.pipelines[one.pipelines["kind"] == "replica"]
    ramp_s = float(received.min())
    during = ((received >= ramp_s) & (received < loaded_s)).sum()
    at_once = (spec.num_nodes - spec.initial_gpu) * (spec.in_flight or spec.max_slots)
    most = at_once / AUTHORS.step_s[spec.models[0]]
    return {
        "panel": _panel(spec),
        "size": _panel(spec).partition(",")[0],
        "k": k,
        "nodes": spec.num_nodes,
        "system": spec.system.name,
        "ramp_s": ramp_s,
        "loaded_s": loaded_s,
        "switched_s": float(replicas.groupby("node")["formed_s"].min().max()),
        "finished_s": float(one.requests["finished_s"].max()),
        "plateau": during / (most * (loaded_s - ramp_s)) if loaded_s > ramp_s else np.nan,
    }


def zooms(table: pd.DataFrame) -> dict[str, float]:
    """Return panel → seconds in which all but who reads SSDs have ramped up."""
    network = table[table["system"] != FROM_SSD]
    return {
        str(panel): 1.5 * float(s) for panel, s in network.groupby("panel")["ramp_s"].max().items()
    }


def metrics(figure: str, table: pd.DataFrame) -> Iterator[Metric]:
    """When each run ramps up, and how high the paper's system stands until it has loaded."""
    for row in table.to_dict("records"):
        head = f"{figure}.{word(row['size'])}.k{row['k']}.{word(row['system'])}"
        yield metric(f"{head}_ramp_s", row["ramp_s"], "simulated")
        if np.isfinite(row["plateau"]) and row["plateau"] > 0:
            yield metric(f"{head}_plateau", row["plateau"], "simulated")


def fig08_metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """Those of `metrics`, how much k sources help, and whether the paper's system comes first."""
    yield from metrics("fig08", table)
    ramp = table.set_index(["size", "k", "system"])["ramp_s"]
    for size in table["size"].unique():
        ks = [k for k in table["k"].unique() if (size, k, PAPERS) in ramp.index]
        if {1, 4} <= set(ks):
            ratio = ramp[size, 1, PAPERS] / ramp[size, 4, PAPERS]
            name = f"fig08.{word(size)}.k1_over_k4.lambdascale_paper_ramp"
            yield metric(name, ratio, "simulated")
    earliest = [
        ramp[size, k, PAPERS] < min(ramp[size, k, name] for name in BASELINES)
        for size, k, name in ramp.index
        if name == PAPERS and k > 1
    ]
    if earliest:
        yield metric("fig08.order.earliest", map(float, earliest), "simulated")


def load_first_metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """Those of `metrics`, and when the ramp starts: executing while loading ÷ loading first."""
    yield from metrics("tr.execute_while_load", table)
    ramp = table.set_index(["size", "k", "system"])["ramp_s"]
    for size, k, name in ramp.index:
        if name + LOAD_FIRST in table["system"].unique():
            head = f"tr.execute_while_load.{word(size)}.k{k}.{word(name)}"
            ratio = ramp[size, k, name] / ramp[size, k, name + LOAD_FIRST]
            yield metric(f"{head}_ramp_ratio", ratio, "simulated")


def _traces(result: RunResult) -> list[TraceSpec]:
    return [spec for spec in result.specs if isinstance(spec, TraceSpec)]


def _panel(spec: TraceSpec) -> str:
    """Its label without the system."""
    return spec.label.removesuffix(f", {spec.system.name}")
