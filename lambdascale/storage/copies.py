"""The copies of models in one tier of one node: their byte ranges, pins and order of use. Pure state.

`residency` puts the tiers of all nodes together.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from lambdascale.errors import ConfigError
from lambdascale.storage.arena import PAGE, Arena, IntegrityError
from lambdascale.storage.tiers import Tier


@dataclass(frozen=True, slots=True)
class Copy:
    """A model's bytes in [offset, offset + nbytes) of a tier, as they were when it was asked for.

    It is loading until it is `complete`; `used_s` is the time of its last use. Nobody loads what is `left`
    of one by an earlier controller, or before its node was lost.
    """

    node: int
    tier: Tier
    model: str
    offset: int
    nbytes: int
    used_s: float
    pins: int = 0
    complete: bool = False
    left: bool = False

    @property
    def idle(self) -> bool:
        """May it go? Nobody loads it, or has pinned it."""
        return (self.complete or self.left) and not self.pins

    def __str__(self) -> str:
        return f"the copy of {self.model} in the {self.tier.name} tier of node {self.node}"


@dataclass(frozen=True, slots=True)
class Eviction:
    """A copy that has lost its place."""

    node: int
    tier: Tier
    model: str
    offset: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a new copy goes, and which copies went for it, least recently used first."""

    offset: int
    evicted: tuple[Eviction, ...] = ()


class Copies:
    """What lies in `tier` of `node`."""

    def __init__(self, node: int, tier: Tier, capacity: int) -> None:
        self._node = node
        self._tier = tier
        self._arena = Arena(capacity)
        self._copies: dict[str, Copy] = {}  # in order of use, which breaks ties of time

    @property
    def capacity(self) -> int:
        return self._arena.capacity

    def __iter__(self) -> Iterator[Copy]:
        """The copies, least recently used first."""
        return iter(sorted(self._copies.values(), key=lambda copy: copy.used_s))

    def find(self, model: str) -> Copy | None:
        """Return the copy of `model`, if there is one."""
        return self._copies.get(model)

    def get(self, model: str) -> Copy:
        """Return the copy of `model`; ConfigError if there is none."""
        if model not in self._copies:
            raise ConfigError(f"{self._place} has no copy of {model}; place one first")
        return self._copies[model]

    def place(
        self, model: str, nbytes: int, now: float, keep: Collection[str] = ()
    ) -> Placed | None:
        """Reserve room for a new copy; None, and nothing changes, if it does not fit now."""
        self._check_new(model, nbytes)
        leaving = self._leaving(nbytes, keep)
        if leaving is None:
            return None
        for copy in leaving:
            self._remove(copy)
        offset = self._arena.allocate(nbytes)
        if offset is None:
            raise IntegrityError(f"{self._place} has no room for {model} after evicting {leaving}")
        self._copies[model] = Copy(self._node, self._tier, model, offset, nbytes, now)
        evicted = (Eviction(c.node, c.tier, c.model, c.offset, c.complete) for c in leaving)
        return Placed(offset, tuple(evicted))

    def find_left(self, model: str, offset: int, nbytes: int, now: float) -> bool:
        """Note what is left of a copy at `offset`; False, and nothing changes, if that cannot be."""
        if model in self._copies or not self._arena.take(offset, nbytes):
            return False
        copy = Copy(self._node, self._tier, model, offset, nbytes, now, left=True)
        self._copies[model] = copy
        return True

    def resume(self, model: str) -> None:
        """Load on what is left of a copy."""
        self._copies[model] = replace(self.get(model), left=False)

    def has_room(self, nbytes: int, keep: Collection[str] = ()) -> bool:
        """Is there room for so many bytes, if idle copies go, but for those of `keep`?"""
        return nbytes <= self.capacity and self._leaving(nbytes, keep) is not None

    def use(self, model: str, now: float) -> None:
        """Make the copy of `model` the most recently used."""
        used = replace(self.get(model), used_s=now)
        del self._copies[model]
        self._copies[model] = used

    def complete(self, model: str) -> None:
        """Say that all bytes of a copy are there."""
        copy = self.get(model)
        if copy.complete:
            raise ConfigError(f"{copy} is complete already; complete each load once")
        self._copies[model] = replace(copy, complete=True, left=False)

    def pin(self, model: str, count: int) -> None:
        """Add `count` pins, which may be negative."""
        copy = self.get(model)
        if copy.pins + count < 0:
            raise ConfigError(f"{copy} is not pinned; pin it first")
        self._copies[model] = replace(copy, pins=copy.pins + count)

    def abandon(self, model: str) -> None:
        """Forget a copy that is loading."""
        copy = self.get(model)
        if copy.complete:
            raise ConfigError(f"{copy} is complete; drop it instead")
        self._remove(copy)

    def drop(self, model: str) -> None:
        """Forget a copy that is complete, or what is left of one."""
        copy = self.get(model)
        if not (copy.complete or copy.left):
            raise ConfigError(f"{copy} is loading; abandon it instead")
        self._remove(copy)

    def check_integrity(self) -> None:
        """Raise IntegrityError unless the copies are exactly the ranges of the arena."""
        self._arena.check_integrity()
        copies = sorted(self._copies.values(), key=lambda copy: copy.offset)
        spans = self._arena.spans
        if [copy.offset for copy in copies] != [span.start for span in spans]:
            raise IntegrityError(f"the copies in {self._place} are not what its arena holds")
        for copy, span in zip(copies, spans, strict=True):
            if not 0 <= span.nbytes - copy.nbytes < PAGE:
                raise IntegrityError(f"a copy in {self._place} is not as large as its range")
            if copy.pins < 0:
                raise IntegrityError(f"a copy in {self._place} has a negative number of pins")

    def _remove(self, copy: Copy) -> None:
        if copy.pins:
            raise ConfigError(f"{copy} is pinned {copy.pins} times; unpin it first")
        self._arena.free(copy.offset)
        del self._copies[copy.model]

    @property
    def _place(self) -> str:
        return f"the {self._tier.name} tier of node {self._node}"

    def _check_new(self, model: str, nbytes: int) -> None:
        if model in self._copies:
            raise ConfigError(f"{self._place} has a copy of {model} already; use that one")
        if nbytes < 1:
            raise ConfigError(f"a copy of {model} has {nbytes} bytes; it needs at least 1")
        if nbytes > self.capacity:
            raise ConfigError(
                f"{model} has {nbytes} bytes and {self._place} has {self.capacity}; "
                "give the tier more or use another"
            )

    def _leaving(self, nbytes: int, keep: Collection[str]) -> list[Copy] | None:
        """The copies that must go for `nbytes` bytes, least recently used first; None if all are too few.

        A copy whose room does not touch what the new one gets stays.
        """
        trial, gone = self._arena.copy(), []
        idle = (copy for copy in self if copy.idle and copy.model not in keep)
        while (start := trial.allocate(nbytes)) is None:
            if (copy := next(idle, None)) is None:
                return None
            trial.free(copy.offset)
            gone.append(copy)
        stop = start + nbytes
        return [copy for copy in gone if copy.offset < stop and start < copy.offset + copy.nbytes]
