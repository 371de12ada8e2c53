"""What `lambdascale plan` says about a schedule."""

import json
import subprocess
import sys

import pytest

from lambdascale.errors import ScheduleError
from lambdascale.experiments.plan_report import arrival_grid, plan_report, plan_table
from lambdascale.multicast.bounds import arrivals
from lambdascale.multicast.plan import plan
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.multicast.validate import validate

SCHEDULE = plan("kway", 8, 2, 16)
KEYS = [
    "num_nodes", "num_sources", "num_blocks", "algorithm", "num_ticks", "coverage_tick",
    "pipeline_tick", "lower_bound", "transfers",
]  # fmt: skip


def test_the_report_has_exactly_the_promised_fields_and_survives_json() -> None:
    report = json.loads(json.dumps(plan_report(SCHEDULE)))
    assert list(report) == KEYS
    assert [report[key] for key in KEYS[:-1]] == [8, 2, 16, "kway", 17, 8, 9, 17]
    assert all(list(row) == ["tick", "src", "dst", "block"] for row in report["transfers"])


def test_the_transfers_of_a_report_are_the_whole_valid_schedule() -> None:
    report = plan_report(SCHEDULE)
    moves = tuple(Transfer(**row) for row in report["transfers"])
    assert moves == SCHEDULE.transfers
    validate(Schedule("kway", 8, 2, 16, SCHEDULE.subgroups, moves))


def test_the_grid_holds_the_arrival_ticks() -> None:
    grid = arrival_grid(plan_report(SCHEDULE))
    arrived = arrivals(SCHEDULE)
    assert grid == [[node[block] for block in range(16)] for node in arrived]


def test_the_table_shows_the_same_numbers_and_when_each_block_arrives() -> None:
    lines = plan_table(plan_report(SCHEDULE)).splitlines()
    facts = {line[:14].strip(): line[14:23].strip() for line in lines[:7]}
    assert facts["ticks"] == "17"
    assert facts["coverage tick"] == "8"
    assert facts["pipeline tick"] == "9"
    assert facts["lower bound"] == "17"
    rows = {line[:8].strip(): line[8:].split() for line in lines[9:]}
    assert rows["block"] == [str(b) for b in range(16)]
    assert rows["node 1"] == ["·"] * 16
    assert rows["node 5"] == [str(arrivals(SCHEDULE)[5][b]) for b in range(16)]
    assert len({len(line) for line in lines[9:]}) == 1


def test_a_large_plan_is_summarised_without_its_grid() -> None:
    text = plan_table(plan_report(plan("kway", 40, 2, 64)))
    assert len(text.splitlines()) == 7
    assert "node 39" not in text


def test_an_incomplete_schedule_has_no_report() -> None:
    with pytest.raises(ScheduleError):
        plan_report(Schedule("kway", 8, 2, 16, SCHEDULE.subgroups, SCHEDULE.transfers[:5]))


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys, lambdascale.experiments.plan_report, lambdascale.pipeline.execution, "
        "lambdascale.multicast.validate; print({'torch', 'numpy', 'asyncio'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
