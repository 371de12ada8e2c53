"""Block writes that arrive changed: which ones are hit, and that they are sent again."""

from statistics import fmean

import pytest
from serverless import Serverless, burst, deploy

from lambdascale.cluster.records import BlockRecord, CorruptRecord
from lambdascale.cluster.tags import GPU, HOST, INBOX, KV
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.corruption import Corruption
from lambdascale.storage.tiers import Tier

ALL = ScalingPolicy("fixed", min_instances=4)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5])
def test_a_share_of_writes_into_gpu_memory_arrives_changed_by_seed_link_and_count(
    share: float,
) -> None:
    def hits(seed: int, dst: int, region: int = GPU, nbytes: int = 8) -> list[bool]:
        corruption = Corruption(share, seed)
        return [corruption.hits(0, dst, region, nbytes) for _ in range(4000)]

    drawn = hits(1, 2)
    assert fmean(drawn) == pytest.approx(share, abs=4 * (share / 4000) ** 0.5)
    assert drawn == hits(1, 2)
    assert share == 0 or drawn not in (hits(2, 2), hits(1, 3))
    assert not any(hits(1, 2, nbytes=0))
    assert not any(any(hits(1, 2, region)) for region in (INBOX, KV, HOST))


def test_more_corruption_changes_the_same_writes_and_others() -> None:
    few, many = (Corruption(share, 1) for share in (0.1, 0.3))
    pairs = [(few.hits(0, 1, GPU, 8), many.hits(0, 1, GPU, 8)) for _ in range(500)]
    assert {(True, True), (False, True), (False, False)} == set(pairs)


def test_blocks_that_arrive_changed_are_sent_again_and_every_token_is_right() -> None:
    deployment, requests = deploy("a", ALL, {0: Tier.GPU}), burst(8, max_tokens=20)
    run_ = Serverless([deployment], requests, conditions=Conditions(corruption=0.1)).run()
    wrong = [(r.node, r.block) for r in run_.records(CorruptRecord)]
    right = [(r.node, r.block) for r in run_.records(BlockRecord)]
    assert wrong
    assert set(wrong) <= set(right)
    assert len(set(right)) == len(right)
