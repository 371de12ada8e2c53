"""Execute-while-load against load-then-serve, and a real run against its simulation.

Metrics are those of METHODOLOGY.md, taken from the tables of a run.
"""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from lambdascale.claims.metric import Metric, metric, same_tokens
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.spec import RunSpec

SYSTEMS = {
    "execute-while-load": SystemSpec(),
    "load-then-serve": SystemSpec(name="load-then-serve", execute_while_load=False),
}
IDLE = DeviceModel(bandwidth=1.0, flops=1.0)  # never used: without requests no step is made


def variants(spec: RunSpec, *num_sources: int) -> tuple[RunSpec, ...]:
    """Return `spec` with execute-while-load on and off, for each number of sources."""
    return tuple(
        replace(
            spec,
            system=system,
            scale=replace(spec.scale, num_sources=k),
            label=_label(name, k, spec.scale),
        )
        for k in num_sources
        for name, system in SYSTEMS.items()
    )


def simulated(*specs: RunSpec) -> tuple[RunSpec, ...]:
    """Return the same under the virtual clock; the device of a run with prompts must be given."""
    return tuple(
        replace(
            spec,
            clock="virtual",
            device=spec.device if spec.prompts else IDLE,
            label=f"{spec.label} (simulated)",
        )
        for spec in specs
    )


def summary(result: RunResult) -> pd.DataFrame:
    """Return one row per run: when the load was over, who was first, and how honest the devices were."""
    return pd.DataFrame([_row(result, spec) for spec in result.scale_out_specs])


def receiver_first_s(result: RunResult, run: str) -> float:
    """Return when a node that had to load the model sampled its first token; ConfigError if none did."""
    (spec,) = (spec for spec in result.scale_out_specs if spec.label == run)
    tokens = result.tokens[result.tokens["run"] == run]
    received = tokens.loc[tokens["node"] >= spec.scale.num_sources, "time_s"]
    if received.empty:
        raise ConfigError(
            f"in {run!r} the sources answered everything before the load was over; "
            "give more prompts or raise max_tokens"
        )
    return float(received.min())


def first_token_ratios(result: RunResult) -> dict[int, float]:
    """Return, by number of sources, the receivers' first token: execute-while-load ÷ load-then-serve."""
    first = {spec.label: receiver_first_s(result, spec.label) for spec in result.scale_out_specs}
    return {
        on.scale.num_sources: first[on.label] / first[off.label]
        for on, off in _pairs(result.scale_out_specs)
    }


def token_metrics(result: RunResult) -> list[Metric]:
    """Whether a request was served while loading or after must not show in its tokens."""
    return [
        same_tokens(
            f"ewl.k{on.scale.num_sources}.same_tokens",
            result.outputs(on.label),
            result.outputs(off.label),
            result.provenance,
        )
        for on, off in _pairs(result.scale_out_specs)
    ]


def time_metrics(real: RunResult, virtual: RunResult) -> list[Metric]:
    """The first token of a receiver on both clocks, by k; and the steps longer than the device's."""
    found = [
        metric(f"ewl.k{k}.{result.provenance}.first_token_ratio", ratio, result.provenance)
        for result in (real, virtual)
        for k, ratio in first_token_ratios(result).items()
    ]
    overruns, steps = real.nodes["overruns"].sum(), real.nodes["steps"].sum()
    note = f"{overruns} of {steps} steps"
    return [*found, metric("ewl.overruns", overruns / steps, real.provenance, note)]


def _pairs(specs: tuple[RunSpec, ...]) -> Iterator[tuple[RunSpec, RunSpec]]:
    """Yield the specifications that differ in execute-while-load alone, on before off."""
    for on in specs:
        if on.system.execute_while_load:
            yield from (
                (on, off)
                for off in specs
                if off.scale == on.scale and not off.system.execute_while_load
            )


def _label(name: str, num_sources: int, scale: ScaleSpec) -> str:
    return f"{name}, {num_sources} → {scale.num_nodes}"


def _row(result: RunResult, spec: RunSpec) -> dict[str, object]:
    label = spec.label
    nodes = result.nodes[result.nodes["run"] == label]
    requests = result.requests[result.requests["run"] == label]
    return {
        "run": label,
        "load_s": nodes["complete_s"].max(),
        "covered_s": result.phase_s("covered", label),
        "receiver_first_s": receiver_first_s(result, label),
        "ttft_median_s": requests["ttft_s"].median(),
        "ttft_max_s": requests["ttft_s"].max(),
        "finished_s": requests["finished_s"].max(),
        "steps": nodes["steps"].sum(),
        "overruns": nodes["overruns"].sum(),
        "provenance": spec.provenance,
    }
