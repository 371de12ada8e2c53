"""What happens when a node is gone: its end is an event, and the others go on with what is left.

    ended    forget the node
    quiet    it is dead; one with a lease may also have come to rest, and be back. Tell the survivors, who
             begin nothing more that has to do with it
    noted    each survivor answers when nothing of the kind is under way there any more
    all have requests of broken pipelines were queued again meanwhile; now members are free, and running
             scale-outs are planned anew from what survivors hold (`growth_repair`)

A slow node is passed by in the same way: the sends of its scale-out stop, and the rest is planned anew.
The autoscaler replaces lost capacity by its usual rules. Only if no copy of a model is left anywhere are its
requests given up.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.expansion import Expansion
from lambdascale.cluster.growth import Growth
from lambdascale.cluster.growth_plan import GrowthPlan
from lambdascale.cluster.growth_repair import Remains, repaired
from lambdascale.cluster.members import Ended, Members
from lambdascale.cluster.records import LossRecord, RepairRecord, RunLog, SlowRecord
from lambdascale.cluster.service import Service
from lambdascale.cluster.stock import Stock
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.errors import LambdaScaleError, NoCopyError
from lambdascale.storage.tiers import Tier

Numbers = tuple[int, ...]
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
        decide: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._services = services
        self._stock = stock
        self._expansion = expansion
        self._members = members
        self._log = log
        self._decide = decide  # how many instances there are to be
        self._repairs = system.repairs
        self._allowed = tuple(Tier[name.upper()] for name in system.sources)
        self._noting: dict[int, set[int]] = {}  # lost node → who has not answered
        self._lost: dict[
            int, tuple[Numbers, Numbers]
        ] = {}  # what others are to be told when it is quiet
        self._stopping: dict[int, set[int]] = {}  # scale-out with a slow node → whose sends go on
        self._coming: dict[int, tuple[m.Delivered, ...]] = {}  # what slow links bring, by sender
        self._delivered: defaultdict[int, Deliveries] = defaultdict(lambda: defaultdict(set))
        self._failed: dict[str, int] = {}
        self._any_lost = False

    @property
    def under_way(self) -> bool:
        """Has anybody still to note a loss, or to stop sends?"""
        return bool(self._noting or self._stopping)

    def ended(self, end: Ended) -> None:
        """A node is gone; LambdaScaleError if it was the last."""
        self._log.add(LossRecord(end.node, end.why, self._log.since()))
        alive, self._any_lost = list(self._members.alive), True
        self._check_left(f", the last was {end.node} ({end.why})")
        self._stock.lose(end.node)
        services = self._services.values()
        broken = tuple(p.pipeline for s in services for p in s.pipelines.through(end.node))
        waves = [wave for service in services for wave in service.losses.lose(end.node)]
        self._coming.pop(end.node, None)
        for waiting in (*self._noting.values(), *self._stopping.values()):
            waiting.discard(end.node)
        self._noting[end.node] = {*alive, end.node}
        self._lost[end.node] = tuple(waves), broken
        if not self._members.may_live(end.node):
            self.quiet(end.node)

    def died(self, node: int) -> None:
        """The agent of a node has ended; LambdaScaleError if no other is left."""
        self._check_left(f", the last was {node}")
        self.quiet(node)

    def quiet(self, lost: int) -> None:
        """The agent of a lost node has ended, or has come to rest: it writes no more, so tell others."""
        if lost not in self._lost:
            return
        waves, broken = self._lost.pop(lost)
        self._noting[lost].discard(lost)
        for node in sorted(self._noting[lost]):
            services = self._services.values()
            forsaken = tuple(s.model for s in services if s.losses.forsakes(node))
            self._members.send(node, m.NodeLost(lost, waves, broken, forsaken))
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
        self._stopping[growth.wave] = set(senders)
        self._members.tell(senders, stop)

    def stopped(self, message: m.SendsStopped) -> None:
        """A sender has stopped, but for what is under way on slow links."""
        for d in message.delivered:
            self._delivered[d.scale_out][d.dst].add(d.block)
        self._coming[message.node] = (*self._coming.get(message.node, ()), *message.coming)
        self._stopping[message.scale_out].discard(message.node)
        self._go_on()

    def _go_on(self) -> None:
        """Plan anew as soon as everything is quiet, but for slow links."""
        if any(self._noting.values()) or any(self._stopping.values()):
            return
        any_lost = bool(self._noting)
        self._noting.clear()
        self._stopping.clear()
        for service in self._services.values():
            service.mourn()
            for growth in list(service.growths.values()):  # the earlier ones feed the later ones
                if growth.repairing:
                    self._repair(service, growth, any_lost)
            for growth in list(service.growths.values()):
                service.reshape(growth)
        self._delivered.clear()
        self._coming.clear()
        self._expansion.lost()
        if not self._repairs:
            self._decide()

    def _repair(self, service: Service, growth: Growth, any_lost: bool) -> None:
        delivered, late = self._known(growth)
        due, is_expected = growth.due(delivered), self._stock.is_expected
        held = {i: b for i, b in due.items() if is_expected(i, Tier.GPU, service.model)}
        on_disk = set(self._stock.holders(service.model, Tier.SSD))
        disks = [instance for instance in held if instance in on_disk]
        remains = Remains(held, self._sources(service, growth, held), disks, growth.slow, late)
        # a load that is under way is not taken back, nor is what serves
        goes_on = self._repairs or growth.plan.loads or growth.formation.complete
        plan = repaired(growth.plan, remains, growth.num_blocks) if goes_on else None
        if plan is None:
            service.losses.give_up(growth)
            plan = growth.plan
        else:
            self._pin(service.model, growth, plan)
        wave = self._expansion.new_wave()
        copy_s = (
            self._stock.nbytes(service.model) / self._cluster.link_rate
        )  # 0 if that is infinite
        growth.repair(plan, wave, copy_s / growth.num_blocks)
        if any_lost and not late:  # else what is late, or sent again, comes under the key of now
            for instance in plan.members:
                self._stock.rekey(instance, service.model)
        number, sends = growth.number, len(plan.transfers)
        self._log.add(RepairRecord(number, service.model, sends, self._log.since()))
        if not self._cluster.preconnect:
            growth.introduce(self._members.send, self._members.addresses)
        growth.go_on(self._members.send, self._stock)

    def _known(self, growth: Growth) -> tuple[Deliveries, Deliveries]:
        """What has reached nodes of a scale-out, or surely will, and by instance what slow links bring."""
        delivered, late = Deliveries(set), Deliveries(set)
        for wave in growth.waves:
            for node, blocks in self._delivered[wave].items():
                delivered[node] |= blocks
        for coming in self._coming.values():
            for d in coming:
                if d.scale_out in growth.waves:
                    delivered[d.dst].add(d.block)
                    late[growth.instance(d.dst)].add(d.block)
        return delivered, late

    def _pin(self, model: str, growth: Growth, plan: GrowthPlan) -> None:
        """Whoever sends by the new plan keeps what it sends, although it may be released meanwhile."""
        new = [sender for sender in plan.senders.items() if sender not in growth.pinned]
        self._stock.pin_all(model, new)
        growth.pinned += new

    def _sources(self, service: Service, growth: Growth, held: Collection[int]) -> dict[int, Tier]:
        """Who sends besides the members; another holder, which stays meanwhile, if nobody is left."""
        model, stock = service.model, self._stock
        left = {
            instance: tier
            for instance, tier in growth.plan.senders.items()
            if instance not in held and stock.is_expected(instance, tier, model)
        }
        if left or growth.formation.complete:
            return left
        for tier in (Tier.GPU, Tier.HOST):
            others = [i for i in stock.holders(model, tier) if i not in held]
            if others and tier in self._allowed:
                growth.pinned.append((others[0], tier))
                stock.pin_all(model, [(others[0], tier)])
                return {others[0]: tier}
        return {}

    def give_up(self) -> None:
        """Fail the requests for models of which no copy is left, when nobody may bring one back."""
        if self.under_way or self._members.any_coming:
            return
        for model, service in self._services.items() if self._any_lost else ():
            waits = service.router.num_waiting and not service.growths
            if waits and not self._exists(model):
                self._failed[model] = self._failed.get(model, 0) + len(service.fail())

    def _exists(self, model: str) -> bool:
        """Is there a copy, or will there be one when a node is started again?"""
        restarts = self._cluster.restart_s is not None
        return self._stock.exists(model) or (restarts and self._stock.remnants.may_come_back(model))

    def check(self, num_left: int) -> None:
        """Raise NoCopyError if requests were given up, LambdaScaleError if no node is left at the end."""
        if not num_left:
            self._check_left()
        for model, count in self._failed.items():
            raise NoCopyError(
                f"{count} requests for {model} were not answered: no copy of it is left on any node that "
                "lives; store it on more SSDs or run more nodes"
            )

    def _check_left(self, last: str = "") -> None:
        """Raise LambdaScaleError if nobody is here, or may come back."""
        members, cluster = self._members, self._cluster
        may_come = cluster.restart_s is not None or any(map(members.may_live, cluster.nodes))
        if not (members.alive or may_come):
            raise LambdaScaleError(
                f"all {cluster.num_nodes} nodes have ended{last}; see what ended them and start again"
            )
