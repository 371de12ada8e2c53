"""The compared systems: the same tokens under each, and the times that they were fitted to."""

from dataclasses import replace

import pytest
from serverless import Serverless, burst, deploy

from lambdascale.cluster.records import PipelineRecord, StartRecord, TokenRecord
from lambdascale.config import ScaleSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments import recorded
from lambdascale.experiments.placed import on
from lambdascale.experiments.run import run
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.systems import SYSTEMS, system
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.multicast.costs import LinkCost
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.hardware import AUTHORS, TESTBED1, WIRE_RATE
from lambdascale.storage.tiers import Tier

COMPARED = (
    "lambdascale-paper",
    "lambdascale",
    "faasnet",
    "nccl",
    "nccl-warm",
    "star",
    "serverlessllm",
    "blitzscale",
    "ideal",
)


def served(name: str, in_flight: int | None = None) -> Serverless:
    """Two nodes hold the model, six requests wait at once, more come later, long enough to be moved."""
    spec, policy = SYSTEMS[name].spec, SYSTEMS[name].policy
    deployment = deploy("a", policy, {0: Tier.GPU, 1: Tier.GPU}, max_slots=6, in_flight=in_flight)
    requests = (*burst(40, max_tokens=60), *burst(6, at=6.0, first=40, max_tokens=30))
    return Serverless([deployment], requests, 6, spec).run()


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("in_flight", [None, 1])
def test_tokens_are_those_of_an_undisturbed_run_under_every_system(name: str, in_flight: int):
    run = served(name, in_flight)
    loaded = {r.node for r in run.records(StartRecord) if r.start != "hot"}
    assert loaded, "it scales out"
    assert loaded & {t.node for t in run.records(TokenRecord)}, "and what was loaded serves"
    pipelines = [r for r in run.records(PipelineRecord) if r.kind == "pipeline"]
    assert bool(pipelines) == (name in ("lambdascale-paper", "lambdascale"))


def test_every_system_is_there_and_says_what_it_is():
    assert tuple(SYSTEMS) == COMPARED
    for name, compared in SYSTEMS.items():
        assert compared.spec.name == name
        assert len(compared.about) > 100
        assert compared.source
    with pytest.raises(ConfigError, match="serverlessllm"):
        system("serverless-llm")


@pytest.mark.parametrize("name", recorded.MULTICASTS)
@pytest.mark.parametrize(("model", "num_nodes"), [("llama-2-7b", 4), ("llama-2-13b", 8)])
def test_multicasts_take_as_long_as_those_that_they_were_fitted_to(
    name: str, model: str, num_nodes: int
):
    """No prediction: one rate, and one cost per round or group, meet times of two models and sizes."""
    theirs_s = recorded.MULTICASTS[name][model][num_nodes]
    assert multicast_s(name, model, num_nodes) == pytest.approx(theirs_s, rel=0.05)


def test_no_multicast_beats_the_wire_and_ours_is_near_it():
    floor_s = 13_476_831_232 / WIRE_RATE
    assert floor_s < multicast_s("lambdascale", "llama-2-7b", 4) < 1.04 * floor_s


def multicast_s(name: str, model: str, num_nodes: int) -> float:
    spec = RunSpec(
        model=model,
        dtype="float16",
        scale=ScaleSpec(1, num_nodes),
        link_gbps=8e-9 * WIRE_RATE,
        device=AUTHORS.device(model, TESTBED1),
        clock="virtual",
    )
    spec = SYSTEMS[name].scale_out(spec)
    return run(spec, inputs=symbolic_inputs(spec)).phase_s("complete")


def test_the_block_count_is_fixed_by_layers_or_by_what_an_operation_costs():
    spec = RunSpec(
        model="llama-2-7b", dtype="float16", scale=ScaleSpec(1, 8), link_gbps=400,
        device=AUTHORS.device("llama-2-7b", TESTBED1), clock="virtual",
    )  # fmt: skip
    assert SYSTEMS["faasnet"].scale_out(spec).scale.num_blocks == 16
    assert SYSTEMS["blitzscale"].scale_out(spec).scale.num_blocks == 32
    dear, cheap = (
        SYSTEMS["lambdascale"].scale_out(spec, LinkCost(occupancy_s, 0.0, spec.rate))
        for occupancy_s in (1e-2, 1e-5)
    )
    assert dear.scale.num_blocks < cheap.scale.num_blocks


def test_ideal_feels_nothing_of_what_a_load_costs():
    costs = Conditions(occupancy_s=0.1, connect_s=0.2, register_s=0.3, decision_s=0.4)
    spec = on(TESTBED1, AUTHORS, RunSpec(model="llama-2-7b", scale=ScaleSpec(1, 4)))
    ideal = SYSTEMS["ideal"].scale_out(replace(spec, conditions=costs))
    assert ideal.conditions == Conditions(decision_s=0.4)
    complete_s = run(ideal, inputs=symbolic_inputs(ideal)).phase_s("complete")
    assert 0.4 < complete_s < 0.41


def test_a_trace_keeps_its_queue_per_instance_under_any_system():
    policy = ScalingPolicy("authors", poll_s=1.0, per_instance=4)
    spec = TraceSpec(
        models=("llama-2-70b",), dtype="float16", policy=policy, link_gbps=140,
        device=AUTHORS.device("llama-2-70b", TESTBED1), clock="virtual",
    )  # fmt: skip
    under = SYSTEMS["lambdascale-paper"].trace(spec)
    assert under.policy.per_instance == 4
    assert under.policy.poll_s == 1.0
    assert not under.policy.concurrent
    assert under.label == under.system.name == "lambdascale-paper"
