"""Loading from each node's own host memory, in shifted orders against all in order (paper.md d.1, h.4).

The nodes hold the model in host memory and requests come at once, so that every node starts warm. In shifted
orders N nodes hold the model together after 1/N of a load, and serve as a pipeline from then on.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, Outputs, metric, same_tokens, word
from lambdascale.config import SystemSpec
from lambdascale.experiments.cached import Case
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.sim import engine_spec
from lambdascale.sim.testbeds import TESTBED1, UVA_PCIE_GBPS
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow

ORDERS = {"shifted": SystemSpec(), "in order": SystemSpec(name="in order", shifted_loads=False)}
RATES = {"64 GB/s": TESTBED1.pcie_gbps, "26.3 GB/s": UVA_PCIE_GBPS}  # host memory to GPU
AUTHORS = "llama-2-7b, 26.3 GB/s, 2 nodes"  # which the authors have measured, too (h.4):
AUTHORS_S = {"covered_shifted_s": 0.257, "covered_in_order_s": 0.511}


def warm(spec: TraceSpec) -> TraceSpec:
    """Return `spec` with every node warm, and wanted from the start."""
    policy = ScalingPolicy("fixed", min_instances=spec.num_nodes)
    return replace(spec, initial_gpu=0, initial_host=spec.num_nodes, policy=policy)


def backlog(spec: TraceSpec, per_node: int) -> tuple[TraceRow, ...]:
    """Return so many requests per node at time 0, as long as `spec` lets them be."""
    row = TraceRow(0.0, spec.replay.max_prompt, spec.replay.max_output, spec.models[0])
    return (row,) * (per_node * spec.num_nodes)


def both_orders(spec: TraceSpec, per_node: int) -> list[Case]:
    """Return `spec` in shifted orders and in order, with a backlog."""
    rows = backlog(spec, per_node)
    return [
        (replace(spec, system=system, label=f"{spec.label}, {order}"), rows)
        for order, system in ORDERS.items()
    ]


def paper_cases(models: Sequence[str], num_nodes: Sequence[int], per_node: int) -> list[Case]:
    """Return the paper's models on N nodes at each of RATES, in virtual time."""
    cases = []
    for model in models:
        for name, pcie_gbps in RATES.items():
            for count in num_nodes:
                spec = TraceSpec(
                    models=(model,),
                    dtype=engine_spec.DTYPE,
                    replay=Replay(1.0, max_prompt=16, max_output=8),
                    num_nodes=count,
                    num_blocks=32,
                    link_gbps=TESTBED1.link_gbps,
                    pcie_gbps=pcie_gbps,
                    device=engine_spec.AUTHORS.device(model, TESTBED1),
                    clock="virtual",
                    label=f"{model}, {name}, {count} nodes",
                )
                cases += both_orders(warm(spec), per_node)
    return cases


def on_both_clocks(spec: TraceSpec, per_node: int) -> tuple[list[Case], list[Case]]:
    """Return both orders on real processes, and the same in virtual time."""
    virtual = replace(spec, clock="virtual", label=f"{spec.label} (simulated)")
    return both_orders(spec, per_node), both_orders(virtual, per_node)


def compare(result: RunResult) -> pd.DataFrame:
    """Return one row per pair of runs: seconds in order and shifted, and their ratios.

    covered: the nodes hold every block together; token: the first one; whole: every node holds all.
    """
    pairs = [spec.label.removesuffix(", shifted") for spec in result.specs]
    pairs = [pair for pair in pairs if not pair.endswith(", in order")]
    return pd.DataFrame([_pair(result, pair) for pair in pairs])


def joined(real: pd.DataFrame, virtual: pd.DataFrame) -> pd.DataFrame:
    """Return both tables of `compare` as one."""
    return pd.concat([real, virtual], ignore_index=True)


def _pair(result: RunResult, pair: str) -> dict[str, object]:
    shifted, plain = (_times(result, f"{pair}, {order}") for order in ORDERS)
    (spec,) = result.only(f"{pair}, shifted").specs
    ratios = {f"{name}_ratio": shifted[name] / plain[name] for name in ("covered", "token")}
    seconds = {f"{name}_{order}_s": t[name] for name in plain
               for order, t in (("in_order", plain), ("shifted", shifted))}  # fmt: skip
    nodes = {"nodes": spec.num_nodes} if isinstance(spec, TraceSpec) else {}
    return {"run": pair, **nodes, **seconds, **ratios, "provenance": spec.provenance}


def _times(result: RunResult, run: str) -> dict[str, float]:
    one = result.only(run)
    verified = one.blocks.groupby("block")["verified_s"].min()
    return {
        "covered": float(verified.max()),
        "token": float(one.tokens["time_s"].min()),
        "whole": float(one.blocks["verified_s"].max()),
    }


def token_metrics(result: RunResult, reference: Outputs) -> list[Metric]:
    """A block that came early must not show in the tokens."""
    return [
        same_tokens(
            f"cache.{word(spec.label.rpartition(', ')[2])}.same_tokens",
            result.outputs(spec.label),
            reference,
            result.provenance,
        )
        for spec in result.specs
    ]


def coverage_metrics(table: pd.DataFrame) -> list[Metric]:
    """Coverage in shifted orders ÷ in order, × N: 1 where N nodes cover the model in 1/N of the time."""
    (provenance,) = table["provenance"].unique()
    ratios = table["covered_ratio"] * table["nodes"]
    return [metric(f"cache.{provenance}.covered_over_share", ratios, provenance)]


def authors_metrics(table: pd.DataFrame) -> list[Metric]:
    """Ours ÷ the times that the authors measured on their development cluster."""
    row = table[table["run"] == AUTHORS].iloc[0]
    ratios = [float(row[name]) / seconds for name, seconds in AUTHORS_S.items()]
    return [metric("cache.covered_over_authors", ratios, "simulated")]


def clock_metrics(real: pd.DataFrame, virtual: pd.DataFrame) -> list[Metric]:
    """Coverage is the same on both clocks; the first token comes when the pipeline has also made a step."""
    names = ["covered_shifted_s", "covered_in_order_s"]
    ratios = (real[names].to_numpy() / virtual[names].to_numpy()).ravel()
    found = [metric("cache.covered_emulated_over_simulated", ratios, "emulated, simulated")]
    for table in (real, virtual):
        first, provenance = table["token_ratio"].iloc[0], str(table["provenance"].iloc[0])
        found.append(metric(f"cache.{provenance}.first_token_ratio", first, provenance))
    return found
