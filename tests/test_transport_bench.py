"""The multicast bench at a small size: every contestant delivers the image (the nodes check it)."""

import json
import math

import pytest

from lambdascale.experiments import bench_multicast
from lambdascale.experiments.bench_multicast import CONTESTANTS, measure, table
from lambdascale.units import MIB

pytestmark = pytest.mark.alone


def test_every_contestant_delivers_and_is_timed() -> None:
    timings = measure(nbytes=MIB, rounds=2)
    assert set(timings) == {"copies", *CONTESTANTS}
    assert all(0 < t.min_s <= t.median_s < math.inf for t in timings.values())
    assert timings["copies"].min_ratio == timings["copies"].median_ratio == 1.0
    assert all(name in table(timings) for name in CONTESTANTS)


def test_json_and_bad_sizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--json", "--mib", "1", "--rounds", "1"])
    bench_multicast.main()
    assert set(json.loads(capsys.readouterr().out)) == {"copies", *CONTESTANTS}
    monkeypatch.setattr("sys.argv", ["bench", "--mib", "0"])
    with pytest.raises(SystemExit, match="2"):
        bench_multicast.main()
