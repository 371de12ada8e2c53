"""Figure 1: rates of real and generated traces, and instances that are kept for one of them."""

import doctest

import numpy as np
import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments import request_rates as study
from lambdascale.figures import request_rates, style
from lambdascale.workload.generator import generate
from lambdascale.workload.trace import TraceRow

ROWS = [TraceRow(time_s, 8, 107) for time_s in (0.0, 1.0, 1.5, 30.0)]


def test_the_example_is_right():
    assert doctest.testmod(study).failed == 0


def test_rates_are_the_counts_of_ten_seconds_of_both():
    frame = study.rates(["burstgpt-like"], seed=0)
    counts = 10 * frame.groupby("kind")["requests_per_s"].sum()
    assert counts["real"] == pytest.approx(498)
    assert counts["generated"] == pytest.approx(498)
    assert frame["from_s"].max() == 1760


def test_the_snippet_surges_tenfold_as_the_paper_says():
    table = study.compared(["burstgpt-like"], seed=0).set_index("statistic")
    assert table.loc["surge", "real"] == pytest.approx(11.5, abs=0.1)
    assert table.loc["gap_cv", "generated"] == pytest.approx(2.11, rel=0.15)


def test_surges_are_claimed_of_the_real_traces_that_stand_for_the_papers():
    found = study.surge_metrics(study.compared(list(study.TITLES), seed=0))
    assert [metric.name for metric in found] == ["fig01.burstgpt.surge", "fig01.azure_code.surge"]
    assert all(metric.values[0] > 10 for metric in found)


def test_an_instance_serves_one_request_at_a_time_and_is_kept_after_its_last():
    """By hand: A serves 0-2 and then 30-32 if it is still there; B 1-3; C 1.5-3.5."""
    frame = study.instances(ROWS, service_s=2.0, keep_alive_s=5.0).set_index("from_s")
    assert frame["busy"].to_dict() == {
        **{0.0: 1, 1.0: 2, 1.5: 3, 2.0: 2, 3.0: 1, 3.5: 0},
        **{7.0: 0, 8.0: 0, 8.5: 0, 30.0: 1, 32.0: 0, 37.0: 0},
    }
    assert frame["kept"].to_dict() == {
        **{0.0: 1, 1.0: 2, 1.5: 3, 2.0: 3, 3.0: 3, 3.5: 3},
        **{7.0: 2, 8.0: 1, 8.5: 0, 30.0: 1, 32.0: 1, 37.0: 0},
    }


def test_the_instance_that_served_last_is_asked_first_and_one_that_expired_never():
    kept = study.instances(ROWS, service_s=2.0, keep_alive_s=28.0)["kept"]
    assert kept.max() == 3, "at 30 s the instances of 1 and 1.5 are still there, that of 0 is too"
    assert study.kept_shares(ROWS, 2.0, [0.0])["idle"].tolist() == [0.0]


def test_the_share_of_idle_seconds_grows_with_the_keep_alive():
    table = study.kept_shares(generate("burstgpt-like"), 2.8, [0, 15, 60])
    assert table["busy_s"].tolist() == pytest.approx([498 * 2.8] * 3)
    assert list(table["idle"]) == sorted(table["idle"])
    assert 0.5 < table["idle"].iloc[-1] < 1


def test_the_figure_shows_real_above_and_generated_below_the_axis(tmp_path):
    names = list(study.TITLES)
    rates = study.rates(names, seed=0)
    kept = study.instances(generate(names[0]), 2.8, 60.0)
    sheet = request_rates.draw(rates, kept, titles=study.TITLES, tenant="c  Instances")
    for name, panel in zip(names, sheet.axes, strict=False):
        mine = rates[rates["trace"] == name]
        for patch in panel.patches:
            values = patch.get_data().values
            sign = 1 if patch.get_gid() == "real" else -1
            expected = mine.loc[mine["kind"] == patch.get_gid(), "requests_per_s"]
            assert np.allclose(sign * values, expected)
        assert {"real", "generated"} <= {text.get_text() for text in panel.texts}
    assert sheet.axes[-1].get_xlabel() == "time (minutes)"
    assert all(path.stat().st_size < 200_000 for path in style.save(sheet, tmp_path / "fig01"))


def test_frames_that_cannot_be_drawn_are_refused():
    rates = study.rates(["burstgpt-like"], seed=0)
    kept = study.instances(ROWS, 2.0, 5.0)
    with pytest.raises(ConfigError, match="rates has no column kind"):
        request_rates.draw(rates.drop(columns="kind"), kept, titles=study.TITLES, tenant="")
