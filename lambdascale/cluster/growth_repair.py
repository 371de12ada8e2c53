"""The plan of a scale-out that has lost nodes: what is there stays, what is missing is planned anew.

Pure. Instances in the place of nodes. Nothing that a survivor has, or surely gets, is sent to it again
(`multicast.repair`). Blocks that nobody has left come from SSDs of members; if there are none, there is no
plan.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from lambdascale.cluster.growth_plan import GrowthPlan, LocalLoad
from lambdascale.multicast.repair import repair
from lambdascale.multicast.schedule import Transfer
from lambdascale.storage.tiers import Tier


@dataclass(frozen=True, slots=True)
class Remains:
    """What a scale-out has left.

    `held`: per member, the blocks that it has, or that come to it whatever happens. `sources`: others that
    have all of them, and the tier they send from. `disks`: members whose SSDs hold the model. `slow`: how
    many ticks a block takes there; who is slow is to send only what nobody else has. `coming`:
    what of `held` is still on its way.
    """

    held: Mapping[int, Collection[int]]
    sources: Mapping[int, Tier]
    disks: Sequence[int]
    slow: Mapping[int, float] = field(default_factory=dict)
    coming: Mapping[int, Collection[int]] = field(default_factory=dict)


def without(plan: GrowthPlan, instance: int) -> GrowthPlan:
    """Return the plan as it is when an instance is no part of it any more."""

    def others(nodes: Sequence[int]) -> tuple[int, ...]:
        return tuple(node for node in nodes if node != instance)

    return replace(
        plan,
        groups=tuple(left for group in plan.groups if (left := others(group))),
        whole=others(plan.whole),
        loads=tuple(load for load in plan.loads if load.node != instance),
        staging=others(plan.staging),
        senders={node: tier for node, tier in plan.senders.items() if node != instance},
        transfers=tuple(t for t in plan.transfers if instance not in (t.src, t.dst)),
        barriers=tuple(left for group in plan.barriers if (left := others(group))),
    )


def repaired(plan: GrowthPlan, remains: Remains, num_blocks: int) -> GrowthPlan | None:
    """Return the plan by which every member gets the rest; new loads follow the old ones. None: it cannot.

    >>> plan = GrowthPlan(((1, 2),), (), (), (), {0: Tier.GPU, 1: Tier.GPU, 2: Tier.GPU}, (), ())
    >>> left = Remains({1: {0, 1}, 2: {2}}, {}, ())
    >>> [tuple(t) for t in repaired(plan, left, num_blocks=3).transfers]
    [(1, 1, 2, 0), (1, 2, 1, 2), (2, 1, 2, 1)]
    >>> repaired(plan, left, num_blocks=4) is None
    True
    """
    everything = set(range(num_blocks))
    held = {node: set(blocks) for node, blocks in remains.held.items()}
    lost = sorted(everything.difference(*held.values())) if held and not remains.sources else []
    if lost and not remains.disks:
        return None
    loads = _reads(lost, remains.disks)
    for load in loads:
        held[load.node].update(load.blocks)
    names = [*remains.sources, *held]
    owned = [everything] * len(remains.sources) + list(held.values())
    slow = {at: remains.slow[name] for at, name in enumerate(names) if name in remains.slow}
    coming = {at: remains.coming[name] for at, name in enumerate(names) if name in remains.coming}
    todo = repair(owned, num_blocks, slow=slow, coming=coming).transfers if held else ()
    return replace(
        plan,
        loads=(*plan.loads, *loads),
        senders={**dict.fromkeys(held, Tier.GPU), **remains.sources},
        transfers=tuple(Transfer(t.tick, names[t.src], names[t.dst], t.block) for t in todo),
        barriers=(tuple(names),),
    )


def _reads(blocks: Sequence[int], disks: Sequence[int]) -> tuple[LocalLoad, ...]:
    """Each disk a share."""
    count = min(len(disks), len(blocks))
    cuts = [i * len(blocks) // count for i in range(count + 1)] if count else []
    return tuple(
        LocalLoad(node, Tier.SSD, Tier.GPU, tuple(blocks[a:b]))
        for node, (a, b) in zip(disks, pairwise(cuts), strict=False)
    )
