"""A small maximum flow: supplies shipped to nodes that may take them, and the cut that limits it.

Shortest augmenting paths over dozens of supplies and nodes; no general solver is needed. Floating point:
amounts below TOLERANCE of the total count as nothing.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Shipment:
    """`shipped[i][j]` of supply i goes to node j; `cut` are the supplies that find no room (a tight set).

    Every node that a supply of the cut may use is full. An empty cut: everything is shipped.
    """

    shipped: tuple[dict[int, float], ...]
    cut: frozenset[int]


def ship(
    supplies: Sequence[float], capacities: Sequence[float], routes: Sequence[Collection[int]]
) -> Shipment:
    """Ship as much as possible; supply i may go to the nodes in `routes[i]`.

    >>> ship([3.0, 1.0], [2.0, 2.0], [[0], [0, 1]]).cut
    frozenset({0})
    """
    return _Flow(supplies, capacities, routes).run()


class _Flow:
    def __init__(
        self,
        supplies: Sequence[float],
        capacities: Sequence[float],
        routes: Sequence[Collection[int]],
    ) -> None:
        self._left = list(supplies)
        self._room = list(capacities)
        self._routes = [sorted(nodes) for nodes in routes]
        self._shipped: list[dict[int, float]] = [{} for _ in supplies]
        self._takers: list[set[int]] = [set() for _ in capacities]  # supplies that ship to the node
        self._least = TOLERANCE * max(sum(supplies), 1e-300)

    def run(self) -> Shipment:
        while True:
            parent, end = self._search()
            if end is None:
                cut = frozenset(i for is_node, i in parent if not is_node)
                return Shipment(tuple(self._shipped), cut)
            self._augment(self._path(parent, end))

    def _search(self) -> tuple[dict[tuple[bool, int], tuple[bool, int] | None], int | None]:
        """Breadth first from supplies with something left to a node with room, if there is one."""
        parent: dict[tuple[bool, int], tuple[bool, int] | None] = {
            (False, i): None for i, left in enumerate(self._left) if left > self._least
        }
        queue = deque(parent)
        while queue:
            here = queue.popleft()
            is_node, index = here
            if is_node and self._room[index] > self._least:
                return parent, index
            nexts = sorted(self._takers[index]) if is_node else self._routes[index]
            for step in ((not is_node, other) for other in nexts):
                if step not in parent:
                    parent[step] = here
                    queue.append(step)
        return parent, None

    @staticmethod
    def _path(parent: dict[tuple[bool, int], tuple[bool, int] | None], end: int) -> list[int]:
        """Supply, node, supply, …, node."""
        path, at = list[int](), (True, end)
        while True:
            path.append(at[1])
            before = parent[at]
            if before is None:
                return path[::-1]
            at = before

    def _augment(self, path: list[int]) -> None:
        """Ship along even → odd steps, and take back along odd → even ones."""
        back = [(path[i + 1], path[i]) for i in range(1, len(path) - 1, 2)]
        amount = min(
            self._left[path[0]],
            self._room[path[-1]],
            *(self._shipped[supply][node] for supply, node in back),
        )
        self._left[path[0]] -= amount
        self._room[path[-1]] -= amount
        for supply, node in zip(path[::2], path[1::2], strict=True):
            self._move(supply, node, amount)
        for supply, node in back:
            self._move(supply, node, -amount)

    def _move(self, supply: int, node: int, amount: float) -> None:
        total = self._shipped[supply].get(node, 0.0) + amount
        if total > self._least:
            self._shipped[supply][node] = total
            self._takers[node].add(supply)
        else:
            self._shipped[supply].pop(node, None)
            self._takers[node].discard(supply)
