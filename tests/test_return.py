"""Nodes that come back, and controllers that begin again: what is still there is found and used."""

import pytest
from serverless import Serverless, burst, deploy, room

from lambdascale.cluster.records import (
    BlockRecord,
    LossRecord,
    PhaseRecord,
    Record,
    ReturnRecord,
    StartRecord,
    TokenRecord,
)
from lambdascale.storage.tiers import Tier

LEASE_S = 5.0


class When:
    """Acts once, when `count` records fit."""

    def __init__(self, fits, act, count: int = 1) -> None:
        self.fits, self.act, self.count = fits, act, count

    def __call__(self, run: Serverless, record: Record) -> None:
        if self.fits(record):
            self.count -= 1
            if self.count == 0:
                self.act(run)


def reached(phase: str):
    return lambda record: isinstance(record, PhaseRecord) and record.phase == phase


def arrived(node: int):
    return lambda r: isinstance(r, BlockRecord) and r.node == node and r.origin == "network"


def test_a_node_that_is_started_again_serves_again_from_what_others_send_it():
    run = Serverless(
        [deploy("a", initial={0: Tier.GPU})],
        burst(24, max_tokens=150),
        restart_s=0.1,
        watch=When(arrived(2), lambda run: run.kill(2, "as planned"), 5),
    ).run()
    assert [r.node for r in run.records(LossRecord)] == [2]
    (back,) = run.records(ReturnRecord)
    assert back.node == 2
    assert any(t.node == 2 for t in run.records(TokenRecord))


def test_a_node_that_was_only_cut_off_gets_no_block_again_that_it_has():
    run = Serverless(
        [deploy("a", initial={0: Tier.GPU})],
        burst(24, max_tokens=150),
        lease_s=LEASE_S,
        watch=When(arrived(2), lambda run: run.sever(2, "as planned"), 5),
    ).run()
    (back,) = run.records(ReturnRecord)
    assert back.node == 2
    assert back.blocks >= 5
    mine = [r.block for r in run.records(BlockRecord) if arrived(2)(r)]
    assert len(mine) == len(set(mine))
    assert any(t.node == 2 for t in run.records(TokenRecord))


def test_another_controller_finds_agents_and_their_blocks_and_loads_nothing_twice():
    run = Serverless(
        [deploy("a", initial={0: Tier.GPU})],
        burst(12, max_tokens=60),
        lease_s=LEASE_S,
        watch=When(reached("complete"), lambda run: run.restart_controller("as planned")),
    ).run()
    assert run.num_controllers == 2
    second = [r for r in run.log.records if isinstance(r, BlockRecord)]
    assert not second
    assert {r.start for r in run.log.records if isinstance(r, StartRecord)} == {"hot"}


@pytest.mark.parametrize("memory", [Tier.GPU, Tier.HOST])
def test_when_all_nodes_die_the_run_waits_for_those_that_are_started_again(memory: Tier):
    def kill_all(run: Serverless) -> None:
        for node in range(run.num_nodes):
            run.kill(node, "as planned")

    run = Serverless(
        [deploy("a", initial={0: memory, 1: Tier.SSD})],
        burst(24, max_tokens=150),
        restart_s=1.0,
        ssd=room("a"),
        watch=When(reached("first token of a receiver"), kill_all),
    ).run()
    assert len(run.records(ReturnRecord)) == run.num_nodes
