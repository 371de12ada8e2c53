"""What `lambdascale plan` says about a schedule, in ticks and in seconds, and how schedules compare."""

import json
import subprocess
import sys

import pytest

from lambdascale.__main__ import main
from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.experiments.plan_compare import compare, compare_table
from lambdascale.experiments.plan_report import arrival_grid, plan_report, plan_table
from lambdascale.experiments.plan_seconds import Pricing, seconds_table, timed_report
from lambdascale.multicast.bounds import arrivals
from lambdascale.multicast.costs import LinkCost
from lambdascale.multicast.plan import ALGORITHMS, plan
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.multicast.validate import validate

SCHEDULE = plan("kway", 8, 2, 16)
KEYS = [
    "num_nodes", "num_sources", "num_blocks", "algorithm", "num_ticks", "coverage_tick",
    "pipeline_tick", "lower_bound", "transfers",
]  # fmt: skip
UNIT = Pricing(16.0, LinkCost(0.0, 0.0, 1.0))  # a block of the schedule above takes a second
SECONDS = ["--link-gbps", "400", "--occupancy-us", "200", "--model", "llama-2-13b"]


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
        "import sys, lambdascale.experiments.plan_compare, lambdascale.pipeline.execution, "
        "lambdascale.multicast.validate; print({'torch', 'numpy', 'asyncio'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_without_any_cost_per_write_seconds_are_ticks() -> None:
    report = timed_report(SCHEDULE, UNIT)
    assert list(report)[: len(KEYS)] == KEYS
    assert [report["completion_s"], report["coverage_s"], report["pipeline_s"]] == [17, 8, 9]
    assert report["lower_bound_s"] == report["lower_bound"] == 17
    assert report["bound_ratio"] == 1
    assert report["one_copy_s"] == 16
    last = [max(node.values()) for node in arrivals(SCHEDULE)]
    assert report["node_completion_s"] == last


def test_the_bytes_of_all_links_are_one_image_per_destination() -> None:
    links = timed_report(SCHEDULE, UNIT)["links"]
    for node in range(8):
        received = sum(link["nbytes"] for link in links if link["dst"] == node)
        assert received == (0 if node < 2 else 16)
    assert {(link["src"], link["dst"]) for link in links} == {
        (t.src, t.dst) for t in SCHEDULE.transfers
    }


def test_the_table_of_seconds_shows_the_numbers_of_the_report_and_the_reason() -> None:
    text = seconds_table(timed_report(SCHEDULE, UNIT, "because"))
    for words in ("completion      17000.0 ms", "coverage         8000.0 ms", "because"):
        assert words in text
    assert text.count("\nnode ") == 8


def test_circulant_has_no_more_rounds_than_any_other_and_one_receive_per_tick() -> None:
    for num_nodes, num_sources in ((12, 1), (12, 2), (7, 3), (33, 1)):
        found = compare(num_nodes, num_sources, 16)
        rows = {row["algorithm"]: row for row in found["rows"]}
        assert rows.keys() == ALGORITHMS.keys()
        assert rows["circulant"]["num_ticks"] == min(row["num_ticks"] for row in rows.values())
        assert rows["circulant"]["receives"] == 1
        assert all(row["num_ticks"] >= found["lower_bound"] for row in rows.values())
    assert {row["algorithm"]: row["receives"] for row in compare(12, 1, 16)["rows"]}["kway"] == 2


def test_a_comparison_with_a_price_has_seconds_and_the_best_first_of_equal_ticks() -> None:
    found = compare(12, 1, 16, pricing=UNIT)
    assert found["lower_bound_s"] == found["lower_bound"] == 19
    keys = [(row["num_ticks"], row["completion_s"]) for row in found["rows"]]
    assert keys == sorted(keys)
    for row in found["rows"]:
        assert row["bound_ratio"] == row["completion_s"] / 19 >= 1
    lines = compare_table(found).splitlines()
    assert len(lines) == len(ALGORITHMS) + 2
    assert lines[-1] == "lower bound: 19 ticks, 19000.0 ms"


def test_the_command_line_compares_all_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--compare", "--nodes", "12", "--blocks", "16"]) == 0
    head, *rows, bound = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["algorithm", "ticks"]
    ticks = {row.split()[0]: int(row.split()[1]) for row in rows}
    assert ticks.keys() == ALGORITHMS.keys()
    assert ticks["circulant"] == min(ticks.values()) == 19
    assert bound == "lower bound: 19 ticks"


def test_the_command_line_adds_keys_only_when_seconds_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shape = ["plan", "--nodes", "8", "--sources", "2", "--json"]
    assert main(shape) == 0
    plain = json.loads(capsys.readouterr().out)
    assert list(plain) == KEYS
    assert main([*shape, *SECONDS]) == 0
    timed = json.loads(capsys.readouterr().out)
    assert list(timed)[: len(KEYS)] == KEYS
    assert {key: timed[key] for key in KEYS} == plain
    assert timed["reason"] is None
    assert timed["image_nbytes"] == 26031728640


def test_auto_chooses_algorithm_and_block_count_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    auto = ["plan", "--nodes", "8", "--algorithm", "auto", "--json", *SECONDS]
    assert main(auto) == 0
    free = json.loads(capsys.readouterr().out)
    assert free["reason"].startswith(f"{free['algorithm']} with {free['num_blocks']} blocks")
    assert free["completion_s"] <= 1.06 * free["one_copy_s"]
    assert main([*auto, "--blocks", "16"]) == 0
    fixed = json.loads(capsys.readouterr().out)
    assert fixed["num_blocks"] == 16
    assert fixed["completion_s"] > free["completion_s"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--algorithm", "auto"], "chooses by predicted seconds"),
        (["--link-gbps", "400"], "seconds need --link-gbps and one of"),
        (["--image-mb", "1"], "seconds need --link-gbps and one of"),
        (["--barrier"], "seconds need --link-gbps and one of"),
        ([*SECONDS, "--image-mb", "1"], "seconds need --link-gbps and one of"),
        (["--link-gbps", "400", "--model", "gpt"], "has no nominal shape"),
        (["--link-gbps", "0", "--image-mb", "1"], "rate is 0"),
        (["--link-gbps", "1", "--image-mb", "-1"], "image_nbytes is -1"),
        (["--link-gbps", "1", "--image-mb", "1", "--window", "0"], "window is 0"),
        (["--algorithm", "bush"], "unknown"),
        (["--blocks", "0"], "blocks is 0"),
        (["--compare", "--sources", "4"], "sources is 4"),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused_with_the_reason(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_price_needs_an_image() -> None:
    with pytest.raises(ConfigError, match="image_nbytes"):
        Pricing(0.0, UNIT.link)
