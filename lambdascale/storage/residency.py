"""What the controller knows of every copy of every model: on which node, in which tier, at which offset.

Pure state; time is passed in. It allocates (paper.md d.2), evicts the least recently used copy and tells
whose keep-alive is over (d.3). The shell moves the bytes:

    place → copy the bytes → complete            pin … unpin around every use
    a copy that leaves: demotion → place below → copy → complete → drop
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping

from lambdascale.errors import ConfigError
from lambdascale.storage.arena import IntegrityError
from lambdascale.storage.copies import Copies, Copy, Placed
from lambdascale.storage.expiries import Expiries, Place
from lambdascale.storage.tiers import Capacity, KeepAlive, Tier


class Residency:
    """Copies in all tiers of the nodes that `capacities` names."""

    def __init__(self, capacities: Mapping[int, Capacity], keep_alive: KeepAlive) -> None:
        self._keep_alive = keep_alive
        self._capacities = dict(capacities)
        self._nodes = {node: self._empty(node) for node in sorted(capacities)}
        self._expiries = Expiries(self._expiry)
        self._complete: defaultdict[tuple[str, Tier], set[int]] = defaultdict(set)
        self._holders: dict[
            tuple[str, Tier], tuple[int, ...]
        ] = {}  # the same in order, as asked for

    def place(
        self,
        node: int,
        tier: Tier,
        model: str,
        nbytes: int,
        now: float,
        keep: Collection[str] = (),
    ) -> Placed | None:
        """Reserve a range for a copy that will be loaded; idle copies leave as far as it needs.

        Those of the models `keep` stay. Returns None, and changes nothing, if what stays leaves too little
        room. Raises ConfigError for a model that is larger than the tier or there already.
        """
        placed = self._at(node, tier).place(model, nbytes, now, keep)
        for gone in placed.evicted if placed else ():
            self._changed(node, tier, gone.model)
        return placed

    def has_room(self, node: int, tier: Tier, nbytes: int, keep: Collection[str] = ()) -> bool:
        """Would `place` find room for so many bytes now?"""
        return self._at(node, tier).has_room(nbytes, keep)

    def complete(self, node: int, tier: Tier, model: str, now: float) -> None:
        """Note that all bytes of a copy are there."""
        self._at(node, tier).complete(model)
        self.touch(node, tier, model, now)

    def abandon(self, node: int, tier: Tier, model: str) -> None:
        """Forget a copy whose load has failed."""
        self._at(node, tier).abandon(model)

    def drop(self, node: int, tier: Tier, model: str) -> None:
        """Forget a complete copy that nobody has pinned, or what is left of one."""
        self._at(node, tier).drop(model)
        self._changed(node, tier, model)

    def lose(self, node: int) -> None:
        """Forget a node that is gone, with its copies and pins."""
        if node not in self._nodes:
            raise _unknown(node)
        lost = [copy for copies in self._nodes.pop(node).values() for copy in copies]
        for copy in lost:
            self._changed(node, copy.tier, copy.model)

    def enter(self, node: int) -> None:
        """A node that was lost is back, with nothing in any tier yet."""
        self._nodes[node] = self._empty(node)

    def _empty(self, node: int) -> dict[Tier, Copies]:
        capacity = self._capacities[node]
        return {tier: Copies(node, tier, capacity.of(tier)) for tier in Tier}

    def find_left(
        self, node: int, tier: Tier, model: str, offset: int, nbytes: int, now: float
    ) -> bool:
        """Note what is left of a copy; False, and nothing changes, if it cannot be there."""
        found = self._at(node, tier).find_left(model, offset, nbytes, now)
        self._changed(node, tier, model)
        return found

    def resume(self, node: int, tier: Tier, model: str) -> None:
        """Load on what is left of a copy; `complete` it, or `abandon` it."""
        self._at(node, tier).resume(model)
        self._changed(node, tier, model)

    def pin(self, node: int, tier: Tier, model: str) -> None:
        """Keep a copy from leaving until it is unpinned as often as it was pinned."""
        self._at(node, tier).pin(model, +1)

    def unpin(self, node: int, tier: Tier, model: str, now: float | None) -> None:
        """Take one pin back, which ends a use; with `now` None it was none."""
        self._at(node, tier).pin(model, -1)
        if now is not None:
            self._at(node, tier).use(model, now)
        self._changed(node, tier, model)

    def touch(self, node: int, tier: Tier, model: str, now: float) -> None:
        """Note that a copy was used."""
        self._at(node, tier).use(model, now)
        self._changed(node, tier, model)

    def expired(self, now: float) -> tuple[Copy, ...]:
        """Return the idle copies whose keep-alive is over."""
        places = self._expiries.until(now)
        found = [self._at(node, Tier(tier)).get(model) for node, tier, model in places]
        return tuple(sorted(found, key=lambda copy: (copy.node, copy.tier, copy.used_s)))

    def next_expiry(self, now: float) -> float | None:
        """Return when the next keep-alive ends, `now` if one is over; None if none ever does."""
        end = self._expiries.next()
        return None if end is None else max(end, now)

    def demotion(self, copy: Copy) -> Tier | None:
        """Return the tier that `copy` must go to before it leaves; None if it is there or does not fit."""
        if copy.tier is Tier.SSD:
            return None
        lower = Tier(copy.tier + 1)
        below = self._at(copy.node, lower)
        there = below.find(copy.model) is not None
        return None if there or copy.nbytes > below.capacity else lower

    def copy(self, node: int, tier: Tier, model: str) -> Copy | None:
        """Return the copy of `model` there, loading or complete."""
        return self._at(node, tier).find(model)

    def copies(self, node: int, tier: Tier) -> tuple[Copy, ...]:
        """Return all copies there, least recently used first."""
        return tuple(self._at(node, tier))

    def holders(self, model: str, tier: Tier) -> tuple[int, ...]:
        """Return the nodes with a complete copy of `model` in `tier`, ascending."""
        key = model, tier
        if key not in self._holders:
            self._holders[key] = tuple(sorted(self._complete[key]))
        return self._holders[key]

    def check_integrity(self) -> None:
        """Raise IntegrityError if copies overlap, exceed their tier or have lost their range."""
        for tiers in self._nodes.values():
            for copies in tiers.values():
                copies.check_integrity()
        held = {
            (n, t, c.model)
            for n, tiers in self._nodes.items()
            for t in Tier
            for c in tiers[t]
            if c.complete
        }
        if held != {(n, t, m) for (m, t), nodes in self._complete.items() for n in nodes}:
            raise IntegrityError("who holds which model complete is not what the copies say")

    def _at(self, node: int, tier: Tier) -> Copies:
        if node not in self._nodes:
            raise _unknown(node)
        return self._nodes[node][tier]

    def _changed(self, node: int, tier: Tier, model: str) -> None:
        """Keep what is known by model and by time in step with the copies."""
        copy = self._nodes[node][tier].find(model) if node in self._nodes else None
        key, complete = (model, tier), copy is not None and copy.complete
        if complete != (node in self._complete[key]):
            (self._complete[key].add if complete else self._complete[key].discard)(node)
            self._holders.pop(key, None)
        self._expiries.note((node, int(tier), model))

    def _expiry(self, place: Place) -> float | None:
        """When the keep-alive of a copy ends; None unless it is there and idle."""
        node, tier, model = place
        copy = self._nodes[node][Tier(tier)].find(model) if node in self._nodes else None
        if copy is None or not copy.idle:
            return None
        end = copy.used_s + self._keep_alive.of(copy.node, copy.tier)
        return end if end < math.inf else None


def _unknown(node: int) -> ConfigError:
    return ConfigError(f"node {node} has no tiers here; give its capacity or leave it out")
