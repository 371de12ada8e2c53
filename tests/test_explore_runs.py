"""Browsing runs: complete folders are listed with where they come from, and two are compared."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments.browse import COLUMNS, kept_runs
from lambdascale.experiments.results import RunResult, folder_of, load
from lambdascale.explore.examples import examples, keep_examples
from lambdascale.explore.runs import Runs, table_html
from lambdascale.figures import comparison
from lambdascale.figures.comparison import Side


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two examples, and one that is not complete."""
    root = tmp_path_factory.mktemp("results")
    keep_examples(str(root))
    (root / "runs" / "unfinished").mkdir()
    return root


@pytest.fixture(scope="module")
def loaded(results: Path) -> list[RunResult]:
    return [load(folder_of(results / "runs/examples", spec)) for spec in examples()]


def side(name: str, result: RunResult) -> Side:
    tables = {table: getattr(result, table) for table, _ in comparison.COLUMNS.values()}
    return Side(name, tables, 2.0)


def test_runs_are_listed_with_provenance_hardware_date_and_digest(results: Path) -> None:
    table = kept_runs(results)
    assert tuple(table.columns) == COLUMNS
    assert sorted(table["run"]) == ["execute-while-load, 2 → 8", "load-then-serve, 2 → 8"]
    assert set(table["provenance"]) == {"simulated"}
    assert set(table["code"]) == {"this"}
    assert set(table["digest"]) == {spec.digest for spec in examples()}
    assert table["hardware"].str.contains("cores").all()


def test_nothing_is_listed_where_nothing_is(tmp_path: Path) -> None:
    assert kept_runs(tmp_path / "none").empty
    runs = Runs(tmp_path)
    assert "no run is kept below" in runs.told.line.value
    assert "make kick-the-tires" in str(runs._repr_mimebundle_()["text/html"])


def test_two_runs_are_compared_and_another_choice_is_another_picture(results: Path) -> None:
    runs = Runs(results)
    both = runs.told.image.value
    assert runs.first.value != runs.second.value
    runs.second.value = runs.first.value
    assert runs.told.image.value != both
    assert "image/png" in runs._repr_mimebundle_()


def test_a_run_that_was_removed_meanwhile_is_one_line(tmp_path: Path) -> None:
    keep_examples(str(tmp_path))
    runs = Runs(tmp_path)
    for manifest in tmp_path.rglob("manifest.json"):
        manifest.unlink()
    runs.second.value = runs.first.value
    assert "that run did not finish" in runs.told.line.value
    assert runs.told.image.layout.display == "none"


def test_a_long_list_says_how_many_are_left_out() -> None:
    rows = pd.DataFrame([{"run": str(i)} for i in range(45)])
    assert "and 5 older ones" in table_html(rows)


def test_a_panel_is_drawn_for_every_kind_of_data(loaded: list[RunResult]) -> None:
    first, second = (side(name, result) for name, result in zip("ab", loaded, strict=True))
    sheet = comparison.draw([first, second], provenance="simulated")
    drawn = [axis for axis in sheet.axes if axis.axison]
    labels = [axis.get_xlabel() for axis in drawn]
    assert labels[0] == "time to first token (s)"
    assert len(drawn) == 4
    assert [text.get_text() for text in sheet.legends[0].get_texts()] == ["a", "b"]


def test_what_neither_run_has_is_left_out(loaded: list[RunResult]) -> None:
    empty = {name: frame.iloc[:0] for name, frame in side("a", loaded[0]).tables.items()}
    requests = {**empty, "requests": loaded[0].requests}
    sheet = comparison.draw([Side("a", requests, 1.0)], provenance="simulated")
    assert sum(axis.axison for axis in sheet.axes) == 1
    with pytest.raises(ConfigError, match="neither run has"):
        comparison.draw([replace(side("a", loaded[0]), tables=empty)], provenance="simulated")
