"""The paper's Figure 1: requests that come in surges, and the instances kept idle because of them.

Real traces enter as counts per ten seconds, which `workload.observed` has; generated ones as their rows.
Instances are counted without a cluster: each serves one request at a time and starts at once, the one that
served last is asked first, and each is kept for `keep_alive_s` after its last request.
"""

from collections import deque
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lambdascale.claims.metric import Metric, metric
from lambdascale.workload.generator import generate
from lambdascale.workload.observed import BIN_S, Observed, counts_of, dispersion, gap_cv, observed
from lambdascale.workload.recipes import RECIPES
from lambdascale.workload.trace import TraceRow

Times = npt.NDArray[np.floating[Any]]

TITLES = {
    "burstgpt-like": "a  BurstGPT: the snippet of the paper's Figures 10 and 11",
    "azure-code-like": "b  In place of XYZ, whose trace is not published: Azure, code completion",
    "azure-conv-like": "    Azure, conversations: nearly steady, for contrast",
}
PLACES = {"burstgpt-like": "burstgpt", "azure-code-like": "azure_code"}  # of panels a and b
SURGE_S = 300.0  # a surge is told from the mean of the time before it


def rates(names: Sequence[str], seed: int) -> pd.DataFrame:
    """Return one row per BIN_S of each trace, real and generated: requests per second."""
    frames = [
        pd.DataFrame(
            {
                "trace": name,
                "kind": kind,
                "from_s": [BIN_S * number for number in range(len(counts))],
                "requests_per_s": [count / BIN_S for count in counts],
            }
        )
        for name in names
        for kind, counts in (("real", _real(name).counts_10s), ("generated", _counts(name, seed)))
    ]
    return pd.concat(frames, ignore_index=True)


def compared(names: Sequence[str], seed: int) -> pd.DataFrame:
    """Return one row per trace: real beside generated, the real being the whole trace where that is known."""
    rows = []
    for name in names:
        real, lengths = _real(name).rates, observed()[RECIPES[name].lengths].lengths
        assert real is not None
        assert lengths is not None
        made, counts = generate(name, seed), _counts(name, seed)
        pairs = {
            "requests_per_s": (real.mean, len(made) / RECIPES[name].duration_s),
            "surge": (surge(_real(name).counts_10s), surge(counts)),
            "dispersion_10s": (real.dispersion_10s, dispersion(counts)),
            "gap_cv": (real.cv, gap_cv([row.arrival_s for row in made])),
            "prompt_tokens": (lengths.prompt.mean, fmean(row.prompt_tokens for row in made)),
            "output_tokens": (lengths.output.mean, fmean(row.output_tokens for row in made)),
        }
        rows += [
            {"trace": name, "statistic": what, "real": pair[0], "generated": pair[1]}
            for what, pair in pairs.items()
        ]
    return pd.DataFrame(rows)


def surge_metrics(table: pd.DataFrame) -> list[Metric]:
    """Return the surges of the real traces in the paper's places (a) and (b); `table` is of `compared`."""
    surges = table[table["statistic"] == "surge"].set_index("trace")["real"]
    return [
        metric(f"fig01.{place}.surge", value, "measured", f"{value:.1f} ×, recorded by others")
        for name, place in PLACES.items()
        for value in surges[surges.index == name]
    ]


def surge(counts: Sequence[int]) -> float:
    """Return how many times as fast as in the SURGE_S before, on average, requests came at most.

    >>> surge([1] * 30 + [12])
    12.0
    """
    before = int(SURGE_S / BIN_S)
    ratios = [
        count * before / past
        for number, count in enumerate(counts[before:])
        if (past := sum(counts[number : number + before]))
    ]
    return max(ratios)


def instances(rows: Sequence[TraceRow], service_s: float, keep_alive_s: float) -> pd.DataFrame:
    """Return one row per change: when, requests that are served from then on, and instances kept."""
    begins = np.array([row.arrival_s for row in rows])
    kept = np.array(_kept(begins.tolist(), service_s, keep_alive_s))
    moments = np.unique([0.0, *begins, *(begins + service_s), *kept.ravel()])
    return pd.DataFrame(
        {
            "from_s": moments,
            "busy": _open(begins, begins + service_s, moments),
            "kept": _open(kept[:, 0], kept[:, 1], moments),
        }
    )


def kept_shares(
    rows: Sequence[TraceRow], service_s: float, keep_alives_s: Sequence[float]
) -> pd.DataFrame:
    """Return one row per keep-alive: instance-seconds in use, those kept, and the share of these idle."""
    times = [row.arrival_s for row in rows]
    busy = service_s * len(times)
    found = []
    for keep_alive_s in keep_alives_s:
        kept = sum(end - begin for begin, end in _kept(times, service_s, keep_alive_s))
        found.append((keep_alive_s, busy, kept, 1 - busy / kept))
    return pd.DataFrame(found, columns=["keep_alive_s", "busy_s", "kept_s", "idle"])


def _kept(
    times: Sequence[float], service_s: float, keep_alive_s: float
) -> list[tuple[float, float]]:
    """From when until when each instance is kept."""
    begun: list[float] = []  # of each instance
    last: list[float] = []  # end of its last request
    serving: deque[int] = deque()  # in the order in which they end
    idle: deque[int] = deque()  # the one that served last on the right
    for time_s in times:
        while serving and last[serving[0]] <= time_s:
            idle.append(serving.popleft())
        while idle and last[idle[0]] + keep_alive_s < time_s:
            idle.popleft()
        if not idle:
            idle.append(len(begun))
            begun.append(time_s)
            last.append(time_s)
        serving.append(instance := idle.pop())
        last[instance] = time_s + service_s
    return [(begin, end + keep_alive_s) for begin, end in zip(begun, last, strict=True)]


def _open(begins: Times, ends: Times, moments: Times) -> npt.NDArray[np.intp]:
    """How many intervals are open from each of the moments on."""
    begun = np.searchsorted(np.sort(begins), moments, side="right")
    ended = np.searchsorted(np.sort(ends), moments, side="right")
    return np.subtract(begun, ended)


def _real(name: str) -> Observed:
    return observed()[RECIPES[name].rates]


def _counts(name: str, seed: int) -> tuple[int, ...]:
    times = [row.arrival_s for row in generate(name, seed)]
    return counts_of(times, BIN_S, RECIPES[name].duration_s)
