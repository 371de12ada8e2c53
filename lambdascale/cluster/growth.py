"""One scale-out while it runs: its messages to the agents, what has arrived, and its phases.

Its plan is replaced when a node of it is gone (`growth_repair`, `recovery`).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from lambdascale.clock import now
from lambdascale.cluster import growth_nodes
from lambdascale.cluster.barrier import Barrier
from lambdascale.cluster.growth_plan import GrowthPlan, LocalLoad, setup_s
from lambdascale.cluster.growth_repair import without
from lambdascale.cluster.phases import Phases
from lambdascale.cluster.slices import Slices
from lambdascale.cluster.slowness import Watch
from lambdascale.cluster.stock import Send, Stock
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.model.image import ImageSource
from lambdascale.multicast.schedule import Transfer
from lambdascale.pipeline.costs import part_nbytes
from lambdascale.pipeline.formation import Formation
from lambdascale.storage.tiers import Tier

_NOTHING: Mapping[int, Collection[int]] = {}


class Growth:
    """A scale-out of `model`; instances in the place of nodes until messages are made."""

    def __init__(
        self,
        number: int,
        model: str,
        image: ImageSource,
        plan: GrowthPlan,
        slices: Slices,
        system: SystemSpec,
        phases: Phases,
        ids: Iterator[int],
        pinned: Sequence[tuple[int, Tier]],
        host_of: Callable[[int], int] = int,
        held: Mapping[int, Collection[int]] = _NOTHING,
    ) -> None:
        """`held` is what nodes of members have before anything is sent."""
        self.number = number
        self.plan = plan
        self.phases = phases
        self.formation = Formation(
            plan.groups, plan.whole, image.blocks, part_nbytes(image.layout),
            system.execute_while_load, ids, together=system.switch == "group",
        )  # fmt: skip
        self.resuming: dict[int, None] = {}  # requests that a switch has moved and that wait
        self.pinned = list(pinned)
        self.begun_s = now()
        self.setup_s = setup_s(plan, system, image.layout.nbytes)
        self._model = model
        self._slices = slices
        self._system = system
        self._image = image
        self.waves = [number]  # of sends; a repair begins another
        self._started = False
        self._tick_s = 0.0
        self._waiting: Callable[[], None] | None = None  # a start, for a repair to be planned
        self.repairing = False  # start nothing until the repair that is being planned
        self._new_loads: Sequence[LocalLoad] = ()
        self._held: defaultdict[int, set[int]] = defaultdict(set)
        for node, blocks in held.items():
            self._held[node].update(blocks)
        self._expected: Mapping[int, Collection[int]] = held  # or when a repair was planned
        self._plan_sends(growth_nodes.sends(plan, slices, held))
        self._spoiled: defaultdict[int, set[int]] = defaultdict(set)  # what nobody sends again
        self._connecting: set[int] = set()
        factor = None if system.barrier or not system.repairs else system.slow_factor
        self._watch = Watch(factor, lambda src, dst: host_of(src) != host_of(dst))

    def instance(self, node: int) -> int:
        """Return the instance that a node is part of."""
        return self._slices.instance(node)

    @property
    def senders(self) -> list[int]:
        """The nodes that send, or have sent."""
        return [n for instance in self.plan.senders for n in self._slices.nodes(instance)]

    @property
    def wave(self) -> int:
        """The number of the sends that are under way."""
        return self.waves[-1]

    def wrote(self, message: m.Written) -> int | None:
        """Note how long writes took; return a node that is slow, and on which others wait."""
        done, under_way = ([(w.peer, w.seconds) for w in ws] for ws in (message.done, message.open))
        node = self._watch.wrote(message.node, done, under_way, now())
        relays = any(t.src == node and t.block not in self._held[t.dst] for t in self._transfers)
        return node if relays else None

    @property
    def slow(self) -> dict[int, float]:
        """The instances that relay no more: about how many times as long a block takes there."""
        factor = self._system.slow_factor or math.inf
        return {self.instance(node): factor for node in self._watch.known}

    def detour(self) -> m.StopSends:
        """Start nothing before another plan is made; return what senders are to be told."""
        self.repairing = True
        return m.StopSends(tuple(self.waves), tuple(self._watch.known))

    def _plan_sends(self, transfers: Sequence[Transfer]) -> None:
        self._transfers = transfers
        self.sending = frozenset(transfer.src for transfer in self.plan.transfers)
        self._barrier = Barrier(growth_nodes.barriers(self.plan, self._slices), transfers)

    @property
    def over(self) -> bool:
        """Is every member a replica, and everybody who had to move served again?"""
        return self.formation.settled and not self.resuming

    @property
    def share(self) -> float:
        """The share of the model's blocks that its members hold together."""
        return len(set().union(*self._held.values())) / self.num_blocks

    def connect(self, send: Send, addresses: Mapping[int, m.Address]) -> bool:
        """Ask for the links that are needed; True if there are none to wait for."""
        wanted = growth_nodes.links(self.plan, self._slices, self._transfers)
        self._connecting = set(wanted)
        for node, (bulk, others) in wanted.items():
            known = {peer: addresses[peer] for peer in (*bulk, *others)}
            send(node, m.Connect(self.number, known, tuple(bulk), tuple(others)))
        return not self._connecting

    def connected(self, node: int) -> bool:
        """One more node has its links; True if that was the last."""
        self._connecting.discard(node)
        return not self._connecting

    def start(self, send: Send, stock: Stock) -> None:
        """Let blocks move, after the repair if one is being planned."""
        if self.repairing:
            self._waiting = partial(self.start, send, stock)
            return
        self._started = True
        self.phases.reached("connected")
        for instance in self.plan.members if self._expected else ():
            here = [b for b in range(self.num_blocks) if self._complete(instance, b, self._held)]
            self.formation.arrived(instance, here)
        self._load(self.plan.loads, send)
        self._send_all(send, stock)

    def _load(self, loads: Sequence[LocalLoad], send: Send) -> None:
        for load in loads:
            for at, node in enumerate(self._slices.nodes(load.node)):
                here = self._expected.get(node, ()) if load.target is Tier.GPU else ()
                wanted = self._slices.blocks[at]
                own = tuple(b for b in load.blocks if b in wanted and b not in here)
                if own:
                    send(node, m.Load(self._model, load.source, load.target, own))

    def _send_all(self, send: Send, stock: Stock) -> None:
        for node, sends in self._sends().items():
            self._multicast(node, sends, send, stock)

    def involves(self, instance: int) -> bool:
        """Is an instance a member, or does it send?"""
        return instance in self.plan.members or instance in self.plan.senders

    def lose(self, instance: int) -> None:
        """An instance is gone, or gives up."""
        if not self.involves(instance):
            return
        self.plan = without(self.plan, instance)
        self._plan_sends([t for t in self._transfers if self._is_kept(t, instance)])
        self.formation.lose(instance)
        self._connecting.difference_update(self._slices.nodes(instance))

    def _is_kept(self, transfer: Transfer, lost: int) -> bool:
        ends = (self._slices.instance(node) for node in (transfer.src, transfer.dst))
        return lost not in ends

    @property
    def connecting(self) -> bool:
        """Does it wait for links?"""
        return bool(self._connecting)

    def due(self, delivered: Mapping[int, Collection[int]]) -> dict[int, frozenset[int]]:
        """Return what every member has, or surely gets: what has been delivered to its nodes, own loads."""
        own: defaultdict[int, set[int]] = defaultdict(set)
        for load in self.plan.loads:
            if load.target is Tier.GPU:
                own[load.node].update(load.blocks)
        self._expected = {
            node: self._held[node].union(delivered.get(node, ())) - self._spoiled[node]
            for instance in self.plan.members
            for node in self._slices.nodes(instance)
        }
        return {
            instance: self.formation.held[instance].union(
                own[instance],
                (b for b in range(self.num_blocks) if self._complete(instance, b, self._expected)),
            )
            for instance in self.plan.members
        }

    @property
    def num_blocks(self) -> int:
        return self._image.blocks.num_blocks

    def repair(self, plan: GrowthPlan, wave: int, tick_s: float) -> None:
        """Take another plan, whose first loads are those of the old one, for a new wave of sends.

        Its transfers are irregular: who has idle ticks would run ahead of the others, and be in their way at
        the ports of those that both send to. So nobody begins sooner than after `tick_s` for every tick.
        """
        self._tick_s = tick_s
        self._spoiled.clear()
        self._new_loads = plan.loads[len(self.plan.loads) :]
        self.plan, self.repairing = plan, False
        self.waves.append(wave)
        self._plan_sends(growth_nodes.sends(plan, self._slices, self._expected))
        self._watch.forget()

    def introduce(self, send: Send, addresses: Mapping[int, m.Address]) -> None:
        """Let every sender know where those are that it sends to."""
        for node, sends in self._sends().items():
            known = {t.dst: addresses[t.dst] for t in sends}
            send(node, m.Connect(self.wave, known, (), ()))

    def go_on(self, send: Send, stock: Stock) -> None:
        """Let blocks move by the new plan, if they did by the old one or would have meanwhile."""
        if self._started:
            self._load(self._new_loads, send)
            self._send_all(send, stock)
        elif self._waiting is not None:
            self._waiting()

    def _sends(self) -> dict[int, list[Transfer]]:
        sends: defaultdict[int, list[Transfer]] = defaultdict(list)
        for transfer in self._transfers:
            sends[transfer.src].append(transfer)
        return sends

    def _multicast(self, node: int, sends: Sequence[Transfer], send: Send, stock: Stock) -> None:
        tier = self.tier_of(node)
        targets = {t.dst: stock.target(t.dst, self._model) for t in sends}
        window, barrier = self._system.window, self._system.barrier
        message = m.Multicast(
            self.wave, self._model, tier, tuple(sends), targets, window, barrier, self._tick_s,
            self._watch.watches, tuple(self._watch.known),
        )  # fmt: skip
        send(node, message)
        if barrier:
            send(node, m.OpenTick(self.wave, 1, self._system.message_s))

    def tier_of(self, node: int) -> Tier:
        """Return the tier that a node sends from."""
        return self.plan.senders[self._slices.instance(node)]

    def spoil(self, node: int, block: int) -> None:
        """A block arrived changed, and who could send it again is gone: the repair is to see to it."""
        self._spoiled[node].add(block)

    def sender_of(self, block: int, node: int, src: int) -> int | None:
        """Return who can send a block to `node` again: `src`, or else another one that has it."""
        senders, at = self.plan.senders, self._slices.position(node)
        if self._slices.instance(src) in senders:
            return src
        able = (i for i in senders if i + at != node and self._has(i, block))
        return next((instance + at for instance in able), None)

    def _has(self, instance: int, block: int) -> bool:
        return instance not in self.plan.members or self.formation.holds(instance, block)

    def arrived(self, node: int, blocks: Collection[int], send: Send) -> None:
        """Note verified blocks; open the ticks that waited for them."""
        self.phases.reached("loading")
        self._held[node].update(blocks)
        instance = self._slices.instance(node)
        whole = [b for b in blocks if self._complete(instance, b, self._held)]
        self.formation.arrived(instance, whole)
        if self.formation.covered:
            self.phases.reached("covered")
        if self._system.barrier:
            for group, tick in self._barrier.arrived(node, blocks):
                opening = m.OpenTick(self.wave, tick, self._system.message_s)
                for member in group:
                    send(member, opening)

    def _complete(self, instance: int, block: int, held: Mapping[int, Collection[int]]) -> bool:
        """Has every node of the instance that needs `block` got it?"""
        return all(
            block not in own or block in held[instance + at]
            for at, own in enumerate(self._slices.blocks)
        )
