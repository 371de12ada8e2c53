"""The motivation's numbers come from the controller, and are what their formulas say."""

from dataclasses import replace
from pathlib import Path

import pytest

from lambdascale.claims.book import book
from lambdascale.experiments import motivation
from lambdascale.experiments.cached import replay_each
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.sharing import sharing
from lambdascale.model.nominal import fine_tuned
from lambdascale.sim.models import image_checksums, simulated_model
from lambdascale.workload.arrivals import Bursts

MODEL, NUM_MODELS, PLACES = "llama-2-7b", 6, 2
PER_MINUTE, DURATION_S, SEED = 2.0, 300.0, 3


@pytest.fixture(scope="module")
def stays() -> RunResult:
    cases = motivation.residency_cases([MODEL], NUM_MODELS, PLACES, PER_MINUTE, DURATION_S, SEED)
    return replay_each(cases)


@pytest.fixture(scope="module")
def loads() -> RunResult:
    spec = motivation.caching(MODEL, NUM_MODELS, PLACES, num_nodes=4)
    return replay_each(motivation.tenant_cases(spec, PER_MINUTE, DURATION_S, SEED, Bursts(), {}))


def test_fine_tuned_copies_are_alike_in_size_and_not_in_contents():
    one, other = (simulated_model(name, "float16") for name in fine_tuned(MODEL, 2))
    assert one.layout.part_offsets == other.layout.part_offsets
    assert image_checksums(one, 4, sized_above=0) != image_checksums(other, 4, sized_above=0)


def test_host_memory_never_holds_more_models_than_it_has_places(stays: RunResult):
    for run in (spec.label for spec in stays.specs):
        host = stays.only(run).residency.query("tier == 'host'")
        changes = [(row.from_s, 1) for row in host.itertuples()]
        changes += [(row.until_s, -1) for row in host.itertuples() if row.until_s == row.until_s]
        held = most = 0
        for _, change in sorted(changes):
            held += change
            most = max(most, held)
        assert most == PLACES


def test_with_a_keep_alive_no_copy_outlives_its_last_use_by_more(stays: RunResult):
    lru, kept = motivation.stays(stays).to_dict("records")
    assert kept["within"] > lru["within"]
    assert kept["mean_s"] < lru["mean_s"]
    assert lru["in_memory"] == pytest.approx(PLACES, rel=0.1), "LRU alone leaves no place empty"
    one = stays.only(stays.specs[1].label)
    finished = one.requests.groupby("model")["finished_s"].apply(list)
    for row in one.residency.query("tier == 'host'").dropna().itertuples():
        last_use = max(time_s for time_s in finished[row.model] if time_s <= row.until_s)
        assert row.until_s - last_use < motivation.KEEP_ALIVE_S + 1.0, "a copy takes a moment"


def test_every_request_has_one_load_or_is_hot(loads: RunResult):
    types = motivation.load_types(loads)
    for spec in loads.specs:
        one, mine = loads.only(spec.label), types[types["run"] == spec.label]
        assert len(mine) == len(one.requests)
        assert (mine["start"] == "ssd").sum() == (one.starts["start"] == "ssd").sum()
        assert set(mine["start"]) <= {"hot", "warm", "ssd"}, "nobody sends to others"
    shares = motivation.load_shares(loads).set_index("run")[["hot", "warm", "ssd"]]
    assert shares.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])


def test_what_the_paper_claims_of_the_motivation_is_reported(stays: RunResult, loads: RunResult):
    found = motivation.stay_metrics(motivation.stays(stays), PLACES)
    found += motivation.load_metrics(motivation.load_shares(loads))
    assert max(found[0].values) <= 1
    figures = {claim.figure for metric in found for claim in book().about(metric.name)}
    assert figures == {"Figure 2", "Figure 3"}
    assert all(book().about(metric.name) for metric in found)


def test_traces_that_are_there_are_read_and_the_fast_ones_thinned(tmp_path: Path):
    assert motivation.read_traces("", 1.0, SEED) == {}
    lines = "".join(f"{second / 10},5,5,\n" for second in range(1000))
    header = "arrival_s,prompt_tokens,output_tokens,model\n"
    (tmp_path / "azure_conv_30min.csv").write_text(header + lines)
    (rows,) = motivation.read_traces(str(tmp_path), 1.0, SEED).values()
    assert 70 < len(rows) < 130, "100 seconds at 1 request/s"


def test_a_replay_that_is_kept_is_not_made_again(tmp_path: Path):
    spec, rows = sharing(MODEL, 2, 2, 10.0, 20.0, SEED)
    first = replay_each([(spec, rows)], tmp_path)
    (folder,) = tmp_path.iterdir()
    written = (folder / "manifest.json").stat().st_mtime_ns
    again = replay_each([(spec, rows)], tmp_path)
    assert (folder / "manifest.json").stat().st_mtime_ns == written
    assert again.outputs() == first.outputs()
    replay_each([(spec, rows[1:])], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "other requests are another run"
    assert replace(spec, trace_digest="x").digest != spec.digest
