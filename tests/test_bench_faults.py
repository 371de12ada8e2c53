"""What faults cost scale-outs on shaped links: the ratios, and what is refused; not their speed."""

import pandas as pd
import pytest

from lambdascale.experiments import bench_faults
from lambdascale.experiments.faulty_scale_outs import NOTHING, RECEIVER, SLOW
from lambdascale.model.packed import PackedModel


def row(turn: int, fault: str, seconds: float, again: int = 0) -> dict[str, object]:
    shape = {"sources": 1, "nodes": 5, "blocks": 16}
    return {"pass": turn, **shape, "fault": fault, "seconds": seconds, "again": again}


def test_what_cannot_be_run_is_refused_before_a_cluster_is_made(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        bench_faults.main(["--passes", "0"])
    assert "--passes must be at least 1" in capsys.readouterr().err
    assert bench_faults.main(["--blocks", "1"]) == 2
    assert capsys.readouterr().err.startswith(
        "bench_faults: blocks is 1; use at least one per source"
    )


def test_a_ratio_is_to_the_undisturbed_scale_out_of_the_same_pass(smollm2: PackedModel):
    rows = [row(0, NOTHING, 10), row(0, RECEIVER, 11), row(0, RECEIVER, 12, again=1)]
    rows += [row(1, NOTHING, 20), row(1, RECEIVER, 21), row(1, SLOW, 30)]
    table = bench_faults.ratios(pd.DataFrame(rows)).set_index("fault")
    assert table.loc[NOTHING, ["median", "worst"]].tolist() == [1, 1]
    assert table.loc[RECEIVER, ["runs", "worst", "again"]].tolist() == [3, 1.2, 1]
    assert table.loc[RECEIVER, "median"] == pytest.approx(1.1)
    assert table.loc[SLOW, "median"] == pytest.approx(1.5)
    one_copy_s = smollm2.layout.nbytes * 8 / 0.5e9
    assert table.loc[SLOW, "copies"] == pytest.approx(30 / one_copy_s)
