"""The copies on all nodes, and who is assigned to which model: decisions of `Residency`, told to the agents.

A node is assigned to at most one model, but may hold copies of several. A copy that leaves a GPU goes to
host memory first if it is not there; the last copy in any memory stays until something needs its room.
"""

from collections.abc import Callable, Iterable, Sequence

from lambdascale.clock import now
from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.records import AllocationRecord, ResidencyRecord, RunLog
from lambdascale.cluster.slices import Slices
from lambdascale.control import messages as m
from lambdascale.errors import ConfigError
from lambdascale.model.image import ImageSource
from lambdascale.storage.copies import Copy
from lambdascale.storage.residency import Residency
from lambdascale.storage.tiers import KeepAlive, Tier

Send = Callable[[int, m.Message], None]


class Stock:
    """Assignments and copies; `changed` is called when a copy becomes complete or leaves."""

    def __init__(
        self,
        cluster: ClusterSpec,
        deployments: Sequence[Deployment],
        keep_alive: KeepAlive,
        demote: bool,
        send: Send,
        log: RunLog,
    ) -> None:
        self.residency = Residency(dict.fromkeys(cluster.nodes, cluster.capacity), keep_alive)
        self._deployments = {d.model: d for d in deployments}
        self.slices = {
            d.model: Slices.of(d.image.layout, d.image.blocks, d.nodes_per_instance)
            for d in deployments
        }
        self._demote = demote
        self._send = send
        self._log = log
        self._assigned: dict[int, str | None] = dict.fromkeys(cluster.nodes)
        self._missing: dict[tuple[int, Tier, str], set[int]] = {}
        self._demoting: set[tuple[int, str]] = set()

    @property
    def free(self) -> tuple[int, ...]:
        """The nodes that are assigned to no model."""
        return tuple(node for node, model in self._assigned.items() if model is None)

    def free_instances(self, model: str) -> tuple[int, ...]:
        """The instances of `model` all of whose nodes are free."""
        slices, free = self.slices[model], set(self.free)
        starts = range(0, len(self._assigned) - slices.num_nodes + 1, slices.num_nodes)
        return tuple(i for i in starts if free.issuperset(slices.nodes(i)))

    def assign(self, instance: int, model: str) -> None:
        """Let the nodes of an instance work for `model`; its copies on their GPUs stay."""
        for node in self.slices[model].nodes(instance):
            self._assigned[node] = model
            self.residency.pin(node, Tier.GPU, model)
            self._log.add(AllocationRecord(model, node, self._log.since(), allocated=True))
            self._send(node, m.Serve(model))

    def release(self, instance: int, model: str) -> None:
        """The nodes of an instance are free for others; what they hold stays for a while."""
        for node in self.slices[model].nodes(instance):
            self._assigned[node] = None
            self.residency.unpin(node, Tier.GPU, model, now())
            self._log.add(AllocationRecord(model, node, self._log.since(), allocated=False))

    def holders(self, model: str, tier: Tier) -> tuple[int, ...]:
        """The instances all of whose nodes have a complete copy of their slice in `tier`."""
        slices, nodes = self.slices[model], set(self.residency.holders(model, tier))
        instances = sorted({slices.instance(node) for node in nodes})
        return tuple(i for i in instances if nodes.issuperset(slices.nodes(i)))

    def loading(self, model: str) -> tuple[int, ...]:
        """The assigned instances on whose GPUs the model is not complete yet."""
        slices = self.slices[model]
        mine = (i for i in range(0, len(self._assigned), slices.num_nodes))
        complete = self.holders(model, Tier.GPU)
        return tuple(i for i in mine if self._assigned[i] == model and i not in complete)

    def pin(self, instance: int, tier: Tier, model: str) -> None:
        """Keep a copy while it is a source."""
        for node in self.slices[model].nodes(instance):
            self.residency.pin(node, tier, model)

    def unpin(self, instance: int, tier: Tier, model: str) -> None:
        """A source has sent everything."""
        for node in self.slices[model].nodes(instance):
            self.residency.unpin(node, tier, model, now())

    def base(self, node: int, tier: Tier, model: str) -> int:
        """Where byte 0 of the image is, or would be, in the arena of a node that holds (a part of) it."""
        copy = self.residency.copy(node, tier, model)
        assert copy is not None  # the caller has placed it
        slices = self.slices[model]
        offset, _ = slices.span(node - slices.instance(node), self._image(model).blocks)
        return copy.offset - offset

    def unpin_all(self, model: str, pinned: Iterable[tuple[int, Tier]]) -> None:
        """Take back the pins of a scale-out."""
        for instance, tier in pinned:
            self.unpin(instance, tier, model)

    def nbytes(self, model: str) -> int:
        """Return the bytes of a whole copy."""
        return self._image(model).layout.nbytes

    def on_disk(self, model: str) -> None:
        """Note that every SSD with room for it has the image from the start."""
        for node in self._assigned:
            if self.residency.has_room(node, Tier.SSD, self.nbytes(model)):
                self.residency.place(node, Tier.SSD, model, self.nbytes(model), now())
                self.residency.complete(node, Tier.SSD, model, now())

    def has_room(self, instance: int, tier: Tier, model: str) -> bool:
        """Could every node of an instance hold its slice now, if idle copies went?"""
        slices, blocks = self.slices[model], self._image(model).blocks
        return all(
            self.residency.has_room(node, tier, slices.span(at, blocks)[1])
            for at, node in enumerate(slices.nodes(instance))
        )

    def make_room(self, instance: int, tier: Tier, model: str) -> None:
        """Let a copy be expected on every node of an instance; idle copies leave as far as it needs."""
        for node in self.slices[model].nodes(instance):
            if not self._place(node, tier, model):
                raise ConfigError(
                    f"{model} does not fit into the {tier.name} tier of node {node}; give it more bytes"
                )

    def _place(self, node: int, tier: Tier, model: str) -> bool:
        slices, blocks = self.slices[model], self._image(model).blocks
        position = node - slices.instance(node)
        nbytes = slices.span(position, blocks)[1]
        placed = self.residency.place(node, tier, model, nbytes, now())
        if placed is None:
            return False
        for gone in placed.evicted:
            self._gone(gone.node, gone.tier, gone.model, gone.offset, nbytes=0)
        parts = slices.parts[position]
        base = self.base(node, tier, model)
        self._send(node, m.Hold(model, tier, base, parts.start, parts.stop))
        self._missing[node, tier, model] = set(slices.blocks[position])
        return True

    def arrived(self, node: int, tier: Tier, model: str, blocks: Iterable[int]) -> bool:
        """Note verified blocks of a copy; say whether it has just become complete."""
        missing = self._missing.get((node, tier, model))
        if missing is None:
            return False
        missing.difference_update(blocks)
        if missing:
            return False
        del self._missing[node, tier, model]
        self.residency.complete(node, tier, model, now())
        self._record(model, node, tier, resident=True)
        if tier is Tier.HOST and (node, model) in self._demoting:
            self._demoting.remove((node, model))
            above = self.residency.copy(node, Tier.GPU, model)
            if above is not None:  # this was no use of it: its keep-alive is over already
                self.residency.unpin(node, Tier.GPU, model, above.used_s)
        return True

    def expire(self) -> None:
        """Let go of what has been idle for longer than its keep-alive."""
        for copy in self.residency.expired(now()):
            if not self._begin_demotion(copy) and not self._is_last(copy):
                self._drop(copy)

    def _is_last(self, copy: Copy) -> bool:
        """Is no other complete copy of it in memory, nor one on this node's SSD?"""
        memory = [*self.residency.holders(copy.model, Tier.GPU)]
        memory += self.residency.holders(copy.model, Tier.HOST)
        on_disk = copy.node in self.residency.holders(copy.model, Tier.SSD)
        return len(memory) == 1 and not on_disk

    def _begin_demotion(self, copy: Copy) -> bool:
        """Copy it to host memory before it leaves the GPU, if it can and must go there."""
        if not self._demote or copy.tier is not Tier.GPU:
            return False
        node, model = copy.node, copy.model
        if self.residency.demotion(copy) is not Tier.HOST or not self._place(
            node, Tier.HOST, model
        ):
            return False
        self.residency.pin(node, Tier.GPU, model)
        self._demoting.add((node, model))
        slices = self.slices[model]
        blocks = slices.blocks[node - slices.instance(node)]
        self._send(node, m.Load(model, Tier.GPU, Tier.HOST, tuple(blocks)))
        return True

    def _drop(self, copy: Copy) -> None:
        self.residency.drop(copy.node, copy.tier, copy.model)
        self._gone(copy.node, copy.tier, copy.model, copy.offset, copy.nbytes)

    def _gone(self, node: int, tier: Tier, model: str, offset: int, nbytes: int) -> None:
        """Tell the node, and let it give the pages back if nobody needs the room (`nbytes`)."""
        release = nbytes > 0 and tier is Tier.HOST  # a GPU's memory is nobody else's
        self._send(node, m.Drop(model, tier, offset, nbytes, release))
        self._record(model, node, tier, resident=False)

    def _record(self, model: str, node: int, tier: Tier, resident: bool) -> None:
        name = tier.name.lower()
        self._log.add(ResidencyRecord(model, node, name, self._log.since(), resident))

    def _image(self, model: str) -> ImageSource:
        return self._deployments[model].image
