"""Several GPUs behind one NIC in virtual time: one copy per host, passed on inside (paper.md c.9)."""

from serverless import NBYTES, Serverless, burst, deploy

from lambdascale.cluster.records import BlockRecord, ScaleRecord
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Tier

ALL = ScalingPolicy("fixed", min_instances=8)


def grown(nodes_per_host: int) -> Serverless:
    """One node that holds the model, then eight, on hosts of so many nodes."""
    deployment = deploy("a", ALL, initial={0: Tier.GPU})
    return Serverless(
        [deployment], burst(40), num_nodes=8, nodes_per_host=nodes_per_host, local_s=0.02
    ).run()


def complete_s(run: Serverless) -> float:
    return max(record.verified_s for record in run.records(BlockRecord))


def test_a_host_receives_each_block_once_and_passes_it_on():
    run = grown(nodes_per_host=4)
    came = [(r.node, r.src) for r in run.records(BlockRecord)]
    between = [(node, src) for node, src in came if node // 4 != src // 4]
    assert len(between) == 16, "one copy of 16 blocks came over the network"
    assert {node for node, _ in between} == {4}
    assert len(came) == 7 * 16, "every node got every block"


def test_eight_nodes_on_two_hosts_are_complete_in_about_one_copy_over_the_nic():
    """As soon as on eight hosts of one node, although two NICs do the work of eight."""
    shared, apart = complete_s(grown(nodes_per_host=4)), complete_s(grown(nodes_per_host=1))
    assert shared < 1.15, "seconds; one copy over the NIC takes 1.0"
    assert shared < 1.05 * apart


def test_siblings_of_a_source_need_no_network():
    deployment = deploy("a", ScalingPolicy("fixed", min_instances=4), initial={0: Tier.GPU})
    run = Serverless([deployment], burst(8), num_nodes=4, nodes_per_host=4).run()
    assert complete_s(run) < 0.5, "seconds; over the NIC it would take at least 1.0"
    assert run.records(ScaleRecord)[-1].phase == "full speed"
    assert NBYTES > 0
