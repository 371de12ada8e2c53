"""The comparison on shaped links: its ratios and tables, what it saves, and what it checks; not its speed."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments import bench_peers, bench_shaped
from lambdascale.experiments.peers.contest import Outcome, Setup, table
from lambdascale.experiments.peers.member import Task, digest_of, new_image, stamp
from lambdascale.experiments.peers.ours import schedule_of
from lambdascale.multicast.validate import validate
from lambdascale.units import MIB, gbps

SETUP = Setup(2, rate=1e6, nbytes=MIB)
DONE = Outcome("ours", ((0.0, MIB / 1e6, 2 * MIB / 1e6), (0.0, MIB / 1e6, 3 * MIB / 1e6)))
FAILED = Outcome("gloo", (), "no module named torch")


def test_a_ratio_is_the_last_node_in_units_of_bytes_over_rate():
    assert DONE.ratios(SETUP) == [2.0, 3.0]
    assert DONE.fast_ratios(SETUP) == [1.0, 1.0]


def test_outcomes_of_passes_are_joined_and_the_first_failure_stays():
    both = DONE.joined(FAILED).joined(Outcome("ours", DONE.rounds[:1], "later"))
    assert both.rounds == (*DONE.rounds, DONE.rounds[0])
    assert both.failure == FAILED.failure


def test_the_table_has_a_line_per_contestant_and_says_why_one_failed():
    head, _, ours, gloo = table(SETUP, [DONE, FAILED]).splitlines()
    assert head.startswith("1 → 2, 8 Mbit/s, 1 MiB")
    assert ours.split() == ["ours", f"{2:.2f}", f"{statistics.median([2, 3]):.2f}"]
    assert gloo.split(maxsplit=1) == ["gloo", "failed: no module named torch"]


def test_the_table_of_a_slow_receiver_shows_the_fast_ones_apart():
    slow = Setup(2, rate=1e6, nbytes=MIB, slow=0.5)
    assert slow.rates == (1e6, 1e6, 0.5e6)
    ours = table(slow, [DONE]).splitlines()[-1]
    assert ours.split() == ["ours", "2.00", "2.50", "1.00"]


@pytest.mark.parametrize(
    ("field", "values"),
    [("num_receivers", (0, 1.0, 1, 1.0)), ("rate", (1, 0.0, 1, 1.0)), ("slow", (1, 1.0, 1, 0.0))],
)
def test_a_setup_that_cannot_be_is_refused(field: str, values: tuple[int, float, int, float]):
    with pytest.raises(ConfigError, match=field):
        Setup(*values)


@pytest.mark.parametrize("setup", bench_peers.SETUPS, ids=lambda setup: setup.name)
def test_every_schedule_of_ours_is_valid(setup: Setup):
    for entry in bench_shaped.entries(setup):
        num_nodes = 1 + (entry.num_receivers or setup.num_receivers)
        task = Task(
            0, ("",) * num_nodes, setup.nbytes, entry.algorithm, entry.num_blocks,
            rates=setup.rates[:num_nodes],
        )  # fmt: skip
        validate(schedule_of(task))


def test_rounds_differ_in_every_mib_of_the_image():
    image = memoryview(new_image(2 * MIB + 100))
    stamp(image, 1)
    first = bytes(image)
    stamp(image, 2)
    assert digest_of(image) != digest_of(memoryview(first))
    assert all(image[at] != first[at] for at in (0, MIB, 2 * MIB))
    assert image[8:MIB] == first[8:MIB]


def test_what_is_saved_has_a_row_per_node_and_a_manifest_with_failures(tmp_path: Path):
    bench_peers.save(tmp_path, {SETUP: [DONE, FAILED]}, {"gloo": "missing"})
    rounds = pd.read_csv(tmp_path / "rounds.csv")
    assert len(rounds) == 6
    assert rounds.ended_s.max() == pytest.approx(3 * MIB / 1e6, abs=1e-6)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["provenance"] == "emulated"
    assert manifest["peers"] == {"gloo": "missing"}
    assert [each["why"] for each in manifest["failures"]] == [FAILED.failure]


def test_versions_of_what_is_not_installed_are_missing():
    found = bench_peers.versions_of(sys.executable)
    assert set(found) == set(bench_peers.PEERS)
    assert found["nixl"] == "missing"
    with pytest.raises(ConfigError, match="bench-peers"):
        bench_peers.versions_of("/nowhere/python")


def test_the_bench_needs_at_least_one_round():
    argv = [sys.executable, "-m", "lambdascale.experiments.bench_peers", "--rounds", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "at least 1" in done.stderr


def test_setups_are_those_of_the_comparison():
    first, second, slow = bench_peers.SETUPS
    assert (first.num_receivers, first.rate, first.nbytes) == (3, gbps(1), 128 * MIB)
    assert (second.num_receivers, second.rate, second.nbytes) == (7, gbps(0.5), 64 * MIB)
    assert (slow.num_receivers, slow.slow) == (3, 0.25)
