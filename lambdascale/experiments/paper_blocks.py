"""Two studies of the technical report: into how many blocks to cut a model, and in which order to send them.

Of each multicast: when every receiver has every block (*complete*), when they have the model between them
(*covered*), and when the first execution pipeline is formed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.paper_scale import multicast, size_of, wire_s
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.systems import system

PAPERS, OURS = "lambdascale-paper", "lambdascale"
CHOSEN = " (chosen)"
ORDERS = {"full": "contiguous", "half": "half", "off": "none"}  # the report's names: ours

Ks = Sequence[int]


def block_specs(model: str, num_nodes: int, ks: Ks, blocks: Sequence[int]) -> list[RunSpec]:
    """Return multicasts of the paper's system and ours at each block count; ours also as it chooses."""
    specs = []
    for k in ks:
        for name in (PAPERS, OURS):
            own = multicast(system(name), model, num_nodes, k)
            counts = {*blocks, own.scale.num_blocks} if name == OURS else {*blocks}
            specs += [_cut(own, count) for count in sorted(counts)]
    return specs


def _cut(spec: RunSpec, num_blocks: int) -> RunSpec:
    """Return `spec` with so many blocks, and say so if it had chosen them."""
    scale = replace(spec.scale, num_blocks=num_blocks)
    own = CHOSEN if spec.system.name == OURS and num_blocks == spec.scale.num_blocks else ""
    label = f"{spec.label}, k = {scale.num_sources}, {num_blocks} blocks{own}"
    return replace(spec, scale=scale, label=label)


def order_specs(model: str, num_nodes: int, ks: Ks, num_blocks: int) -> list[RunSpec]:
    """Return multicasts of the paper's system in each order."""
    return [
        replace(spec, system=replace(spec.system, order=order), label=f"{spec.label}, {name}")
        for k in ks
        for spec in [_cut(multicast(system(PAPERS), model, num_nodes, k), num_blocks)]
        for name, order in ORDERS.items()
    ]


def times(result: RunResult) -> pd.DataFrame:
    """Return one row per run: who, how it was cut and sent, and `complete_s covered_s pipeline_s stages`.

    chosen: ours would cut it so by itself; pipeline_s, stages: of the first execution pipeline of
    several nodes (NaN and 0 if there was none); wire_s: bytes ÷ wire.
    """
    return pd.DataFrame([_row(result.only(s.label), s) for s in result.scale_out_specs])


def _row(one: RunResult, spec: RunSpec) -> dict[str, object]:
    formed = one.pipelines[one.pipelines["kind"] == "pipeline"]
    formed = formed[formed.duplicated("pipeline", keep=False)]  # of several nodes
    first = formed[formed["pipeline"] == formed["pipeline"].min()]
    names = {order: name for name, order in ORDERS.items()}
    return {
        "size": size_of(spec.model),
        "k": spec.scale.num_sources,
        "nodes": spec.scale.num_nodes,
        "system": spec.system.name,
        "order": names.get(spec.system.order or "contiguous", ""),
        "blocks": spec.scale.num_blocks,
        "chosen": spec.label.endswith(CHOSEN),
        "complete_s": float(one.blocks["verified_s"].max()),
        "covered_s": float(one.blocks.groupby("block")["verified_s"].min().max()),
        "pipeline_s": float(first["formed_s"].min()),
        "stages": len(first),
        "wire_s": wire_s(spec.model),
    }


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """Return what is drawn over blocks: `panel system blocks seconds chosen wire_s`."""
    single, several = table["k"] == table["k"].min(), (table["k"] > 1) & (table["stages"] > 0)
    parts = [_curve(table[single], "complete_s", "every node has every block")]
    for _, part in table[several].groupby("k"):
        parts.append(_curve(part, "pipeline_s", "the first pipeline"))
    return pd.concat(parts, ignore_index=True)


def _curve(part: pd.DataFrame, column: str, what: str) -> pd.DataFrame:
    panel = f"k = {part['k'].iloc[0]}, {part['nodes'].iloc[0]} nodes: until {what}"
    named = part.assign(panel=panel, seconds=part[column])
    return named[["panel", "system", "blocks", "seconds", "chosen", "wire_s"]]


def block_metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """Which block count is best for whom, and what ours loses by choosing from a prediction."""
    single = table[table["k"] == table["k"].min()]
    for name, part in single.groupby("system", sort=False):
        best = part.sort_values("complete_s")["blocks"].iloc[0]
        suffix = "best" if name == PAPERS else f"{word(str(name))}_best"
        yield metric(f"tr.block_count.{suffix}", best, "simulated")
    ours, papers = table["system"] == OURS, table["system"] == PAPERS
    for k, part in table[ours].groupby("k"):
        own = part[part["chosen"]]
        for what in ("complete", "pipeline"):
            ratio = own[f"{what}_s"].iloc[0] / part[f"{what}_s"].min()
            if np.isfinite(ratio):
                name = f"tr.block_count.k{k}.lambdascale_chosen_over_best_{what}"
                yield metric(name, ratio, "simulated")
    for k, part in table[papers & (table["k"] > 1)].groupby("k"):
        best = part.sort_values("pipeline_s")["blocks"].iloc[0]
        yield metric(f"tr.block_count.k{k}.first_pipeline_best", best, "simulated")


def order_metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """When the receivers hold the model together in each order; 1 for each order that full is ahead of."""
    earlier = []
    for k, part in table.groupby("k"):
        covered = dict(zip(part["order"], part["covered_s"], strict=True))
        for name, seconds in covered.items():
            yield metric(f"tr.kway_order.k{k}.{name}_covered_s", seconds, "simulated")
        earlier += [covered["full"] < covered[name] for name in ("half", "off")]
    yield metric("tr.kway_order.earlier", map(float, earlier), "simulated")


def coverage(result: RunResult) -> pd.DataFrame:
    """Return the share of the model that the receivers hold together: `panel order time_s share`."""
    return pd.concat([_coverage(result, s) for s in result.scale_out_specs], ignore_index=True)


def _coverage(result: RunResult, spec: RunSpec) -> pd.DataFrame:
    mine = result.blocks[result.blocks["run"] == spec.label]
    first = np.sort(mine.groupby("block")["verified_s"].min().to_numpy())
    names = {order: name for name, order in ORDERS.items()}
    return pd.DataFrame(
        {
            "panel": f"k = {spec.scale.num_sources}, {spec.scale.num_nodes} nodes",
            "order": names[str(spec.system.order)],
            "time_s": np.concatenate([[0.0], first]),
            "share": np.arange(len(first) + 1) / len(first),
        }
    )
