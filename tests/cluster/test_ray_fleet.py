"""Agents placed by Ray: the behaviour of every fleet, and a whole scale-out with unchanged tokens."""

import asyncio
from collections.abc import Iterator

import pytest
from fleet_conformance import CHECKS, DEVICE, SECRET, Check
from leftovers import within
from nurseries import nurseries

from lambdascale.config import ScaleSpec
from lambdascale.control.base import Control
from lambdascale.control.streams import StreamControl
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.clusters import Cluster
from lambdascale.experiments.faulty_scale_outs import RECEIVER, SOURCE, scale_out
from lambdascale.experiments.parity import reference_outputs
from lambdascale.experiments.prompts import questions
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.systems import system
from lambdascale.fleet.base import Fleet
from lambdascale.fleet.placement import Placement
from lambdascale.fleet.ray import RaySite
from lambdascale.model.catalogue import load_packed

STEP_S = (
    0.25  # of a decode step: the sources alone would take 9 s for all answers, a load takes 4 s
)


@pytest.fixture(scope="module")
def site(placement: Placement) -> Iterator[RaySite]:
    with RaySite(placement, ("agents_of_tests",)) as opened:
        yield opened
    assert within(lambda: not nurseries())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_agents_of_ray_conform(check: Check, site: RaySite):
    def make(crash: bool) -> tuple[Control, Fleet, DeviceModel | None]:
        entry = "agents_of_tests:die_at_birth" if crash else "agents_of_tests:stay"
        return StreamControl(SECRET, site.host), site.fleet(SECRET, entry), DEVICE

    asyncio.run(check(make))


def test_a_scale_out_over_ray_gives_the_tokens_of_transformers(site: RaySite, cluster: Cluster):
    scale = ScaleSpec(num_sources=2, num_nodes=4, num_blocks=16, max_slots=2)
    nbytes = load_packed("smollm2-135m", "float32").layout.nbytes
    device = DeviceModel(bandwidth=nbytes / STEP_S, flops=1e12)
    asked = RunSpec(scale=scale, prompts=questions(10), max_tokens=12, device=device)
    spec = cluster.placed(asked)
    result = run(spec, site=site)
    assert result.outputs() == reference_outputs(spec)
    assert result.provenance == "emulated"
    assert set(result.blocks["node"]) == {2, 3}
    assert "pipeline" in set(result.tokens["kind"]), "it served while blocks were in flight"
    assert result.blocks["verified_s"].max() > 0.9 * nbytes / spec.rate, "the link held it up"


@pytest.mark.parametrize(("fault", "node"), [(SOURCE, 1), (RECEIVER, 3)])
def test_after_a_death_survivors_get_the_rest_and_nothing_twice(
    fault: str, node: int, site: RaySite, cluster: Cluster
):
    """How long it takes them is measured by `bench_faults`."""
    scale = ScaleSpec(num_sources=2, num_nodes=4, num_blocks=32)
    spec = cluster.placed(RunSpec(system=system("lambdascale").spec, scale=scale))
    one_copy_s = load_packed(spec.model, spec.dtype).layout.nbytes / spec.rate
    seen = scale_out(site, spec, fault, node, at=0.5, healthy_s=one_copy_s)
    assert seen.again == 0
    assert seen.seconds > 0.9 * one_copy_s


def test_agents_stand_on_nodes_of_their_own(site: RaySite, placement: Placement):
    assert len(set(site.hosts)) == placement.nodes
