"""What nodes send in a scale-out, and the links they need: its plan is made over instances. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from lambdascale.cluster.growth_plan import GrowthPlan
from lambdascale.cluster.slices import Slices
from lambdascale.multicast.schedule import Transfer


def barriers(plan: GrowthPlan, slices: Slices) -> list[tuple[int, ...]]:
    """Return the nodes of each sub-group whose ticks wait for one another."""
    return [tuple(n for i in group for n in slices.nodes(i)) for group in plan.barriers]


def sends(
    plan: GrowthPlan, slices: Slices, held: Mapping[int, Collection[int]]
) -> Sequence[Transfer]:
    """Return what nodes send, but for what receivers hold; ticks of a group in which nothing is left go."""
    transfers = slices.transfers(plan.transfers)
    if not held:
        return transfers
    left = [t for t in transfers if t.block not in held.get(t.dst, ())]
    group_of = {node: i for i, group in enumerate(barriers(plan, slices)) for node in group}
    ticks: defaultdict[int, set[int]] = defaultdict(set)
    for t in left:
        ticks[group_of[t.dst]].add(t.tick)
    number = {(g, tick): n for g in ticks for n, tick in enumerate(sorted(ticks[g]), start=1)}
    return [Transfer(number[group_of[t.dst], t.tick], *t[1:]) for t in left]


def links(
    plan: GrowthPlan, slices: Slices, transfers: Sequence[Transfer]
) -> dict[int, tuple[list[int], list[int]]]:
    """Return by node to whom it sends blocks, and whom it may share a pipeline or an instance with."""
    bulk: defaultdict[int, set[int]] = defaultdict(set)
    for transfer in transfers:
        bulk[transfer.src].add(transfer.dst)
    loading = {n for group in plan.groups for i in group for n in slices.nodes(i)}
    express = {node: loading - {node} for node in loading}
    for instance in plan.whole:
        nodes = set(slices.nodes(instance))
        express |= {node: nodes - {node} for node in nodes if len(nodes) > 1}
    return {
        node: (sorted(bulk[node]), sorted(express.get(node, ())))
        for node in sorted(bulk.keys() | express.keys())
    }
