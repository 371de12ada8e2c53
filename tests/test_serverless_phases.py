"""Every second of a scale-out is in a named phase, from the first request that it is for to full speed."""

import pytest
from serverless import Serverless, ask, burst, deploy

from lambdascale.cluster.records import SCALE_PHASES, ScaleRecord, StartRecord
from lambdascale.config import SystemSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.tiers import Tier

GPU, HOST = Tier.GPU, Tier.HOST
ALL = ScalingPolicy("fixed", min_instances=4)
SCENES = {
    "hot": {0: GPU, 1: GPU, 2: GPU, 3: GPU},
    "warm": {0: HOST, 1: HOST, 2: HOST, 3: HOST},
    "1 to 4": {0: GPU},
    "0 to 4 from host": {2: HOST},
    "mixed": {0: GPU, 1: HOST},
    "ssd": {},
}


def phases(run: Serverless) -> dict[int, list[tuple[str, float]]]:
    found: dict[int, list[tuple[str, float]]] = {}
    for record in run.records(ScaleRecord):
        found.setdefault(record.scale_out, []).append((record.phase, record.time_s))
    return found


def check(run: Serverless) -> None:
    for reached in phases(run).values():
        names, times = [name for name, _ in reached], [time_s for _, time_s in reached]
        assert names[:4] == list(SCALE_PHASES[:4])
        assert names[-1] == SCALE_PHASES[-1]
        assert set(names) <= set(SCALE_PHASES)
        assert len(set(names)) == len(names)
        assert times == sorted(times), "each phase ends when the next thing happens"


@pytest.mark.parametrize("preconnect", [True, False])
@pytest.mark.parametrize("barrier", [True, False])
@pytest.mark.parametrize("scene", SCENES)
def test_phases_tile_the_time_of_a_scale_out(scene: str, barrier: bool, preconnect: bool):
    run = Serverless(
        [deploy("a", ALL, SCENES[scene])],
        burst(16, max_tokens=50),
        system=SystemSpec(barrier=barrier),
        preconnect=preconnect,
    ).run()
    check(run)
    (reached,) = phases(run).values()
    names = dict(reached)
    if scene != "hot":
        loading = [name for name in names if name != "first token"]
        assert loading == [phase for phase in SCALE_PHASES if phase in loading]
        assert names["first token"] > names["covered"], "by one who had to load"
        assert set(names) >= {"connected", "loading", "covered", "first token", "switched"}
    if not preconnect and scene != "hot":
        assert names["connected"] > names["prepared"]


def test_a_scale_out_begins_when_its_oldest_request_came():
    policy = ScalingPolicy(poll_s=1.0, phase_s=0.5, target=1.0)
    run = Serverless([deploy("a", policy)], (ask(0, at=2.0), ask(1, at=2.2))).run()
    check(run)
    (reached,) = phases(run).values()
    names = dict(reached)
    assert names["begun"] == pytest.approx(2.0)
    assert names["queued"] == pytest.approx(2.5)
    assert names["first token"] == pytest.approx(run.first_token_s(0), abs=0.001)


def test_initial_instances_serve_from_the_start_whenever_the_first_decision_falls():
    policy = ScalingPolicy("authors", poll_s=1.0, phase_s=0.5, initial_instances=1)
    system = SystemSpec(gpu_keep_alive_s=0.0)
    run = Serverless([deploy("a", policy, {0: GPU})], (ask(0, at=0.1),), system=system).run()
    assert run.first_token_s(0) < 0.2
    assert not [record for record in run.records(StartRecord) if record.start != "hot"]


def test_scale_outs_of_many_models_have_phases_of_their_own():
    policy = ScalingPolicy(target=1.0, idle_s=0.2)
    requests = sum(
        (burst(9, model, at=0.1 * i, first=100 * i) for i, model in enumerate("abc")), ()
    )
    run = Serverless([deploy(model, policy) for model in "abc"], requests).run()
    check(run)
    assert {record.model for record in run.records(ScaleRecord)} == set("abc")
