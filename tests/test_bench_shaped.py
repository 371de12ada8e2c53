"""Our multicast between shaped hosts: every node ends up with the image, and nothing stays behind."""

import math
import subprocess

import pytest

from lambdascale.experiments import bench_shaped
from lambdascale.experiments.peers.contest import Entry, Setup, compete
from lambdascale.experiments.peers.sitting import Program
from lambdascale.provision.namespaces import missing
from lambdascale.units import MIB, gbps

pytestmark = pytest.mark.alone
SETUP = Setup(3, gbps(0.2), 4 * MIB)


@pytest.fixture(autouse=True)
def needs_root():
    if reason := missing():
        pytest.skip(reason)


def namespaces() -> str:
    return subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_every_node_holds_the_image_after_every_round_and_nothing_is_left():
    before = namespaces()
    found = bench_shaped.measure(3, gbps(0.2), 4 * MIB, rounds=2)
    assert set(found) == {bench_shaped.OURS, bench_shaped.ONE_COPY}
    for outcome in found.values():
        assert not outcome.failure
        assert len(outcome.rounds) == 2
        assert all(0 < seconds < math.inf for ends in outcome.rounds for seconds in ends)
        # no link is faster than its rate: the bucket alone may be ahead
        assert min(outcome.ratios(SETUP)) > 0.9
    assert [len(ends) for ends in found[bench_shaped.OURS].rounds] == [4, 4]
    assert namespaces() == before


def test_a_contestant_that_cannot_run_is_kept_with_the_reason():
    broken = Entry("broken", Program("no_such_module"))
    unknown = Entry("unknown", Program("ours"), "teleport", 4)
    first, second = compete(Setup(1, gbps(1), MIB), [broken, unknown], passes=2, rounds=1)
    assert not first.rounds
    assert "no_such_module" in first.failure
    assert "algorithm 'teleport' is unknown" in second.failure
