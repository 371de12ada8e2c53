"""How far the simulation can be trusted: errors out of sample, and whether it ranks systems as they are.

Scored are the points that the simulator was not calibrated on and whose devices kept their pace: where a
step took longer than the imposed floor, the processor was measured and not the system. Pure.
"""

from collections.abc import Iterator
from itertools import combinations

import pandas as pd

from lambdascale.claims.metric import Metric, metric
from lambdascale.experiments.trials import RANKED

TIE = 0.05  # systems whose predictions are closer than the accepted error are not told apart
RANKED_BY = ("complete", "P90")
PROVENANCE = "emulated, simulated"


def scored(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points that count."""
    return points[~points["in_sample"] & (points["overruns"] == 0)]


def errors(points: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles of |predicted ÷ measured − 1| per kind, in sample and out; hollow points are counted.

    `bias` is the median of predicted ÷ measured − 1. The last row is of all times but those to first token.
    """
    rows = [
        _row(str(kind), bool(inside), group)
        for (inside, kind), group in points.groupby(["in_sample", "kind"], sort=False)
    ]
    own = points[points["kind"] != "TTFT"]
    rows += [
        _row("all but TTFT", inside, own[own["in_sample"] == inside]) for inside in (True, False)
    ]
    return pd.DataFrame(rows)


def _row(kind: str, in_sample: bool, group: pd.DataFrame) -> dict[str, object]:
    kept = group[group["overruns"] == 0]
    error = (kept["ratio"] - 1).abs()
    return {
        "kind": kind,
        "sample": "in" if in_sample else "out",
        "points": len(kept),
        "hollow": len(group) - len(kept),
        "bias": (kept["ratio"] - 1).median(),
        "median": error.median(),
        "p90": error.quantile(0.9),
        "worst": error.max(),
    }


def ranking(points: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the systems that ran the ranked trial by one of its times, best prediction first."""
    sources, nodes, blocks = RANKED
    same = (points["sources"] == sources) & (points["nodes"] == nodes)
    same &= (points["blocks"] == blocks) & points["serves"] & (points["overruns"] == 0)
    mine = points[same & (points["metric"] == metric)]
    table = mine[["system", "measured_s", "predicted_s"]].sort_values("predicted_s")
    for clock in ("predicted", "measured"):
        table[f"{clock} rank"] = table[f"{clock}_s"].rank(method="min").astype(int)
    return table.reset_index(drop=True)


def disordered(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of systems that the prediction tells apart, but the wrong way round."""
    rows = table.to_dict("records")
    return [
        (str(a["system"]), str(b["system"]))
        for a, b in combinations(rows, 2)
        if b["predicted_s"] > (1 + TIE) * a["predicted_s"] and b["measured_s"] < a["measured_s"]
    ]


def metrics(points: pd.DataFrame) -> Iterator[Metric]:
    """Yield what the claims of `artifact/claims.yaml` are about; nothing of what no point tells."""
    kept = scored(points)
    others = kept[kept["kind"] != "TTFT"]
    for name, share in (("median", 0.5), ("p90", 0.9)):
        yield from _error(f"fidelity.times.{name}_error", others, share)
    for name in ("P50", "P90"):
        mine = kept[(kept["kind"] == "TTFT") & (kept["metric"] == name)]
        yield from _error(f"fidelity.ttft.{name.lower()}_error", mine, None)
    tables = [ranking(points, name) for name in RANKED_BY]
    same = [float(not disordered(table)) for table in tables if len(table) > 1]
    if same:
        note = f"{max(map(len, tables))} systems, by {' and by '.join(RANKED_BY)}"
        yield metric("fidelity.same_ranking", same, PROVENANCE, note)
    hollow = points["overruns"] > 0
    note = f"{hollow.sum()} of {len(points)} points: a device was slower than its floor"
    yield metric("fidelity.hollow_share", float(hollow.mean()), PROVENANCE, note)


def _error(name: str, points: pd.DataFrame, share: float | None) -> Iterator[Metric]:
    """A quantile of the error, or all errors without a `share`."""
    if points.empty:
        return
    error = (points["ratio"] - 1).abs()
    value = error if share is None else float(error.quantile(share))
    shown = f"up to {error.max():.1%}" if share is None else f"{value:.1%}"
    yield metric(name, value, PROVENANCE, f"{shown}, {len(points)} points")
