"""What happens when a node is gone: its end is an event, and the others go on with what is left.

    ended    forget the node; tell the survivors, who begin nothing more that has to do with it
    stopped  each survivor answers when its sends have ended; when all have, running scale-outs are planned
             anew from what survivors hold (`growth_repair`)
    noted    each survivor answers again when nothing at all of the kind is under way there any more
    all have requests of broken pipelines were queued again meanwhile; now members are free

A slow node is passed by in the same way: the sends of its scale-out stop, and the rest is planned anew.
The autoscaler replaces lost capacity by its usual rules. Only if no copy of a model is left anywhere are its
requests given up.
"""

from collections import defaultdict
from collections.abc import Mapping

from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.expansion import Expansion
from lambdascale.cluster.growth import Growth
from lambdascale.cluster.growth_repair import Remains, repaired
from lambdascale.cluster.members import Ended, Members
from lambdascale.cluster.records import LossRecord, RunLog, SlowRecord
from lambdascale.cluster.service import Service
from lambdascale.cluster.stock import Stock
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.errors import LambdaScaleError, NoCopyError
from lambdascale.storage.tiers import Tier

Deliveries = defaultdict[int, set[int]]  # node → blocks


class Recovery:
    """Deals with the ends of nodes, those of one time together."""

    def __init__(
        self,
        system: SystemSpec,
        cluster: ClusterSpec,
        services: Mapping[str, Service],
        stock: Stock,
        expansion: Expansion,
        members: Members,
        log: RunLog,
    ) -> None:
        self._cluster = cluster
        self._services = services
        self._stock = stock
        self._expansion = expansion
        self._members = members
        self._log = log
        self._allowed = tuple(Tier[name.upper()] for name in system.sources)
        self._noting: dict[int, set[int]] = {}  # lost node → who has not answered
        self._stopping: dict[tuple[str, int | None], set[int]] = {}  # why → whose sends go on
        self._coming: dict[int, tuple[m.Delivered, ...]] = {}  # by sender
        self._delivered: defaultdict[int, Deliveries] = defaultdict(lambda: defaultdict(set))
        self._failed: dict[str, int] = {}
        self._any_lost = False

    @property
    def under_way(self) -> bool:
        """Has anybody still to note a loss?"""
        return bool(self._noting or self._stopping)

    def ended(self, end: Ended) -> None:
        """A node is gone; LambdaScaleError if it was the last."""
        self._log.add(LossRecord(end.node, end.why, self._log.since()))
        alive, self._any_lost = list(self._members.alive), True
        if not alive:
            raise self._all_ended(f", the last was {end.node} ({end.why})")
        self._stock.lose(end.node)
        services = self._services.values()
        broken = tuple(p.pipeline for s in services for p in s.pipelines.through(end.node))
        waves = [wave for service in services for wave in service.losses.lose(end.node)]
        self._coming.pop(end.node, None)
        for waiting in (*self._noting.values(), *self._stopping.values()):
            waiting.discard(end.node)
        self._noting[end.node] = set(alive)
        self._stopping["lost", end.node] = set(alive)
        for node in alive:
            forsaken = tuple(s.model for s in services if s.losses.forsakes(node))
            self._members.send(node, m.NodeLost(end.node, tuple(waves), broken, forsaken))
        self._go_on()

    def noted(self, message: m.LossNoted) -> None:
        """A survivor has done with a node that is gone."""
        for d in message.delivered:
            self._delivered[d.scale_out][d.dst].add(d.block)
        self._noting[message.lost].discard(message.node)
        self._go_on()

    def wrote(self, message: m.Written) -> None:
        """Writes have been timed: if a node is slow, let the sends stop that others plan to get from it."""
        growths = (g for s in self._services.values() for g in s.growths.values())
        growth = next((g for g in growths if g.wave == message.scale_out and not g.repairing), None)
        node = None if growth is None else growth.wrote(message)
        if growth is None or node is None:
            return
        self._log.add(SlowRecord(node, growth.number, self._log.since()))
        stop = growth.detour()
        senders = [n for n in growth.senders if n in self._members.alive]
        self._stopping["slow", growth.wave] = set(senders)
        self._members.tell(senders, stop)

    def stopped(self, message: m.SendsStopped) -> None:
        """A sender has stopped, but for what is under way."""
        for d in message.delivered:
            self._delivered[d.scale_out][d.dst].add(d.block)
        self._coming[message.node] = (*self._coming.get(message.node, ()), *message.coming)
        why = ("lost", message.lost) if message.scale_out is None else ("slow", message.scale_out)
        self._stopping[why].discard(message.node)
        self._go_on()

    def _go_on(self) -> None:
        """Plan anew as soon as no sends begin any more, and free what is left when everything is quiet."""
        if any(self._stopping.values()):
            return
        self._stopping.clear()
        quiet = not any(self._noting.values())
        for service in self._services.values():
            for growth in list(service.growths.values()):  # the earlier ones feed the later ones
                if growth.repairing:
                    self._repair(service, growth, quiet)
        if quiet:
            self._end()

    def _end(self) -> None:
        self._noting.clear()
        for service in self._services.values():
            service.mourn()
            for growth in list(service.growths.values()):
                service.reshape(growth)
        self._delivered.clear()
        self._coming.clear()
        self._expansion.lost()

    def _repair(self, service: Service, growth: Growth, quiet: bool) -> None:
        delivered, coming = self._known(growth)
        held = growth.due(delivered)
        on_disk = set(self._stock.holders(service.model, Tier.SSD))
        disks = [instance for instance in held if instance in on_disk]
        remains = Remains(held, self._sources(service, growth), disks, growth.slow, coming)
        plan = repaired(growth.plan, remains, growth.num_blocks)
        if plan is None and not quiet:
            return  # there may be writes into copies that come to nothing
        if plan is None:
            service.losses.give_up(growth)
            plan = growth.plan
        wave = self._expansion.new_wave()
        copy_s = (
            self._stock.nbytes(service.model) / self._cluster.link_rate
        )  # 0 if that is infinite
        growth.repair(plan, wave, copy_s / growth.num_blocks)
        if not self._cluster.preconnect:
            growth.introduce(self._members.send, self._members.addresses)
        growth.go_on(self._members.send, self._stock)

    def _known(self, growth: Growth) -> tuple[Deliveries, Deliveries]:
        """What has reached nodes of a scale-out, or surely will, and by instance what slow links bring."""
        delivered, late = Deliveries(set), Deliveries(set)
        for wave in growth.waves:
            for node, blocks in self._delivered[wave].items():
                delivered[node] |= blocks
        for sender, coming in self._coming.items():
            for d in coming:
                if d.scale_out in growth.waves:
                    delivered[d.dst].add(d.block)
                    if growth.slow.keys() & {growth.instance(sender), growth.instance(d.dst)}:
                        late[growth.instance(d.dst)].add(d.block)
        return delivered, late

    def _sources(self, service: Service, growth: Growth) -> dict[int, Tier]:
        """Who sends besides the members; another holder, which stays meanwhile, if nobody is left."""
        model, stock, members = service.model, self._stock, growth.plan.members
        left = {
            instance: tier
            for instance, tier in growth.plan.senders.items()
            if instance not in members and stock.is_expected(instance, tier, model)
        }
        if left or growth.formation.complete:
            return left
        for tier in (Tier.GPU, Tier.HOST):
            others = [i for i in stock.holders(model, tier) if i not in members]
            if others and tier in self._allowed:
                growth.pinned.append((others[0], tier))
                stock.pin_all(model, [(others[0], tier)])
                return {others[0]: tier}
        return {}

    def give_up(self) -> None:
        """Fail the requests for models of which no copy is left."""
        for model, service in self._services.items() if self._any_lost else ():
            if service.router.num_waiting and not service.growths and not self._stock.exists(model):
                self._failed[model] = self._failed.get(model, 0) + len(service.fail())

    def check(self, num_left: int) -> None:
        """Raise NoCopyError if requests were given up, LambdaScaleError if no node is left at the end."""
        if not num_left:
            raise self._all_ended()
        for model, count in self._failed.items():
            raise NoCopyError(
                f"{count} requests for {model} were not answered: no copy of it is left on any node that "
                "lives; store it on more SSDs or run more nodes"
            )

    def _all_ended(self, last: str = "") -> LambdaScaleError:
        nodes = self._cluster.num_nodes
        return LambdaScaleError(
            f"all {nodes} nodes have ended{last}; see what ended them and start again"
        )
