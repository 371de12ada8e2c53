"""The copies on all nodes, and who is assigned to which model: decisions of `Residency`, told to the agents.

A node is assigned to at most one model, but may hold copies of several. When it is released its copy goes to
host memory as well, so that the room on the GPU can be had at once later on. The last copy of a model that no
SSD has never leaves.
"""

from collections.abc import Callable, Iterable, Sequence

from lambdascale.clock import now
from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.disks import check_reach, put_on_disks
from lambdascale.cluster.inventory import Inventory
from lambdascale.cluster.records import AllocationRecord, ResidencyRecord, RunLog
from lambdascale.cluster.remnants import Remnants
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.control.keys import new_key
from lambdascale.storage.copies import Copy
from lambdascale.storage.tiers import Tier

Send = Callable[[int, m.Message], None]


class Stock(Inventory):
    """Assignments and copies; agents are told of every change by `send`."""

    def __init__(
        self,
        cluster: ClusterSpec,
        deployments: Sequence[Deployment],
        system: SystemSpec,
        send: Send,
        log: RunLog,
    ) -> None:
        super().__init__(cluster, deployments, system)
        self._demote = system.demote
        self._copies_to_host = system.copy_to_host
        self._send = send
        self._log = log
        self._keys: dict[tuple[int, str], int] = {}  # of the last copy expected on a GPU
        self._demoting: set[tuple[int, Tier, str]] = set()  # copies that are on their way down
        for deployment in deployments:
            model = deployment.model
            put_on_disks(self.residency, cluster, deployment, self.slices[model], self._deployments)
            check_reach(self.residency, cluster, deployment, self.slices[model], system.sources)
        self.remnants = Remnants(self.residency, self._deployments, self.slices, self._complete)
        self.remnants.begin(cluster.nodes)

    def assign(self, instance: int, model: str) -> None:
        """Let the nodes of an instance work for `model`; its copies on their GPUs stay."""
        for node in self.slices[model].nodes(instance):
            self.assignments.assign(node, model)
            self.residency.pin(node, Tier.GPU, model)
            self._log.add(AllocationRecord(model, node, self._log.since(), allocated=True))
            self._send(node, m.Serve(model))

    def release(self, instance: int, model: str) -> None:
        """The nodes of an instance are free for others; what they hold stays for a while."""
        for node in self.slices[model].nodes(instance):
            self.assignments.assign(node, None)
            self.residency.unpin(node, Tier.GPU, model, now())
            self._log.add(AllocationRecord(model, node, self._log.since(), allocated=False))
            self._begin_demotion(node, Tier.GPU, model)

    def pin_all(self, model: str, copies: Iterable[tuple[int, Tier]]) -> None:
        """Keep copies of instances while they are sources of a scale-out."""
        for instance, tier in copies:
            for node in self.slices[model].nodes(instance):
                self.residency.pin(node, tier, model)

    def unpin_all(self, model: str, copies: Iterable[tuple[int, Tier]]) -> None:
        """Everything has been sent: take back the pins of a scale-out."""
        for instance, tier in copies:
            for node in self._alive(instance, model):
                self.residency.unpin(node, tier, model, now())

    def lose(self, node: int) -> None:
        """Forget a node that is gone, and all it held."""
        for tier in Tier:
            for copy in self.residency.copies(node, tier):
                self._missing.pop((node, tier, copy.model), None)
                self._demoting.discard((node, tier, copy.model))
                if copy.complete:
                    self._record(copy.model, node, tier, resident=False)
        self.remnants.lose(node)
        self.residency.lose(node)
        if (model := self.assignments.of[node]) is not None:
            self._log.add(AllocationRecord(model, node, self._log.since(), allocated=False))
        self.assignments.lose(node)

    def enter(self, node: int, held: Iterable[m.Held]) -> None:
        """A node that was lost is back: it is free, and has what it still holds."""
        self.residency.enter(node)
        self.assignments.enter(node)
        self.remnants.enter(node)
        self.find(node, held)

    def find(self, node: int, held: Iterable[m.Held]) -> None:
        """Believe what a node says that it has verified; what does not belong there it is to forget."""
        for useless in self.remnants.find(node, held):
            self._send(node, m.Drop(useless.model, useless.tier, 0, 0, release=False))

    def _complete(self, node: int, tier: Tier, model: str) -> None:
        self.residency.complete(node, tier, model, now())
        self._record(model, node, tier, resident=True)

    def withdraw(self, instance: int, model: str) -> None:
        """An instance comes to nothing: its nodes are free, and forget what is not complete."""
        for node in self._alive(instance, model):
            self.assignments.assign(node, None)
            self.residency.unpin(node, Tier.GPU, model, now())
            self._log.add(AllocationRecord(model, node, self._log.since(), allocated=False))
            if (node, Tier.GPU, model) in self._missing:
                self._abandon(node, Tier.GPU, model)

    def target(self, node: int, model: str) -> m.Target:
        """Where on a node's GPU a copy is expected, and by which key it is granted."""
        return m.Target(self.base(node, Tier.GPU, model), self._keys[node, model])

    def rekey(self, instance: int, model: str) -> None:
        """What an instance lacks on its GPUs comes under other keys from now on."""
        for node in self._alive(instance, model):
            if (node, Tier.GPU, model) in self._missing:
                self._rekey(node, model)

    def _rekey(self, node: int, model: str) -> None:
        self._keys[node, model] = key = new_key()
        self._send(node, m.Rekey(model, key))

    def begin(self) -> None:
        """Time counts from now on: keep-alives of what lies in memory begin."""
        for node in self.assignments.of:
            for tier in (Tier.GPU, Tier.HOST):
                for copy in self.residency.copies(node, tier):
                    self.residency.touch(node, tier, copy.model, now())

    def has_room(self, instance: int, tier: Tier, model: str) -> bool:
        """Could every node of an instance hold its slice now, if idle copies went?"""
        slices, blocks = self.slices[model], self._image(model).blocks
        return all(
            self.remnants.is_left((node, tier, model))
            or (
                self._may_replace(node, tier, model)
                and self.residency.has_room(
                    node, tier, slices.span(at, blocks)[1], self._last_ones(node, tier)
                )
            )
            for at, node in enumerate(slices.nodes(instance))
        )

    def make_room(self, instance: int, tier: Tier, model: str) -> bool:
        """Let a copy be expected on every node of an instance; idle copies leave as far as it needs.

        False, and nothing is expected, if what must stay leaves too little room.
        """
        nodes = self.slices[model].nodes(instance)
        for at, node in enumerate(nodes):
            if not self._place(node, tier, model):
                for earlier in nodes[:at]:
                    self._abandon(earlier, tier, model)
                return False
        return True

    def _place(self, node: int, tier: Tier, model: str) -> bool:
        """Expect a copy on one node; a slice left over from an instance that is no more is replaced."""
        slices, blocks = self.slices[model], self._image(model).blocks
        position = slices.position(node)
        nbytes = slices.span(position, blocks)[1]
        if not self._may_replace(node, tier, model):
            return False
        place = node, tier, model
        if self.remnants.is_left(place):
            self._missing[place] = self.remnants.take(place)
            self._rekey(node, model)
            return True
        if (old := self.residency.copy(node, tier, model)) is not None:
            self._drop(old)
        keep = self._last_ones(node, tier)
        placed = self.residency.place(node, tier, model, nbytes, now(), keep)
        if placed is None:
            return False
        for gone in placed.evicted:
            self._gone(gone.node, gone.tier, gone.model, gone.offset, 0, gone.complete)
        parts = slices.parts[position]
        base = self.base(node, tier, model)
        key = new_key() if tier is Tier.GPU else 0
        if key:
            self._keys[node, model] = key
        self._send(node, m.Hold(model, tier, base, parts.start, parts.stop, key))
        self._missing[node, tier, model] = set(slices.blocks[position])
        return True

    def _may_replace(self, node: int, tier: Tier, model: str) -> bool:
        copy = self.residency.copy(node, tier, model)
        return copy is None or (copy.idle and not self._is_last(copy))

    def _abandon(self, node: int, tier: Tier, model: str) -> None:
        """Expect a copy no more of which nothing has come."""
        del self._missing[node, tier, model]
        self.residency.abandon(node, tier, model)
        self._send(node, m.Drop(model, tier, 0, 0, release=False))

    def arrived(self, node: int, tier: Tier, model: str, blocks: Iterable[int]) -> bool:
        """Note verified blocks of a copy; say whether it has just become complete."""
        missing = self._missing.get((node, tier, model))
        if missing is None:
            return False
        missing.difference_update(blocks)
        if missing:
            return False
        del self._missing[node, tier, model]
        self._complete(node, tier, model)
        if tier > Tier.GPU and (above := (node, Tier(tier - 1), model)) in self._demoting:
            self._demoting.remove(above)
            self.residency.unpin(*above, None)
        return True

    def expire(self) -> None:
        """Let go of what has been idle for longer than its keep-alive."""
        for copy in self.residency.expired(now()):
            node, tier, model = copy.node, copy.tier, copy.model
            if self.residency.copy(node, tier, model) != copy:
                continue  # it has just been evicted by one that leaves a GPU
            if tier is Tier.HOST and self.residency.copy(node, Tier.GPU, model) is not None:
                self.residency.touch(node, tier, model, now())  # its time begins when that one goes
            elif not self._begin_demotion(node, tier, model) and not self._is_last(copy):
                self._drop(copy)

    def _begin_demotion(self, node: int, tier: Tier, model: str) -> bool:
        """Copy it to the next lower tier, if it is idle, not there yet and fits."""
        copy = self.residency.copy(node, tier, model)
        if copy is None or copy.left or not copy.idle:
            return False
        return (self._demote or self._is_last(copy)) and self._copy_down(copy)

    def loaded(self, instance: int, model: str) -> None:
        """An instance serves what it has loaded; it copies it to host memory now, if the system does so."""
        for node in self.slices[model].nodes(instance):
            copy = self.residency.copy(node, Tier.GPU, model)
            if self._copies_to_host and copy is not None:
                self._copy_down(copy)

    def _copy_down(self, copy: Copy) -> bool:
        """Begin to copy it to the next lower tier; False if it is there already or does not fit."""
        node, tier, model = copy.node, copy.tier, copy.model
        lower = self.residency.demotion(copy)
        if lower is None or not self._expect_below(copy, lower):
            return False
        self.residency.pin(node, tier, model)
        self._demoting.add((node, tier, model))
        slices = self.slices[model]
        blocks = slices.blocks[slices.position(node)]
        self._send(node, m.Load(model, tier, lower, tuple(blocks)))
        return True

    def _expect_below(self, copy: Copy, lower: Tier) -> bool:
        """Make room for a copy that comes down; an SSD takes whole images only, and lets none go for it."""
        node, model, slices = copy.node, copy.model, self.slices[copy.model]
        if lower is Tier.HOST:
            return self._place(node, lower, model)
        others = self._deployments.keys()
        if slices.num_nodes > 1 or not self.residency.has_room(node, lower, copy.nbytes, others):
            return False
        self.residency.place(node, lower, model, copy.nbytes, now(), others)
        self._missing[node, lower, model] = set(slices.blocks[0])
        return True

    def _drop(self, copy: Copy) -> None:
        self.residency.drop(copy.node, copy.tier, copy.model)
        self._gone(copy.node, copy.tier, copy.model, copy.offset, copy.nbytes, copy.complete)

    def _gone(
        self, node: int, tier: Tier, model: str, offset: int, nbytes: int, complete: bool
    ) -> None:
        """Tell the node, and let it give the pages back if nobody needs the room (`nbytes`)."""
        release = nbytes > 0 and tier is Tier.HOST  # a GPU's memory is nobody else's
        self._send(node, m.Drop(model, tier, offset, nbytes, release))
        self.remnants.forget((node, tier, model))
        if complete:
            self._record(model, node, tier, resident=False)
        if tier is Tier.GPU and self.residency.copy(node, Tier.HOST, model) is not None:
            self.residency.touch(node, Tier.HOST, model, now())

    def _record(self, model: str, node: int, tier: Tier, resident: bool) -> None:
        name = tier.name.lower()
        self._log.add(ResidencyRecord(model, node, name, self._log.since(), resident))
