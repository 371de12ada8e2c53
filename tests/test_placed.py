"""Specifications on a testbed: what hardware and engine say is what runs."""

from dataclasses import replace

import pytest

from lambdascale.config import ScaleSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.placed import on
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.summary import summarise
from lambdascale.experiments.trace_run import run_trace
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.hardware import AUTHORS, CONTINUOUS, TESTBED1, TESTBED2
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow

REPLAY = Replay(1.0, 8, 107)


def trace_of(model: str) -> TraceSpec:
    policy = ScalingPolicy(target=1.0)
    return TraceSpec(models=(model,), replay=REPLAY, policy=policy, initial_gpu=1)


def test_a_trace_gets_everything_from_its_testbed() -> None:
    spec = on(TESTBED2, AUTHORS, trace_of("llama-2-70b"))
    assert (spec.num_nodes, spec.gpus_per_node, spec.clock) == (6, 4, "virtual")
    for name in ("link_gbps", "pcie_gbps", "ssd_gbps", "host_gb", "ssd_gb", "conditions"):
        assert getattr(spec, name) == getattr(TESTBED2, name)
    assert spec.device == AUTHORS.device("llama-2-70b", TESTBED2)
    assert spec.provenance == "simulated"


def test_a_scale_out_keeps_its_nodes_and_must_fit() -> None:
    spec = RunSpec(model="llama-2-13b", scale=ScaleSpec(1, 8, 16))
    placed = on(TESTBED1, CONTINUOUS, spec)
    assert (placed.scale.num_nodes, placed.link_gbps) == (8, TESTBED1.link_gbps)
    assert placed.scale.max_slots == CONTINUOUS.limits("llama-2-13b", TESTBED1).max_slots
    assert placed.device == TESTBED1.device_of("llama-2-13b")
    with pytest.raises(ConfigError, match="num_nodes is 8, but testbed 2 has 6"):
        on(TESTBED2, CONTINUOUS, spec)


def test_models_of_different_devices_are_refused() -> None:
    spec = replace(trace_of("llama-2-7b"), models=("llama-2-7b", "llama-2-13b"))
    assert on(TESTBED1, CONTINUOUS, spec).device == TESTBED1.device_of("any")
    with pytest.raises(ConfigError, match="have different devices"):
        on(TESTBED1, AUTHORS, spec)


def test_a_request_of_the_authors_takes_their_seconds_and_gpu_seconds_count_every_gpu() -> None:
    spec = on(TESTBED2, AUTHORS, trace_of("llama-2-70b"))
    result = run_trace(spec, [TraceRow(0.0, 8, 107, "llama-2-70b")])
    (request,) = result.requests.to_dict("records")
    assert request["ttft_s"] == pytest.approx(0.140, rel=0.02)
    assert request["finished_s"] == pytest.approx(107 * 0.140, rel=0.02)
    gpu_s = summarise(result)["gpu_s"].iloc[-1]
    node_s = (result.allocations["until_s"].fillna(request["finished_s"]) - 0.0).sum()
    assert gpu_s == pytest.approx(4 * node_s, rel=0.02)
