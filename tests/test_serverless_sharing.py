"""Models that compete for nodes, and the policies that decide how many each wants."""

from itertools import pairwise

import pytest
from serverless import Serverless, ask, burst, deploy, room

from lambdascale.cluster.records import AllocationRecord, BlockRecord, ScaleRecord, StartRecord
from lambdascale.config import SystemSpec
from lambdascale.policy import POLICIES, ScalingPolicy
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST
QUANTUM_S = 2.0


def steady(model: str, count: int, every_s: float, first: int, max_tokens: int = 20):
    return tuple(ask(first + i, model, i * every_s, max_tokens) for i in range(count))


def longest_wait_s(run: Serverless, model: str) -> float:
    return max(run.first_token_s(r.id) - r.arrival_s for r in run.requests if r.model == model)


@pytest.mark.parametrize("gpu", [room("a"), room("a", "b", "c")])
def test_three_models_on_two_nodes_are_all_served_in_turn(gpu: int):
    """Constant load of all three: each waits for a bounded number of quanta, none starves."""
    policy = ScalingPolicy(target=1.0, quantum_s=QUANTUM_S)
    deployments = [deploy(model, policy) for model in "abc"]
    requests = sum((steady(model, 30, 0.6, 1000 * i) for i, model in enumerate("abc")), ())
    run = Serverless(deployments, requests, 2, gpu=gpu).run()
    load_s, drain_s = 4.0, 1.0
    for model in "abc":
        assert longest_wait_s(run, model) < 2 * (QUANTUM_S + load_s + drain_s)


def test_a_model_that_has_waited_is_served_before_one_that_has_a_node_gets_two():
    policy = ScalingPolicy(target=1.0, quantum_s=QUANTUM_S)
    deployments = [deploy("a", policy, {0: GPU}), deploy("b", policy, {1: HOST})]
    requests = (*burst(40, "a"), *burst(2, "b", first=100))
    run = Serverless(deployments, requests, 2).run()
    assert longest_wait_s(run, "b") < 1.0


@pytest.mark.parametrize("poll_s", [0.0, 0.5])
@pytest.mark.parametrize("name", [name for name in POLICIES if name != "fixed"])
def test_every_policy_runs_a_burst_to_completion_and_scales_to_zero(name: str, poll_s: float):
    policy = ScalingPolicy(name, poll_s=poll_s, target=1.0, idle_s=0.2)
    requests = (*burst(12), *steady("a", 10, 0.3, 100), ask(200, "b", at=30.0))
    deployments = [deploy("a", policy), deploy("b", policy)]
    run = Serverless(deployments, requests, 4).run()
    assert len({r.node for r in run.records(StartRecord) if r.model == "a"}) > 1
    held = {r.node: r.allocated for r in run.records(AllocationRecord) if r.model == "a"}
    assert not any(held.values()), "b comes long after a is idle"


def test_polled_decisions_fall_at_their_times_after_their_phase():
    policy = ScalingPolicy(poll_s=1.0, phase_s=0.25, target=1.0, idle_s=0.5)
    run = Serverless([deploy("a", policy)], (ask(0, at=0.3), *burst(12, at=9.4, first=1))).run()
    decided = [r.time_s for r in run.records(ScaleRecord) if r.phase == "decided"]
    assert decided[0] == pytest.approx(1.25, abs=0.01)
    assert all((time_s - 0.25) % 1.0 == pytest.approx(0.0, abs=0.01) for time_s in decided)


def test_without_concurrent_scale_outs_one_has_loaded_before_the_next_begins():
    policy = ScalingPolicy(target=1.0, concurrent=False)
    run = Serverless([deploy("a", policy)], steady("a", 20, 0.2, 0, 60)).run()
    spans: dict[int, list[float]] = {}
    for record in run.records(ScaleRecord):
        if record.phase in ("decided", "switched"):
            spans.setdefault(record.scale_out, []).append(record.time_s)
    ordered = [spans[number] for number in sorted(spans)]
    assert len(ordered) > 1
    assert all(a[1] <= b[0] for a, b in pairwise(ordered))


def test_a_fixed_number_of_instances_is_kept():
    policy = ScalingPolicy("fixed", min_instances=3)
    run = Serverless([deploy("a", policy)], (ask(0), ask(1, at=10.0))).run()
    assert len(run.records(AllocationRecord)) == 3
    assert all(record.allocated for record in run.records(AllocationRecord))


def test_requests_of_one_moment_are_scaled_for_together():
    run = Serverless([deploy("a")], burst(16)).run()
    assert {record.scale_out for record in run.records(StartRecord)} == {0}
    read = [r for r in run.records(BlockRecord) if r.origin == "ssd"]
    assert len(read) == 16, "together they read the model once"


def test_the_authors_rule_takes_a_node_per_request_that_waits():
    policy = ScalingPolicy("authors", poll_s=1.0, idle_s=0.0)
    run = Serverless([deploy("a", policy)], burst(3), system=SystemSpec(barrier=True)).run()
    assert len(run.records(StartRecord)) == 3
