"""Claims: the file is well formed, every verdict follows from its kind, and a miss is never hidden."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from lambdascale.claims import metric as metrics
from lambdascale.claims import table
from lambdascale.claims.book import ROOT, Book, book
from lambdascale.claims.claim import KINDS, Accepted, Claim, Constant
from lambdascale.claims.metric import Metric, metric, same_tokens
from lambdascale.claims.verdict import WORDS, judge
from lambdascale.errors import ConfigError

CLAIM = Claim(
    id="gain",
    statement="twice as fast",
    figure="Figure 7",
    notebook="paper/fig07",
    metric="fig07.*.gain",
    accepted=Accepted(1.8, 2.2),
    reason="ten percent",
    kind="predicted",
    form="ratio",
    profiles=("paper",),
    paper=2.0,
)


def test_every_claim_of_the_file_names_a_notebook_that_is_there_or_planned():
    stated = book()
    notebooks = ROOT / "notebooks"
    for claim in stated.claims:
        there = (notebooks / f"{claim.notebook}.ipynb").is_file()
        bench = claim.profiles == ("bench",)
        assert there or bench or claim.notebook in stated.planned, claim.notebook
    for name in stated.planned:
        assert not (notebooks / f"{name}.ipynb").is_file(), f"{name} is no longer planned"


def test_metric_patterns_begin_with_a_name_and_a_figure_has_a_headline():
    for claim in book().claims:
        assert metrics.NAME.fullmatch(claim.metric.replace("*", "x")), claim.metric
    figures = {claim.figure for claim in book().claims if claim.profiles != ("bench",)}
    assert figures == {claim.figure for claim in book().claims if claim.headline}


def test_an_accepted_range_holds_the_papers_value_unless_the_miss_is_explained():
    for claim in book().claims:
        paper = claim.paper if isinstance(claim.paper, tuple) else (claim.paper,)
        for value in paper:
            assert value is None or value in claim.accepted, claim.id


def test_no_claim_is_the_same_as_another():
    said = [(claim.metric, claim.profiles) for claim in book().claims]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_was_predicted_is_called_reproduced(kind: str):
    claim = replace(CLAIM, kind=kind)
    good, bad = metric("fig07.7b.gain", 2, "simulated"), metric("fig07.13b.gain", 3, "simulated")
    assert judge(claim, [good]).verdict == WORDS[kind]
    assert (judge(claim, [good]).verdict == "reproduced") == (kind == "predicted")
    assert judge(claim, [good, bad]).verdict == "partly"
    assert judge(claim, [bad]).verdict == "not"
    assert judge(claim, []).verdict == "not run"
    assert judge(claim, [metric("fig08.7b.gain", 2, "simulated")]).verdict == "not run"


def test_a_wrong_answer_is_told_from_a_missed_time():
    bad = [metric("fig07.7b.gain", [2, 3], "measured")]
    assert not judge(CLAIM, bad).is_wrong
    assert judge(replace(CLAIM, correctness=True), bad).is_wrong
    assert not judge(replace(CLAIM, correctness=True), []).is_wrong


def test_what_was_fitted_on_a_claim_makes_it_no_prediction():
    with pytest.raises(ConfigError, match="gain was used to fit rate: it is calibrated"):
        replace(CLAIM, fitted=("rate",))
    fitted = replace(CLAIM, kind="calibrated", fitted=("rate",))
    with pytest.raises(ConfigError, match="must name each other"):
        Book((fitted,), (Constant("rate", 1.0, "", "a log"),))
    Book((fitted,), (Constant("rate", 1.0, "", "a log", ("gain",)),))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("kind", "guessed", "kind is 'guessed'; use one of predicted"),
        ("form", "word", "form is 'word'"),
        ("profiles", ("huge",), "profiles is 'huge'"),
        ("reason", "", "reason is empty; say it"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(field: str, value: object, says: str):
    with pytest.raises(ConfigError, match=says):
        replace(CLAIM, **{field: value})


def test_a_misspelt_key_and_a_claim_that_is_there_twice_are_named(tmp_path: Path):
    path = tmp_path / "claims.yaml"
    path.write_text("claims:\n- {id: a, papr: 1}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="a has papr; it may have id, statement"):
        book(path)
    with pytest.raises(ConfigError, match="gain is there twice"):
        Book((CLAIM, CLAIM))
    with pytest.raises(ConfigError, match="no-such-file is missing"):
        book(tmp_path / "no-such-file")


def test_metrics_survive_the_disk_what_was_never_reached_too(tmp_path: Path):
    found = [
        metric("fig11.p90", [1 / 3, math.inf], "simulated", "half → never"),
        metric("fig09.last", 1.1, "emulated, simulated"),
    ]
    metrics.save(found, tmp_path)
    assert metrics.load(tmp_path) == (found[1], found[0])
    assert metrics.load(tmp_path / "nothing") == ()


@pytest.mark.parametrize(
    ("name", "values", "provenance"),
    [
        ("Fig07", (1.0,), "simulated"),
        ("fig07.a b", (1.0,), "simulated"),
        ("fig07.a", (), "simulated"),
        ("fig07.a", (math.nan,), "simulated"),
        ("fig07.a", (1.0,), "guessed"),
    ],
)
def test_a_metric_without_a_name_a_number_or_a_provenance_is_refused(
    name: str, values: tuple[float, ...], provenance: str
):
    with pytest.raises(ConfigError, match="metric"):
        Metric(name, values, provenance)


def test_tokens_differ_whatever_is_missing_or_too_much():
    reference = {0: (1, 2), 1: (3,)}
    for wrong in ({0: (1, 2)}, {0: (1, 2), 1: (4,)}, {0: (1,), 1: (3,)}, {**reference, 2: (5,)}):
        assert same_tokens("a.b", wrong, reference, "measured").values[0] < 1
    same = same_tokens("a.b", {0: [1, 2], 1: [3]}, reference, "measured")
    assert (same.values, same.note) == ((1.0,), "2 of 2 requests identical")
    assert same_tokens("a.b", {}, {}, "measured").values == (0.0,)


def test_tables_say_what_was_missed_and_why():
    missed = replace(CLAIM, id="lost", why_not="no NUMA in the model")
    order = replace(CLAIM, id="order", form="ordering", metric="fig07.order", paper=None)
    values = [metric("fig07.7b.gain", [2.0, 3.0, 1.0], "simulated")]
    shown = table.verdicts([judge(c, values, "paper", "here") for c in (missed, order)])
    assert "partly (1 of 3)" in shown
    assert "2 (1–3)" in shown
    assert "lost: no NUMA in the model (range: ten percent)" in shown
    assert shown.index("orderings and crossovers") < shown.index("ratios")
    assert shown.endswith("2 claims: 1 partly, 1 not run")


def test_what_is_reported_stands_beside_its_claims_and_where_they_count():
    stated = Book((CLAIM,))
    gain, other = metric("fig07.7b.gain", 2.04, "simulated"), metric("fig07.x", 7, "simulated")
    shown = table.reported([gain, other], stated)
    assert "1.8 to 2.2 (at paper)" in shown
    assert "reported" in shown
    assert table.line(gain, stated) == (
        "fig07.7b.gain = 2.04 (simulated; paper 2, accepted 1.8 to 2.2 (at paper))"
    )
    assert table.line(other, stated) == "fig07.x = 7 (simulated)"


def test_ranges_read_as_they_are_meant():
    texts = [
        str(Accepted(1, 1)),
        str(Accepted(most=2)),
        str(Accepted(least=3)),
        str(Accepted(1, 2)),
    ]
    assert texts == ["1", "≤ 2", "≥ 3", "1 to 2"]
    with pytest.raises(ConfigError, match="swap them"):
        Accepted(2, 1)
