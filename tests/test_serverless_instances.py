"""Models that span several nodes: each holds and receives its slice only, and the tokens are the same."""

from collections import defaultdict

import pytest
from serverless import MODELS, Serverless, ask, burst, deploy, room

from lambdascale.cluster.records import (
    AllocationRecord,
    BlockRecord,
    PipelineRecord,
    StartRecord,
    SwitchRecord,
)
from lambdascale.cluster.slices import Slices
from lambdascale.config import SystemSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST


def instances(count: int) -> ScalingPolicy:
    return ScalingPolicy("fixed", min_instances=count)


def check_slices(run: Serverless) -> None:
    """Every block that came is one that its node needs, and came once per stay."""
    slices = {d.model: run.controller.stock.slices[d.model] for d in run.deployments}
    for record in run.records(BlockRecord):
        own = slices[record.model]
        assert record.block in own.blocks[record.node - own.instance(record.node)]


@pytest.mark.parametrize("span", [2, 4])
@pytest.mark.parametrize("source", [GPU, HOST])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_instances_scale_out_from_gpu_and_host_memory(span: int, source: Tier, count: int):
    deployment = deploy("a", instances(count), {0: source}, nodes_per_instance=span)
    gpu = max(
        Slices.of(MODELS["a"].layout, deployment.image.blocks, span).span(
            i, deployment.image.blocks
        )[1]
        for i in range(span)
    )
    run = Serverless(
        [deployment], burst(6 * count, max_tokens=40), span * count, gpu=gpu + 4096
    ).run()
    check_slices(run)
    replicas = [p for p in run.records(PipelineRecord) if p.formed and p.kind == "replica"]
    assert {p.stages[0].node for p in replicas} == set(range(0, span * count, span))
    assert all(len(p.stages) == span for p in replicas)
    received = defaultdict(set)
    for record in run.records(BlockRecord):
        received[record.node].add(record.block)
    own = run.controller.stock.slices["a"]
    loading = range(span if source is GPU else 0, span * count)
    for node in loading:
        assert received[node] == set(own.blocks[node % span])


def test_an_instance_takes_a_fraction_of_the_time_because_all_its_links_work():
    def loaded_s(span: int) -> float:
        deployment = deploy("a", instances(2), {0: GPU}, nodes_per_instance=span)
        run = Serverless([deployment], burst(2), 2 * span).run()
        return max(record.verified_s for record in run.records(BlockRecord))

    assert loaded_s(2) < 0.65 * loaded_s(1)
    assert loaded_s(4) < 0.4 * loaded_s(1)


def test_instances_that_load_from_host_memory_form_pipelines_over_all_their_nodes():
    deployment = deploy("a", instances(2), {0: HOST, 2: HOST}, nodes_per_instance=2)
    for kv_switch in ("transfer", "recompute"):
        run = Serverless(
            [deployment], burst(6, max_tokens=60), 4, SystemSpec(kv_switch=kv_switch)
        ).run()
        kinds = [p.kind for p in run.records(PipelineRecord) if p.formed]
        assert "pipeline" in kinds
        assert {r.method for r in run.records(SwitchRecord)} == {"recompute"}
        check_slices(run)


@pytest.mark.parametrize("preconnect", [True, False])
def test_instances_read_their_slices_from_ssds_and_scale_to_zero_and_back(preconnect: bool):
    policy = ScalingPolicy(target=1.0, idle_s=0.2)
    deployment = deploy("a", policy, nodes_per_instance=2)
    requests = (*burst(6), ask(10, at=10.0), ask(11, at=16.0))
    system = SystemSpec(gpu_keep_alive_s=4.0, host_keep_alive_s=60.0)
    run = Serverless([deployment], requests, 4, system, preconnect=preconnect).run()
    check_slices(run)
    starts = [(r.start, r.node) for r in run.records(StartRecord)]
    assert {start for start, _ in starts[:4]} == {"ssd"}
    assert {start for start, _ in starts[4:6]} == {"warm"}


@pytest.mark.parametrize("preconnect", [True, False])
def test_an_instance_that_is_hot_at_once_opens_the_links_between_its_nodes(preconnect: bool):
    deployment = deploy("a", instances(1), {0: GPU}, nodes_per_instance=4)
    Serverless([deployment], burst(4), 4, preconnect=preconnect).run()


@pytest.mark.parametrize("gpu", [room("a"), room("a", "b", "c")])
def test_models_of_different_spans_share_a_cluster(gpu: int):
    policy = ScalingPolicy(target=1.0, idle_s=0.3, quantum_s=2.0)
    deployments = [
        deploy("a", policy, nodes_per_instance=4),
        deploy("b", policy, nodes_per_instance=2),
        deploy("c", policy),
    ]
    requests = tuple(
        ask(100 * i + j, model, at=0.7 * j) for i, model in enumerate("abc") for j in range(20)
    )
    run = Serverless(deployments, requests, 6, gpu=gpu).run()
    check_slices(run)


def test_a_model_of_two_nodes_gets_them_although_smaller_ones_lie_scattered():
    """Instances of b begin on nodes 0 and 2, so no pair is free; one of them gives way and moves."""
    deployments = [
        deploy("a", ScalingPolicy(target=1.0), nodes_per_instance=2),
        deploy("b", instances(2), {0: GPU, 2: GPU}),
    ]
    requests = (*burst(2, "b", max_tokens=60), ask(10, at=0.1))
    run = Serverless(deployments, requests, 4).run()
    assert run.first_token_s(10) < 10.0


def test_who_has_to_move_takes_no_new_requests_however_many_come():
    deployments = [
        deploy("a", ScalingPolicy(target=1.0), nodes_per_instance=2),
        deploy("b", instances(2), {0: GPU, 2: GPU}),
    ]
    requests = (
        *(ask(i, "b", at=0.05 * i, max_tokens=40) for i in range(160)), ask(900, at=0.2),
    )  # fmt: skip
    run = Serverless(deployments, requests, 4).run()
    drained_s, read_s = 0.5, 2.0
    assert run.first_token_s(900) < 0.2 + drained_s + read_s + 0.6


def test_small_models_leave_pairs_of_nodes_free():
    deployments = [deploy("b", instances(2)), deploy("a", instances(1), nodes_per_instance=2)]
    run = Serverless(deployments, (ask(0, "b"), ask(1)), 4).run()
    nodes = {(r.model, r.node) for r in run.records(AllocationRecord)}
    assert len(nodes) == 4
