"""Which nodes a scale-out takes, how each starts, and who sends what the others lack (paper.md d.1).

    hot    complete in its own GPU             serves at once
    warm   complete in its own host memory     loads it, and may send it meanwhile
    ssd    no copy in any memory, own file     reads a share of the blocks and exchanges them
    cold   lacks it                            receives it by multicast

One scale-out may mix hot, warm and cold, or ssd and cold. 0 → N differs from 1 → N in nothing but the
tier of its sources. Which block travels when is up to `multicast`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from lambdascale.errors import ConfigError, NoCopyError
from lambdascale.storage.tiers import Tier


class Start(StrEnum):
    """How a node gets the model, in the order in which nodes are taken."""

    HOT = "hot"
    WARM = "warm"
    SSD = "ssd"
    COLD = "cold"


@dataclass(frozen=True, slots=True)
class Origin:
    """A node that sends the model, and the tier it sends from."""

    node: int
    tier: Tier


@dataclass(frozen=True, slots=True)
class Member:
    """A node that the scale-out takes."""

    node: int
    start: Start


@dataclass(frozen=True, slots=True)
class Placement:
    """The nodes of a scale-out, and the sources of those that lack blocks.

    Sources in memory hold every block; there are as many as there are cold members, or fewer. Sources on
    SSD are the ssd members, which read a share each; only if there is none, nodes beside the members.
    """

    members: tuple[Member, ...]
    sources: tuple[Origin, ...]

    def starting(self, start: Start) -> tuple[int, ...]:
        """Return the members that start in one way."""
        return tuple(member.node for member in self.members if member.start is start)


def place(
    count: int,
    free: Sequence[int],
    gpu: Collection[int],
    host: Collection[int],
    ssd: Collection[int],
    max_sources: int | None = None,
    sources_allowed: Collection[Tier] = tuple(Tier),
    partial: Collection[int] = (),
    sending: Mapping[int, int] | None = None,
) -> Placement:
    """Take `count` of the `free` nodes; `gpu`, `host` and `ssd` are the nodes with a complete copy there.

    Of two nodes that would start alike the earlier in `free` is taken. `sources_allowed` are the tiers
    from which a copy may go to another node; a node's own copy is always used. At most `max_sources` send,
    ssd members apart. `partial` nodes are still loading, but can send on what they get; `sending` says in how
    many scale-outs a node sends now. Raises ConfigError, and NoCopyError if a member could not get the model.

    >>> plan = place(4, free=[1, 2, 3, 4, 5], gpu={0, 2}, host={3}, ssd={1})
    >>> [f"{member.node} {member.start}" for member in plan.members]
    ['2 hot', '3 warm', '1 cold', '4 cold']
    >>> plan.sources
    (Origin(node=0, tier=<Tier.GPU: 0>), Origin(node=2, tier=<Tier.GPU: 0>))
    """
    _check(count, free, max_sources)
    gpu, host, ssd = frozenset(gpu), frozenset(host), frozenset(ssd)
    origins = _origins((gpu | set(partial), host, ssd), sources_allowed)
    in_memory = any(origin.tier is not Tier.SSD for origin in origins)
    members = _members(count, free, gpu, host, () if in_memory else ssd)
    readers = _readers(members, origins)
    ranked = _ranked(members, origins, partial, sending or {})
    placement = Placement(members, readers or _sources(members, ranked, max_sources))
    cold = placement.starting(Start.COLD)
    if cold and not placement.sources:
        allowed = ", ".join(tier.name for tier in sorted(sources_allowed)) or "none"
        raise NoCopyError(
            f"nobody can send the model to nodes {cold}: sources may be {allowed}; store it on the SSD "
            "of a node, or allow more tiers"
        )
    return placement


def load_orders(num_loaders: int, num_blocks: int, shifted: bool) -> tuple[tuple[int, ...], ...]:
    """Return in which order each node loads its own copy; shifted, loader i starts at block ⌊i·b ÷ n⌋.

    Together they then hold the model after ⌈b ÷ n⌉ block loads (paper.md d.1).

    >>> load_orders(2, 4, shifted=True)
    ((0, 1, 2, 3), (2, 3, 0, 1))
    """
    if num_loaders < 0 or num_blocks < 1:
        raise ConfigError(
            f"num_loaders is {num_loaders} and num_blocks {num_blocks}; they start from 0 and from 1"
        )
    starts = [i * num_blocks // num_loaders if shifted else 0 for i in range(num_loaders)]
    return tuple((*range(start, num_blocks), *range(start)) for start in starts)


def _origins(holders: Sequence[Collection[int]], allowed: Collection[Tier]) -> tuple[Origin, ...]:
    """Who can send and from where: its fastest tier; SSD counts only if no copy in memory does."""
    found: dict[int, Tier] = {}
    for tier in Tier:
        if tier in allowed and not (tier is Tier.SSD and found):
            for node in sorted(holders[tier]):
                found.setdefault(node, tier)
    return tuple(Origin(node, tier) for node, tier in found.items())


def _members(
    count: int,
    free: Sequence[int],
    gpu: Collection[int],
    host: Collection[int],
    ssd: Collection[int],
) -> tuple[Member, ...]:
    members: list[Member] = []
    for owner, start in ((gpu, Start.HOT), (host, Start.WARM), (ssd, Start.SSD)):
        left = count - len(members)
        members += [Member(node, start) for node in islice(filter(owner.__contains__, free), left)]
        free = [node for node in free if node not in owner]
    return (*members, *(Member(node, Start.COLD) for node in free[: count - len(members)]))


def _ranked(
    members: Sequence[Member],
    origins: Sequence[Origin],
    partial: Collection[int],
    sending: Mapping[int, int],
) -> tuple[Origin, ...]:
    """The whole copies on nodes that send nothing yet, host copies that are being loaded last.

    If there is none, the node that sends least: half of a busy port is worse than what comes in at another.
    """
    warm = {member.node for member in members if member.start is Start.WARM}
    idle = [o for o in origins if not sending.get(o.node) and o.node not in partial]
    if idle:
        return tuple(sorted(idle, key=lambda o: (o.tier, o.node in warm)))
    return tuple(sorted(origins, key=lambda o: (sending.get(o.node, 0), o.node in partial))[:1])


def _readers(members: Sequence[Member], origins: Sequence[Origin]) -> tuple[Origin, ...]:
    """The members that read a share from their SSDs."""
    ssd = {member.node for member in members if member.start is Start.SSD}
    return tuple(origin for origin in origins if origin.node in ssd)


def _sources(
    members: Sequence[Member], ranked: Sequence[Origin], max_sources: int | None
) -> tuple[Origin, ...]:
    """k = min(sources, cold members) (paper.md c.10)."""
    num_cold = sum(member.start is Start.COLD for member in members)
    return tuple(ranked[: num_cold if max_sources is None else min(num_cold, max_sources)])


def _check(count: int, free: Sequence[int], max_sources: int | None) -> None:
    if not 0 <= count <= len(free):
        raise ConfigError(
            f"count is {count}, but {len(free)} nodes are free; ask for 0 to that many"
        )
    if len(set(free)) < len(free):
        raise ConfigError(f"free is {list(free)}; name each node once")
    if max_sources is not None and max_sources < 1:
        raise ConfigError(f"max_sources is {max_sources}; allow at least 1, or None for no bound")
