"""Agents that hang: nothing closes their channels, so only their silence tells."""

import pytest
from serverless import Serverless, burst, deploy

from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.records import LossRecord, Record, TokenRecord
from lambdascale.errors import ConfigError
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Capacity, Tier

SILENCE_S = ClusterSpec(1, Capacity(1, 0, 0)).silence_s


class Cut:
    """Cuts node 1 off once it has sampled a token, for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.begun_s: float | None = None

    def __call__(self, run: Serverless, record: Record) -> None:
        if self.begun_s is None and isinstance(record, TokenRecord) and record.node == 1:
            self.begun_s = record.time_s
            run.harmed.add(1)
            run.control.partition(1)
            if self._seconds < 1000:
                run.later(self._seconds, run.control.partition)


def cut_off(
    seconds: float, lease_s: float = 0.0, restart_s: float | None = None
) -> tuple[Serverless, Cut]:
    """Two replicas serve; the control connection of one carries nothing for a while."""
    cut = Cut(seconds)
    policy = ScalingPolicy("fixed", min_instances=2)
    both = deploy("a", policy, {0: Tier.GPU, 1: Tier.GPU})
    requests = burst(8, max_tokens=40)
    run = Serverless([both], requests, 3, watch=cut, heartbeat_s=1.0)
    run.lease_s, run.restart_s = lease_s, restart_s
    return run, cut


@pytest.mark.parametrize("seconds", [SILENCE_S + 4, 1e6])
@pytest.mark.parametrize("lease_s", [0.0, 5.0, 60.0])
@pytest.mark.parametrize("restart_s", [None, 0.5])
def test_a_node_that_is_cut_off_is_ended_and_its_requests_are_answered_by_others(
    seconds: float, lease_s: float, restart_s: float | None
):
    run, cut = cut_off(seconds, lease_s, restart_s)
    run.run()
    (lost,) = run.records(LossRecord)
    assert lost.node == 1
    assert f"it was silent for {SILENCE_S:g} s" in lost.why
    assert cut.begun_s is not None
    assert SILENCE_S <= lost.time_s - cut.begun_s <= 2 * SILENCE_S + 2
    assert {token.node for token in run.records(TokenRecord)} > {1}


@pytest.mark.parametrize("seconds", [0.5, SILENCE_S - 2])
def test_answers_that_are_slow_do_no_harm(seconds: float):
    run, _ = cut_off(seconds)
    run.run()
    assert not run.records(LossRecord)


def test_questions_do_not_keep_a_run_from_ending_nor_change_it():
    asked, silent = (
        Serverless([deploy("a")], burst(6), heartbeat_s=seconds).run() for seconds in (0.01, 0.0)
    )
    assert asked.records(TokenRecord) == silent.records(TokenRecord)


@pytest.mark.parametrize(("heartbeat_s", "silence_s"), [(-1, 10), (5, 2), (1, float("inf"))])
def test_intervals_that_cannot_work_are_named(heartbeat_s: float, silence_s: float):
    with pytest.raises(ConfigError, match="heartbeat_s"):
        ClusterSpec(1, Capacity(1, 0, 0), heartbeat_s=heartbeat_s, silence_s=silence_s)
