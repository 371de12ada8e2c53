"""Random runs in which nodes die, are cut off and come back, and controllers end.

No request is lost, no token wrong, and nobody waits for ever.

A seed that fails prints its story, and replays exactly: `pytest tests/test_chaos.py -k "[17]" --seeds 18`.
"""

from collections.abc import Callable, Sequence
from functools import partial
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
    ReturnRecord,
    StartRecord,
    SwitchRecord,
    TokenRecord,
)
from lambdascale.errors import LambdaScaleError, NoCopyError

LENGTHS = (1, 5, 15, 40)  # tokens: what goes wrong goes wrong early, and many runs are worth more
DELAYS = (0.0, 0.0, 1e-5, 3e-5, 1e-3, 4e-3, 0.05, 0.5)
KILLS, CUTS, BOTH = ("kill",), ("sever",), ("kill", "sever")
EVENTS = (
    AllocationRecord,
    BlockRecord,
    LossRecord,
    PipelineRecord,
    PipelineRecord,
    ResidencyRecord,
    ReturnRecord,
    StartRecord,
    SwitchRecord,
    TokenRecord,
    CorruptRecord,
)


class Reaper:
    """Harms nodes when something has happened to them for the n-th time, some of them together.

    It kills them or cuts them off, and ends controllers where agents can wait for another one.
    """

    def __init__(self, draw: Random, num_nodes: int, watch) -> None:
        self._draw = draw
        self._num_nodes = num_nodes
        self._watch = watch
        self._left = draw.choice([1, 1, 1, 2, 2, 3, num_nodes - 1, num_nodes])
        self._started = 0  # controllers that have
        self._kinds = draw.choice([KILLS, KILLS, CUTS, BOTH, BOTH])
        self._ends = draw.choice([0, 1, 1, 2])
        self._aim()

    def _aim(self) -> None:
        self._event = self._draw.choice(EVENTS)
        self._count = self._draw.choice([1, 1, 2, 3, 5, 8, 13, 30])

    def __call__(self, run: Serverless, record: Record) -> None:
        if self._started < run.num_controllers:
            if isinstance(record, PhaseRecord) and record.phase == "started":
                self._started = run.num_controllers
                if self._draw.random() < 0.3:
                    self._later(run, self._draw.uniform(0, 8), "by chance")
            return
        self._watch(run, record)
        if self._left <= 0 or not isinstance(record, self._event):
            return
        self._count -= 1
        if self._count <= 0:
            self._aim()
            self._later(run, self._draw.choice(DELAYS), f"after {record}", self._victims(record))

    def _later(
        self, run: Serverless, delay_s: float, why: str, victims: Sequence[int] = ()
    ) -> None:
        if run.lease_s and self._ends and self._draw.random() < 0.5:
            self._ends -= 1
            self._do(run, delay_s, lambda: run.restart_controller(why))
            return
        others = [self._draw.randrange(self._num_nodes) for _ in range(2)]
        together = max(len(victims), self._draw.choice([1, 1, 1, 2]))
        for node in [*victims, *others][: min(together, self._left)]:
            self._left -= 1
            harm = run.kill if self._draw.choice(self._kinds) == "kill" else run.sever
            self._do(run, delay_s, partial(harm, node, why))

    def _do(self, run: Serverless, delay_s: float, harm: Callable[[], None]) -> None:
        """Do it later, unless another controller is only just beginning by then."""
        run.later(delay_s, lambda: self._started == run.num_controllers and harm())

    def _victims(self, record: Record) -> list[int]:
        """Those whom it is about, some stages of a pipeline, or anybody."""
        if self._draw.random() < 0.3 or isinstance(record, LossRecord):
            return []
        if isinstance(record, PipelineRecord):
            nodes = list(dict.fromkeys(stage.node for stage in record.stages))
            return self._draw.sample(nodes, min(len(nodes), self._draw.choice([1, 1, 2])))
        if isinstance(record, BlockRecord | CorruptRecord):
            return [self._draw.choice([record.node, record.src])]
        return [record.node]


def chaos_run(seed: int) -> Serverless:
    run = random_run(seed, LENGTHS)
    draw = Random(f"chaos {seed}")
    run.lease_s = draw.choice([0.0, 0.5, 5.0, 5.0])
    run.restart_s = draw.choice([None, 0.0, 0.3, 2.0])
    run.watch = Reaper(draw, run.num_nodes, run.watch)
    return run


def story(run: Serverless) -> str:
    """What was run and who died when, for a seed that fails."""
    models = [(d.model, d.nodes_per_instance, d.policy, dict(d.initial)) for d in run.deployments]
    nodes = f"{run.num_nodes} nodes, lease {run.lease_s} s, restart {run.restart_s} s, {run.system}"
    last = [f"  {record}" for record in run.log.records[-12:]]
    return "\n".join([nodes, *map(str, models), *run.harm, *last])


def survive(run: Serverless) -> None:
    """Run; who is not answered has asked for a model that is nowhere any more, or all are dead."""
    try:
        run.disturbed()
    except NoCopyError:
        assert run.failed
    except LambdaScaleError as error:
        if len(run.harmed) < run.num_nodes or run.restart_s is not None or "all" not in str(error):
            raise
        return
    run.check_tokens()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Seeds 0 to 39, or as many as `--seeds` says (`make chaos`)."""
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
    assert first.harm == second.harm
    assert first.log.records == second.log.records
