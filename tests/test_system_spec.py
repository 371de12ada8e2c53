"""What each field of a system changes, seen in virtual time; and what is refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
from serverless import NBYTES, STEP_S, Serverless, ask, burst, deploy
from virtual import MODEL, Cluster, some_requests, virtual_spec

from lambdascale.cluster.records import (
    AllocationRecord,
    BlockRecord,
    PipelineRecord,
    ResidencyRecord,
    ScaleRecord,
    StartRecord,
    TokenRecord,
)
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.results import RunResult
from lambdascale.multicast.plan import plan
from lambdascale.policy import ScalingPolicy
from lambdascale.setup_times import SetupTime, setup_seconds
from lambdascale.sim.reference import reference_tokens
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST
KINDS = ("pipeline", "replica")
LATENCIES_S = 1e-3  # of all links and messages together, where a test compares times


def scaled(system: SystemSpec, k: int = 1, n: int = 4, num_requests: int = 0) -> RunResult:
    requests = some_requests(num_requests)
    result = Cluster(virtual_spec(k, n, system=system), requests).run()
    assert result.outputs() == reference_tokens(MODEL, requests)
    return result


def scaled_records(system: SystemSpec, k: int, n: int, num_requests: int, kind: type) -> list:
    cluster = Cluster(virtual_spec(k, n, system=system), some_requests(num_requests))
    cluster.run()
    return [record for record in cluster.log.records if isinstance(record, kind)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("switch", "all"),
        ("message_s", -1.0),
        ("hop_messages", -1),
        ("pinned_hosts", -1),
        ("max_sources", 0),
        ("max_rate", 0.0),
    ],
)
def test_what_cannot_work_is_refused_by_name(field: str, value: object):
    with pytest.raises(ConfigError, match=field):
        SystemSpec(**{field: value})


@pytest.mark.parametrize("in_flight", [0, 9])
def test_an_instance_serves_no_more_at_once_than_it_has_slots(in_flight: int):
    with pytest.raises(ConfigError, match="in_flight"):
        ScaleSpec(1, 2, max_slots=8, in_flight=in_flight)


def test_each_round_behind_a_barrier_waits_for_two_messages():
    free, paced = (scaled(SystemSpec(barrier=True, message_s=s)) for s in (0.0, 0.01))
    num_ticks = plan("kway", 4, 1, 16).num_ticks
    grew_s = paced.phase_s("complete") - free.phase_s("complete")
    assert grew_s == pytest.approx(num_ticks * 2 * 0.01, abs=LATENCIES_S)


def test_a_link_carries_no_more_than_the_system_gets_out_of_it():
    rate = virtual_spec(1, 4).rate
    fast, slow = (scaled(SystemSpec(max_rate=r)) for r in (None, rate / 2))
    assert slow.phase_s("complete") == pytest.approx(2 * fast.phase_s("complete"), rel=0.01)
    assert SystemSpec(max_rate=2 * rate).link_rate(rate) == rate


@pytest.mark.parametrize("sources", ["gpu", "host", "ssd"])
def test_instant_loads_take_no_time_from_any_tier(sources: str):
    initial = {0: GPU} if sources == "gpu" else {n: HOST for n in range(4) if sources == "host"}
    policy = ScalingPolicy("fixed", min_instances=4)
    system = SystemSpec(instant=True, sources=() if sources == "ssd" else ("gpu",))
    run = Serverless([deploy("a", policy, initial)], burst(20), system=system).run()
    assert max(block.verified_s for block in run.records(BlockRecord)) < 2 * LATENCIES_S
    assert max(t.time_s for t in run.records(TokenRecord)) > 20 * STEP_S, "decode takes its time"


def test_no_more_nodes_send_than_are_allowed():
    initial = dict.fromkeys(range(3), GPU)
    policy = ScalingPolicy("fixed", min_instances=6)

    def senders(most: int | None) -> set[int]:
        system = SystemSpec(algorithm="star", max_sources=most)
        run = Serverless([deploy("a", policy, initial)], burst(1), 6, system=system).run()
        return {block.src for block in run.records(BlockRecord) if block.origin == "network"}

    assert senders(None) == {0, 1, 2}
    assert senders(1) == {0}


def test_scale_outs_that_overlap_pass_on_what_has_come_and_each_gets_a_whole_link():
    """Node 0 has the only copy; requests come one by one, faster than a copy takes."""

    def loads_s(partial_sources: bool) -> list[float]:
        system = SystemSpec(partial_sources=partial_sources, kv_switch="recompute")
        requests = [ask(i, at=0.3 * i, max_tokens=200) for i in range(4)]
        deployment = deploy("a", initial={0: GPU}, max_slots=1)
        run = Serverless([deployment], requests, system=system).run()
        begun = {r.node: r.time_s for r in run.records(StartRecord)}
        whole: dict[int, float] = {}
        for block in run.records(BlockRecord):
            if block.origin == "network":
                whole[block.node] = max(whole.get(block.node, 0.0), block.verified_s)
        return [whole[node] - begun[node] for node in whole]

    assert max(loads_s(True)) < 1.1
    assert max(loads_s(False)) > 2.0, "three share one port"


def test_groups_are_set_up_in_a_phase_of_its_own_before_anything_moves():
    setup = (SetupTime(NBYTES, 2, 0.1), SetupTime(NBYTES, 4, 0.3))
    policy = ScalingPolicy("fixed", min_instances=3)
    system = SystemSpec(setup_s=setup)
    run = Serverless([deploy("a", policy, {0: GPU})], burst(20), system=system).run()
    ends = {r.phase: r.time_s for r in run.records(ScaleRecord)}
    assert ends["connected"] - ends["prepared"] == pytest.approx(0.2), "one source and two others"
    assert min(block.arrived_s for block in run.records(BlockRecord)) > ends["connected"]


def test_local_loads_need_no_group():
    policy = ScalingPolicy("fixed", min_instances=2)
    system = SystemSpec(setup_s=(SetupTime(NBYTES, 2, 5.0),))
    run = Serverless([deploy("a", policy, {0: HOST, 1: HOST})], burst(1), system=system).run()
    assert max(block.verified_s for block in run.records(BlockRecord)) < 1.0


def test_set_up_times_are_interpolated_and_constant_beyond_what_is_known():
    times = [SetupTime(10, 2, 1.0), SetupTime(10, 6, 3.0), SetupTime(30, 2, 5.0)]
    assert setup_seconds([], 10, 2) == 0
    assert [setup_seconds(times, 10, members) for members in (1, 2, 3, 6, 9)] == [1, 1, 1.5, 3, 3]
    assert [setup_seconds(times, nbytes, 2) for nbytes in (1, 20, 99)] == [1, 3, 5]
    with pytest.raises(ConfigError, match="seconds"):
        SetupTime(1, 1, -1.0)


def test_a_group_switches_at_once_when_its_last_member_is_complete():
    class Slowed(Cluster):
        def seen(self, record) -> None:
            if isinstance(record, BlockRecord) and record.block == 3:
                self.network.slow(5, self.spec.rate / 2)

    def replicas_s(switch: str) -> tuple[list[float], float]:
        spec = virtual_spec(2, 6, system=SystemSpec(switch=switch, kv_switch="recompute"))
        cluster = Slowed(spec, some_requests(24))
        complete_s = cluster.run().phase_s("complete")
        formed = [r for r in cluster.log.records if isinstance(r, PipelineRecord) and r.formed]
        return [r.time_s for r in formed if r.kind == "replica" and r.time_s > 0.01], complete_s

    by_node, complete_s = replicas_s("node")
    assert min(by_node) < 0.8 * complete_s
    together, complete_s = replicas_s("group")
    assert len(together) == 4
    assert min(together) >= complete_s


def token_gaps(system: SystemSpec, num_requests: int) -> list[float]:
    """Seconds between the tokens of a request in one pipeline of four nodes that hold no whole copy."""
    tokens = scaled_records(system, 4, 8, num_requests, TokenRecord)
    first = [t for t in tokens if t.kind == "pipeline"]
    request = first[0].request
    times = [t.time_s for t in first if t.request == request]
    return [b - a for a, b in pairwise(times)]


def test_a_stage_hop_waits_for_its_messages():
    free, paced = (
        min(token_gaps(SystemSpec(message_s=0.005, hop_messages=hops), 40)) for hops in (0, 2)
    )
    assert paced - free == pytest.approx(4 * 0.01, rel=0.3), "four hops, the one home among them"


def test_in_lock_step_tokens_are_the_same_and_come_after_whole_steps():
    """All four stages step together, and a step waits for its messages."""
    system = SystemSpec(lock_step=True, message_s=0.005, hop_messages=2)
    scaled(system, 4, 8, num_requests=40)
    gaps = token_gaps(system, 40)
    assert min(gaps) > 4 * 0.01
    assert min(gaps) > 0.95 * min(token_gaps(replace(system, lock_step=False), 40))


def test_copies_go_to_host_memory_as_soon_as_a_node_serves():
    def host_s(copy_to_host: bool) -> list[float]:
        system = SystemSpec(copy_to_host=copy_to_host, gpu_keep_alive_s=0.0)
        policy = ScalingPolicy(target=1.0, idle_s=2.0)
        requests = (*burst(16), *burst(1, at=5.0, first=16))
        run = Serverless([deploy("a", policy, {0: GPU})], requests, system=system).run()
        held = [r for r in run.records(ResidencyRecord) if r.tier == "host" and r.resident]
        taken = {r.node for r in run.records(AllocationRecord) if r.allocated} - {0}
        assert taken
        return [r.time_s for r in held if r.node in taken]

    assert max(host_s(True)) < 2.0
    assert min(host_s(False), default=99.0) > 2.0, "not before it is released"


def test_host_copies_of_the_first_nodes_do_not_expire():
    def left(pinned: int) -> set[int]:
        policy = ScalingPolicy(target=1.0, idle_s=0.0)
        system = SystemSpec(
            pinned_hosts=pinned, gpu_keep_alive_s=0.0, host_keep_alive_s=1.0, sources=()
        )
        initial = dict.fromkeys(range(4), HOST)
        requests = (*burst(1), *burst(1, at=8.0, first=1))
        run = Serverless([deploy("a", policy, initial)], requests, system=system).run()
        return {r.node for r in run.records(ResidencyRecord) if r.tier == "host"} - {
            r.node for r in run.records(ResidencyRecord) if r.tier == "host" and not r.resident
        }

    assert left(2) == {0, 1}
    assert left(0) == set()


def most_at_once(tokens: list[TokenRecord]) -> int:
    """The most requests that one pipeline serves between their first and last tokens there."""
    spans: dict[tuple[int, int], list[float]] = {}
    for t in tokens:
        spans.setdefault((t.pipeline, t.request), []).append(t.time_s)
    return max(
        sum(p == pipeline and times[0] <= begun_s <= times[-1] for (p, _), times in spans.items())
        for (pipeline, _), (begun_s, *_) in spans.items()
    )


def test_an_instance_serves_as_many_requests_as_it_may_and_a_pipeline_as_many_for_each_member():
    initial = dict.fromkeys(range(4), HOST)
    policy = ScalingPolicy("fixed", min_instances=4)
    deployment = deploy("a", policy, initial, max_slots=8, in_flight=1)
    run = Serverless([deployment], burst(12, max_tokens=60)).run()
    tokens = run.records(TokenRecord)
    most = {kind: most_at_once([t for t in tokens if t.kind == kind]) for kind in KINDS}
    assert most == {"pipeline": 4, "replica": 1}
