"""The mode switch of requests in flight: KV transfer, recomputation, or the sooner one; the tokens tell."""

from collections import Counter
from itertools import pairwise

import pytest
from serverless import STEP_S, Serverless, burst, deploy

from lambdascale.cluster.records import (
    NodeRecord,
    PhaseRecord,
    PipelineRecord,
    StartRecord,
    SwitchRecord,
    TokenRecord,
)
from lambdascale.cluster.tags import KV
from lambdascale.config import KV_SWITCHES, SystemSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.network import Delivery
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST


def switching(kv_switch: str, num_nodes: int = 4, **options) -> Serverless:
    """Nodes that load from host memory serve as a pipeline, and complete in the middle of long answers."""
    initial = dict.fromkeys(range(num_nodes), HOST)
    temperature = options.pop("temperature", 0.0)
    policy = ScalingPolicy("fixed", min_instances=num_nodes)
    return Serverless(
        [deploy("a", policy, initial)],
        burst(4, max_tokens=100, prompt=30, temperature=temperature),
        num_nodes,
        SystemSpec(kv_switch=kv_switch),
        **options,
    )


def methods(run: Serverless) -> Counter[str]:
    return Counter(record.method for record in run.records(SwitchRecord))


class Deliveries:
    """Counts bytes into KV regions, and harms nothing."""

    def __init__(self, run: Serverless) -> None:
        self.nbytes = 0
        self._run = run
        run.watch = self._attach

    def _attach(self, run: Serverless, record) -> None:
        if not self.nbytes:
            run.network.corrupt(self._count)
            self.nbytes = 1

    def _count(self, delivery: Delivery) -> bool:
        if delivery.region == KV:
            self.nbytes += delivery.nbytes
        return False


def gap_s(run: Serverless) -> float:
    """The longest pause between two tokens of a request that moved."""
    moved = {record.request for record in run.records(SwitchRecord)}
    gaps = []
    for request in moved:
        times = [t.time_s for t in run.tokens(request)]
        gaps += [b - a for a, b in pairwise(times)]
    return max(gaps)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("kv_switch", KV_SWITCHES)
@pytest.mark.parametrize("num_nodes", [2, 4])
def test_tokens_are_those_of_an_undisturbed_run_however_kv_follows(
    kv_switch: str, temperature: float, num_nodes: int
):
    run = switching(kv_switch, num_nodes, temperature=temperature).run()
    assert sum(methods(run).values()) >= 4, "requests are in flight when their pipeline dissolves"
    kinds = {record.kind for record in run.records(TokenRecord)}
    assert kinds == {"pipeline", "replica"}


def test_with_transfer_every_request_is_adopted_and_with_recomputation_none():
    assert set(methods(switching("transfer").run())) == {"transfer"}
    assert set(methods(switching("recompute").run())) == {"recompute"}


def test_entries_that_are_transferred_cross_the_links_and_are_not_computed_again():
    """On fast links, so that the pause of a transfer is short."""
    transfer, recompute = switching("transfer", load_s=0.1), switching("recompute", load_s=0.1)
    sent, none = Deliveries(transfer), Deliveries(recompute)
    transfer.run()
    recompute.run()
    moved = transfer.records(SwitchRecord)
    shape = transfer.deployments[0].image.shape
    per_token = shape.kv_bytes_per_token("float32")
    whole = sum(record.tokens for record in moved) * per_token
    assert 0.5 * whole < sent.nbytes <= whole
    assert none.nbytes <= 1
    assert gap_s(transfer) < gap_s(recompute)
    steps = [sum(r.steps for r in run.records(NodeRecord)) for run in (transfer, recompute)]
    assert steps[0] < steps[1]


def test_recomputation_runs_the_prompt_again():
    """A prompt of 30 tokens and what has been generated take several steps of at most 16."""
    assert gap_s(switching("recompute").run()) > 3 * STEP_S


def test_the_sooner_way_is_chosen_by_cost():
    fast = switching("cost", load_s=0.01).run()
    slow = switching("cost", load_s=1e4).run()
    assert set(methods(fast)) == {"transfer"}
    assert set(methods(slow)) == {"recompute"}
    for record in (*fast.records(SwitchRecord), *slow.records(SwitchRecord)):
        sooner = "transfer" if record.transfer_s < record.recompute_s else "recompute"
        assert record.method == sooner


def test_a_corrupted_entry_is_seen_in_the_tokens():
    """Only symbolic tokens notice: KV entries carry no checksum of ours."""
    run = switching("transfer")
    run.watch = lambda run, record: (
        run.network.corrupt(lambda d: d.region == KV)
        if isinstance(record, PipelineRecord) and record.formed and record.kind == "pipeline"
        else None
    )
    run.disturbed()
    assert methods(run)["transfer"]
    assert run.outputs() != run.expected()


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.05])
def test_a_request_may_be_cancelled_while_its_entries_are_on_their_way(delay_s: float):
    """Links are slow, so entries take their time."""
    cancelled = []

    def watch(run: Serverless, record) -> None:
        if isinstance(record, SwitchRecord) and len(cancelled) < 2:
            cancelled.append(record.request)
            run.later(delay_s, lambda: run.cancel(record.request))

    run = switching("transfer", load_s=20.0, watch=watch).run()
    assert methods(run)["transfer"]
    assert run.cancelled == set(cancelled)
    for request in run.requests:
        assert (request.id in run.cancelled) != run.tokens(request.id)[-1].last


@pytest.mark.parametrize("num_sources", [1, 2])
@pytest.mark.parametrize("kv_switch", ["transfer", "recompute"])
def test_switches_after_a_multicast_are_exact_too(kv_switch: str, num_sources: int):
    """Receivers of sub-groups complete one after the other; pipelines re-form among the others."""
    initial = dict.fromkeys(range(num_sources), GPU)
    policy = ScalingPolicy("fixed", min_instances=7)
    run = Serverless(
        [deploy("a", policy, initial)],
        burst(14, max_tokens=100),
        7,
        SystemSpec(kv_switch=kv_switch),
    )
    slow = iter((6, 3))

    def watch(run: Serverless, record) -> None:
        if isinstance(record, PipelineRecord) and (node := next(slow, None)):
            run.network.slow(node, run.rate / 3)

    run.watch = watch
    run.run()


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_replica_does_not_go_while_entries_leave_it(cancelled: bool):
    """Node 1 is idle, and model b waits for it, but node 1 still sends what node 0 has adopted."""

    def watch(run: Serverless, record) -> None:
        if isinstance(record, PhaseRecord) and record.phase == "pipeline formed":
            run.later(0.1, lambda: run.cancel(1))
        if isinstance(record, SwitchRecord) and cancelled:
            run.later(0.1, lambda: run.cancel(record.request))

    policy = ScalingPolicy(target=1.0, idle_s=0.0)
    deployments = [
        deploy("a", policy, {0: HOST, 1: HOST}, max_slots=1),
        deploy("b", policy, {1: HOST}),
    ]
    requests = (*burst(2, max_tokens=80, prompt=60), *burst(8, "b", 0.45, 10))
    system = SystemSpec(kv_switch="transfer")
    run = Serverless(deployments, requests, 2, system, load_s=20.0, watch=watch).run()
    assert methods(run) == {"transfer": 1}
    switch_s, adopted_s = run.records(SwitchRecord)[0].time_s, run.tokens(0)[-1].time_s
    taken_s = next(r.time_s for r in run.records(StartRecord) if r.model == "b")
    again_s = next((t.time_s for t in run.tokens(0) if t.time_s > switch_s), adopted_s)
    assert taken_s > again_s
    assert taken_s > switch_s + 0.2, "entries take their time"
    takers = {record.node for record in run.records(StartRecord) if record.model == "b"}
    assert takers == ({0, 1} if cancelled else {1}), "who has sent for nobody is free, too"


def test_a_member_is_in_no_new_pipeline_while_entries_leave_it():
    """Sub-group 0 ends first; the others could form pipelines at once, and would use the slots again."""
    policy = ScalingPolicy("fixed", min_instances=9)
    deployment = deploy("a", policy, dict.fromkeys(range(3), GPU), num_blocks=24)
    slowed = []

    def watch(run: Serverless, record) -> None:
        if isinstance(record, PhaseRecord) and record.phase == "started":
            slowed.extend(run.network.slow(node, 0.75 * run.rate) for node in (1, 2))

    requests = burst(60, max_tokens=100, prompt=60)
    system = SystemSpec(kv_switch="transfer")
    run = Serverless([deployment], requests, 9, system, load_s=4.0, watch=watch).run()
    assert slowed
    switch_s = run.records(SwitchRecord)[0].time_s
    formed = [p for p in run.records(PipelineRecord) if p.formed and p.kind == "pipeline"]
    assert any(p.time_s > switch_s for p in formed), "they do, later"
