"""How much a set of partly loaded nodes can serve at most, and the area under a ramp of throughput.

The bound is the linear program: maximise X such that for each part the shares of the nodes that hold it
sum to X and no node works more than all the time. By duality X is the least, over sets S of parts, of

    speed of all nodes that hold a part of S ÷ cost of S

which `ramp_bound` finds exactly by Newton's method on X with one maximum flow per step.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lambdascale.errors import ConfigError
from lambdascale.pipeline.flow import Shipment, ship


@dataclass(frozen=True, slots=True)
class RampBound:
    """`throughput` whole models per unit of cost; `shares[p][node]` of it runs part p there (a witness).

    `limiting`: the parts whose holders are all busy; they limit the throughput.
    """

    throughput: float
    shares: tuple[Mapping[int, float], ...]
    limiting: frozenset[int]


def ramp_bound(
    runnable: Mapping[int, Collection[int]],
    costs: Sequence[float],
    speeds: Mapping[int, float] | None = None,
) -> RampBound:
    """Return the best throughput of nodes that can run `runnable[node]`, with every allocation allowed.

    Part p costs `costs[p]` ÷ speed of the node; speeds are 1 unless given. A node may be slower because
    it serves others too. Raises ConfigError for a cost or a speed below 0, or if all costs are 0.

    >>> ramp_bound({0: {0, 1, 2, 3}, 1: {0, 1}}, [1, 1, 1, 1]).throughput
    0.5
    """
    nodes = sorted(runnable)
    pace = [1.0 if speeds is None else speeds[node] for node in nodes]
    if min((*costs, *pace), default=-1.0) < 0 or sum(costs) <= 0:
        raise ConfigError("costs and speeds must be at least 0, and some part must cost something")
    holders = [
        frozenset(i for i, n in enumerate(nodes) if p in runnable[n]) for p in range(len(costs))
    ]
    throughput, shipment, limiting, kinds = _solve(costs, pace, holders)
    shares = tuple(_share(throughput, held, kinds, shipment, nodes) for held in holders)
    cut = frozenset(p for p, held in enumerate(holders) if held in limiting)
    return RampBound(throughput, shares, cut)


Holders = frozenset[int]


def _solve(
    costs: Sequence[float], pace: Sequence[float], holders: Sequence[Holders]
) -> tuple[float, Shipment, Collection[Holders], dict[Holders, float]]:
    """Newton from above: ship X of every kind of part; while some find no room, X is that cut's ratio."""
    kinds: dict[Holders, float] = {}
    for cost, held in zip(costs, holders, strict=True):
        kinds[held] = kinds.get(held, 0.0) + cost
    names = list(kinds)
    nowhere = [i for i, held in enumerate(names) if not held]
    tight = frozenset(nowhere or range(len(names)))
    while True:
        able = frozenset[int]().union(*(names[i] for i in tight))
        demand = sum(kinds[names[i]] for i in tight)
        throughput = sum(pace[i] for i in able) / demand if able else 0.0
        shipment = ship([throughput * kinds[held] for held in names], pace, names)
        if not shipment.cut or throughput == 0:
            return throughput, shipment, {names[i] for i in tight}, kinds
        tight = shipment.cut


def _share(
    throughput: float,
    held: Holders,
    kinds: Mapping[Holders, float],
    shipment: Shipment,
    nodes: Sequence[int],
) -> dict[int, float]:
    if throughput == 0:
        return {}
    if kinds[held] == 0:
        return {nodes[min(held)]: throughput}
    shipped = shipment.shipped[list(kinds).index(held)]
    return {nodes[i]: amount / kinds[held] for i, amount in sorted(shipped.items())}


Ramp = Callable[[float], float]


def area(ramp: Ramp, times: Iterable[float]) -> float:
    """Integrate a ramp that only changes at `times`, from the first to the last of them.

    >>> area(lambda t: 1.0 if t < 2 else 3.0, [0.0, 2.0, 4.0])
    8.0
    """
    return sum(ramp(start) * (stop - start) for start, stop in pairwise(sorted(times)))
