"""Which node works for which model, and which nodes a model may have."""

from collections import Counter
from collections.abc import Iterable, Mapping

from lambdascale.cluster.slices import Slices


class Assignments:
    """A node is assigned to at most one model at a time: it loads, serves or drains.

    `kept` nodes are free for one model only, which spans several and needs them side by side.
    """

    def __init__(self, nodes: Iterable[int], slices: Mapping[str, Slices]) -> None:
        self._slices = slices
        self.of: dict[int, str | None] = dict.fromkeys(nodes)
        self.kept: dict[int, str] = {}

    @property
    def free(self) -> tuple[int, ...]:
        """The nodes that are assigned to no model."""
        return tuple(node for node, model in self.of.items() if model is None)

    def is_kept_from(self, model: str, node: int) -> bool:
        """Is a node kept for another model?"""
        return self.kept.get(node, model) != model

    def free_instances(self, model: str) -> tuple[int, ...]:
        """The instances of `model` all of whose nodes are free, and kept for nobody else.

        First those that break up the least room for models that span more nodes.
        """
        slices = self._slices[model]
        free = {node for node in self.free if not self.is_kept_from(model, node)}
        widest = max(s.num_nodes for s in self._slices.values())
        around = Counter(node // widest for node in free)
        starts = range(0, len(self.of) - slices.num_nodes + 1, slices.num_nodes)
        found = [i for i in starts if free.issuperset(slices.nodes(i))]
        return tuple(sorted(found, key=lambda i: around[i // widest]))
