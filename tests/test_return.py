"""Nodes that come back, and controllers that begin again: what is still there is found and used."""

import math

import pytest
from serverless import DEVICE, LATENCY_S, Serverless, ask, burst, deploy, image, room

from lambdascale.clock import now
from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.records import (
    BlockRecord,
    LossRecord,
    PhaseRecord,
    Record,
    ResidencyRecord,
    ReturnRecord,
    StartRecord,
    TokenRecord,
)
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.engine.base import EngineLimits
from lambdascale.errors import ConfigError
from lambdascale.fleet.base import AgentSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.sim import loop
from lambdascale.sim.control import SimControl
from lambdascale.sim.fleet import SimFleet
from lambdascale.sim.network import SimNetwork
from lambdascale.storage.tiers import Capacity, Tier

LEASE_S = 5.0


class When:
    """Acts when `count` records have fitted, `times` times in all."""

    def __init__(self, fits, act, count: int = 1, times: int = 1) -> None:
        self.fits, self.act = fits, act
        self.due = [count * n for n in range(1, times + 1)]
        self.seen = 0

    def __call__(self, run: Serverless, record: Record) -> None:
        if self.fits(record):
            self.seen += 1
            if self.seen in self.due:
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


@pytest.mark.parametrize("life_s", [0.0, 2.0])
def test_a_node_that_ends_again_and_again_is_started_again_later_and_later(life_s: float):
    lives = [life_s] * 7 + [40.0, life_s, math.inf]
    ends: list[float] = []
    waits: list[float] = []

    def end(run: Serverless) -> None:
        ends.append(now())
        run.kill(2, "as planned")

    def ail(run: Serverless) -> None:
        restart = run.fleet.restart

        async def born(node: int) -> None:
            waits.append(now() - ends[-1])
            await restart(node)
            if (life := lives[len(waits) - 1]) < math.inf:
                run.later(life, lambda: end(run))

        run.fleet.restart = born  # type: ignore[method-assign]
        end(run)

    run = Serverless(
        [deploy("a", initial={0: Tier.GPU})],
        (*burst(4), ask(4, at=250.0)),
        restart_s=1.0,
        watch=When(reached("connected"), ail),
    ).run()
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30, 1, 2], abs=0.01)
    assert 2 in {r.node for r in run.records(ReturnRecord)}


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


def test_a_node_that_is_started_again_has_what_was_stored_on_its_ssd():
    policy = ScalingPolicy(target=1.0, idle_s=0.1, max_instances=1)
    run = Serverless(
        [deploy("a", policy, {0: Tier.HOST, 2: Tier.SSD})],
        (*burst(4), ask(4, at=20.0)),
        num_nodes=3,
        system=SystemSpec(gpu_keep_alive_s=0.1, host_keep_alive_s=0.5),
        restart_s=0.1,
        watch=When(
            lambda r: isinstance(r, ResidencyRecord) and (r.node, r.tier) == (0, "ssd"),
            lambda run: run.kill(0, "as planned"),
        ),
    ).run()
    (back,) = run.records(ReturnRecord)
    assert (back.node, back.blocks) == (0, 16)


def test_what_a_lost_agent_still_delivers_counts_and_comes_once():
    for victim in (0, 1, 3):
        run = Serverless(
            [deploy("a", initial={0: Tier.GPU})],
            burst(24, max_tokens=150),
            lease_s=LEASE_S,
            watch=When(arrived(2), lambda run, v=victim: run.sever(v, "as planned"), 5),
        ).run()
        came = [(r.node, r.block) for r in run.records(BlockRecord) if r.origin == "network"]
        assert len(came) == len(set(came))
        assert [r.node for r in run.records(ReturnRecord)] == [victim]


def test_controllers_that_live_shorter_than_a_load_still_finish_it_together():
    def restart(run: Serverless) -> None:
        run.later(0.3, lambda: run.restart_controller("as planned"))

    run = Serverless(
        [deploy("a", initial={0: Tier.HOST}), deploy("b", initial={1: Tier.HOST})],
        (*burst(6, "a", max_tokens=60), *burst(6, "b", first=6, max_tokens=60)),
        lease_s=LEASE_S,
        watch=When(reached("started"), restart, times=3),
    ).run()
    assert run.num_controllers == 4


def test_requests_wait_for_the_only_node_that_has_their_model_when_it_was_cut_off():
    policy = ScalingPolicy(target=1.0, max_instances=1)
    run = Serverless(
        [deploy("a", policy, {0: Tier.HOST})],
        burst(6, max_tokens=60),
        num_nodes=1,
        ssd=0,
        lease_s=LEASE_S,
        watch=When(reached("first token of a receiver"), lambda run: run.sever(0, "as planned")),
    ).run()
    assert [r.blocks for r in run.records(ReturnRecord)] == [32]
    assert {r.start for r in run.records(StartRecord)} == {"warm", "hot"}


def test_an_agent_ends_when_its_lease_does():
    async def main() -> None:
        network, control = SimNetwork(LATENCY_S), SimControl(LATENCY_S)
        fleet, listener = SimFleet(network, control), await control.listen()
        agent = AgentSpec(0, listener.address, "sim", math.inf, DEVICE, lease_s=3.0)
        await fleet.start((agent,))
        channel = await listener.accept()
        await listener.close()
        gone_s = now()
        await channel.close()
        assert await fleet.died() == 0
        assert gone_s + 2.0 <= now() <= gone_s + 3.1
        await fleet.close()

    loop.run(main())


def test_an_agent_that_was_prepared_for_other_models_says_so():
    async def main() -> None:
        network, control = SimNetwork(LATENCY_S), SimControl(LATENCY_S)
        fleet, listener = SimFleet(network, control), await control.listen()
        agent = AgentSpec(0, listener.address, "sim", math.inf, DEVICE, lease_s=3.0)
        await fleet.start((agent,))
        for gpu in (room("a"), room("a", "b")):
            channel = await listener.accept()
            assert isinstance(await channel.receive(), m.Hello)
            hosted = m.Hosted("a", image("a", 4), EngineLimits(2, 64))
            channel.send(m.Prepare((hosted,), gpu, 0, 1, 0.0))
            answer = await channel.receive()
            await channel.close()
        assert isinstance(answer, m.Failed)
        assert "start the same deployment" in answer.reason
        await fleet.close()

    loop.run(main())


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_times_that_cannot_be_are_refused(bad: float):
    with pytest.raises(ConfigError, match="lease_s is"):
        AgentSpec(0, "", "sim", math.inf, None, lease_s=bad)
    with pytest.raises(ConfigError, match="restart_s is"):
        ClusterSpec(1, Capacity(1, 0, 0), restart_s=bad)
