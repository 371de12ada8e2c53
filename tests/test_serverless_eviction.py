"""What leaves which tier when: LRU, keep-alives, demotion, pins, the last copy; to zero and back."""

import math

import pytest
from serverless import STEP_S, Serverless, ask, burst, deploy, room

from lambdascale.cluster.records import (
    AllocationRecord,
    BlockRecord,
    PipelineRecord,
    ResidencyRecord,
    StartRecord,
)
from lambdascale.config import SystemSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.regions import fingerprint
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST
QUICK = ScalingPolicy(target=1.0, idle_s=0.1)


def keep(gpu_s: float, host_s: float, **options) -> SystemSpec:
    return SystemSpec(gpu_keep_alive_s=gpu_s, host_keep_alive_s=host_s, **options)


def residencies(run: Serverless, tier: str) -> list[tuple[str, int, bool]]:
    """(model, node, comes or goes) in one tier, in order."""
    return [(r.model, r.node, r.resident) for r in run.records(ResidencyRecord) if r.tier == tier]


def start_kinds(run: Serverless) -> list[tuple[str, str]]:
    return [(r.model, r.start) for r in run.records(StartRecord)]


def test_the_least_recently_used_model_leaves_a_gpu_that_holds_two():
    deployments = [deploy(model, QUICK) for model in "abc"]
    requests = [ask(0, "a"), ask(1, "b", at=6.0), ask(2, "a", at=12.0), ask(3, "c", at=18.0)]
    requests += [ask(4, "a", at=24.0), ask(5, "b", at=30.0)]
    gpu = room("a", "b")
    run = Serverless(deployments, requests, 1, keep(math.inf, math.inf), gpu=gpu).run()
    assert start_kinds(run) == [
        ("a", "ssd"), ("b", "ssd"), ("a", "hot"), ("c", "ssd"), ("a", "hot"), ("b", "warm"),
    ]  # fmt: skip
    assert [event for event in residencies(run, "gpu") if not event[2]] == [
        ("b", 0, False), ("c", 0, False),
    ]  # fmt: skip


def test_what_leaves_a_gpu_is_in_host_memory_then_and_leaves_that_later():
    seen = []

    def look(run: Serverless, record) -> None:
        if isinstance(record, ResidencyRecord) and (record.tier, record.resident) == ("gpu", False):
            stock, node = run.controller.stock, record.node
            arena = run.fleet.agents[node]._place.holdings._arenas[HOST]
            base, blocks = stock.base(node, HOST, "a"), stock._image("a").blocks
            for block, checksum in enumerate(stock._image("a").checksums):
                offset, nbytes = blocks.span(block)
                assert fingerprint(arena, base + offset, nbytes) == checksum
            seen.append(record.time_s)

    requests = (ask(0), ask(1, "b", at=20.0))
    run = Serverless(
        [deploy("a", QUICK), deploy("b", QUICK)], requests, 2, keep(2.0, 3.0), watch=look
    ).run()
    answered_s = run.tokens(0)[-1].time_s
    gone_s = {r.tier: r.time_s for r in run.records(ResidencyRecord) if not r.resident}
    assert seen == [pytest.approx(answered_s + 0.1 + 2.0, abs=0.02)]
    assert gone_s["host"] == pytest.approx(gone_s["gpu"] + 3.0, abs=0.02)
    assert {r.origin for r in run.records(BlockRecord) if r.model == "a"} == {"ssd", "gpu"}


def test_a_keep_alive_of_zero_empties_the_gpu_as_soon_as_the_copy_is_in_host_memory():
    requests = (ask(0), ask(1, at=9.0))
    run = Serverless([deploy("a", QUICK)], requests, 1, keep(0.0, 60.0)).run()
    released = next(r.time_s for r in run.records(AllocationRecord) if not r.allocated)
    gone = next(r.time_s for r in run.records(ResidencyRecord) if not r.resident)
    assert gone == pytest.approx(released + 0.5, abs=0.02)
    assert start_kinds(run) == [("a", "ssd"), ("a", "warm")]


def test_without_demotion_a_copy_leaves_the_gpu_for_nowhere():
    requests = (ask(0), ask(1, at=9.0))
    run = Serverless([deploy("a", QUICK)], requests, 1, keep(1.0, 60.0, demote=False)).run()
    assert start_kinds(run) == [("a", "ssd"), ("a", "ssd")]
    assert not residencies(run, "host")


def test_memory_of_an_expired_host_copy_is_given_back():
    requests = (ask(0), ask(1, "b", at=20.0))
    run = Serverless([deploy("a", QUICK), deploy("b", QUICK)], requests, 1, keep(1.0, 1.0))
    blank = []

    def look(run: Serverless, record) -> None:
        if isinstance(record, StartRecord) and record.model == "b":
            view = run.fleet.agents[0]._place.holdings._arenas[HOST].view
            blank.append(not any(view))

    run.watch = look
    run.run()
    assert blank == [True], "its pages are zero again"


def test_a_source_is_not_evicted_while_it_sends():
    """Node 0 is free and its GPU wanted by b while it feeds node 1, which is nearer to hand for a."""
    policy = ScalingPolicy(target=1.0, idle_s=0.0)
    deployments = [deploy("a", policy, {0: GPU}), deploy("b", QUICK)]
    requests = (ask(0, max_tokens=3), *burst(9, first=1, at=0.01), ask(99, "b", at=0.3))
    slowed = slow_from_the_first_block(1)
    run = Serverless(deployments, requests, 2, keep(0.0, 9.0), gpu=room("a"), watch=slowed).run()
    received = [r for r in run.records(BlockRecord) if (r.model, r.origin) == ("a", "network")]
    assert {(r.src, r.node) for r in received} == {(0, 1)}
    freed_s = next(r.time_s for r in run.records(AllocationRecord) if not r.allocated)
    taken_s = next(r.time_s for r in run.records(StartRecord) if r.model == "b")
    assert freed_s < received[-1].verified_s <= taken_s


def slow_from_the_first_block(node: int):
    """A watcher that makes the link of `node` four times slower when blocks begin to arrive."""

    def watch(run: Serverless, record) -> None:
        if isinstance(record, BlockRecord):
            run.network.slow(node, run.rate / 4)

    return watch


def test_a_member_that_is_complete_early_stays_while_it_still_sends():
    """Model b wants nodes, and idle members of a are released, but node 4 is not fed yet."""
    policy = ScalingPolicy(target=1.0, idle_s=0.0)
    deployments = [deploy("a", policy, {0: GPU}), deploy("b", ScalingPolicy(target=0.5))]
    requests = (*burst(20, max_tokens=30), *burst(12, "b", at=0.3, first=100))
    slowed = slow_from_the_first_block(4)
    system = keep(0.0, 0.0, algorithm="chain")
    run = Serverless(deployments, requests, 5, system, gpu=room("a"), watch=slowed).run()
    ends: dict[int, float] = {}
    for record in run.records(BlockRecord):
        if record.model == "a":
            ends[record.node] = record.verified_s
    over = [r for r in run.records(AllocationRecord) if r.model == "a" and not r.allocated]
    assert any(r.time_s < ends[4] for r in over if r.node in (1, 2, 3)), "early"


@pytest.mark.parametrize("tier", [GPU, HOST])
def test_the_last_copy_of_a_model_that_no_ssd_holds_stays_for_ever(tier: Tier):
    """Room on the SSD is for model b only; a would be lost."""
    deployments = [deploy("b", QUICK), deploy("a", QUICK, {0: tier})]
    requests = (ask(0, "b"), ask(1, "a", at=9.0), ask(2, "b", at=15.0), ask(3, "a", at=30.0))
    run = Serverless(
        deployments, requests, 1, keep(1.0, 1.0), gpu=room("a", "b"), ssd=room("b")
    ).run()
    assert [start for model, start in start_kinds(run) if model == "a"] == ["warm", "warm"]
    assert ("a", 0, False) not in residencies(run, "host")


def test_a_copy_that_expires_together_with_the_one_that_it_makes_room_for_is_gone_once():
    """Both keep-alives end at once; what comes down from the GPU takes the room of the other."""
    deployments = [deploy("a", QUICK, {0: GPU}), deploy("b", QUICK, {0: HOST})]
    requests = (ask(0, "a", at=3.0), ask(1, "b", at=3.0))
    run = Serverless(deployments, requests, 1, keep(1.0, 1.0), host=room("a")).run()
    assert residencies(run, "host")[:2] == [("b", 0, True), ("b", 0, False)]


def test_a_copy_that_comes_down_does_not_drive_out_the_last_one_of_another():
    deployments = [deploy("b", QUICK), deploy("a", QUICK, {0: HOST})]
    requests = (ask(0, "b"), ask(1, "a", at=9.0))
    run = Serverless(deployments, requests, 1, keep(1.0, 1.0), host=room("a"), ssd=room("b")).run()
    assert start_kinds(run) == [("b", "ssd"), ("a", "warm")]
    assert ("b", 0, True) not in residencies(run, "host")


def test_room_is_never_made_by_losing_the_last_copy():
    """One GPU, no host memory, and a model that no SSD holds: the other one has to do without."""
    deployments = [deploy("b", QUICK), deploy("a", QUICK, {0: GPU})]
    requests = (ask(0, "b"), ask(1, "a", at=4.0))
    run = Serverless(
        deployments, requests, 2, keep(1.0, 1.0), gpu=room("a"), host=0, ssd=room("b")
    ).run()
    assert {(r.model, r.node) for r in run.records(StartRecord)} == {("a", 0), ("b", 1)}


@pytest.mark.parametrize(
    ("gpu_s", "host_s", "second"), [(20.0, 0.0, "hot"), (1.0, 20.0, "warm"), (1.0, 1.0, "ssd")]
)
def test_after_zero_the_next_start_is_by_what_was_kept(gpu_s: float, host_s: float, second: str):
    requests = (ask(0), ask(1, at=12.0))
    run = Serverless([deploy("a", QUICK)], requests, 2, keep(gpu_s, host_s)).run()
    assert start_kinds(run) == [("a", "ssd"), ("a", second)]
    freed = [r for r in run.records(AllocationRecord) if not r.allocated]
    assert len(freed) >= 1, "between the two it had no node"
    load_s = {"hot": 0.0, "warm": 0.5, "ssd": 4.0}[second]
    assert run.first_token_s(1) - 12.0 == pytest.approx(load_s, abs=0.05)


def test_another_node_receives_what_one_has_kept():
    """Cold: the node that holds it works for another model."""
    deployments = [deploy("a", QUICK), deploy("b", ScalingPolicy("fixed", min_instances=1))]
    requests = (ask(0), ask(1, "b", at=0.0), ask(2, at=10.0))
    run = Serverless(deployments, requests, 2, keep(60.0, 60.0)).run()
    assert start_kinds(run).count(("a", "hot")) == 1


def test_a_long_request_finishes_on_a_draining_replica():
    """The other model waits for it, and no token is computed twice."""
    deployments = [
        deploy("a", ScalingPolicy(target=1.0, quantum_s=0.5), {0: GPU}),
        deploy("b", QUICK, {0: HOST}),
    ]
    requests = (ask(0, max_tokens=200), ask(1, "b", at=0.2))
    run = Serverless(deployments, requests, 1).run()
    assert {t.pipeline for t in run.tokens(0)} == {0}
    end = run.tokens(0)[-1].time_s
    assert end == pytest.approx(200 * STEP_S, abs=0.1)
    assert run.first_token_s(1) > end


def test_a_draining_replica_stays_when_it_is_wanted_again():
    policy = ScalingPolicy(target=1.0, idle_s=0.0, min_instances=1)
    deployments = [deploy("a", policy, {0: GPU, 1: GPU}, max_slots=1)]
    requests = (ask(0, max_tokens=200), ask(1, max_tokens=100), ask(2, at=1.2), ask(3, at=1.21))
    run = Serverless(deployments, requests, 2).run()
    formed = [p for p in run.records(PipelineRecord) if p.formed]
    assert {p.kind for p in formed} == {"replica"}


def test_a_request_that_came_while_the_only_replica_drains_lets_it_stay():
    """Model b wants the node; a second request of a is not lost, whoever is first."""
    deployments = [
        deploy("a", ScalingPolicy(target=1.0, quantum_s=0.5), {0: GPU}),
        deploy("b", ScalingPolicy(target=1.0, quantum_s=0.5), {0: HOST}),
    ]
    requests = (
        ask(0, max_tokens=150), ask(1, "b", at=0.2), ask(2, at=0.8), ask(3, "b", at=0.9)
    )  # fmt: skip
    run = Serverless(deployments, requests, 1).run()
    assert len({r.model for r in run.records(StartRecord)}) == 2


def test_what_leaves_host_memory_goes_to_an_ssd_that_lacks_it():
    """Only node 0 has the file at first; node 1 got the model over the network, and keeps it."""
    quick = ScalingPolicy(target=0.25, idle_s=0.1)
    deployment = deploy("a", quick, {0: Tier.SSD})
    requests = (*burst(2), *burst(2, at=30.0, first=2))
    run = Serverless([deployment], requests, 2, keep(1.0, 2.0)).run()
    assert residencies(run, "ssd") == [("a", 1, True)]
    gone = [r for r in run.records(ResidencyRecord) if r.tier == "host" and not r.resident]
    stored_s = next(r.time_s for r in run.records(ResidencyRecord) if r.tier == "ssd")
    assert stored_s == pytest.approx(next(r.time_s for r in gone if r.node == 1), abs=0.01)
    assert start_kinds(run)[:2] == [("a", "ssd"), ("a", "cold")]
    again = [(r.node, r.start) for r in run.records(StartRecord)][2:]
    assert again == [(0, "ssd"), (1, "ssd")], "both read, from files of their own"
