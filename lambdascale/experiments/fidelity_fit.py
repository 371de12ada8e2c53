"""Calibrates the simulator on the trials in sample: what an operation, a decision and a step cost here.

    latency_s, decision_s   by least absolute errors of every block's time: measured − simulated
                            = decision_s + more latency × (how much later the block is per second of it)
    step_s                  by which the median step of a replica is longer than the simulated one

The first two are `Conditions`, from trials without requests; the last is the launch cost of the simulated
device. Runs whose devices were slower than their floor say nothing, and are left out while there are others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lambdascale.experiments.results import RunResult
from lambdascale.sim.conditions import Conditions

LEAST_S = 20e-6  # of latency: with none, blocks come at one moment and ties decide the course
PROBE_S = 1e-3  # of latency, to see what depends on it
NEGLIGIBLE_S = 1e-6
REWEIGHTED = 50

Simulate = Callable[[Conditions], Sequence[RunResult]]


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted seconds; `residual_s` is the median of what a block's time is off by, of `num_blocks`."""

    latency_s: float
    decision_s: float
    step_s: float
    residual_s: float
    num_blocks: int

    @property
    def conditions(self) -> Conditions:
        """What the simulator is told."""
        return Conditions(latency_s=self.latency_s, decision_s=self.decision_s)


def fit(measured: Sequence[RunResult], simulate: Simulate) -> Fit:
    """Return the costs that explain `measured` best; `simulate` runs the same trials in the same order."""
    little, more = (simulate(Conditions(latency_s=each)) for each in (LEAST_S, PROBE_S))
    calm, busy = (_chosen(measured, stepped) for stepped in (False, True))
    late = np.concatenate([_lateness(measured[i], little[i]) for i in calm])
    slope = np.concatenate([_lateness(more[i], little[i]) for i in calm]) / (PROBE_S - LEAST_S)
    latency_s, decision_s = line(slope, late)
    residual_s = float(np.median(np.abs(late - latency_s * slope - decision_s)))
    step_s = step_cost([(measured[i], little[i]) for i in busy])
    return Fit(LEAST_S + latency_s, decision_s, step_s, residual_s, len(late))


def _chosen(runs: Sequence[RunResult], stepped: bool) -> list[int]:
    """Return the runs with steps, or those without; of these, those that kept their pace if there are any."""
    mine = [i for i, run in enumerate(runs) if stepped is not run.tokens.empty]
    return [i for i in mine if runs[i].nodes["overruns"].sum() == 0] or mine


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the line of least absolute errors among those with neither below 0.

    Not of least squares: one process that the machine held up for a while must not decide.
    """
    weights = np.ones_like(y)
    slope = intercept = 0.0
    for _ in range(REWEIGHTED):
        slope, intercept = _weighted(x, y, weights)
        weights = 1 / np.maximum(np.abs(y - slope * x - intercept), NEGLIGIBLE_S)
    return slope, intercept


def _weighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    slope, intercept = (float(value) for value in np.polyfit(x, y, 1, w=np.sqrt(weights)))
    if slope < 0:
        return 0.0, max(0.0, float(np.average(y, weights=weights)))
    if intercept < 0:
        return max(0.0, float((weights * x) @ y / ((weights * x) @ x))), 0.0
    return slope, intercept


def step_cost(pairs: Sequence[tuple[RunResult, RunResult]]) -> float:
    """Return by how much the median step of the first ones is longer; 0 if there are none."""
    real, virtual = (
        pd.concat([steps(run.tokens) for run in runs]) for runs in zip(*pairs, strict=True)
    )
    if real.empty or virtual.empty:
        return 0.0
    return max(0.0, float(real.median() - virtual.median()))


def steps(tokens: pd.DataFrame) -> pd.Series:
    """Return the seconds between tokens of a request that a replica sampled one after the other."""
    mine = tokens[tokens["kind"] == "replica"].sort_values(["request", "position"])
    same = mine.groupby(["request", "node"])
    return same["time_s"].diff()[same["position"].diff() == 1]


def _lateness(run: RunResult, other: RunResult) -> np.ndarray:
    """By how much each block of `run` is later than in `other`, by node and block."""
    ours, theirs = (r.blocks.set_index(["node", "block"])["verified_s"] for r in (run, other))
    return (ours - theirs.reindex(ours.index)).dropna().to_numpy(float)
