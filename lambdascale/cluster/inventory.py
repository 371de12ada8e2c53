"""What lies where: copies on all nodes, who is assigned to which model, and which blocks are still missing.

Questions only; `Stock` changes it.
"""

from collections.abc import Sequence

from lambdascale.cluster.assignments import Assignments
from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.slices import Slices
from lambdascale.config import SystemSpec
from lambdascale.model.image import ImageSource
from lambdascale.storage.copies import Copy
from lambdascale.storage.residency import Residency
from lambdascale.storage.tiers import KeepAlive, Tier


class Inventory:
    """Assignments and copies, by node and by instance."""

    def __init__(
        self, cluster: ClusterSpec, deployments: Sequence[Deployment], system: SystemSpec
    ) -> None:
        keep_alive = KeepAlive(
            system.gpu_keep_alive_s, system.host_keep_alive_s, system.pinned_hosts
        )
        self.residency = Residency(dict.fromkeys(cluster.nodes, cluster.capacity), keep_alive)
        self.slices = {
            d.model: Slices.of(d.image.layout, d.image.blocks, d.nodes_per_instance)
            for d in deployments
        }
        self.assignments = Assignments(cluster.nodes, self.slices)
        self._deployments = {d.model: d for d in deployments}
        self._missing: dict[tuple[int, Tier, str], set[int]] = {}  # of copies that are being filled

    def holders(self, model: str, tier: Tier) -> tuple[int, ...]:
        """The instances all of whose nodes have a complete copy of their slice in `tier`."""
        slices, holding = self.slices[model], self.residency.holders(model, tier)
        if slices.num_nodes == 1:
            return holding
        nodes = set(holding)
        instances = sorted({slices.instance(node) for node in nodes})
        return tuple(i for i in instances if nodes.issuperset(slices.nodes(i)))

    def loading(self, model: str) -> tuple[int, ...]:
        """The assigned instances on whose GPUs the model is not complete yet."""
        slices, assigned = self.slices[model], self.assignments.of
        complete = frozenset(self.holders(model, Tier.GPU))
        instances = dict.fromkeys(slices.instance(n) for n, m in assigned.items() if m == model)
        return tuple(i for i in instances if i not in complete)

    def exists(self, model: str) -> bool:
        """Is there a complete copy in any tier?"""
        return any(self.holders(model, tier) for tier in Tier)

    def is_expected(self, instance: int, tier: Tier, model: str) -> bool:
        """Has every node of an instance got a copy there, complete or to be filled?"""
        alive = self._alive(instance, model)
        return len(alive) == self.slices[model].num_nodes and all(
            self.residency.copy(node, tier, model) is not None for node in alive
        )

    def lacking(self, node: int, tier: Tier, model: str) -> tuple[int, ...]:
        """Return the blocks of a copy that is being filled that are not there."""
        return tuple(sorted(self._missing[node, tier, model]))

    def held(self, node: int, tier: Tier, model: str) -> frozenset[int]:
        """Return the blocks of a copy that is being filled that are there."""
        slices = self.slices[model]
        lacking = self._missing[node, tier, model]
        return frozenset(slices.blocks[slices.position(node)]).difference(lacking)

    def base(self, node: int, tier: Tier, model: str) -> int:
        """Where byte 0 of the image is, or would be, in the arena of a node that holds (a part of) it."""
        copy = self.residency.copy(node, tier, model)
        assert copy is not None  # the caller has placed it
        slices = self.slices[model]
        offset, _ = slices.span(slices.position(node), self._image(model).blocks)
        return copy.offset - offset

    def nbytes(self, model: str) -> int:
        """Return the bytes of a whole copy."""
        return self._image(model).layout.nbytes

    def _last_ones(self, node: int, tier: Tier) -> frozenset[str]:
        """The models of which a tier holds a copy that must not go."""
        copies = self.residency.copies(node, tier)
        return frozenset(copy.model for copy in copies if self._is_last(copy))

    def _is_last(self, copy: Copy) -> bool:
        """Is it on no SSD, and in no memory but here? Slices of several instances make none."""
        model = copy.model
        if copy.tier is Tier.SSD or self.residency.holders(model, Tier.SSD):
            return False
        own = self.slices[model].instance(copy.node), copy.tier
        if own[0] not in self.holders(model, copy.tier):
            return False
        found = ((i, tier) for tier in (Tier.GPU, Tier.HOST) for i in self.holders(model, tier))
        return all(place == own for place in found)

    def _alive(self, instance: int, model: str) -> list[int]:
        nodes = self.slices[model].nodes(instance)
        return [node for node in nodes if node in self.assignments.of]

    def _image(self, model: str) -> ImageSource:
        return self._deployments[model].image
