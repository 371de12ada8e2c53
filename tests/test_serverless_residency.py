"""How a node gets a model depends on which tier holds it: hot, warm, cold, SSD, and any mixture."""

import itertools
from collections import Counter

import pytest
from serverless import STEP_S, Serverless, ask, burst, deploy, room

from lambdascale.cluster.records import (
    BlockRecord,
    PipelineRecord,
    ResidencyRecord,
    ScaleRecord,
    StartRecord,
)
from lambdascale.config import SystemSpec
from lambdascale.multicast.plan import plan
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST
LATER = 0.05  # for coverage reports and the first step


def all_nodes(count: int, **options) -> ScalingPolicy:
    return ScalingPolicy("fixed", min_instances=count, **options)


def starts(run: Serverless) -> dict[int, str]:
    return {record.node: record.start for record in run.records(StartRecord)}


def phase_s(run: Serverless, phase: str, scale_out: int = 0) -> float:
    return next(
        r.time_s for r in run.records(ScaleRecord) if r.phase == phase and r.scale_out == scale_out
    )


def moved(run: Serverless) -> Counter[tuple[int, str]]:
    """Blocks that came to a node, by origin."""
    return Counter((record.node, record.origin) for record in run.records(BlockRecord))


def test_a_hot_node_serves_at_once_and_nothing_moves():
    run = Serverless([deploy("a", initial={2: GPU})], burst(2)).run()
    assert starts(run) == {2: "hot"}
    assert not run.records(BlockRecord)
    assert run.first_token_s(0) < 3 * STEP_S


def test_a_warm_node_loads_at_the_rate_of_its_pcie_link():
    run = Serverless([deploy("a", initial={1: HOST})], burst(2)).run()
    assert starts(run) == {1: "warm"}
    assert moved(run) == {(1, "host"): 16}
    assert run.first_token_s(0) == pytest.approx(0.5, abs=LATER)


@pytest.mark.parametrize("num_nodes", [2, 4])
def test_warm_nodes_form_a_pipeline_before_any_of_them_is_complete(num_nodes: int):
    initial = dict.fromkeys(range(num_nodes), HOST)
    run = Serverless([deploy("a", all_nodes(num_nodes), initial)], burst(6, max_tokens=60)).run()
    assert set(starts(run).values()) == {"warm"}
    assert {origin for _, origin in moved(run)} == {"host"}
    assert phase_s(run, "covered") == pytest.approx(0.5 / num_nodes, abs=LATER)
    pipelines = [p for p in run.records(PipelineRecord) if p.formed and p.kind == "pipeline"]
    assert run.first_token_s(0) < 0.5 / num_nodes + 2 * LATER < 0.5
    assert pipelines


def test_without_shifted_orders_warm_nodes_cover_the_model_no_sooner_than_one():
    initial = dict.fromkeys(range(4), HOST)
    system = SystemSpec(shifted_loads=False)
    run = Serverless([deploy("a", all_nodes(4), initial)], burst(6), system=system).run()
    assert phase_s(run, "covered") == pytest.approx(0.5, abs=LATER)


@pytest.mark.parametrize("source", [GPU, HOST])
@pytest.mark.parametrize("num_nodes", [2, 4])
def test_cold_nodes_receive_alike_from_the_gpu_or_the_host_memory_of_a_source(
    source: Tier, num_nodes: int
):
    """0 → N from host memory works like 1 → N: the source sends while it loads for itself."""
    deployment = deploy("a", all_nodes(num_nodes), {0: source})
    run = Serverless([deployment], burst(8), num_nodes).run()
    expected = {0: "hot" if source is GPU else "warm"} | dict.fromkeys(range(1, num_nodes), "cold")
    assert starts(run) == expected
    ticks = plan("kway", num_nodes, 1, 16).num_ticks
    assert phase_s(run, "switched") == pytest.approx(ticks / 16, abs=LATER)
    assert all(moved(run)[node, "network"] == 16 for node in range(1, num_nodes))


def test_an_ssd_is_read_only_if_no_memory_holds_the_model():
    for tier in (GPU, HOST):
        run = Serverless([deploy("a", all_nodes(4), {3: tier})], burst(4)).run()
        assert not any(origin == "ssd" for _, origin in moved(run))


@pytest.mark.parametrize("num_nodes", [1, 2, 4])
def test_readers_share_the_reading_and_exchange_what_they_read(num_nodes: int):
    run = Serverless([deploy("a", all_nodes(num_nodes))], burst(4), num_nodes).run()
    assert set(starts(run).values()) == {"ssd"}
    read = sum(count for (_, origin), count in moved(run).items() if origin == "ssd")
    assert read == 16
    exchange_s = 1.0 * (num_nodes - 1) / num_nodes
    assert phase_s(run, "covered") == pytest.approx(4.0 / num_nodes, abs=LATER)
    assert phase_s(run, "switched") <= 4.0 / num_nodes + exchange_s + LATER


def test_a_system_that_may_not_send_from_ssds_reads_everything_everywhere():
    system = SystemSpec(sources=("gpu", "host"))
    run = Serverless([deploy("a", all_nodes(4))], burst(4), system=system).run()
    assert moved(run) == {(node, "ssd"): 16 for node in range(4)}
    assert phase_s(run, "covered") == pytest.approx(1.0, abs=LATER), "orders are shifted"
    assert phase_s(run, "switched") == pytest.approx(4.0, abs=LATER)


def test_a_system_without_sources_loads_on_every_node_by_itself():
    system = SystemSpec(sources=())
    run = Serverless([deploy("a", all_nodes(3), {0: GPU, 1: HOST})], burst(4), system=system).run()
    assert starts(run) == {0: "hot", 1: "warm", 2: "ssd"}
    assert moved(run) == {(1, "host"): 16, (2, "ssd"): 16}


def test_one_scale_out_mixes_hot_warm_and_cold_nodes():
    deployment = deploy("a", all_nodes(5), {0: GPU, 3: HOST})
    run = Serverless([deployment], burst(12, max_tokens=40), num_nodes=5).run()
    assert starts(run) == {0: "hot", 3: "warm", 1: "cold", 2: "cold", 4: "cold"}
    assert len({record.scale_out for record in run.records(StartRecord)}) == 1
    assert moved(run) == {
        (3, "host"): 16, (1, "network"): 16, (2, "network"): 16, (4, "network"): 16,
    }  # fmt: skip
    senders = {r.src for r in run.records(BlockRecord) if r.origin == "network"}
    assert {0, 3} <= senders, "host memory sends, too"


def test_a_node_that_is_complete_is_a_source_of_the_next_scale_out():
    deployment = deploy("a", ScalingPolicy(target=1.0, idle_s=60.0), {0: GPU})
    first, second = burst(8), burst(16, at=2.0, first=8)
    run = Serverless([deployment], first + second, num_nodes=4).run()
    by_scale_out = {}
    for record in run.records(StartRecord):
        by_scale_out.setdefault(record.scale_out, {})[record.node] = record.start
    assert list(by_scale_out.values()) == [{0: "hot", 1: "cold"}, {2: "cold", 3: "cold"}] or [
        *itertools.chain(*by_scale_out.values())
    ] == [0, 1, 2, 3]
    later = [r for r in run.records(BlockRecord) if r.node in (2, 3)]
    assert {r.src for r in later} >= {0, 1}, "both complete nodes send"


def test_a_node_that_has_room_for_one_model_only_gives_it_to_another():
    deployments = [deploy("a", initial={0: GPU}), deploy("b", initial={0: HOST})]
    requests = (ask(0, "a"), ask(1, "b", at=3.0), ask(2, "a", at=6.0))
    run = Serverless(deployments, requests, num_nodes=1, gpu=room("a")).run()
    found = [(r.model, r.start) for r in run.records(StartRecord)]
    assert found == [("a", "hot"), ("b", "warm"), ("a", "warm")]
    left = [(r.model, r.time_s) for r in run.records(ResidencyRecord) if not r.resident]
    assert [model for model, _ in left] == ["a", "b"]


@pytest.mark.parametrize("preconnect", [True, False])
def test_links_may_be_opened_when_they_are_needed(preconnect: bool):
    deployment = deploy("a", all_nodes(4), {0: GPU, 1: HOST})
    run = Serverless([deployment], burst(12, max_tokens=40), preconnect=preconnect).run()
    assert phase_s(run, "switched") == pytest.approx(1.0, abs=0.15)
    assert len(run.records(BlockRecord)) == 3 * 16
