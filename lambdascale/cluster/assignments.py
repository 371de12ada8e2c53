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
        self._of: dict[int, str | None] = dict.fromkeys(nodes)
        self._free = set(self._of)
        self._num_places = len(self._of)  # some of which may be lost
        self._widest = max((s.num_nodes for s in slices.values()), default=1)
        self.kept: dict[int, str] = {}

    @property
    def of(self) -> Mapping[int, str | None]:
        """The model of each node."""
        return self._of

    def assign(self, node: int, model: str | None) -> None:
        """Let a node work for `model`, or for none."""
        self._of[node] = model
        (self._free.add if model is None else self._free.discard)(node)

    def lose(self, node: int) -> None:
        """Forget a node that is gone."""
        del self._of[node]
        self._free.discard(node)

    def enter(self, node: int) -> None:
        """A node that was lost is back, and free."""
        self.assign(node, None)

    def num_in_places(self, span: int) -> int:
        """How many nodes are in places for instances of `span` nodes, all of which are here?"""
        if len(self._of) == self._num_places:
            return self._num_places
        starts = range(0, self._num_places - span + 1, span)
        return span * sum(all(n in self._of for n in range(i, i + span)) for i in starts)

    @property
    def num_free(self) -> int:
        """How many nodes are assigned to no model."""
        return len(self._free)

    def is_kept_from(self, model: str, node: int) -> bool:
        """Is a node kept for another model?"""
        return self.kept.get(node, model) != model

    def free_instances(self, model: str) -> tuple[int, ...]:
        """The instances of `model` all of whose nodes are free, and kept for nobody else.

        First those that break up the least room for models that span more nodes.
        """
        slices, free, widest = self._slices[model], self._free, self._widest
        if self.kept:
            free = {node for node in free if not self.is_kept_from(model, node)}
        if widest == 1:
            return tuple(sorted(free))
        around = Counter(node // widest for node in free)
        starts = range(0, self._num_places - slices.num_nodes + 1, slices.num_nodes)
        found = [i for i in starts if free.issuperset(slices.nodes(i))]
        return tuple(sorted(found, key=lambda i: around[i // widest]))
