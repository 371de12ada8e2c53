"""The controller and agents of production in virtual time: tokens, pipelines, switches, failures."""

import subprocess
import sys
from dataclasses import replace

import pytest
from virtual import MODEL, Cluster, some_requests, virtual_spec

from lambdascale.cluster.records import BlockRecord, LossRecord, PhaseRecord
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import CorruptBlockError, LambdaScaleError
from lambdascale.experiments.run import run
from lambdascale.experiments.simulated import SIZED_ABOVE, symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.multicast.plan import plan
from lambdascale.sim.models import nominal_model
from lambdascale.sim.network import Delivery
from lambdascale.sim.reference import reference_tokens
from lambdascale.transport.base import Lane


class OneSlow(Cluster):
    """Node 3 (or the last one) has a link of 0.6 of the rate from its tenth block on."""

    def seen(self, record) -> None:
        slow = min(3, self.spec.scale.num_nodes - 1)
        if isinstance(record, BlockRecord) and record.node == slow:
            self.count = getattr(self, "count", 0) + 1
            if self.count == 10:
                self.network.slow(slow, 0.6 * self.spec.rate)


SHAPES = [(1, 2), (1, 4), (2, 4), (2, 5), (2, 8), (3, 7), (4, 8), (4, 6)]


def kinds(result, request: int) -> list[str]:
    mine = result.tokens[result.tokens["request"] == request]
    return list(dict.fromkeys(mine["kind"]))


@pytest.mark.parametrize(("k", "n"), SHAPES)
def test_every_request_gets_the_tokens_of_an_undisturbed_run(k: int, n: int):
    requests = some_requests(6 * n, temperature=0.7 if n % 2 else 0.0)
    result = Cluster(virtual_spec(k, n), requests).run()
    assert result.outputs() == reference_tokens(MODEL, requests)
    assert len(result.blocks) == (n - k) * 16, "every destination gets every block once"


@pytest.mark.parametrize(("k", "n"), [(2, 4), (2, 8), (4, 8)])
def test_pipelines_serve_while_blocks_are_in_flight_and_then_every_node_switches(k: int, n: int):
    result = Cluster(virtual_spec(k, n), some_requests(8 * n)).run()
    complete = result.phase_s("complete")
    early = result.tokens[(result.tokens["kind"] == "pipeline")]
    assert not early.empty
    assert early["time_s"].min() < 0.7 * complete
    moved = [r for r in range(8 * n) if kinds(result, r) == ["pipeline", "replica"]]
    assert moved, "some request is carried over by a mode switch"
    replicas = result.pipelines[result.pipelines["kind"] == "replica"]
    assert sorted(replicas["node"]) == list(range(n))
    assert result.pipelines[result.pipelines["kind"] == "pipeline"]["dissolved_s"].notna().all()


def test_several_micro_batches_are_in_flight_in_a_pipeline():
    result = Cluster(virtual_spec(2, 4), some_requests(32)).run()
    early = result.tokens[result.tokens["kind"] == "pipeline"].sort_values("time_s")
    gaps = early["time_s"].drop_duplicates().diff().dropna()
    step_s = 0.01
    assert gaps.median() < 0.8 * step_s, "two lanes overlap: a step ends more often than one by one"


def test_without_execute_while_load_no_receiver_serves_before_it_is_complete():
    spec = virtual_spec(2, 4, system=SystemSpec(execute_while_load=False))
    requests = some_requests(32)
    result = Cluster(spec, requests).run()
    assert set(result.pipelines["kind"]) == {"replica"}
    received = result.tokens[result.tokens["node"] >= 2]
    assert received["time_s"].min() > result.blocks.groupby("node")["verified_s"].max().min()
    assert result.outputs() == reference_tokens(MODEL, requests)


@pytest.mark.parametrize(("k", "n"), [(1, 4), (2, 7)])
def test_a_barrier_keeps_ticks_apart_and_changes_no_token(k: int, n: int):
    requests = some_requests(12)
    system = SystemSpec(barrier=True, message_s=0.003)
    barrier = OneSlow(virtual_spec(k, n, system=system), requests).run()
    free = OneSlow(virtual_spec(k, n), requests).run()
    assert barrier.outputs() == free.outputs() == reference_tokens(MODEL, requests)
    assert barrier.phase_s("complete") > 1.01 * free.phase_s("complete")
    schedule = plan("kway", n, k, 16)
    tick_of = {(t.dst, t.block): t.tick for t in schedule.transfers}
    for group in schedule.subgroups:
        last_of: dict[int, float] = {}
        mine = barrier.blocks[barrier.blocks["node"].isin(group)].to_dict("records")
        for row in mine:
            tick = tick_of[row["node"], row["block"]]
            last_of[tick] = max(last_of.get(tick, 0.0), row["verified_s"])
        for row in mine:
            before = tick_of[row["node"], row["block"]] - 1
            assert row["arrived_s"] > last_of.get(before, -1.0), "ticks are apart"


def test_a_request_is_served_when_it_arrives_and_the_run_waits_for_the_last():
    early, late = some_requests(2)
    complete = Cluster(virtual_spec(2, 4), ()).run().phase_s("complete")
    requests = (early, replace(late, arrival_s=3 * complete))
    result = Cluster(virtual_spec(2, 4), requests).run()
    tokens = result.tokens.groupby("request")["time_s"].min()
    assert tokens[0] < 0.1 * complete
    assert 3 * complete < tokens[1] < 3.2 * complete
    assert list(result.requests["ttft_s"]) == pytest.approx([tokens[0], tokens[1] - 3 * complete])
    assert result.outputs() == reference_tokens(MODEL, requests)


def test_a_node_switches_when_it_is_complete_and_waits_for_no_other():
    requests = some_requests(32)
    result = OneSlow(virtual_spec(2, 4), requests).run()
    complete = result.blocks.groupby("node")["verified_s"].max()
    switched = result.nodes.set_index("node")["switched_s"]
    slow, fast = 3, 2
    assert complete[slow] > 1.2 * complete[fast]
    step_s = 0.01
    assert complete[fast] < switched[fast] < complete[fast] + 4 * step_s
    assert result.outputs() == reference_tokens(MODEL, requests)


@pytest.mark.parametrize(("k", "n"), SHAPES)
def test_a_multicast_takes_the_ticks_that_were_planned(k: int, n: int):
    spec = virtual_spec(k, n)
    result = Cluster(spec, ()).run()
    tick_s = MODEL.layout.nbytes / 16 / spec.rate
    ticks = plan("kway", n, k, 16).num_ticks
    assert result.phase_s("complete") == pytest.approx(ticks * tick_s, rel=0.07)


def test_a_corrupted_block_is_detected_reported_and_fetched_again():
    cluster = Cluster(virtual_spec(2, 4), some_requests(12))
    cluster.network.corrupt(lambda d: d.lane is Lane.BULK and d.dst == 3)
    result = cluster.run()
    assert result.num_corrupt == 1
    assert result.outputs() == reference_tokens(MODEL, cluster.inputs.requests)


def test_a_link_that_always_corrupts_is_given_up_with_a_named_error():
    cluster = Cluster(virtual_spec(1, 2), ())

    def first_block(delivery: Delivery) -> bool:
        return delivery.lane is Lane.BULK

    for _ in range(40):
        cluster.network.corrupt(first_block)
    with pytest.raises(LambdaScaleError, match=CorruptBlockError.__name__):
        cluster.run()


def test_a_corrupted_activation_is_seen_in_the_tokens():
    """Activations carry no checksum of ours: symbolic tokens notice what nothing else does."""
    cluster = Cluster(virtual_spec(2, 4), some_requests(32))
    cluster.network.corrupt(lambda d: d.lane is Lane.EXPRESS and 0 < d.nbytes < 1000)
    assert cluster.run().outputs() != reference_tokens(MODEL, cluster.inputs.requests)


def test_a_slow_receiver_changes_times_and_no_token():
    class Slowed(Cluster):
        def seen(self, record) -> None:
            if isinstance(record, BlockRecord) and record.block == 3:
                self.network.slow(3, self.spec.rate / 3)

    requests = some_requests(12)
    slowed, free = (
        Slowed(virtual_spec(2, 4), requests).run(),
        Cluster(virtual_spec(2, 4), requests).run(),
    )
    assert slowed.outputs() == free.outputs()
    assert slowed.phase_s("complete") > 1.5 * free.phase_s("complete")


def test_seventy_billion_parameters_scale_to_twelve_nodes():
    scale = ScaleSpec(num_sources=1, num_nodes=12, num_blocks=32)
    spec = RunSpec(
        model="llama-2-70b", dtype="float16", scale=scale, max_tokens=8, link_gbps=400,
        device=DeviceModel(bandwidth=3.35e12, flops=4e14), clock="virtual",
    )  # fmt: skip
    inputs = symbolic_inputs(spec, num_requests=12, prompt_tokens=20)
    result = run(spec, inputs=inputs)
    one_copy_s = inputs.image.layout.nbytes / spec.rate
    assert one_copy_s < result.phase_s("complete") < 1.2 * one_copy_s
    reference = reference_tokens(nominal_model("llama-2-70b"), inputs.requests, SIZED_ABOVE)
    assert result.outputs() == reference


class Murder(Cluster):
    """`victims` die when block 3 arrives anywhere."""

    victims: tuple[int, ...] = ()

    def seen(self, record) -> None:
        if isinstance(record, BlockRecord) and record.block == 3:
            for victim in self.victims:
                self.fleet._kill(victim)


@pytest.mark.parametrize("victims", [(0,), (2,), (3,), (0, 2), (1, 3), (0, 1)])
def test_the_survivors_of_dead_nodes_answer_every_request(victims: tuple[int, ...]):
    requests = some_requests(32)
    cluster = Murder(virtual_spec(2, 4), requests)
    cluster.victims = victims
    result = cluster.run()
    assert result.outputs() == reference_tokens(MODEL, requests)
    lost = [r.node for r in cluster.log.records if isinstance(r, LossRecord)]
    assert sorted(lost) == sorted(victims)
    held = result.blocks[result.blocks["verified_s"] > 0].groupby("node")["block"].nunique()
    survivors = {2, 3} - set(victims)
    assert all(held[node] == 16 for node in survivors), "what is left is completed"


def test_a_run_whose_nodes_have_all_ended_ends_with_one_clear_line():
    cluster = Murder(virtual_spec(2, 4), some_requests(12))
    cluster.victims = (0, 1, 2, 3)
    with pytest.raises(
        LambdaScaleError, match=r"^all 4 nodes have ended, the last was \d \(.*\); see"
    ):
        cluster.run()


def test_phases_are_in_the_order_of_a_scale_out():
    cluster = Cluster(virtual_spec(2, 4), some_requests(32))
    cluster.run()
    phases = [r.phase for r in cluster.log.records if isinstance(r, PhaseRecord)]
    expected = ["agents up", "prepared", "connected", "started", "first block"]
    assert phases[:5] == expected
    rest = ["covered", "pipeline formed", "first token of a receiver", "complete", "switched"]
    assert [p for p in phases if p in rest] == rest
    assert phases[-1] == "finished"


SCRIPT = """
from virtual import Cluster, some_requests, virtual_spec
result = Cluster(virtual_spec(2, 6), some_requests(20)).run()
print(result.tokens.to_csv(), result.blocks.to_csv(), result.pipelines.to_csv())
"""


def test_a_run_is_the_same_under_any_hash_seed():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "tests", "PATH": ""},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
