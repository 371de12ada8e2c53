"""Known costs are found again, and this machine gives a hardware file that reads back as it was written."""

import doctest

import pytest
from tiny import TinyModel

from lambdascale.errors import ConfigError
from lambdascale.experiments import calibrate_fit as fits
from lambdascale.experiments.calibrate import calibrate
from lambdascale.experiments.calibrate_moves import control_seconds, copies_and_loads
from lambdascale.figures import calibration
from lambdascale.model.catalogue import load_packed
from lambdascale.sim.machines import load
from lambdascale.sim.models import symbolic_model
from lambdascale.units import gigabits

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    "known", [fits.Line(2e-4, 5e9), fits.Line(0.03, 1e8), fits.Line(0.0, 2e10)]
)
def test_the_line_that_made_the_times_is_found(known):
    sizes = [1e6, 4e6, 1.6e7, 1e8]
    found = fits.fit_line(sizes, [known.seconds(size) for size in sizes])
    assert found.cost_s == pytest.approx(known.cost_s, abs=1e-7)
    assert found.rate == pytest.approx(known.rate, rel=1e-3)


def test_noise_does_not_make_a_cost_negative():
    found = fits.fit_line([1e6, 2e6, 4e6], [0.9e-3, 2.1e-3, 4.2e-3])
    assert found.cost_s == 0
    assert found.rate == pytest.approx(1e9, rel=0.1)


def test_times_that_say_nothing_are_refused():
    with pytest.raises(ConfigError, match="measure two or more"):
        fits.fit_line([1e6, 1e6], [1.0, 1.1])
    with pytest.raises(ConfigError, match="do not grow"):
        fits.fit_line([1e6, 2e6], [2.0, 1.0])


def test_residuals_are_what_the_line_misses():
    table = fits.fitted("copy", "bytes", [1e9, 2e9], [1.1, 1.8], fits.Line(0, 1e9))
    assert list(table.columns) == list(fits.COLUMNS)
    assert list(table["residual"]) == pytest.approx([0.1, -0.1])
    assert fits.residuals(table) == pytest.approx({"copy": 0.1})


def test_a_device_takes_as_long_as_the_lines_say():
    layout = symbolic_model(num_layers=8, hidden=64).layout
    decode, prefill = fits.Line(1e-3, 1e9), fits.Line(0, 1e10)
    found = fits.device(decode, prefill)
    read = fits.read_bytes(layout, 5)
    assert found.forward_s(layout, 0, 5, 1) == pytest.approx(decode.seconds(read))
    flops = fits.matrix_flops(layout, 500, width=4)
    assert found.forward_s(layout, 0, layout.num_parts, 500) == pytest.approx(1e-3 + flops / 1e10)


def test_copies_loads_and_messages_take_some_time(tiny_model: TinyModel, tmp_path):
    """Limits far from any real machine."""
    image = load_packed(str(tiny_model("llama")), "float32", tmp_path).image
    copies, loads = copies_and_loads(image, rounds=2, sizes=(4096, 65536))
    assert len(copies) == len(loads) == 2
    assert all(0 < seconds < 1 for seconds in (*copies, *loads, control_seconds(count=5)))


def test_this_machine_gives_a_hardware_file_and_a_figure(tmp_path):
    found = calibrate(rounds=1)
    hardware = found.hardware(num_nodes=4)
    hardware.save(tmp_path / "hardware.json")
    assert load(tmp_path / "hardware.json") == hardware
    assert hardware.link_gbps == pytest.approx(gigabits(found.link.link.rate))
    assert 1e6 < hardware.device_of("smollm2-135m").bandwidth < 1e13
    assert {"link_gbps", "pcie_gbps", "ssd_gbps", "device", "conditions"} <= set(hardware.sources)
    panels = calibration.draw(found.table).axes
    assert [panel.get_title(loc="left").partition(":")[0] for panel in panels] == list(found.lines)
    for panel in panels:
        name = panel.get_title(loc="left").partition(":")[0]
        (marks,) = panel.collections
        assert len(marks.get_offsets()) == (found.table["series"] == name).sum()


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(fits).failed == 0
