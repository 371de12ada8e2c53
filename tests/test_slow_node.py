"""A node at a quarter of the rate: found, passed by, and fed what it lacks, while the others go on."""

from collections import Counter

import pytest
from test_recovery import BLOCKS, WINDOW, Counting
from virtual import MODEL, Cluster, some_requests, virtual_spec

from lambdascale.cluster.records import BlockRecord, PhaseRecord, SlowRecord
from lambdascale.cluster.slowness import EVIDENCE, Watch
from lambdascale.config import SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import rate_of
from lambdascale.experiments.systems import SYSTEMS
from lambdascale.multicast.window import Window
from lambdascale.sim.reference import reference_tokens

NOBODY = -1
QUARTER = 4.0


class OneSlow(Cluster):
    """The links of `slow` take `factor` times as long from the start; `dying` dies when it is found."""

    def __init__(
        self, sources: int, nodes: int, slow: int, blocks: int, factor: float = QUARTER,
        dying: int = NOBODY, jitter: float = 0.0, seed: int = 0, **system,
    ) -> None:  # fmt: skip
        how = SystemSpec(**{"algorithm": "circulant", "window": WINDOW, **system})
        super().__init__(virtual_spec(sources, nodes, blocks, system=how), some_requests(8))
        self.network = Counting(20e-6)
        self.network._jitter, self.network._seed = jitter, seed
        self.fleet._network = self.network
        self.slow, self.factor, self.dying = slow, factor, dying
        self.arrivals: list[BlockRecord] = []
        self.found: list[int] = []

    def seen(self, record) -> None:
        match record:
            case PhaseRecord(phase="started") if self.slow != NOBODY:
                self.network.slow(self.slow, rate_of(self.spec.link_gbps) / self.factor)
            case BlockRecord() if record.src != record.node:
                self.arrivals.append(record)
            case SlowRecord():
                self.found.append(record.node)
                if self.dying != NOBODY:
                    self.fleet._kill(self.dying)

    def checked(self) -> "OneSlow":
        """Run; the tokens must be right, and no block come twice."""
        result = self.run()
        assert result.outputs() == reference_tokens(MODEL, self.inputs.requests)
        assert set(self.network.delivered.values()) == {1}
        return self

    @property
    def fast_s(self) -> float:
        """When the last of the others is complete."""
        return max(r.verified_s for r in self.arrivals if r.node != self.slow)

    @property
    def end_s(self) -> float:
        return max(r.verified_s for r in self.arrivals)


@pytest.mark.parametrize(
    ("sources", "nodes", "blocks", "most"),
    [(1, 4, 16, 1.5), (1, 4, 64, 1.15), (1, 8, 32, 1.35), (2, 6, 32, 1.5), (2, 8, 64, 1.3)],
)
def test_whoever_is_slow_the_others_are_complete_about_as_soon_as_if_nobody_were(
    sources: int, nodes: int, blocks: int, most: float
):
    """`most` × the healthy time: it takes about 10 ticks to find the node, of `blocks` and a few."""
    healthy = OneSlow(sources, nodes, NOBODY, blocks).checked()
    assert not healthy.found
    for slow in range(0 if sources > 1 else 1, nodes):
        run = OneSlow(sources, nodes, slow, blocks).checked()
        assert run.found == [slow]
        assert run.fast_s <= most * healthy.end_s, slow
        assert run.end_s <= 1.05 * QUARTER * healthy.end_s, "as fast as its own link allows"


def test_a_system_that_does_not_look_waits_for_the_slow_node():
    healthy = OneSlow(1, 4, NOBODY, 32).checked()
    blind = OneSlow(1, 4, 2, 32, slow_factor=None).checked()
    assert not blind.found
    assert blind.fast_s > 3 * healthy.end_s


@pytest.mark.parametrize(("slow", "dying"), [(2, 2), (2, 4), (5, 1), (3, 0)])
@pytest.mark.parametrize("blocks", [16, 32])
def test_a_death_while_the_sends_stop_for_a_slow_node(slow: int, dying: int, blocks: int):
    """The slow one itself, a sender to it, a source: nothing that was on its way is taken for delivered."""
    run = OneSlow(2, 7, slow, blocks, dying=dying)
    result = run.run()
    assert result.outputs() == reference_tokens(MODEL, run.inputs.requests)
    survivors = set(range(2, 7)) - {dying}
    mine = {key: n for key, n in run.network.delivered.items() if key[0] in survivors}
    assert Counter(node for node, _ in mine) == dict.fromkeys(survivors, blocks)
    assert set(mine.values()) == {1}


@pytest.mark.parametrize("seed", range(4))
def test_writes_whose_times_vary_by_a_tenth_make_nobody_slow(seed: int):
    for sources, nodes in [(1, 4), (1, 8), (2, 6)]:
        run = OneSlow(sources, nodes, NOBODY, BLOCKS, jitter=0.1, seed=seed).checked()
        assert run.found == []


def test_who_takes_part_in_two_quick_writes_is_not_slow():
    watch = Watch(3.0, lambda src, dst: True)
    assert watch.wrote(0, [(1, 1.0), (2, 1.0)], [], 1.0) is None
    assert watch.wrote(0, [(1, 1.0)] * 2 + [(2, 9.0)] * 3, [], 9.0) is None, "too few yet"
    assert watch.wrote(0, [(2, 9.0)], [], 18.0) == 2
    assert watch.wrote(0, [(2, 9.0)] * EVIDENCE, [], 27.0) is None, "once"
    clear = Watch(3.0, lambda src, dst: True)
    clear.wrote(0, [(1, 1.0), (2, 1.0), (2, 1.1)], [], 1.0)
    assert clear.wrote(0, [(2, 9.0)] * 2 * EVIDENCE, [], 99.0) is None


def test_writes_that_are_still_under_way_count():
    watch = Watch(3.0, lambda src, dst: True)
    for node in (0, 1):
        assert watch.wrote(node, [(1 - node, 1.0)] * 2, [(2, 1.0), (2, 0.5)], 1.0) is None
    assert watch.wrote(3, [(0, 1.0)], [(2, 1.0)], 2.0) is None
    assert watch.wrote(0, [(1, 1.0)], [(2, 3.5), (2, 1.0)], 3.5) is None, "three of them"
    assert watch.wrote(3, [(0, 1.0)], [(2, 5.0), (2, 3.2)], 6.0) == 2


def test_writes_between_nodes_of_one_host_tell_nothing():
    watch = Watch(3.0, lambda src, dst: src // 2 != dst // 2)
    watch.wrote(0, [(2, 1.0)] * 2, [], 1.0)
    assert watch.wrote(0, [(1, 9.0)] * 9, [], 9.0) is None


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_write_that_is_overtaken_takes_no_place_of_the_window(size: int):
    window = Window(size)
    slow = window.begin(1)
    for _ in range(size):
        assert window.admits(2)
        window.end(window.begin(2))
    for _ in range(size):
        assert window.admits(2)
        window.begin(2)
    assert not window.admits(2)
    for _ in range(size - 1):
        assert window.admits(1), "it has places of its own"
        window.begin(1)
    assert not window.admits(1)
    window.end(slow)
    assert window.admits(1)


def test_only_systems_that_look_for_slow_nodes_do():
    looking = {name for name, s in SYSTEMS.items() if s.spec.slow_factor is not None}
    assert looking == {"lambdascale"}
    with pytest.raises(ConfigError, match=r"slow_factor is 1\.0; give more than 1, or None"):
        SystemSpec(slow_factor=1.0)
