"""What survivors do when a node is gone: what is sent again, how long it takes, and what cannot be saved."""

from collections import Counter

import pytest
from serverless import Serverless, burst, deploy, room
from virtual import MODEL, Cluster, some_requests, virtual_spec

from lambdascale.cluster.growth_plan import GrowthPlan
from lambdascale.cluster.growth_repair import Remains, repaired, without
from lambdascale.cluster.records import BlockRecord, FailedRecord, PhaseRecord, StartRecord
from lambdascale.cluster.tags import GPU
from lambdascale.config import SystemSpec
from lambdascale.errors import NoCopyError
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.network import Delivery, SimNetwork
from lambdascale.sim.reference import reference_tokens
from lambdascale.storage.tiers import Tier

BLOCKS = 16
WINDOW = 2


class Counting(SimNetwork):
    """A network that counts the blocks that reach each node."""

    def __init__(self, latency_s: float) -> None:
        super().__init__(latency_s)
        self.delivered: Counter[tuple[int, int]] = Counter()

    def spoils(self, delivery: Delivery) -> bool:
        if delivery.region == GPU and delivery.nbytes:
            self.delivered[delivery.dst, delivery.offset] += 1
        return super().spoils(delivery)


class OneDies(Cluster):
    """`victim` dies when so many blocks have come from peers in all."""

    def __init__(
        self, sources: int, nodes: int, victim: int, after: int, blocks: int = BLOCKS, **system
    ) -> None:
        spec = virtual_spec(sources, nodes, blocks, system=SystemSpec(window=WINDOW, **system))
        super().__init__(spec, some_requests(8))
        self.network = Counting(20e-6)
        self.fleet._network = self.network
        self.victim, self.after = victim, after

    def seen(self, record) -> None:
        if isinstance(record, BlockRecord) and record.src != record.node:
            self.after -= 1
            if self.after == 0:
                self.fleet._kill(self.victim)


@pytest.mark.parametrize("barrier", [False, True], ids=["free", "barrier"])
@pytest.mark.parametrize("after", [1, 9, 30])
@pytest.mark.parametrize(
    ("sources", "nodes", "victim"), [(1, 4, 2), (2, 6, 0), (2, 6, 5), (3, 8, 1)]
)
def test_survivors_complete_each_other_and_get_no_block_twice(
    sources: int, nodes: int, victim: int, after: int, barrier: bool
):
    cluster = OneDies(sources, nodes, victim, after, barrier=barrier)
    result = cluster.run()
    assert result.outputs() == reference_tokens(MODEL, cluster.inputs.requests)
    survivors = set(range(sources, nodes)) - {victim}
    mine = {key: n for key, n in cluster.network.delivered.items() if key[0] in survivors}
    assert Counter(node for node, _ in mine) == dict.fromkeys(survivors, BLOCKS)
    assert set(mine.values()) == {1}, (
        "what was in flight between survivors is not sent again either"
    )


@pytest.mark.parametrize("victim", [2, 5, 7])
@pytest.mark.parametrize("after", [10, 80, 140])
def test_when_a_receiver_dies_the_others_take_at_most_15_percent_longer(victim: int, after: int):
    """What it costs is a few ticks: what is in flight ends, and a new pipeline of sends fills."""
    healthy = OneDies(2, 8, victim, after=10_000, blocks=32).run().phase_s("complete")
    assert OneDies(2, 8, victim, after, blocks=32).run().phase_s("complete") <= 1.15 * healthy


def kill(*victims: int):
    """Kill `victims` when a receiver has given its first token."""

    def watch(run: Serverless, record) -> None:
        if isinstance(record, PhaseRecord) and record.phase == "first token of a receiver":
            for victim in victims:
                run.kill(victim, "as planned")

    return watch


def test_a_model_that_no_memory_holds_any_more_is_loaded_from_an_ssd():
    run = Serverless(
        [deploy("a", initial={0: Tier.HOST, 3: Tier.SSD})],
        burst(6, max_tokens=40),
        num_nodes=4,
        watch=kill(0, 1, 2),
    ).run()
    starts = {r.node: r.start for r in run.records(StartRecord)}
    assert starts[3] == "ssd"


def test_requests_of_a_model_that_is_nowhere_fail_with_its_name_and_others_are_answered():
    policy = ScalingPolicy(target=1.0, idle_s=0.5, max_instances=1)
    run = Serverless(
        [deploy("a", policy, {0: Tier.HOST}), deploy("b", policy, {1: Tier.HOST})],
        (*burst(3, "a", max_tokens=60), *burst(3, "b", first=3, max_tokens=60)),
        num_nodes=3,
        gpu=room("a"),
        ssd=0,
        watch=kill(0),
    )
    with pytest.raises(
        NoCopyError, match=r"3 requests for a were not answered: no copy of it is left"
    ):
        run.disturbed()
    run.check_tokens()
    assert {r.request for r in run.records(FailedRecord)} == {0, 1, 2}


def test_a_plan_without_an_instance_names_it_nowhere():
    plan = GrowthPlan(
        ((1, 2), (3,)), (0,), (), (), {0: Tier.GPU, 3: Tier.GPU}, (), ((0, 1, 2), (3,))
    )
    left = without(plan, 3)
    assert left.groups == ((1, 2),)
    assert left.barriers == ((0, 1, 2),)
    assert left.senders == {0: Tier.GPU}


def test_lost_blocks_are_read_from_the_disks_of_members_a_share_each():
    plan = GrowthPlan(((1, 2, 3),), (), (), (), {}, (), ())
    left = Remains({1: {0}, 2: set(), 3: {0}}, {}, disks=(1, 2))
    made = repaired(plan, left, num_blocks=5)
    assert made is not None
    assert [(load.node, load.blocks) for load in made.loads] == [(1, (1, 2)), (2, (3, 4))]
    sent = {(t.dst, t.block) for t in made.transfers}
    assert sent == {(2, 0), (1, 3), (1, 4), (2, 1), (2, 2)} | {(3, b) for b in (1, 2, 3, 4)}
