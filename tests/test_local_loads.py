"""Shifted loads cover a model in 1/N of the time, and the tables and claims say so."""

import pandas as pd
import pytest

from lambdascale.claims.book import book
from lambdascale.claims.verdict import judge
from lambdascale.experiments import local_loads
from lambdascale.experiments.cached import replay_each
from lambdascale.experiments.results import RunResult

NODES = (2, 4)
CLAIMS = {claim.id: claim for claim in book().claims}


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
    (metric,) = local_loads.coverage_metrics(table)
    assert (metric.name, len(metric.values)) == ("cache.simulated.covered_over_share", 4)
    assert judge(CLAIMS["cache-coverage"], [metric]).verdict == "reproduced"


def test_all_nodes_start_warm_and_load_every_block_themselves(result: RunResult):
    assert set(result.starts["start"]) == {"warm"}
    assert set(result.blocks["origin"]) == {"host"}
    assert (result.blocks["src"] == result.blocks["node"]).all()


def test_the_first_token_comes_between_coverage_and_a_whole_copy(table: pd.DataFrame):
    assert (table["token_shifted_s"] > table["covered_shifted_s"]).all()
    assert (table["token_shifted_s"] < table["whole_shifted_s"]).all()
    assert (table["token_in_order_s"] > table["whole_in_order_s"]).all()


def test_the_authors_times_come_out(table: pd.DataFrame):
    found = local_loads.authors_metrics(table)
    assert judge(CLAIMS["cache-authors"], found).verdict == "consistent (calibrated)"


def test_both_clocks_are_compared_and_tokens_checked(result: RunResult, table: pd.DataFrame):
    real = table.head(1).assign(covered_shifted_s=table["covered_shifted_s"] * 1.2)
    slow, *first = local_loads.clock_metrics(real, table.head(1))
    assert slow.values == (1.2, 1.0)
    assert judge(CLAIMS["clocks-coverage"], [slow]).verdict == "partly"
    assert {metric.name for metric in first} == {"cache.simulated.first_token_ratio"}
    one = result.only(result.specs[0].label)
    claim = CLAIMS["tokens-local-cache"]
    assert not judge(claim, local_loads.token_metrics(one, one.outputs())).is_wrong
    assert judge(claim, local_loads.token_metrics(one, {**one.outputs(), 0: (1,)})).is_wrong
