"""A trace on a cluster, as a user runs it: every request answered, the same decisions on both clocks."""

from dataclasses import replace
from pathlib import Path

import pytest
from engine_driver import reference, reference_model
from tiny import TinyModel

from lambdascale.config import SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.decisions import decisions
from lambdascale.experiments.results import RunResult, load
from lambdascale.experiments.summary import summarise
from lambdascale.experiments.trace_run import load_workload, run_trace
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.policy import ScalingPolicy
from lambdascale.units import gbps
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow

pytestmark = pytest.mark.alone

LOAD_S = 0.6  # over a link; half of it from host memory, three times as long from an SSD
STEP_S = 0.03  # of a decode step
BURSTS = tuple(TraceRow(burst + 0.02 * i, 3 + i % 5, 8) for burst in (0.0, 4.0) for i in range(12))


def spec_of(folder: Path, **changes: object) -> TraceSpec:
    """Four nodes that start from their SSDs, and let idle instances go after a short while."""
    nbytes = load_packed(str(folder), "float32").layout.nbytes
    spec = TraceSpec(
        models=(str(folder),),
        policy=ScalingPolicy(idle_s=0.8),
        replay=Replay(1.0, 16, 8, model=str(folder)),
        num_nodes=4,
        max_slots=4,
        max_length=64,
        link_gbps=nbytes / gbps(1) / LOAD_S,
        pcie_gbps=2 * nbytes / gbps(1) / LOAD_S,
        ssd_gbps=nbytes / gbps(1) / LOAD_S / 3,
        device=DeviceModel(bandwidth=nbytes / STEP_S, flops=1e12),
        timeout_s=60.0,
    )
    return replace(spec, **changes)


def reference_outputs(spec: TraceSpec, rows: tuple[TraceRow, ...]) -> dict[int, tuple[int, ...]]:
    requests = load_workload(spec, rows).requests
    model = reference_model(Path(spec.models[0]))
    return {r.id: tuple(reference(model, r)) for r in requests}


def course(result: RunResult) -> list[tuple[int, ...]]:
    """How many nodes each scale-out took, and how they started."""
    table = decisions(result)
    return [tuple(row) for row in table[["nodes", "hot", "warm", "cold", "ssd"]].values.tolist()]


def test_a_trace_takes_the_same_course_on_both_clocks(tiny_model: TinyModel):
    spec = spec_of(tiny_model("llama"))
    real = run_trace(spec, BURSTS)
    virtual = run_trace(replace(spec, clock="virtual"), BURSTS)
    assert course(real) == course(virtual)
    assert real.outputs() == reference_outputs(spec, BURSTS)
    for result in (real, virtual):
        assert summarise(result)["answered"].tolist() == [24, 24]
    took, foretold = (summarise(r)["gpu_s"].iloc[0] for r in (real, virtual))
    assert took == pytest.approx(foretold, rel=0.25), "the same nodes for about as long"


def test_the_result_of_a_trace_is_kept_and_read_again(tiny_model: TinyModel, tmp_path: Path):
    spec = replace(spec_of(tiny_model("llama")), clock="virtual")
    result = run_trace(spec, BURSTS[:5])
    result.save(tmp_path)
    again = load(tmp_path)
    assert again.specs == (spec,)
    assert again.notes == result.notes
    assert again.starts.equals(result.starts)


def test_two_runs_in_virtual_time_are_the_same(tiny_model: TinyModel):
    spec = replace(spec_of(tiny_model("llama")), clock="virtual")
    first, second = run_trace(spec, BURSTS), run_trace(spec, BURSTS)
    assert first.tokens.equals(second.tokens)
    assert first.scale_outs.equals(second.scale_outs)


def test_a_cluster_scales_to_zero_and_starts_hot_or_warm_again(tiny_model: TinyModel):
    """Real processes: idle copies stay on the GPU for a while, then in host memory."""
    folder = tiny_model("llama")
    rows = (TraceRow(0.0, 4, 8), TraceRow(4.0, 4, 8), TraceRow(9.0, 4, 8))
    system = SystemSpec(gpu_keep_alive_s=2.5, host_keep_alive_s=30.0)
    result = run_trace(spec_of(folder, system=system, policy=ScalingPolicy(idle_s=0.3)), rows)
    gaps = result.allocations.sort_values("from_s")
    assert (gaps["until_s"].iloc[:-1].values < gaps["from_s"].iloc[1:].values).all(), "zero between"
    assert course(result) == [(1, 0, 0, 0, 1), (1, 1, 0, 0, 0), (1, 0, 1, 0, 0)]
    assert result.outputs() == reference_outputs(spec_of(folder), rows)


def test_one_scale_out_mixes_warm_nodes_and_cold_ones(tiny_model: TinyModel):
    """Real processes: two nodes load from their own host memory and are sources for the other two."""
    folder = tiny_model("llama")
    rows = tuple(TraceRow(0.0, 4, 8) for _ in range(16))
    policy = ScalingPolicy("fixed", min_instances=4)
    result = run_trace(spec_of(folder, initial_host=2, policy=policy), rows)
    assert course(result) == [(4, 0, 2, 2, 0)]
    origins = result.blocks.groupby("node")["origin"].agg(set).to_dict()
    assert origins == {0: {"host"}, 1: {"host"}, 2: {"network"}, 3: {"network"}}
    assert result.outputs() == reference_outputs(spec_of(folder), rows)


@pytest.mark.parametrize("method", ["transfer", "recompute"])
def test_requests_in_flight_keep_their_tokens_at_a_mode_switch(tiny_model: TinyModel, method: str):
    """Real processes: their KV entries move from cache to cache, or are computed again."""
    folder = tiny_model("llama")
    rows = tuple(TraceRow(0.0, 4 + i % 7, 40) for i in range(16))
    spec = spec_of(
        folder,
        system=SystemSpec(kv_switch=method),
        policy=ScalingPolicy("fixed", min_instances=4),
        replay=Replay(1.0, 16, 40, model=str(folder)),
        initial_gpu=2,
    )
    result = run_trace(spec, rows)
    moved = result.switches[result.switches["tokens"] > 0]
    assert not moved.empty
    assert set(moved["method"]) == {method}
    assert result.outputs() == reference_outputs(spec, rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu_gb": 0.0}, "gpu capacity is 0"),
        ({"num_nodes": 0}, "num_nodes is 0"),
        ({"host_gb": -1.0}, "host_gb is -1.0"),
        ({"initial_gpu": 3, "initial_host": 2}, "initial_gpu is 3 and initial_host 2"),
        ({"initial_host": 1, "host_gb": 0.0}, "HOST tier of node 0 has 0"),
        ({"max_length": 8}, "max_prompt"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    tiny_model: TinyModel, changes: dict[str, object], message: str
):
    with pytest.raises(ConfigError, match=message):
        run_trace(replace(spec_of(tiny_model("llama"), **changes), clock="virtual"), BURSTS[:2])
