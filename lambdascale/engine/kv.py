"""The KV cache as memory that can move: which bytes of a node's KV region hold what.

A request changes nodes by one-sided writes between KV regions at equal offsets (paper.md h.3, KV
transfer), so where a slot lies depends on the model and the limits alone. The writer's engine *exposes*
the ranges first, the receiver's *adopts* them afterwards; nothing here moves a byte.
"""

from dataclasses import dataclass
from typing import Protocol

from lambdascale.errors import ConfigError

Ranges = tuple[tuple[int, int], ...]  # (offset, nbytes) in the KV region


class KvCache(Protocol):
    """The KV cache of one prepared model. All calls name `slot` and the layers among parts [first, stop)."""

    @property
    def nbytes(self) -> int:
        """Bytes of the KV region that the model uses, from byte 0 on."""
        ...

    def ranges(self, slot: int, first: int, stop: int, length: int) -> Ranges:
        """Return the pieces that hold positions [0, length), in ascending order.

        They are the same on every node that has the same model and limits.
        """
        ...

    async def expose(self, slot: int, first: int, stop: int, length: int) -> None:
        """Make the region hold positions [0, length), which the slot must have, for peers to be sent.

        Steps called before are done when this returns; a later one leaves the ranges alone unless it
        starts the sequence anew.
        """
        ...

    async def adopt(self, slot: int, first: int, stop: int, length: int) -> None:
        """Take the ranges for what a peer exposed and wrote there, or this engine exposed itself.

        From now on the slot holds `length` tokens in these layers, and a step may continue there. Other
        layers keep what they hold. A length of 0 forgets what these layers hold: call it before a slot
        is filled piece by piece, lest a layer that never arrives be mistaken for one that did.
        """
        ...


@dataclass(frozen=True, slots=True)
class KvLayout:
    """A dense array [layers, planes, max_slots, heads, max_length] of cells of `cell_nbytes`.

    `planes` is 2 if keys and values lie apart. A slot's `heads` pieces are contiguous along its length.

    >>> KvLayout(num_layers=2, planes=1, max_slots=2, heads=2, max_length=4, cell_nbytes=8).ranges(
    ...     slot=1, first=1, stop=3, length=3
    ... )
    ((64, 24), (96, 24), (192, 24), (224, 24))
    """

    num_layers: int
    planes: int
    max_slots: int
    heads: int
    max_length: int
    cell_nbytes: int

    def __post_init__(self) -> None:
        if self.max_slots < 1 or self.max_length < 1:
            raise ConfigError(
                f"max_slots is {self.max_slots}, max_length is {self.max_length}; both must be at least 1"
            )

    @property
    def nbytes(self) -> int:
        return self.num_layers * self.planes * self.max_slots * self._slot_nbytes

    @property
    def _slot_nbytes(self) -> int:
        """Bytes of one slot in one plane of one layer."""
        return self.heads * self.max_length * self.cell_nbytes

    def nbytes_of(self, first: int, stop: int, positions: int) -> int:
        """Return the bytes that so many positions have in the layers among parts [first, stop)."""
        layers = range(self.num_layers)[layers_among(first, stop, self.num_layers)]
        return len(layers) * self.planes * self.heads * self.cell_nbytes * positions

    def ranges(self, slot: int, first: int, stop: int, length: int) -> Ranges:
        """Return the ranges of positions [0, length) of `slot`; adjacent ones are merged."""
        self.check(slot, length)
        layers = layers_among(first, stop, self.num_layers)
        planes = range(layers.start * self.planes, layers.stop * self.planes)
        head_nbytes = self.max_length * self.cell_nbytes
        starts = (
            (plane * self.max_slots + slot) * self._slot_nbytes + head * head_nbytes
            for plane in planes
            for head in range(self.heads)
        )
        merged: list[tuple[int, int]] = []
        for start in starts if length else ():
            if merged and sum(merged[-1]) == start:
                start, held = merged.pop()
                merged.append((start, held + length * self.cell_nbytes))
            else:
                merged.append((start, length * self.cell_nbytes))
        return tuple(merged)

    def check(self, slot: int, length: int) -> None:
        """Raise ConfigError unless `slot` can hold `length` tokens."""
        if not 0 <= slot < self.max_slots:
            raise ConfigError(f"slot is {slot}; max_slots is {self.max_slots}")
        if not 0 <= length <= self.max_length:
            raise ConfigError(f"length is {length}; it must be in 0 to {self.max_length}")


def layers_among(first: int, stop: int, num_layers: int) -> slice:
    """Return the layers, counted from 0, among parts [first, stop): part 1 is layer 0.

    >>> layers_among(0, 3, 4), layers_among(3, 6, 4), layers_among(0, 1, 4)
    (slice(0, 2, None), slice(2, 4, None), slice(0, 0, None))
    """
    if not 0 <= first < stop <= num_layers + 2:
        raise ConfigError(f"parts [{first}, {stop}) are not among the {num_layers + 2} parts")
    start = max(first, 1) - 1
    return slice(start, max(min(stop - 1, num_layers), start))
