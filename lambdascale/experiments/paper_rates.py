"""Figure 9: fifty requests at a constant rate, beginning with one copy on a GPU (paper.md 6.3, 6.8).

The autoscaler's rule is the authors'. With `steps`, the first scale-outs take as many nodes as a list in the
authors' code says for model and rate (paper.md d.4), and polls come twice a second: both are there for runs
that begin with the model in host memory, and nobody says which runs the paper shows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.paper_load import BASELINES, FIGURES, PAPERS, Fact, Load, with_phase
from lambdascale.experiments.paper_scale import size_of
from lambdascale.experiments.system import System
from lambdascale.experiments.systems import HOST_POLL_S, SYSTEMS
from lambdascale.workload.steady import constant

NUM_REQUESTS = 50
RATES = {
    "llama-2-7b": (4.0, 6.0, 8.0, 10.0),
    "llama-2-13b": (2.0, 3.0, 4.0, 5.0),
    "llama-2-70b": (0.5, 1.0, 1.5, 2.0),  # assumed: the paper names 1.5 alone
}
ZOOM = {"llama-2-7b": 6.0, "llama-2-13b": 3.0, "llama-2-70b": 1.5}  # of the paper's CDFs
STEPS = {"llama-2-7b": (4, 4, 3), "llama-2-13b": (3, 8), "llama-2-70b": (1, 4)}  # at those rates
SLOWER = (PAPERS, "nccl", "faasnet", "serverlessllm")  # the paper's order


def by_rate(models: Sequence[str], num_phases: int, every_rate: bool = True) -> list[Load]:
    """Return every system at the paper's rates, and at those of its CDFs with every phase of the polls."""
    return [
        _load(SYSTEMS[name], model, rate, phase)
        for model in models
        for rate in (RATES[model] if every_rate else (ZOOM[model],))
        for name in FIGURES
        for phase in _phases(SYSTEMS[name], num_phases if rate == ZOOM[model] else 1)
    ]


def with_steps(models: Sequence[str], num_phases: int) -> list[Load]:
    """Return the paper's systems at the rates of its CDFs, with the authors' lists instead of the queue."""
    return [
        _load(_listed(SYSTEMS[name], model), model, ZOOM[model], phase)
        for model in models
        for name in (*SLOWER, "ideal")
        for phase in _phases(SYSTEMS[name], num_phases)
    ]


def _phases(system: System, num: int) -> tuple[float, ...]:
    """Phases of a poll, as shares of its period; one if there are no polls."""
    return tuple(i / num for i in range(num)) if system.policy.poll_s else (0.0,)


def _listed(system: System, model: str) -> System:
    poll_s = system.policy.poll_s if model == "llama-2-70b" else HOST_POLL_S
    return replace(system, policy=replace(system.policy, poll_s=poll_s, steps=STEPS[model]))


def _load(system: System, model: str, rate: float, phase: float) -> Load:
    facts: dict[str, Fact] = {"rate": rate, "phase": phase, "steps": len(system.policy.steps)}
    return Load(with_phase(system, phase), model, constant(NUM_REQUESTS, rate, model), facts)


def zoomed(loads: Sequence[Load]) -> list[Load]:
    """Return those at the rates of the paper's CDFs."""
    return [load for load in loads if load.facts["rate"] == ZOOM[load.model]]


def panel(load: Load) -> str:
    """Return the panel that a run's curve is drawn in."""
    return f"{load.columns['size']}, {float(load.facts['rate']):g} requests/s"


def points(table: pd.DataFrame, column: str = "ttft_p90_s") -> pd.DataFrame:
    """Return `panel rate system ttft_s least_s most_s`: the median over phases, and their extremes."""
    groups = table.groupby(["size", "rate", "system"], sort=False)[column]
    found = groups.agg(["median", "min", "max"]).reset_index()
    return found.set_axis(["panel", "rate", "system", "ttft_s", "least_s", "most_s"], axis=1)


def metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """The last of the first tokens: that of the paper's system, the others' ÷ it, a value per phase."""
    for (size, rate, steps), group in _in_zoom(table).groupby(
        ["size", "rate", "steps"], sort=False
    ):
        last = group.pivot(index="phase", columns="system", values="last_s").ffill()
        head = f"fig09.{word(str(size))}.{word(f'rps{rate:g}')}{'.steps' if steps else ''}"
        yield metric(f"{head}.lambdascale_paper_last_s", last[PAPERS], "simulated")
        for name in (*BASELINES, "ideal", "lambdascale"):
            if name in last:
                ratio = last[name] / last[PAPERS]
                yield metric(f"{head}.{word(name)}_over_lambdascale_paper", ratio, "simulated")


def order_metric(table: pd.DataFrame, name: str = "fig09.order.systems") -> Metric:
    """1 for each model where the last first tokens are in the paper's order, on average over phases."""
    last = _in_zoom(table).groupby(["size", "system"], sort=False)["last_s"].mean().unstack()
    held = [bool(row[list(SLOWER)].is_monotonic_increasing) for _, row in last.iterrows()]
    return metric(name, [float(each) for each in held], "simulated")


def _in_zoom(table: pd.DataFrame) -> pd.DataFrame:
    """The runs at the rates of the paper's CDFs."""
    rates = {size_of(model): rate for model, rate in ZOOM.items()}
    return table[table["rate"] == table["size"].map(rates)]
