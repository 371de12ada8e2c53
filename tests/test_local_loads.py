"""Shifted loads cover a model in 1/N of the time, and the tables and claims say so."""

from pathlib import Path

import pandas as pd
import pytest

from lambdascale.experiments import claims, local_loads
from lambdascale.experiments.cached import replay_each
from lambdascale.experiments.results import RunResult

NODES = (2, 4)


@pytest.fixture(scope="module")
def result() -> RunResult:
    return replay_each(local_loads.paper_cases(["llama-2-7b"], NODES, per_node=1))


@pytest.fixture(scope="module")
def table(result: RunResult) -> pd.DataFrame:
    return local_loads.compare(result)


def test_n_nodes_cover_the_model_in_an_nth_of_the_time(table: pd.DataFrame):
    assert list(table["nodes"]) == [*NODES, *NODES], "at either rate"
    ratios = table["covered_ratio"] * table["nodes"]
    assert list(ratios) == pytest.approx([1.0] * 4, rel=0.01)
    (claim,) = local_loads.check_coverage(table)
    assert claim.holds


def test_all_nodes_start_warm_and_load_every_block_themselves(result: RunResult):
    assert set(result.starts["start"]) == {"warm"}
    assert set(result.blocks["origin"]) == {"host"}
    assert (result.blocks["src"] == result.blocks["node"]).all()


def test_the_first_token_comes_between_coverage_and_a_whole_copy(table: pd.DataFrame):
    assert (table["token_shifted_s"] > table["covered_shifted_s"]).all()
    assert (table["token_shifted_s"] < table["whole_shifted_s"]).all()
    assert (table["token_in_order_s"] > table["whole_in_order_s"]).all()


def test_the_authors_times_come_out(table: pd.DataFrame):
    (claim,) = local_loads.check_authors(table)
    assert claim.holds
    assert "measured by the authors" in claim.name


def test_both_clocks_are_compared_and_tokens_checked(
    result: RunResult, table: pd.DataFrame, tmp_path: Path
):
    real = table.head(1).assign(covered_shifted_s=table["covered_shifted_s"] * 1.2)
    slow, *first = local_loads.check_clocks(real, table.head(1))
    assert not slow.holds
    claims.save([slow, *first, *local_loads.check_coverage(table)], tmp_path)
    assert claims.load(tmp_path)[0] == slow
    assert [claim.expected for claim in first] == ["reported", "reported"]
    one = result.only(result.specs[0].label)
    good = local_loads.check_tokens(one, one.outputs())
    bad = local_loads.check_tokens(one, {**one.outputs(), 0: (1,)})
    assert not claims.wrong(good)
    assert claims.wrong(bad) == bad
