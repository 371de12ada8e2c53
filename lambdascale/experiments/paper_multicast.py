"""Figure 7: how long every system takes to bring a model from one node to all (paper.md 6.6)."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments import recorded
from lambdascale.experiments.paper_scale import multicast, size_of, wire_s
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.systems import system

SYSTEMS = (
    *("lambdascale-paper", "faasnet", "nccl"),  # the paper's; then ours and those it does not have
    *("lambdascale", "nccl-warm", "star", "blitzscale"),
)
PAPERS = "lambdascale-paper"
PAIRED = 3  # with fewer nodes there is one receiver, and no tree to compare with

Points = Mapping[str, Sequence[int]]  # model → numbers of nodes
Seconds = Mapping[tuple[str, int], Mapping[str, float]]  # (size, nodes) → system → seconds


def points(texts: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Return the points of a figure from a notebook's parameters, without models of an empty text.

    >>> points({"llama-2-7b": "2, 4", "llama-2-13b": ""})
    {'llama-2-7b': (2, 4)}
    """
    return {
        model: tuple(int(nodes) for nodes in text.split(","))
        for model, text in texts.items()
        if text
    }


def specs(wanted: Points, systems: Sequence[str] = SYSTEMS) -> list[RunSpec]:
    """Return one scale-out per point and system."""
    return [
        multicast(system(name), model, nodes)
        for model, counts in wanted.items()
        for nodes in counts
        for name in systems
    ]


def latency(result: RunResult) -> pd.DataFrame:
    """Return one row per run: `size nodes system blocks seconds wire_s recorded_s` (NaN: not recorded)."""
    last = result.blocks.groupby("run")["verified_s"].max()
    return pd.DataFrame([_row(spec, float(last[spec.label])) for spec in result.scale_out_specs])


def _row(spec: RunSpec, seconds: float) -> dict[str, object]:
    name, nodes = spec.system.name, spec.scale.num_nodes
    return {
        "size": size_of(spec.model),
        "nodes": nodes,
        "system": name,
        "blocks": spec.scale.num_blocks,
        "seconds": seconds,
        "wire_s": wire_s(spec.model),
        "recorded_s": recorded.MULTICASTS.get(name, {}).get(spec.model, {}).get(nodes),
    }


def over_wire(table: pd.DataFrame) -> pd.DataFrame:
    """Return seconds ÷ (bytes ÷ wire), a row per point and a column per system."""
    ratios = table.assign(ratio=table["seconds"] / table["wire_s"])
    order = list(dict.fromkeys(table["system"]))
    wide = ratios.pivot(index=["size", "nodes"], columns="system", values="ratio")
    return wide.reindex(columns=order).sort_index(key=_by_size).rename_axis(columns=None)


def metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """Seconds of the paper's system, everybody's ÷ (bytes ÷ wire), others' ÷ the paper's, orderings."""
    for row in table.to_dict("records"):
        head = f"fig07.{word(row['size'])}.{row['nodes']}.{word(row['system'])}"
        if row["system"] == PAPERS:
            yield metric(f"{head}_s", row["seconds"], "simulated")
        yield metric(f"{head}_over_wire", row["seconds"] / row["wire_s"], "simulated")
    yield from _ratios(by_point(table))
    yield from _orderings(by_point(table))


def by_point(table: pd.DataFrame) -> Seconds:
    """Return the seconds of every system at every point."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for row in table.to_dict("records"):
        found.setdefault((row["size"], row["nodes"]), {})[row["system"]] = row["seconds"]
    return found


def _ratios(seconds: Seconds) -> Iterator[Metric]:
    for (size, nodes), of in seconds.items():
        against = "lambdascale_paper" if nodes >= PAIRED else "lambdascale_paper_to_one_node"
        for name in ("faasnet", "nccl"):
            metric_name = f"fig07.{word(size)}.{nodes}.{name}_over_{against}"
            yield metric(metric_name, of[name] / of[PAPERS], "simulated")


def _orderings(seconds: Seconds) -> Iterator[Metric]:
    """1 where it holds: fastest at each point; a gain that grows between neighbours; less at 12 than at 8."""
    fastest = [of[PAPERS] < min(of["faasnet"], of["nccl"]) for of in seconds.values()]
    yield _holds("fastest", fastest)
    grows = [
        _gain(seconds[b], "faasnet") > _gain(seconds[a], "faasnet") for a, b in neighbours(seconds)
    ]
    if grows:
        yield _holds("gain_grows", grows)
    if {("13B", 8), ("13B", 12)} <= seconds.keys():
        smaller = _gain(seconds["13B", 12], "nccl") < _gain(seconds["13B", 8], "nccl")
        yield _holds("smaller_at_12", [smaller])


def neighbours(seconds: Seconds) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Return pairs of points, the smaller one first: one model over nodes, and equal nodes over models."""
    known = sorted(seconds, key=lambda point: (_bytes_of(point[0]), point[1]))
    pairs = []
    for i, (size, nodes) in enumerate(known):
        later = known[i + 1 :]
        pairs += [((size, nodes), p) for p in later if p[0] == size][:1]
        pairs += [((size, nodes), p) for p in later if p[0] != size and p[1] == nodes][:1]
    return pairs


def _gain(of: Mapping[str, float], name: str) -> float:
    return of[name] / of[PAPERS]


def _holds(what: str, values: Sequence[bool]) -> Metric:
    return metric(f"fig07.order.{what}", [float(v) for v in values], "simulated")


def _bytes_of(size: str) -> float:
    return float(size.removesuffix("B"))


def _by_size(index: pd.Index) -> pd.Index:
    return index.map(_bytes_of) if index.name == "size" else index
