"""The plan of one scale-out: who loads which blocks from where, and who sends which blocks to whom.

Pure. One scale-out may mix every way to start (paper.md d.1): nodes that hold the model are whole at once,
warm ones load from their own host memory at shifted blocks, cold ones receive by multicast, and if no memory
holds it, readers take a share each from their SSDs and exchange. Instances in the place of nodes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from lambdascale.cluster.placement import Origin, Placement, Start, load_orders
from lambdascale.config import SystemSpec
from lambdascale.multicast.costs import LinkCost
from lambdascale.multicast.hosts import Topology, host_schedule
from lambdascale.multicast.plan import plan
from lambdascale.multicast.repair import repair
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.setup_times import setup_seconds
from lambdascale.storage.tiers import Tier

HostOf = Callable[[int], int]
_UNIT = LinkCost(0.0, 0.0, 1.0)  # who sends what does not depend on what it costs


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


def setup_s(plan: GrowthPlan, system: SystemSpec, nbytes: int) -> float:
    """Seconds until the system has made its groups ready; 0 if nothing goes over the network."""
    if not plan.transfers:
        return 0.0
    return setup_seconds(system.setup_s, nbytes, max(map(len, plan.barriers)))


def plan_growth(
    placement: Placement, num_blocks: int, system: SystemSpec, host_of: HostOf = int
) -> GrowthPlan:
    """Plan what `placement` has chosen; `host_of` says which host an instance is on."""
    warm, cold = placement.starting(Start.WARM), placement.starting(Start.COLD)
    readers = placement.starting(Start.SSD)
    orders = load_orders(len(warm), num_blocks, system.shifted_loads)
    network = _Network()
    if readers:
        network = _read_and_exchange(readers, cold, num_blocks, system)
    elif cold:
        network = _multicast(placement.sources, cold, num_blocks, system, host_of)
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
    sources: Sequence[Origin],
    cold: Sequence[int],
    num_blocks: int,
    system: SystemSpec,
    host_of: HostOf,
) -> _Network:
    """Sub-groups of one source each; a source on SSD reads into host memory while it sends.

    Each block comes to a host once; instances that share a host pass it on among themselves (paper.md c.9).
    """
    origins = _origins(sources, cold, num_blocks, host_of)
    by_host: dict[int, list[int]] = {host_of(o.node): [o.node] for o in origins}
    for node in cold:
        by_host.setdefault(host_of(node), []).append(node)
    hosts = list(by_host.values())
    transfers, groups = _over_hosts(hosts, len(origins), num_blocks, system)
    staging = tuple(origin.node for origin in origins if origin.tier is Tier.SSD)
    reads = [_in_order_of_need([t for t in transfers if t.src == node]) for node in staging]
    return _Network(
        groups=tuple(tuple(n for n in group if n in cold) for group in groups),
        transfers=transfers,
        senders=dict.fromkeys(cold, Tier.GPU)
        | {o.node: Tier.HOST if o.tier is Tier.SSD else o.tier for o in origins},
        barriers=groups,
        loads=_loads(staging, reads, Tier.SSD, Tier.HOST),
        staging=staging,
    )


def _origins(
    sources: Sequence[Origin], cold: Sequence[int], num_blocks: int, host_of: HostOf
) -> list[Origin]:
    """One source a host: those with cold neighbours, and no more than other hosts can use."""
    one_each = {host_of(o.node): o for o in reversed(sources)}
    cold_hosts = {host_of(node) for node in cold}
    near = [o for o in sources if o in one_each.values() and host_of(o.node) in cold_hosts]
    far = [o for o in sources if o in one_each.values() and o not in near]
    num_far = max(0, len(cold_hosts - one_each.keys()) - len(near))
    return [*near, *far[:num_far]][:num_blocks]


def _over_hosts(
    hosts: Sequence[Sequence[int]], num_sources: int, num_blocks: int, system: SystemSpec
) -> tuple[tuple[Transfer, ...], tuple[tuple[int, ...], ...]]:
    """Transfers and sub-groups for instances by host, those of the sources first, each behind its source."""
    names = [node for host in hosts for node in host]
    if len(hosts) == num_sources:  # all are neighbours of a source
        network = Schedule("local", num_sources, num_sources, num_blocks, (), ())
    else:
        network = plan(system.algorithm, len(hosts), num_sources, num_blocks, system.order)
    starts = [0, *accumulate(len(host) for host in hosts)]
    numbered = tuple(tuple(range(a, b)) for a, b in pairwise(starts))
    schedule = host_schedule(Topology(numbered, _UNIT, _UNIT), network)
    planned = {host for group in network.subgroups for host in group}
    by_itself = [(host,) for host in range(len(hosts)) if host not in planned]
    subgroups = (*network.subgroups, *by_itself)
    groups = tuple(tuple(n for i in group for n in hosts[i]) for group in subgroups)
    return _renamed(schedule.transfers, names), groups


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
