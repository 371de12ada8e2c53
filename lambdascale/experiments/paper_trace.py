"""Figures 10 and 11: every system under half an hour of bursts (paper.md 6.3, 6.9).

The trace is generated, or the authors' own if it is named and there. It is replayed as the authors' sender
does, faster by a factor that depends on the model, and at its own speed, which is that of the paper's axes.
Seed i polls at phase i ÷ seeds, so that bands are of both.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.load_frames import at
from lambdascale.experiments.paper_load import (
    BASELINES,
    FIGURES,
    IDEAL,
    OURS,
    PAPERS,
    Fact,
    Load,
    named,
    with_phase,
)
from lambdascale.experiments.systems import SYSTEMS
from lambdascale.workload import authors
from lambdascale.workload.named import load_trace
from lambdascale.workload.recipes import RECIPES
from lambdascale.workload.trace import TraceRow

SENT, AS_IS = "as sent", "30 minutes"
UNPINNED = f"{PAPERS} (unpinned)"
SETTING = ["size", "replay", "seed", "phase"]


def snippet(trace: str, model: str, seed: int, replay: str = SENT) -> tuple[TraceRow, ...]:
    """Return a trace as the authors send it, or as it is; only generated ones have seeds."""
    rows = load_trace(trace, seed)
    return authors.as_sent(rows, model) if replay == SENT else rows


def loads(
    trace: str,
    models: Sequence[str],
    num_seeds: int,
    systems: Sequence[str] = FIGURES,
    replay: str = SENT,
    num_requests: int | None = None,
) -> list[Load]:
    """Return every system under the first `num_requests` (None: all) of every seed's trace."""
    return [
        _load(trace, model, name, seed, seed / num_seeds, replay, num_requests)
        for model in models
        for seed in range(num_seeds)
        for name in systems
    ]


def phases(trace: str, model: str, systems: Sequence[str], num: int) -> list[Load]:
    """Return systems under one trace with polls at `num` phases."""
    return [
        _load(trace, model, name, 0, i / num, SENT, None) for i in range(num) for name in systems
    ]


def _load(
    trace: str,
    model: str,
    name: str,
    seed: int,
    phase: float,
    replay: str,
    num_requests: int | None,
) -> Load:
    """The paper's system without what only it had, under the name UNPINNED."""
    system = named(SYSTEMS[PAPERS], UNPINNED, pinned_hosts=0) if name == UNPINNED else SYSTEMS[name]
    rows = snippet(trace, model, seed if trace in RECIPES else 0, replay)[:num_requests]
    facts: dict[str, Fact] = {"replay": replay, "seed": seed, "phase": phase}
    return Load(with_phase(system, phase), model, rows, facts)


def size(load: Load) -> str:
    """Return the panel of a run: its model's size."""
    return str(load.columns["size"])


def compared(table: pd.DataFrame, papers: str = PAPERS) -> pd.DataFrame:
    """Return one row per setting: what `papers` saves against each baseline, its gap to ideal, P90 ratios."""
    rows = []
    for setting, group in table.groupby(SETTING, sort=False):
        of = group.set_index("system")
        rows.append(dict(zip(SETTING, setting, strict=True)) | _compared(of, papers))
    return pd.DataFrame(rows)


def _compared(of: pd.DataFrame, papers: str) -> dict[str, float]:
    gpu, p90 = of["gpu_s"], of["ttft_p90_s"]
    others = [name for name in BASELINES if name in of.index]
    found = {f"saved_against_{word(name)}": 1 - gpu[papers] / gpu[name] for name in others}
    found |= {f"{word(name)}_p90_ratio": p90[name] / p90[papers] for name in others}
    if IDEAL in of.index:
        found["above_ideal"] = gpu[papers] / gpu[IDEAL] - 1
    if OURS in of.index:
        found["ours_gpu_ratio"] = gpu[OURS] / gpu[papers]
        found["ours_p90_ratio"] = p90[OURS] / p90[papers]
    return found


def spans(table: pd.DataFrame, by: Sequence[str] = ("size", "replay")) -> pd.DataFrame:
    """Return mean, least and most over seeds of every column of `compared`."""
    numbers = table.drop(columns=[name for name in SETTING if name not in by])
    long = numbers.melt(id_vars=list(by), var_name="what")
    groups = long.groupby([*by, "what"], sort=False)["value"]
    return groups.agg(["mean", "min", "max"]).reset_index()


def gpu_metrics(table: pd.DataFrame, head: str = "fig10") -> Iterator[Metric]:
    """GPU time of all seeds together: saved against each baseline, by model and most; above ideal."""
    seconds = table.groupby(["size", "system"], sort=False)["gpu_s"].sum().unstack(sort=False)
    for name in BASELINES:
        saved = 1 - seconds[PAPERS] / seconds[name]
        for each, value in saved.items():
            what = f"{head}.{word(str(each))}.saved_against_{word(name)}"
            yield metric(what, float(value), "simulated")
        yield metric(f"{head}.most.saved_against_{word(name)}", float(saved.max()), "simulated")
    for each, of in seconds.iterrows():
        for name in (PAPERS, OURS):
            what = f"{head}.{word(str(each))}.{word(name)}_above_ideal"
            yield metric(what, float(of[name] / of[IDEAL] - 1), "simulated")


def ttft_metrics(curves: pd.DataFrame, head: str = "fig11") -> Iterator[Metric]:
    """P90 of all seeds' requests together ÷ that of the paper's system."""
    for each, of in at(curves, 0.9).unstack(sort=False).iterrows():
        for name in BASELINES:
            what = f"{head}.{word(str(each))}.{word(name)}.p90_over_lambdascale_paper"
            yield metric(what, float(of[name] / of[PAPERS]), "simulated")
        what = f"{head}.{word(str(each))}.ours_over_lambdascale_paper"
        yield metric(what, float(of[OURS] / of[PAPERS]), "simulated")


def moved(trace: pd.DataFrame, steady: pd.DataFrame) -> Iterator[Metric]:
    """Against Figure 9, P90 of NCCL and FaaSNet is later, and of ServerlessLLM earlier: 1 where it is."""
    then = at(trace, 0.9)
    now = at(steady.assign(panel=steady["panel"].str.partition(",")[0]), 0.9)
    for order, systems, sign in (
        ("later", ("nccl", "faasnet"), 1),
        ("earlier", ("serverlessllm",), -1),
    ):
        kept = now.index.get_level_values("system").isin(systems)
        held = sign * (then.reindex(now.index) - now)[kept] > 0
        yield metric(f"fig11.order.{order}", held.astype(float), "simulated")
