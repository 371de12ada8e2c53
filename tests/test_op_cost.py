"""The bench of one write: its fit finds known costs again, and real transports give usable ones."""

import doctest
import json

import pytest

from lambdascale.experiments import op_cost
from lambdascale.experiments.op_cost import WINDOWS, as_json, fit, measure, predicted, table
from lambdascale.multicast.costs import LinkCost
from lambdascale.transport.registry import ON_ANY_HOST
from lambdascale.units import MIB

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    "cost", [LinkCost(5e-6, 20e-6, 5e9), LinkCost(2e-6, 1e-4, 1e9), LinkCost(3e-5, 0.0, 4e10)]
)
def test_the_fit_finds_the_cost_that_made_the_times(cost: LinkCost) -> None:
    sizes = (0, 4096, 65536, MIB, 16 * MIB)
    found = fit({(n, w): predicted(cost, n, w) for n in sizes for w in (1, 2, 64)})
    assert found.occupancy_s == pytest.approx(cost.occupancy_s, abs=2e-6)
    assert found.latency_s == pytest.approx(cost.latency_s, abs=2e-6)
    assert found.rate == pytest.approx(cost.rate, rel=0.02)


@pytest.mark.parametrize("transport", ON_ANY_HOST)
def test_each_transport_has_a_cost(transport: str) -> None:
    """Limits far from any real machine: a write costs microseconds, a link moves gigabytes a second."""
    sizes = (0, 65536, 4 * MIB)
    cost = measure(transport, sizes, rounds=1)
    assert cost.seconds.keys() == {(n, w) for n in sizes for w in WINDOWS}
    assert 1e-7 < cost.seconds[0, 1] < 0.1
    assert cost.link.occupancy_s < 0.1
    assert cost.link.latency_s < 0.1
    assert 1e7 < cost.link.rate < 1e13
    (row,) = json.loads(as_json([cost]))["costs"]
    assert LinkCost(row["occupancy_s"], row["latency_s"], row["rate"]) == cost.link
    assert f"rate={cost.link.rate:.4g}" in table([cost])


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(op_cost).failed == 0
