"""Who runs when in a lock-step pipeline, on three stages of different speeds."""

import asyncio
from itertools import pairwise

from lambdascale.clock import now
from lambdascale.cluster.lock_step import FreeRun, LockStep
from lambdascale.sim import loop

STAGES_S = (1.0, 3.0, 2.0)
Log = list[tuple[float, str, int]]


async def lane(name: str, rounds: int, steps: FreeRun, log: Log) -> None:
    """Go round, noting when each stage begins."""
    for _ in range(rounds):
        await steps.enter()
        for stage, seconds in enumerate(STAGES_S):
            if stage:
                await steps.proceed()
            log.append((now(), name, stage))
            await asyncio.sleep(seconds)
        steps.leave()


def went(steps: FreeRun, **rounds: int) -> Log:
    log: Log = []

    async def together() -> None:
        await asyncio.gather(*(lane(name, count, steps, log) for name, count in rounds.items()))

    loop.run(together())
    return sorted(log)


def test_a_step_begins_when_all_of_the_last_one_have_ended_and_one_lane_enters():
    assert went(LockStep(0.0), a=1, b=1) == [
        (0.0, "a", 0),
        (1.0, "a", 1),
        (1.0, "b", 0),
        (4.0, "a", 2),
        (4.0, "b", 1),
        (7.0, "b", 2),
    ]


def test_a_lane_that_has_gone_round_enters_the_very_next_step():
    log = went(LockStep(0.0), a=4, b=4, c=4)
    entered = [at for at, _, stage in log if stage == 0]
    assert entered[:3] == [0.0, 1.0, 4.0]
    gaps = {b - a for a, b in pairwise(entered[2:])}
    assert gaps == {max(STAGES_S)}, "three lanes fill three stages"


def test_every_step_waits_for_its_messages():
    log = went(LockStep(0.5), a=1)
    assert [at for at, _, _ in log] == [0.5, 2.0, 5.5]


def test_lanes_that_run_free_wait_for_nobody():
    log = went(FreeRun(), a=1, b=1)
    assert [at for at, name, _ in log if name == "a"] == [0.0, 1.0, 4.0]
    assert [at for at, name, _ in log if name == "b"] == [0.0, 1.0, 4.0]
