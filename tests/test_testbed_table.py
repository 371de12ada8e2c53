"""Table 1: the paper's testbeds beside ours, a source for each number, and the seconds that follow."""

import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments import testbed_table as study
from lambdascale.figures import load_floors
from lambdascale.sim.hardware import H200, TESTBED1, TESTBED2


def test_the_paper_and_ours_stand_side_by_side():
    table = study.table(study.shown()).set_index("")
    names = ["testbed 1, paper", "testbed 1", "testbed 2, paper", "testbed 2"]
    assert list(table.columns) == names
    assert table.loc["nodes"].tolist() == ["12", "12", "6", "6"]
    assert table.loc["SSD (GB/s)", "testbed 1"] == "5"


def test_every_number_of_the_table_has_a_source():
    found = study.sources(study.shown())
    for testbed in (TESTBED1, TESTBED2):
        mine = found[found["testbed"] == testbed.name]
        assert set(study.ROWS) <= set(mine["field"])


def test_seconds_are_bytes_over_rate():
    floors = study.load_floors([TESTBED1, TESTBED2]).set_index(["model", "from"])["seconds"]
    assert floors["llama-2-7b", "another node"] == pytest.approx(13.4768e9 / 49.2e9, rel=0.01)
    assert floors["llama-2-70b", "SSD"] == pytest.approx(30.0, rel=0.01), "authors' logs: 30 s"
    assert floors["llama-2-70b", "host memory"] == pytest.approx(2.55, rel=0.01)


def test_another_machine_is_read_from_its_file(tmp_path):
    H200.save(path := tmp_path / "h200.json")
    shown = study.shown(str(path))
    assert shown[-1].name == "H200 node"
    floors = study.load_floors(shown)
    mine = floors[floors["testbed"] == "H200 node"]
    assert set(mine["model"]) == {"llama-2-7b", "llama-2-13b", "llama-2-70b"}
    assert study.table(shown).columns[-1] == "H200 node"
    with pytest.raises(ConfigError, match="cannot be read"):
        study.shown(str(tmp_path / "none.json"))


def test_the_figure_has_a_bar_for_each_load():
    floors = study.load_floors(study.shown())
    sheet = load_floors.draw(floors)
    assert [panel.get_title(loc="left") for panel in sheet.axes] == ["testbed 1", "testbed 2"]
    widths = [patch.get_width() for panel in sheet.axes for patch in panel.patches]
    assert sorted(widths) == pytest.approx(sorted(floors["seconds"]))
    assert sheet.axes[-1].get_xlabel().endswith("(s)")
