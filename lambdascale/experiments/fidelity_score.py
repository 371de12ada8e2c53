"""How far the simulation can be trusted: errors out of sample, and whether it ranks systems as they are.

Scored are the points that the simulator was not calibrated on and whose devices kept their pace: where a
step took longer than the imposed floor, the processor was measured and not the system. Pure.
"""

from collections.abc import Iterator
from itertools import combinations

import pandas as pd

from lambdascale.experiments import claims
from lambdascale.experiments.trials import RANKED

MEDIAN_ERROR, P90_ERROR, TTFT_ERROR = 0.05, 0.10, 0.15
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


def check(points: pd.DataFrame) -> Iterator[claims.Claim]:
    """Yield what is claimed of the prediction."""
    kept = scored(points)
    others = kept[kept["kind"] != "TTFT"]
    yield _within("error out of sample, median", others, 0.5, MEDIAN_ERROR)
    yield _within("error out of sample, P90", others, 0.9, P90_ERROR)
    for name in ("P50", "P90"):
        mine = kept[(kept["kind"] == "TTFT") & (kept["metric"] == name)]
        yield _within(f"error of TTFT {name} out of sample, P90", mine, 0.9, TTFT_ERROR)
    for metric in RANKED_BY:
        yield _same_order(ranking(points, metric), metric)
    hollow = points[points["overruns"] > 0]
    name = "points not counted, since a device was slower than its floor"
    yield claims.reported(name, f"{len(hollow)} of {len(points)}", PROVENANCE)


def _within(name: str, points: pd.DataFrame, share: float, limit: float) -> claims.Claim:
    error = (points["ratio"] - 1).abs().quantile(share)
    obtained = f"{error:.1%} of {len(points)} points"
    return claims.Claim(name, f"≤ {limit:.0%}", obtained, bool(error <= limit), PROVENANCE)


def _same_order(table: pd.DataFrame, metric: str) -> claims.Claim:
    wrong = disordered(table)
    obtained = ", ".join(f"{a} > {b}" for a, b in wrong) or f"same, {len(table)} systems"
    name, holds = f"ranking of systems by {metric}", len(table) > 1 and not wrong
    return claims.Claim(name, "same on both clocks", obtained, holds, PROVENANCE)
