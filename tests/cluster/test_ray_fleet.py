"""Agents placed by Ray: the behaviour of every fleet, and a whole scale-out with unchanged tokens."""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest
from fleet_conformance import CHECKS, DEVICE, SECRET, Check, specs
from leftovers import cmdline, within

from lambdascale.clock import deadline
from lambdascale.config import ScaleSpec
from lambdascale.control.base import Control
from lambdascale.control.streams import StreamControl
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.agents import MODELS
from lambdascale.experiments.clusters import Cluster
from lambdascale.experiments.parity import reference_outputs
from lambdascale.experiments.prompts import questions
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.base import Fleet
from lambdascale.fleet.placement import Placement
from lambdascale.fleet.ray import RaySite

PRELOAD = ("agents_of_tests", "lambdascale.cluster.entry", *MODELS)


@pytest.fixture(scope="module")
def site(placement: Placement) -> Iterator[RaySite]:
    with RaySite(placement, PRELOAD) as opened:
        yield opened
    assert within(lambda: not nurseries())


def nurseries() -> list[psutil.Process]:
    """The nurseries of this machine's hosts, and the agents forked by them."""
    return [p for p in psutil.process_iter() if "lambdascale.fleet.zygote" in cmdline(p)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_agents_of_ray_conform(check: Check, site: RaySite):
    def make(crash: bool) -> tuple[Control, Fleet, DeviceModel | None]:
        entry = "agents_of_tests:die_at_birth" if crash else "agents_of_tests:stay"
        return StreamControl(SECRET, site.host), site.fleet(SECRET, entry), DEVICE

    asyncio.run(check(make))


def test_a_scale_out_over_ray_gives_the_tokens_of_transformers(site: RaySite, cluster: Cluster):
    scale = ScaleSpec(num_sources=2, num_nodes=4, num_blocks=16, max_slots=2)
    spec = cluster.placed(RunSpec(scale=scale, prompts=questions(10), max_tokens=12))
    result = run(spec, site=site)
    assert result.outputs() == reference_outputs(spec)
    assert result.provenance == "emulated"
    assert set(result.blocks["node"]) == {2, 3}
    assert "pipeline" in set(result.tokens["kind"]), "it served while blocks were in flight"
    image_s = 8 * result.blocks["nbytes"].sum() / 2 / 1e9 / spec.link_gbps
    assert result.blocks["verified_s"].max() > 0.9 * image_s, "the link's rate was imposed"


def test_agents_stand_on_nodes_of_their_own(site: RaySite, placement: Placement):
    assert len(set(site.hosts)) == placement.nodes


def test_agents_end_with_their_actor_and_are_reported(placement: Placement):
    async def body(site: RaySite) -> None:
        fleet = site.fleet(SECRET, "agents_of_tests:outlive")
        await fleet.start(specs("", 1, None))
        assert within(lambda: len(nurseries()) == 2), "a nursery and its child"
        (actor,) = (p for p in psutil.process_iter() if cmdline(p).startswith("ray::Keeper"))
        actor.send_signal(signal.SIGKILL)
        async with deadline(5, "the report of a death"):
            assert await fleet.died() == 0
        assert within(lambda: not nurseries(), 1.0)
        await fleet.close()

    with RaySite(replace(placement, nodes=1), ("agents_of_tests",)) as site:
        asyncio.run(body(site))


def test_more_agents_than_the_cluster_has_room_for_are_refused(placement: Placement):
    with (
        pytest.raises(ConfigError, match=r"has no room for 5 nodes with 1 CPU each: 4 nodes"),
        RaySite(replace(placement, nodes=5)),
    ):
        pass
