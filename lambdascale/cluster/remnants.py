"""What lies on nodes although nobody there was told to load it: from earlier controllers, or earlier lives.

An agent says which blocks it has verified. A complete copy counts like any other. What is left of one on a
GPU stays, as long as the room is not needed and its keep-alive lasts, and a scale-out that takes the node
loads only what it lacks. Everything else the node is to forget.
"""

from collections.abc import Callable, Iterable, Mapping

from lambdascale.clock import now
from lambdascale.cluster.deployment import Deployment
from lambdascale.cluster.slices import Slices
from lambdascale.control import messages as m
from lambdascale.storage.residency import Residency
from lambdascale.storage.tiers import Tier

Place = tuple[int, Tier, str]  # node, tier, model


class Remnants:
    """Copies that are found, and the SSDs of lost nodes; `complete` is called of each whole copy."""

    def __init__(
        self,
        residency: Residency,
        deployments: Mapping[str, Deployment],
        slices: Mapping[str, Slices],
        complete: Callable[[int, Tier, str], None],
    ) -> None:
        self._residency = residency
        self._deployments = deployments
        self._slices = slices
        self._complete = complete
        self._lacking: dict[Place, set[int]] = {}
        self._disks: dict[int, list[str]] = {}  # what is there from the start
        self._away: dict[int, list[str]] = {}  # what is on the disks of lost nodes

    def begin(self, nodes: Iterable[int]) -> None:
        """Note what is on the disks of nodes from the start."""
        self._disks = {node: self._on_disk(node) for node in nodes}

    def lose(self, node: int) -> None:
        """A node is lost; it may come back with what is on its disk."""
        self._away[node] = self._on_disk(node)
        self._lacking = {place: b for place, b in self._lacking.items() if place[0] != node}

    def enter(self, node: int) -> None:
        """A node is back: what was on its disk from the start is there."""
        del self._away[node]
        for model in self._disks[node]:
            self._find_image(node, model)

    def may_come_back(self, model: str) -> bool:
        """Would there be a copy if all nodes came back with what is on their disks?"""
        nodes = {node for node, models in self._away.items() if model in models}
        nodes.update(self._residency.holders(model, Tier.SSD))
        slices = self._slices[model]
        return any(nodes.issuperset(slices.nodes(slices.instance(node))) for node in nodes)

    def find(self, node: int, held: Iterable[m.Held]) -> list[m.Held]:
        """Note what a node says that it has verified; return what does not belong there."""
        images = [found.model for found in held if found.tier is Tier.SSD]
        for model in images:
            self._find_image(node, model)
        return [f for f in held if f.tier is not Tier.SSD and not self._find(node, f)]

    def is_left(self, place: Place) -> bool:
        """Is there what is left of a copy?"""
        return place in self._lacking

    def take(self, place: Place) -> set[int]:
        """Load on what is left of a copy; return what it lacks."""
        self._residency.resume(*place)
        return self._lacking.pop(place)

    def forget(self, place: Place) -> None:
        """What was left of a copy, if it was, is gone."""
        self._lacking.pop(place, None)

    def _find(self, node: int, found: m.Held) -> bool:
        if found.model not in self._deployments or not found.blocks:
            return False
        slices, blocks = self._slices[found.model], self._deployments[found.model].image.blocks
        at = slices.position(node)
        offset, nbytes = slices.span(at, blocks)
        lacking = set(slices.blocks[at]).difference(found.blocks)
        if lacking and found.tier is not Tier.GPU:
            return False
        if range(found.first, found.stop) != slices.parts[at]:
            return False
        place, start = (node, found.tier, found.model), found.base + offset
        if not self._residency.find_left(*place, start, nbytes, now()):
            return False
        if lacking:
            self._lacking[place] = lacking
        else:
            self._complete(*place)
        return True

    def _find_image(self, node: int, model: str) -> None:
        """An image is on a disk, where it may count already; none goes for it."""
        place, residency, known = (node, Tier.SSD, model), self._residency, self._deployments
        if model not in known or residency.copy(*place) is not None:
            return
        nbytes = known[model].image.layout.nbytes
        if residency.has_room(node, Tier.SSD, nbytes, known):
            residency.place(*place, nbytes, now(), known)
            self._complete(*place)

    def _on_disk(self, node: int) -> list[str]:
        return [c.model for c in self._residency.copies(node, Tier.SSD) if c.complete]
