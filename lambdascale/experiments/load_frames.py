"""What is drawn of runs under load: times to first token as curves, GPUs over time, request rates.

Runs are pooled by panel and system; small enough to be committed.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from lambdascale.experiments.paper_load import Load
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.summary import end_s, quantile
from lambdascale.experiments.trace_spec import TraceSpec

PanelOf = Callable[[Load], str]
SHARES = tuple(percent / 100 for percent in range(1, 101))


def distribution(loads: Sequence[Load], result: RunResult, panel: PanelOf) -> pd.DataFrame:
    """Return `panel system share ttft_s least_s most_s` for every percent of the requests.

    `ttft_s` is of all runs of a system in a panel together, `least_s` and `most_s` of any one of them.
    """
    ttft = dict(iter(result.requests.groupby("run")["ttft_s"]))
    rows = []
    for (name, system), labels in _pools(loads, panel):
        together = pd.concat([ttft[label] for label in labels])
        for share in SHARES:
            each = [quantile(ttft[label], share) for label in labels]
            rows.append((name, system, share, quantile(together, share), min(each), max(each)))
    return pd.DataFrame(rows, columns=["panel", "system", "share", "ttft_s", "least_s", "most_s"])


def at(curves: pd.DataFrame, share: float) -> pd.Series:
    """Return the time to first token of a share of the requests, by panel and system."""
    mine = curves[np.isclose(curves["share"], share)]
    return mine.set_index(["panel", "system"])["ttft_s"]


def allocation(loads: Sequence[Load], result: RunResult, panel: PanelOf) -> pd.DataFrame:
    """Return `panel system time_s gpus`: one row per change, of the first run of a system in a panel."""
    frames = []
    for (name, system), (label, *_) in _pools(loads, panel):
        one = result.only(label)
        frames.append(held(one).assign(panel=name, system=system))
    return pd.concat(frames, ignore_index=True)[["panel", "system", "time_s", "gpus"]]


def rates(
    loads: Sequence[Load], result: RunResult, panel: PanelOf, num_bins: int = 60
) -> pd.DataFrame:
    """Return `panel from_s until_s requests_per_s` of the first run in a panel."""
    frames, seen = [], set[str]()
    for (name, _), (label, *_) in _pools(loads, panel):
        if name in seen:
            continue
        seen.add(name)
        one = result.only(label)
        frames.append(rate(one, num_bins).assign(panel=name))
    columns = ["panel", "from_s", "until_s", "requests_per_s"]
    return pd.concat(frames, ignore_index=True)[columns]


def rate(one: RunResult, num_bins: int) -> pd.DataFrame:
    """Return `from_s until_s requests_per_s` for equal spans of one run."""
    edges = np.linspace(0, end_s(one), num_bins + 1)
    counts, _ = np.histogram(one.requests["arrival_s"], edges)
    columns = {
        "from_s": edges[:-1],
        "until_s": edges[1:],
        "requests_per_s": counts / np.diff(edges),
    }
    return pd.DataFrame(columns)


def held(one: RunResult) -> pd.DataFrame:
    """Return `time_s gpus`: how many are held from each time on at which that changes in one run."""
    (spec,) = one.specs
    gpus = spec.gpus_per_node if isinstance(spec, TraceSpec) else 1
    spans = one.allocations.fillna({"until_s": end_s(one)})
    begun = pd.Series(gpus, index=spans["from_s"])
    ended = pd.Series(-gpus, index=spans["until_s"])
    gpus_held = pd.concat([begun, ended]).groupby(level=0).sum().sort_index().cumsum()
    changed = gpus_held[gpus_held.diff() != 0]
    return pd.DataFrame({"time_s": changed.index, "gpus": changed.to_numpy()})


def _pools(loads: Sequence[Load], panel: PanelOf) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Yield the labels of the runs of each system in each panel, in the order of their first."""
    pools: dict[tuple[str, str], list[str]] = {}
    for load in loads:
        pools.setdefault((panel(load), load.name), []).append(load.label)
    yield from pools.items()
