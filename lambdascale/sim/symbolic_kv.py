"""The KV cache of the symbolic engine as `engine.kv.KvCache`."""

from collections.abc import Callable

from lambdascale.engine.kv import KvLayout, Ranges, layers_among
from lambdascale.sim.chain import HashChain
from lambdascale.sim.turn import Turn


class SymbolicKv:
    """Moves entries between the model that `attached` returns and its KV region, which takes no time.

    One range per layer and slot: keys, values and heads lie together.
    """

    def __init__(self, layout: KvLayout, attached: Callable[[], HashChain], turn: Turn) -> None:
        self._layout = layout
        self._attached = attached
        self._turn = turn

    @property
    def nbytes(self) -> int:
        return self._layout.nbytes

    def ranges(self, slot: int, first: int, stop: int, length: int) -> Ranges:
        return self._layout.ranges(slot, first, stop, length)

    async def expose(self, slot: int, first: int, stop: int, length: int) -> None:
        """Name the entries in the region, whether they are there or not."""
        self._layout.check(slot, length)
        layers = layers_among(first, stop, self._layout.num_layers)
        async with self._turn:
            self._attached().expose(slot, layers, length)

    async def adopt(self, slot: int, first: int, stop: int, length: int) -> None:
        """Take the entries that the region names; where it names none, they are absent."""
        self._layout.check(slot, length)
        layers = layers_among(first, stop, self._layout.num_layers)
        async with self._turn:
            self._attached().adopt(slot, layers, length)
