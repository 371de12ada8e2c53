"""Agents of real SmolLM2 scale-outs die by SIGKILL: the others answer, with the tokens of plain transformers.

A round is one scale-out and one death; its number says who dies, over which transport, and when. Ten cover
every role on every transport; `make soak` runs twenty (`--rounds`).
"""

import asyncio
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import pytest
from engine_driver import reference, reference_model
from leftovers import Footprint, alive, bound, footprint, lives, own_children, regions, within

from lambdascale.cluster.records import BlockRecord, LossRecord, PipelineRecord, Record
from lambdascale.config import ScaleSpec
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.local import LocalSite
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.workload.request import Request

TRANSPORTS = ("shm", "tcp")
ROLES = ("source", "receiver", "head", "last stage", "source that serves")
LOAD_S = 1.5
NUM_NODES = 4
SOURCES = 2
BLOCKS = 24
REQUESTS = tuple(
    Request(i, tuple((i * 41 + 7 * j) % 40_000 for j in range(2 + (5 * i) % 19)), 12)
    for i in range(10)
)


class Killer:
    """Kills the agent of a role when the moment that was drawn for it has come, once; or only stops it."""

    def __init__(
        self,
        site: LocalSite,
        scratch: Path,
        role: str,
        draw: Random,
        how: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._how = how
        self._site = site
        self._scratch = scratch
        self._role = role
        self._after = draw.randrange(1, BLOCKS - 4)  # blocks
        self._delay_s = draw.choice([0.0, 0.0, 0.05, 0.3])
        self.killed: int | None = None
        self.lost: list[int] = []
        self.living: Footprint | None = None

    def __call__(self, record: Record) -> None:
        if isinstance(record, LossRecord):
            self.lost.append(record.node)
        if self.killed is None and (node := self._victim(record)) is not None:
            self.killed = node
            asyncio.get_running_loop().call_later(self._delay_s, self._kill, node)

    def _victim(self, record: Record) -> int | None:
        if isinstance(record, PipelineRecord) and record.kind == "pipeline" and record.formed:
            return {"head": record.stages[0].node, "last stage": record.stages[-1].node}.get(
                self._role
            )
        if not isinstance(record, BlockRecord) or record.src == record.node:
            return None
        of = {"source": (record.src, 0), "source that serves": (record.src, 1)}
        node, wanted = of.get(self._role, (record.node, 3))
        if self._role in ("head", "last stage") or node != wanted:
            return None
        self._after -= 1
        return node if self._after == 0 else None

    def _kill(self, node: int) -> None:
        self.living = footprint(self._site.pid, self._scratch)
        agents = sorted(psutil.Process(self._site.pid).children(), key=lambda agent: agent.pid)
        agents[node].send_signal(self._how)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where everybody's temporary files are."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr("tempfile.tempdir", None)
        yield folder


@pytest.fixture(scope="module")
def site(scratch: Path) -> Iterator[LocalSite]:
    """One nursery for all rounds; when it is gone, so is everything that any of them began."""
    with agent_site() as site:
        assert isinstance(site, LocalSite)
        yield site
        nursery = footprint(site.pid, scratch)
    assert within(lambda: nursery.gone), nursery
    assert not own_children()


@dataclass(frozen=True)
class Round:
    """What all rounds share; `play` is one of them."""

    site: LocalSite
    scratch: Path
    inputs: Inputs
    expected: dict[int, tuple[int, ...]]

    def play(self, number: int, role: str, how: signal.Signals) -> None:
        site, nbytes = self.site, self.inputs.image.layout.nbytes
        spec = RunSpec(
            transport=TRANSPORTS[number % len(TRANSPORTS)],
            scale=ScaleSpec(SOURCES, NUM_NODES, BLOCKS, max_slots=2, max_length=64, timeout_s=100),
            link_gbps=nbytes * 8 / LOAD_S / 1e9,
        )
        before = regions(psutil.Process())
        killer = Killer(site, self.scratch, role, Random(f"round {number}"), how)
        result = run(spec, killer, self.inputs, site)
        assert killer.killed is not None
        assert killer.lost == [killer.killed]
        assert result.outputs() == self.expected
        held = result.blocks.groupby("node")["block"].nunique()
        survivors = set(range(SOURCES, NUM_NODES)) - {killer.killed}
        assert all(held[node] == BLOCKS for node in survivors), "the others complete the scale-out"
        assert within(lambda: nothing_is_left(killer.living, site)), killer.living
        assert regions(psutil.Process()) == before, "nor has the driver kept any memory"


@pytest.fixture(scope="module")
def rounds(site: LocalSite, scratch: Path, smollm2: PackedModel) -> Round:
    model = reference_model(smollm2.folder)
    expected = {r.id: tuple(reference(model, r)) for r in REQUESTS}
    inputs = Inputs(ImageSource.of(smollm2, block_checksums(smollm2, BLOCKS)), REQUESTS)
    return Round(site, scratch, inputs, expected)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As many rounds as `--rounds` says."""
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(metafunc.config.getoption("rounds")))


def test_a_killed_agent_costs_no_request_and_no_token(number: int, rounds: Round):
    rounds.play(number, ROLES[number % len(ROLES)], signal.SIGKILL)


def test_neither_does_an_agent_that_hangs(rounds: Round):
    rounds.play(0, "last stage", signal.SIGSTOP)


def nothing_is_left(living: Footprint | None, site: LocalSite) -> bool:
    """Have all agents ended, and with them what they listened at, mapped and wrote?"""
    assert living is not None
    nursery = psutil.Process(site.pid)
    agents = tuple(process for process in living.processes if process != nursery)
    assert len(agents) == NUM_NODES
    assert len(living.addresses) >= NUM_NODES
    assert living.regions >= NUM_NODES
    rest = Footprint(agents, living.addresses - bound(nursery), 0, living.scratch)
    return rest.gone and not nursery.children() and not regions(nursery)


def test_an_agent_a_port_or_a_file_that_is_left_is_noticed(tmp_path: Path):
    """The check above can fail."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = frozenset({str(server.getsockname()[1])})
        assert not Footprint((), port, 0, tmp_path).gone
    assert Footprint((), port, 0, tmp_path).gone
    (tmp_path / "left").touch()
    assert not Footprint((), frozenset(), 0, tmp_path).gone
    me = psutil.Process()
    assert lives(me)
    assert alive((me,)) == [me]
    assert not Footprint((me,), frozenset(), 0, tmp_path / "none").gone
