"""Carries out a scale-out: chooses nodes, makes room, pins sources, plans, connects, starts.

Afterwards everything is driven by what arrives (`service`, `growth`).
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence

from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.growth import Growth
from lambdascale.cluster.growth_plan import plan_growth
from lambdascale.cluster.members import Members
from lambdascale.cluster.phases import Phases
from lambdascale.cluster.placement import Member, Placement, Start, place
from lambdascale.cluster.records import RunLog, StartRecord
from lambdascale.cluster.service import Service
from lambdascale.cluster.stock import Stock
from lambdascale.cluster.timetable import Timetable
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.storage.tiers import Tier

PRIOR_S = 1.0  # of a scale-out, while nothing is known


class Expansion:
    """Starts scale-outs of any model."""

    def __init__(
        self,
        system: SystemSpec,
        cluster: ClusterSpec,
        stock: Stock,
        members: Members,
        log: RunLog,
    ) -> None:
        self._system = system
        self._cluster = cluster
        self._stock = stock
        self._members = members
        self._log = log
        self._ids = itertools.count()  # of pipelines, whatever their model
        self._numbers = itertools.count()
        self._connecting: dict[int, tuple[Service, Growth]] = {}
        self._timetable = Timetable()
        self._growths: list[Growth] = []  # in which something is still to be sent

    @property
    def due_s(self) -> float:
        """When a scale-out goes on by itself."""
        return self._timetable.due_s

    def go_on(self) -> None:
        """Let the scale-outs go on that have waited long enough."""
        self._timetable.perform()

    def expected_s(self, service: Service) -> float:
        """Return how long a scale-out is expected to take: as the last ones, or as one copy."""
        if service.paces.scale_out_s is not None:
            return service.paces.scale_out_s
        nbytes, rate = self._stock.nbytes(service.model), self._cluster.link_rate
        return nbytes / rate if math.isfinite(rate) else PRIOR_S

    def grow(self, service: Service, count: int) -> None:
        """Let up to `count` more instances of a model begin to load, as many as there is room for."""
        placement = self._place(service.model, count)
        if not placement.members:
            return
        waiting_since = service.router.waiting_since
        begun_s = self._log.since() if waiting_since is None else self._log.since(waiting_since)
        number = next(self._numbers)
        phases = Phases(self._log, number, service.model, begun_s)
        phases.reached("queued")
        growth = self._begin(service, placement, number, phases)
        self._growths.append(growth)
        service.begin(growth)
        self._timetable.after(self._cluster.decision_s, lambda: self._decided(service, growth))

    def _decided(self, service: Service, growth: Growth) -> None:
        """Let the members work: those that are hot at once, the others when they are set up."""
        growth.phases.reached("decided")
        growth.phases.reached("prepared")
        self._set_up(service, growth, self._cluster.set_up if growth.plan.groups else ())
        service.reshape(growth)

    def _set_up(self, service: Service, growth: Growth, steps: Sequence[tuple[str, float]]) -> None:
        """Let the members that load go through `steps`, then open links."""
        if not steps:
            self._connect(service, growth)
            return
        (phase, seconds), *others = steps

        def done() -> None:
            growth.phases.reached(phase)
            self._set_up(service, growth, others)

        self._timetable.after(seconds, done)

    def _connect(self, service: Service, growth: Growth) -> None:
        """Let blocks move, at once or when the links are open."""
        if self._cluster.preconnect or growth.connect(self._members.send, self._members.addresses):
            self._start(service, growth)
        else:
            self._connecting[growth.number] = service, growth

    def connected(self, message: m.Connected) -> None:
        """A node has its links; the last one starts the scale-out."""
        waiting = self._connecting.get(message.token)
        if waiting is not None and waiting[1].connected(message.node):
            self._start(*self._connecting.pop(message.token))

    def lost(self) -> None:
        """Nodes are gone, and no links to or from them are waited for: start what waited for no others."""
        for number, (_, growth) in list(self._connecting.items()):
            if not growth.connecting:
                self._start(*self._connecting.pop(number))

    def new_wave(self) -> int:
        """Return a number for the sends of a repair."""
        return next(self._numbers)

    def _start(self, service: Service, growth: Growth) -> None:
        """Let blocks move as soon as the system has set up its groups; some may be there."""

        def start() -> None:
            growth.start(self._members.send, self._stock)
            service.reshape(growth)

        self._timetable.after(growth.setup_s, start)

    def _place(self, model: str, count: int) -> Placement:
        """Choose among the free instances that hold the model or have room for it, and make the room."""
        stock = self._stock
        free: Sequence[int] = stock.assignments.free_instances(model)
        chosen = self._choose(model, count, free)
        while full := [
            member.node
            for member in chosen.members
            if member.start is not Start.HOT and not stock.has_room(member.node, Tier.GPU, model)
        ]:
            free = [instance for instance in free if instance not in full]
            chosen = self._choose(model, count, free)
        if not self._can_send(model, chosen):
            return Placement((), ())
        ready = [
            member.node
            for member in chosen.members
            if member.start is Start.HOT or stock.make_room(member.node, Tier.GPU, model)
        ]
        return chosen if len(ready) == len(chosen.members) else self._choose(model, count, ready)

    def _can_send(self, model: str, placement: Placement) -> bool:
        """Is there host memory for what an SSD that is no member has to send?"""
        return placement.starting(Start.SSD) != () or all(
            self._stock.has_room(origin.node, Tier.HOST, model)
            for origin in placement.sources
            if origin.tier is Tier.SSD
        )

    def _choose(self, model: str, count: int, free: Sequence[int]) -> Placement:
        if not free or not (self._stock.exists(model) or self._stock.loading(model)):
            return Placement((), ())
        gpu, host, ssd = (self._stock.holders(model, tier) for tier in Tier)
        loading = self._stock.loading(model) if self._system.partial_sources else ()
        allowed = tuple(Tier[name.upper()] for name in self._system.sources)
        most = self._system.max_sources
        return place(
            min(count, len(free)), free, gpu, host, ssd, most, allowed, loading, self._sending()
        )

    def _sending(self) -> Counter[int]:
        """In how many scale-outs each node sends now."""
        self._growths = [g for g in self._growths if not g.formation.complete]
        return Counter(src for growth in self._growths for src in growth.sending)

    def _begin(self, service: Service, placement: Placement, number: int, phases: Phases) -> Growth:
        """Plan, pin every copy that blocks come from, and let the members work for the model."""
        model, stock, image = service.model, self._stock, service.deployment.image
        plan = plan_growth(placement, image.blocks.num_blocks, self._system, self._cluster.host_of)
        for node in plan.staging:
            made = stock.make_room(node, Tier.HOST, model)
            assert made  # see `_can_send`
        pinned = [
            *plan.senders.items(),
            *((node, Tier.HOST) for node in placement.starting(Start.WARM)),
        ]
        stock.pin_all(model, pinned)
        for member in placement.members:
            self._take(number, model, member)
        slices = stock.slices[model]
        held = self._held(model, [node for group in plan.groups for node in group])
        return Growth(
            number, model, image, plan, slices, self._system, phases, self._ids, pinned, held
        )

    def _held(self, model: str, instances: Sequence[int]) -> dict[int, frozenset[int]]:
        """What members have already of what they are to get."""
        stock = self._stock
        nodes = [node for instance in instances for node in stock.slices[model].nodes(instance)]
        held = {node: stock.held(node, Tier.GPU, model) for node in nodes}
        return {node: blocks for node, blocks in held.items() if blocks}

    def _take(self, number: int, model: str, member: Member) -> None:
        """Assign a member to the model."""
        stock = self._stock
        stock.assign(member.node, model)
        for node in stock.slices[model].nodes(member.node):
            start = StartRecord(number, model, node, member.start.value, self._log.since())
            self._log.add(start)
