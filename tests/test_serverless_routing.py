"""Requests that are cancelled, refused or resumed; and what is refused before anything starts."""

from dataclasses import replace

import pytest
from serverless import STEP_S, Serverless, ask, burst, deploy, room

from lambdascale.cluster.records import (
    PhaseRecord,
    PipelineRecord,
    RefusedRecord,
    SwitchRecord,
    TokenRecord,
)
from lambdascale.config import SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST
ONE = ScalingPolicy("fixed", min_instances=1)


def at_time(time_s: float, *requests: int):
    """A watcher that cancels requests at a time after the start."""

    def watch(run: Serverless, record) -> None:
        if isinstance(record, PhaseRecord) and record.phase == "started":
            for request in requests:
                run.later(time_s, lambda request=request: run.cancel(request))

    return watch


def one_node(requests, watch, **options) -> Serverless:
    deployment = deploy("a", ONE, {0: GPU}, max_slots=2)
    return Serverless([deployment], requests, 1, watch=watch, **options).run()


def test_a_cancelled_decode_frees_its_slot_at_once():
    run = one_node(
        (ask(0, max_tokens=200), ask(1, max_tokens=200), ask(2)), at_time(8.5 * STEP_S, 0)
    )
    assert run.first_token_s(2) < (8.5 + 6) * STEP_S
    assert len(run.tokens(0)) < 10
    assert len(run.tokens(1)) == 200


def test_a_prefill_may_be_cancelled_between_its_chunks():
    run = one_node((ask(0, prompt=200), ask(1, max_tokens=100), ask(2)), at_time(4.5 * STEP_S, 0))
    assert not run.tokens(0)
    assert run.first_token_s(2) < 0.15


def test_who_waits_may_be_cancelled_and_the_next_one_moves_up():
    requests = (*burst(2, max_tokens=50), ask(2), ask(3))
    run = one_node(requests, at_time(0.1, 2))
    assert not run.tokens(2)
    assert len(run.tokens(3)) == 20


def test_cancelling_what_is_just_finished_or_unknown_or_done_twice_does_no_harm():
    def watch(run: Serverless, record) -> None:
        if isinstance(record, TokenRecord) and record.last:
            run.controller.cancel(next(r for r in run.requests if r.id == record.request))
            run.controller.cancel(ask(77))

    run = one_node(burst(6), watch)
    assert all(len(run.tokens(i)) == 20 for i in range(6))


@pytest.mark.parametrize("offset_s", [0.0, 10e-6, 30e-6, 50e-6, 0.005])
def test_a_cancellation_that_crosses_the_last_token_frees_the_slot_once(offset_s: float):
    """It leaves the controller while the last token is on its way to it."""
    end_s = one_node(burst(2), lambda run, record: None).tokens(1)[-1].time_s
    requests = (*burst(2), *burst(4, first=2, at=0.05))
    deployment = deploy("a", ScalingPolicy(target=1.0, idle_s=0.0), {0: GPU}, max_slots=2)
    other = deploy("b", ScalingPolicy(target=1.0, idle_s=0.0), {0: HOST})
    run = Serverless(
        [deployment, other],
        (*requests, ask(50, "b", at=0.3)),
        1,
        watch=at_time(end_s - offset_s, 0, 1),
    ).run()
    assert all(len(run.tokens(i)) == 20 for i in (2, 3, 4, 5, 50))


def test_a_draining_replica_whose_last_token_crosses_its_cancellation_is_told_to_stop_once():
    policy = ScalingPolicy(target=1.0, idle_s=0.0, quantum_s=0.05)
    deployments = [deploy("a", policy, {0: GPU}), deploy("b", policy, {0: HOST})]
    requests = (*burst(2), ask(50, "b", at=0.02))
    end_s = Serverless(deployments, requests, 1).run().tokens(1)[-1].time_s
    run = Serverless(deployments, requests, 1, watch=at_time(end_s, 0, 1)).run()
    assert len(run.tokens(50)) == 20


def test_cancelling_everybody_ends_the_run():
    run = one_node(burst(8, max_tokens=200), at_time(0.3, *range(8)))
    assert run.tokens(0)[-1].time_s < 0.35


def test_a_request_may_be_cancelled_before_it_comes():
    run = one_node((ask(0), ask(1, at=5.0)), at_time(0.1, 1))
    assert not run.tokens(1)


def test_cancelled_requests_of_a_dissolving_pipeline_are_over():
    def watch(run: Serverless, record) -> None:
        if isinstance(record, PipelineRecord) and not record.formed and record.kind == "pipeline":
            for request in (0, 1):
                if request not in run.cancelled:
                    run.later(0.0, lambda request=request: run.cancel(request))

    policy = ScalingPolicy("fixed", min_instances=2)
    deployment = deploy("a", policy, {0: HOST, 1: HOST})
    for kv_switch in ("transfer", "recompute"):
        run = Serverless(
            [deployment], burst(4, max_tokens=80), 2, SystemSpec(kv_switch=kv_switch), watch=watch
        ).run()
        assert run.cancelled == {0, 1}
        assert not run.tokens(0)[-1].last


def test_who_is_refused_is_told_when_to_come_again_and_answered_in_the_end():
    requests = burst(12, max_tokens=30)
    deployment = deploy("a", ONE, {0: GPU}, max_slots=2)
    run = Serverless([deployment], requests, 1, SystemSpec(max_queue=3)).run()
    refused = run.records(RefusedRecord)
    assert {record.request for record in refused} <= set(range(5, 12))
    assert len({record.request for record in refused}) >= 7
    assert all(0 < record.retry_after_s <= 1.0 for record in refused)


def test_a_refused_request_may_be_given_up():
    requests = burst(6, max_tokens=100)
    deployment = deploy("a", ONE, {0: GPU}, max_slots=1)
    run = Serverless(
        [deployment], requests, 1, SystemSpec(max_queue=1), watch=at_time(0.2, 3, 4, 5)
    ).run()
    assert [len(run.tokens(i)) for i in range(6)] == [100, 100, 100, 0, 0, 0]


def test_resumed_requests_go_before_new_ones():
    """They have waited longest: their pipeline has dissolved under them."""
    policy = ScalingPolicy("fixed", min_instances=2)
    deployment = deploy("a", policy, {0: HOST, 1: HOST}, max_slots=2)
    requests = burst(10, max_tokens=60)
    run = Serverless([deployment], requests, 2, SystemSpec(kv_switch="recompute")).run()
    moved = {record.request for record in run.records(SwitchRecord)}
    switch_s = run.records(SwitchRecord)[0].time_s
    assert moved
    again = {r: next(t.time_s for t in run.tokens(r) if t.time_s > switch_s) for r in range(10)}
    new = [again[r] for r in range(10) if r not in moved and run.first_token_s(r) > switch_s + 0.1]
    assert max(again[r] for r in moved) < min(new)


BAD = {
    "no node": (lambda: Serverless([deploy("a")], (), 0), "nodes is 0"),
    "no model": (lambda: Serverless([], ()), "no model is deployed"),
    "twice": (lambda: Serverless([deploy("a"), deploy("a")], ()), "models a, a repeat"),
    "gpu": (lambda: Serverless([deploy("a")], (), gpu=room("c")), "gpu capacity is"),
    "negative": (lambda: Serverless([deploy("a")], (), host=-1), "host capacity is -1"),
    "nowhere": (lambda: Serverless([deploy("a")], (), ssd=0), "would be nowhere"),
    "ssd for one": (
        lambda: Serverless([deploy("a"), deploy("b")], (), ssd=room("a")),
        "b .* would be nowhere",
    ),
    "sources": (
        lambda: Serverless(
            [deploy("a", initial={0: HOST})], (), system=SystemSpec(sources=("gpu",)), ssd=0
        ),
        "only copy may be in one of gpu, host;",
    ),
    "one ssd": (
        lambda: Serverless([deploy("a", initial={0: Tier.SSD})], (), host=0),
        "goes to others through host memory",
    ),
    "sources and one ssd": (
        lambda: Serverless(
            [deploy("a", initial={0: Tier.SSD})], (), system=SystemSpec(sources=("gpu", "host"))
        ),
        "one of gpu, host, ssd",
    ),
    "host": (lambda: Serverless([deploy("a", initial={0: HOST})], (), host=0), "HOST"),
    "both on a gpu": (
        lambda: Serverless(
            [deploy("a", initial={0: GPU}), deploy("b", initial={0: GPU})], (), gpu=room("a")
        ),
        "do not fit into the GPU tier of node 0",
    ),
    "initial on ssd": (lambda: Serverless([deploy("a", initial={7: Tier.SSD})], ()), "SSD tier"),
    "initial nowhere": (lambda: Serverless([deploy("a", initial={9: GPU})], ()), "node 9"),
    "initial within": (
        lambda: Serverless([deploy("a", initial={1: GPU}, nodes_per_instance=2)], ()),
        "node 1; .* nodes 0, 2",
    ),
    "span": (lambda: Serverless([deploy("a", nodes_per_instance=5)], ()), "spans 5 nodes"),
    "parts": (
        lambda: Serverless([deploy("a", nodes_per_instance=12)], (), 12),
        "cannot span 12 nodes",
    ),
    "unknown": (lambda: Serverless([deploy("a")], [ask(0, "z")]), "'z' of request 0 is not"),
    "nobody": (
        lambda: Serverless([deploy("a"), deploy("b")], [replace(ask(0), model="")]),
        "request 0 names no model",
    ),
    "ids": (lambda: Serverless([deploy("a"), deploy("b")], [ask(0), ask(0, "b")]), "id 0 repeats"),
    "long": (lambda: Serverless([deploy("a")], [ask(0, max_tokens=999)]), "max_length is 256"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused_in_one_clear_line(case: str):
    make, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        make().disturbed()


def test_a_request_without_a_model_is_for_the_only_one():
    run = Serverless([deploy("a", ONE)], [replace(ask(0), model="")], 1).run()
    assert len(run.tokens(0)) == 20


def test_a_run_without_requests_ends():
    Serverless([deploy("a"), deploy("b", ONE, {1: GPU})], ()).run()
