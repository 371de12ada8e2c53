"""Random runs in which nodes die: no request is lost, no token wrong, and nobody waits for ever.

A seed that fails prints its story, and replays exactly: `pytest tests/test_chaos.py -k "[17]" --seeds 18`.
"""

from dataclasses import replace
from random import Random

import pytest
from random_runs import random_run
from serverless import Serverless

from lambdascale.cluster.records import (
    AllocationRecord,
    BlockRecord,
    CorruptRecord,
    LossRecord,
    PhaseRecord,
    PipelineRecord,
    Record,
    ResidencyRecord,
    StartRecord,
    SwitchRecord,
    TokenRecord,
)
from lambdascale.errors import LambdaScaleError, NoCopyError

LENGTHS = (1, 5, 15, 40)  # tokens: what goes wrong goes wrong early, and many runs are worth more
RESTARTS = 0.1  # share of systems that begin again when a node dies
DELAYS = (0.0, 0.0, 1e-5, 3e-5, 1e-3, 4e-3, 0.05, 0.5)
EVENTS = (
    AllocationRecord,
    BlockRecord,
    LossRecord,
    PipelineRecord,
    ResidencyRecord,
    StartRecord,
    SwitchRecord,
    TokenRecord,
    CorruptRecord,
)


class Reaper:
    """Kills nodes when something has happened to them for the n-th time, some of them together."""

    def __init__(self, draw: Random, num_nodes: int, watch) -> None:
        self._draw = draw
        self._num_nodes = num_nodes
        self._watch = watch
        self._left = draw.choice([1, 1, 1, 2, 2, 3, num_nodes - 1, num_nodes])
        self._started = False
        self._aim()

    def _aim(self) -> None:
        self._event = self._draw.choice(EVENTS)
        self._count = self._draw.choice([1, 1, 2, 3, 5, 8, 13, 40])

    def __call__(self, run: Serverless, record: Record) -> None:
        if not self._started:
            self._started = isinstance(record, PhaseRecord) and record.phase == "started"
            if self._started and self._draw.random() < 0.3:
                self._later(run, self._draw.uniform(0, 8), "by chance")
            return
        self._watch(run, record)
        if self._left <= 0 or not isinstance(record, self._event):
            return
        self._count -= 1
        if self._count <= 0:
            self._aim()
            self._later(run, self._draw.choice(DELAYS), f"after {record}", self._victim(record))

    def _later(self, run: Serverless, delay_s: float, why: str, victim: int | None = None) -> None:
        together = self._draw.choice([1, 1, 1, 2])
        for _ in range(min(together, self._left)):
            self._left -= 1
            node = self._draw.randrange(self._num_nodes) if victim is None else victim
            run.later(delay_s, lambda node=node: run.kill(node, why))
            victim = None

    def _victim(self, record: Record) -> int | None:
        """Somebody whom it is about, or anybody."""
        if self._draw.random() < 0.3:
            return None
        if isinstance(record, BlockRecord | CorruptRecord):
            return self._draw.choice([record.node, record.src])
        if isinstance(record, PipelineRecord):
            return self._draw.choice([stage.node for stage in record.stages])
        return record.node if not isinstance(record, LossRecord) else None


def chaos_run(seed: int) -> Serverless:
    run = random_run(seed, LENGTHS)
    if Random(f"restart {seed}").random() < RESTARTS:
        rest = {"repairs": False, "execute_while_load": False, "switch": "group"}
        run.system = replace(run.system, **rest)
    draw = Random(f"chaos {seed}")
    run.watch = Reaper(draw, run.num_nodes, run.watch)
    return run


def story(run: Serverless) -> str:
    """What was run and who died when, for a seed that fails."""
    models = [(d.model, d.nodes_per_instance, d.policy, dict(d.initial)) for d in run.deployments]
    deaths = [f"  node {node} at {why}" for node, why in run.kills.items()]
    last = [f"  {record}" for record in run.log.records[-12:]]
    return "\n".join(
        [f"{run.num_nodes} nodes, {run.system}", *map(str, models), "killed:", *deaths, *last]
    )


def survive(run: Serverless) -> None:
    """Run; who is not answered has asked for a model that is nowhere any more, or all are dead."""
    try:
        run.disturbed()
    except NoCopyError:
        assert run.failed
    except LambdaScaleError as error:
        if len(run.kills) < run.num_nodes or "all" not in str(error):
            raise
        return
    run.check_tokens()
    for request in run.requests:
        if request.id in run.failed:
            assert not run.controller.stock.exists(request.model), request.model


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Seeds 0 to 19, or as many as `--seeds` says (`make chaos`)."""
    if "any_seed" in metafunc.fixturenames:
        metafunc.parametrize("any_seed", range(metafunc.config.getoption("seeds")))


def test_whoever_dies_no_request_is_lost_and_no_token_wrong(any_seed: int):
    run = chaos_run(any_seed)
    try:
        survive(run)
    except BaseException as error:
        error.add_note(story(run))
        raise


@pytest.mark.parametrize("seed", [121, 516])
def test_a_seed_replays_to_the_last_record(seed: int):
    first, second = chaos_run(seed), chaos_run(seed)
    for run in (first, second):
        survive(run)
    assert first.kills == second.kills
    assert first.log.records == second.log.records
