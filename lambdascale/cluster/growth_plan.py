"""The plan of one scale-out: who loads which blocks from where, and who sends which blocks to whom.

Pure. One scale-out may mix every way to start (paper.md d.1): nodes that hold the model are whole at once,
warm ones load from their own host memory at shifted blocks, cold ones receive by multicast, and if no memory
holds it, readers take a share each from their SSDs and exchange. Instances in the place of nodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lambdascale.cluster.placement import Origin, Placement, Start, load_orders
from lambdascale.config import SystemSpec
from lambdascale.multicast.plan import plan
from lambdascale.multicast.repair import repair
from lambdascale.multicast.schedule import Transfer
from lambdascale.storage.tiers import Tier


@dataclass(frozen=True, slots=True)
class LocalLoad:
    """`node` fills its copy in `target` from its own `source` tier, `blocks` in this order."""

    node: int
    source: Tier
    target: Tier
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GrowthPlan:
    """`groups`: members by sub-group, as Algorithm 2 wants them; `whole`: members that need nothing.

    `senders`: the tier that each sender sends from. `staging`: senders that first read their SSD into host
    memory. `barriers`: sub-groups with their source, whose ticks wait for one another.
    """

    groups: tuple[tuple[int, ...], ...]
    whole: tuple[int, ...]
    loads: tuple[LocalLoad, ...]
    staging: tuple[int, ...]
    senders: Mapping[int, Tier]
    transfers: tuple[Transfer, ...]
    barriers: tuple[tuple[int, ...], ...]

    @property
    def members(self) -> tuple[int, ...]:
        return (*self.whole, *(node for group in self.groups for node in group))


def plan_growth(placement: Placement, num_blocks: int, system: SystemSpec) -> GrowthPlan:
    """Plan what `placement` has chosen."""
    warm, cold = placement.starting(Start.WARM), placement.starting(Start.COLD)
    readers = placement.starting(Start.SSD)
    orders = load_orders(len(warm), num_blocks, system.shifted_loads)
    network = _Network()
    if readers:
        network = _read_and_exchange(readers, cold, num_blocks, system)
    elif cold:
        network = _multicast(placement.sources, cold, num_blocks, system)
    return GrowthPlan(
        groups=(*((node,) for node in warm), *network.groups),
        whole=placement.starting(Start.HOT),
        loads=(*_loads(warm, orders, Tier.HOST), *network.loads),
        staging=network.staging,
        senders=network.senders,
        transfers=network.transfers,
        barriers=network.barriers,
    )


@dataclass(frozen=True, slots=True)
class _Network:
    """What the network, or else the SSDs, contribute to a plan."""

    groups: tuple[tuple[int, ...], ...] = ()
    transfers: tuple[Transfer, ...] = ()
    senders: Mapping[int, Tier] = field(default_factory=dict)
    barriers: tuple[tuple[int, ...], ...] = ()
    loads: tuple[LocalLoad, ...] = ()
    staging: tuple[int, ...] = ()


def _loads(
    nodes: Sequence[int],
    orders: Sequence[tuple[int, ...]],
    source: Tier,
    target: Tier = Tier.GPU,
) -> tuple[LocalLoad, ...]:
    pairs = zip(nodes, orders, strict=True)
    return tuple(LocalLoad(node, source, target, order) for node, order in pairs if order)


def _multicast(
    sources: Sequence[Origin], cold: Sequence[int], num_blocks: int, system: SystemSpec
) -> _Network:
    """Sub-groups of one source each; a source on SSD reads into host memory while it sends."""
    origins = sources[: min(len(cold), num_blocks)]
    names = [*(origin.node for origin in origins), *cold]
    schedule = plan(system.algorithm, len(names), len(origins), num_blocks, system.order)
    named = tuple(tuple(names[i] for i in group) for group in schedule.subgroups)
    staging = tuple(origin.node for origin in origins if origin.tier is Tier.SSD)
    tiers = {o.node: Tier.HOST if o.tier is Tier.SSD else o.tier for o in origins}
    first_needed = [_in_order_of_need(schedule.sends_of(i)) for i in range(len(origins))]
    reads = [order for order, o in zip(first_needed, origins, strict=True) if o.tier is Tier.SSD]
    return _Network(
        groups=tuple(group[1:] for group in named),
        transfers=_renamed(schedule.transfers, names),
        senders=dict.fromkeys(cold, Tier.GPU) | tiers,
        barriers=named,
        loads=_loads(staging, reads, Tier.SSD, Tier.HOST),
        staging=staging,
    )


def _in_order_of_need(sends: Sequence[Transfer]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(transfer.block for transfer in sends))


def _read_and_exchange(
    readers: Sequence[int], cold: Sequence[int], num_blocks: int, system: SystemSpec
) -> _Network:
    """Every reader reads a share and they exchange; or everything, if they may not send from SSD."""
    alone = "ssd" not in system.sources or len(readers) + len(cold) == 1
    if alone:
        orders = load_orders(len(readers), num_blocks, system.shifted_loads)
        groups = tuple((node,) for node in readers)
        return _Network(groups, loads=_loads(readers, orders, Tier.SSD))
    names, count = [*readers, *cold], min(len(readers), num_blocks)
    cuts = [i * num_blocks // count for i in range(count + 1)]
    shares = [tuple(range(a, b)) for a, b in pairwise(cuts)]
    shares += [()] * (len(names) - count)
    exchange = repair([set(share) for share in shares], num_blocks)
    return _Network(
        groups=(*((node,) for node in readers), *([tuple(cold)] if cold else ())),
        transfers=_renamed(exchange.transfers, names),
        senders=dict.fromkeys(names, Tier.GPU),
        barriers=(tuple(names),),
        loads=_loads(names, shares, Tier.SSD),
    )


def _renamed(transfers: Sequence[Transfer], names: Sequence[int]) -> tuple[Transfer, ...]:
    return tuple(Transfer(tick, names[src], names[dst], b) for tick, src, dst, b in transfers)
