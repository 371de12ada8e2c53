"""Places on a Ray cluster: what ends with what, and what is refused."""

import asyncio
import signal
from dataclasses import replace

import psutil
import pytest
from fleet_conformance import SECRET, specs
from leftovers import cmdline, within
from nurseries import nurseries

from lambdascale.clock import deadline
from lambdascale.errors import ConfigError
from lambdascale.fleet.placement import Placement
from lambdascale.fleet.ray import RaySite


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
    count, more = placement.nodes, placement.nodes + 1
    with (
        pytest.raises(
            ConfigError, match=f"no room for {more} nodes with 1 CPU each: {count} nodes"
        ),
        RaySite(replace(placement, nodes=more)),
    ):
        pass
