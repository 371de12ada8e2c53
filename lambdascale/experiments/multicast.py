"""Multicast without load: how long until every node has every block, emulated beside simulated (C3)."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric
from lambdascale.errors import ConfigError
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.multicast.plan import plan


def grid(spec: RunSpec, max_sources: int, max_nodes: int) -> tuple[RunSpec, ...]:
    """Return `spec` without requests, for every k ≤ `max_sources` and k < N ≤ `max_nodes`."""
    if not spec.link_gbps:
        raise ConfigError("link_gbps is 0; impose a link rate, so that the two clocks compare")
    return tuple(
        replace(
            spec,
            scale=replace(spec.scale, num_sources=k, num_nodes=n),
            prompts=(),
            label=f"multicast {k} → {n}",
        )
        for k in range(1, max_sources + 1)
        for n in range(k + 1, max_nodes + 1)
    )


def latency_table(result: RunResult) -> pd.DataFrame:
    """Return one row per run: `seconds` of the multicast beside one copy and the plan's ticks.

    `planned_s` is ticks × one block at link rate: what the schedule alone says.
    """
    last = result.blocks.groupby("run")["verified_s"].max()
    return pd.DataFrame([_row(spec, float(last[spec.label])) for spec in result.scale_out_specs])


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (k, N): emulated (on a cluster: measured), simulated and their ratio, in units of
    one copy too."""
    keys = ["sources", "nodes", "ticks", "one_copy_s", "planned_s"]
    wide = table.pivot_table(values="seconds", index=keys, columns="provenance").reset_index()
    real = _real(wide)
    wide[f"{real} ÷ simulated"] = wide[real] / wide["simulated"]
    wide[f"{real} ÷ one copy"] = wide[real] / wide["one_copy_s"]
    return wide.rename_axis(columns=None)


def metrics(wide: pd.DataFrame) -> Iterable[Metric]:
    """Return the ratios of `beside`, at every (k, N)."""
    real = _real(wide)
    both, ratio = f"{real}, simulated", wide[f"{real} ÷ simulated"]
    yield metric(f"multicast.{real}_over_simulated", ratio, both)
    yield metric(f"multicast.{real}_over_one_copy", wide[f"{real} ÷ one copy"], real)


def _real(wide: pd.DataFrame) -> str:
    """What the numbers of real processes are."""
    return "measured" if "measured" in wide else "emulated"


def _row(spec: RunSpec, seconds: float) -> dict[str, object]:
    scale, system = spec.scale, spec.system
    n, k, b = scale.num_nodes, scale.num_sources, scale.num_blocks
    one_copy_s = load_packed(spec.model, spec.dtype).layout.nbytes / spec.rate
    ticks = plan(system.algorithm, n, k, b, system.order).num_ticks
    return {
        "system": f"{system.algorithm}, k = {k}",
        "sources": k,
        "nodes": n,
        "blocks": b,
        "ticks": ticks,
        "seconds": seconds,
        "one_copy_s": one_copy_s,
        "planned_s": one_copy_s * ticks / b,
        "provenance": spec.provenance,
    }
