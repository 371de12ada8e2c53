"""The controller of production whose books, and agents', are checked whenever that can be done."""

import asyncio
import math
from collections import Counter
from collections.abc import Collection, Sequence

from lambdascale.clock import now
from lambdascale.cluster.controller import Controller
from lambdascale.cluster.members import Ended, Event
from lambdascale.control import messages as m
from lambdascale.sim.fleet import SimFleet
from lambdascale.storage.tiers import Tier
from lambdascale.workload.request import Request

REST_S = 0.1  # for what has been sent to arrive, and steps to come to their ends


class CheckedController(Controller):
    """Its books are checked after every event, its agents at the end."""

    fleet: SimFleet
    harmed: Collection[int]  # whose agents were killed or cut off
    quiet_s = -math.inf  # since when nothing is under way that has to do with a node that was lost

    def _handle(self, message: m.Message | Event) -> None:
        if isinstance(message, Ended):
            assert message.node in self.harmed, f"node {message.node} ended by itself"
        was_busy = self._recovery.under_way
        super()._handle(message)
        if was_busy and not self._recovery.under_way:
            self.quiet_s = now()
        self.stock.residency.check_integrity()

    def _cover(self, coverage: m.Coverage) -> bool:
        for arrival in coverage.arrivals:
            tiers = (Tier.GPU, Tier.HOST) if arrival.origin == "network" else ()
            service = self.services[coverage.model]
            late = arrival.arrived_s <= self.quiet_s or arrival.src not in self._members.alive
            if late or not service.has(coverage.node):
                continue  # it was under way when a node died, and came to its end before any copy left
            copies = [self.stock.residency.copy(arrival.src, t, coverage.model) for t in tiers]
            assert not tiers or any(copy and copy.pins for copy in copies), "senders stay"
        return super()._cover(coverage)

    async def _serve(self, requests: Sequence[Request]) -> None:
        await super()._serve(requests)
        await asyncio.sleep(REST_S)
        channels = self._members._channels
        if self._recovery.under_way or any(channels[node]._closed for node in self._members.alive):
            return  # a node has just gone, and nobody deals with it any more
        self._check_pins()
        for node in self._members.alive:
            self._check_agent(node)
            await self._check_bytes(node)

    def _check_pins(self) -> None:
        """Assigned copies are pinned once, those that are being copied or sent once more, and no others."""
        stock = self.stock
        served = [(n, Tier.GPU, model) for n, model in stock.assignments.of.items() if model]
        found = {
            (node, tier, copy.model): copy.pins
            for node in self._members.alive
            for tier in Tier
            for copy in stock.residency.copies(node, tier)
            if copy.pins
        }
        sent = [  # by a scale-out that has only just begun
            (node, tier, service.model)
            for service in self.services.values()
            for growth in service.growths.values()
            for instance, tier in growth.pinned
            for node in stock.slices[service.model].nodes(instance)
        ]
        assert found == Counter([*served, *stock._demoting, *sent])

    def _check_agent(self, node: int) -> None:
        """An agent holds the copies that the controller believes in, and serves nobody any more."""
        place = self.fleet.agents[node]._place
        books = {
            (tier, copy.model)
            for tier in (Tier.GPU, Tier.HOST)
            for copy in self.stock.residency.copies(node, tier)
        }
        assert place.holdings._copies.keys() == books
        assert not place.moves.parked
        assert not any(+place.moves._arrived)
        served = [
            v for s in self.services.values() for v in s.pipelines.served.values() if v.head == node
        ]
        staying = {v.record.pipeline for v in served if not v.dissolving}
        assert staying <= place._heads.keys() <= {v.record.pipeline for v in served}
        self._check_keys(node)
        for head in place._heads.values():
            assert not head._coming
            assert not any(map(len, head._lanes))

    def _check_keys(self, node: int) -> None:
        """Granted are copies that are being filled, the inbox of pipelines, and nothing else but warm-ups."""
        place = self.fleet.agents[node]._place
        filled = {
            model for at, tier, model in self.stock._missing if at == node and tier is Tier.GPU
        }
        assert place.holdings._keys.keys() == filled
        parts = {
            v.pipeline
            for service in self.services.values()
            for v in service.pipelines.served.values()
            if node in v.nodes and len(v.nodes) > 1
        }
        assert place.relay._keys.keys() == parts
        keys = {*place.holdings._keys.values(), *place.relay._keys.values()}
        address = self._members.addresses[node]
        living = self.fleet.agents[node]._leaves.transport._grants._living
        assert living.keys() == {*keys, address.bulk, address.express}

    async def _check_bytes(self, node: int) -> None:
        """What counts as verified is so, and a copy that counts as complete has all of it."""
        holdings = self.fleet.agents[node]._place.holdings
        for (tier, model), copy in list(holdings._copies.items()):
            booked = self.stock.residency.copy(node, tier, model)
            verified = copy.held(tier, model).blocks
            if booked.complete:
                assert list(verified) == list(copy._own)
            for block in verified:
                bytes_now = await copy.region.checksum(*copy.span(block))
                assert bytes_now == copy._checksums[block], (node, tier, model, block)
