"""GPU-seconds against time to first token over the keep-alive of GPUs, one policy for all systems at a time.

authors       polls once a second, one scale-out at a time (paper.md d.4)
event-driven  scales when a request comes or an instance has been idle for long enough
in turn       the same, but no second scale-out while one runs, as the paper's system has it

No system has copies that never expire, and none a keep-alive of its own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.experiments.paper_load import IDEAL, OURS, PAPERS, Load
from lambdascale.experiments.paper_scale import wire_s
from lambdascale.experiments.paper_trace import snippet
from lambdascale.experiments.system import System
from lambdascale.experiments.systems import AUTHORS, EVENT_DRIVEN, SYSTEMS
from lambdascale.policy import ScalingPolicy

POLICIES = {
    "authors": AUTHORS,
    "event-driven": EVENT_DRIVEN,
    "in turn": replace(EVENT_DRIVEN, concurrent=False),
}
HOST_S = 15.0  # the paper's keep-alive of host copies
Seconds = Sequence[float]


def sweep(
    trace: str,
    model: str,
    systems: Sequence[str],
    policies: Sequence[str],
    gpu_s: Seconds,
    host_s: Seconds,
    num_requests: int | None = None,
    seed: int = 0,
) -> list[Load]:
    """Return every system under every policy, with every keep-alive; of a trace, the first `num_requests`."""
    rows = snippet(trace, model, seed)[:num_requests]
    return [
        Load(
            _kept(SYSTEMS[name], POLICIES[policy], gpu, host), model, rows,
            {"policy": policy, "gpu_keep_alive_s": gpu, "host_keep_alive_s": host, "seed": seed},
        )
        for policy in policies
        for gpu in gpu_s
        for host in host_s
        for name in systems
    ]  # fmt: skip


def _kept(system: System, policy: ScalingPolicy, gpu_s: float, host_s: float) -> System:
    """A released GPU keeps nothing; host copies only where the system has any."""
    has_copies = system.spec.host_keep_alive_s > 0
    spec = replace(
        system.spec,
        pinned_hosts=0,
        gpu_keep_alive_s=0.0,
        host_keep_alive_s=host_s if has_copies else 0.0,
    )
    return replace(system, spec=spec, policy=replace(policy, idle_s=gpu_s))


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model, policy, keep-alive and seed: the issue's three numbers of ours.

    gap_over_paper_gap: GPU-seconds above ideal's, ours ÷ the paper's system's.
    p90_above_ideal_over_copy: (P90 − ideal's) ÷ (bytes ÷ wire).
    """
    keys = ["size", "policy", "gpu_keep_alive_s", "host_keep_alive_s", "seed"]
    rows = []
    for key, group in table.groupby(keys, sort=False):
        of = group.set_index("system")
        if not {PAPERS, OURS, IDEAL} <= set(of.index):
            continue
        gpu, p90 = of["gpu_s"], of["ttft_p90_s"]
        copy_s = wire_s(f"llama-2-{str(key[0]).lower()}")
        numbers = {
            "gap_over_paper_gap": _ratio(gpu[OURS] - gpu[IDEAL], gpu[PAPERS] - gpu[IDEAL]),
            "p90_over_lambdascale_paper": p90[OURS] / p90[PAPERS],
            "p90_above_ideal_over_copy": (p90[OURS] - p90[IDEAL]) / copy_s,
        }
        rows.append(dict(zip(keys, key, strict=True)) | numbers)
    return pd.DataFrame(rows)


def _ratio(ours: float, papers: float) -> float:
    """How many times as much; inf if the paper's system has no gap at all."""
    return ours / papers if papers else math.inf


def at_equal_p90(table: pd.DataFrame, column: str = "ttft_p90_s") -> pd.DataFrame:
    """Return one row per run of another system but ideal: the cheapest of ours that is as fast, ÷ it.

    Nothing is interpolated; inf where no run of ours is as fast.
    """
    rows = []
    for (size, policy, seed), group in table.groupby(["size", "policy", "seed"], sort=False):
        ours = group[group["system"] == OURS]
        for other in group[~group["system"].isin([OURS, IDEAL])].itertuples():
            able = ours[ours[column] <= getattr(other, column)]
            ratio = float(able["gpu_s"].min() / other.gpu_s) if len(able) else math.inf
            rows.append((size, policy, seed, other.system, other.gpu_keep_alive_s, ratio))
    names = ["size", "policy", "seed", "system", "gpu_keep_alive_s", "gpu_s_over_baseline"]
    return pd.DataFrame(rows, columns=names)


def metrics(table: pd.DataFrame) -> Iterator[Metric]:
    """The issue's conditions; at no keep-alive, but for the Pareto curve."""
    found = gaps(table)
    plain = found[found["gpu_keep_alive_s"] == found["gpu_keep_alive_s"].min()]
    wanted = {
        "authors": ["gap_over_paper_gap"],
        "event-driven": ["p90_over_lambdascale_paper", "p90_above_ideal_over_copy"],
        "in turn": ["p90_over_lambdascale_paper_in_turn"],
    }
    for (size, policy), group in plain.groupby(["size", "policy"], sort=False):
        for name in wanted[str(policy)]:
            values = group[name.removesuffix("_in_turn")]
            yield metric(f"beyond.trace.{word(str(size))}.{name}", values, "simulated")
    equal = at_equal_p90(table)
    for (size, policy, system), group in equal.groupby(["size", "policy", "system"], sort=False):
        what = ".".join(word(str(each)) for each in (size, policy, system))
        ratios = group["gpu_s_over_baseline"]
        yield metric(f"beyond.pareto.{what}.gpu_s_over_baseline", ratios, "simulated")
