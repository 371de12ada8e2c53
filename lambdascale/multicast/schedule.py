"""What a multicast is: who sends which block to whom, and in which tick (paper.md c.4–c.5).

Pure values. A schedule knows nodes and blocks, never sockets or buffers. Ticks count from 1; nodes and
blocks from 0; the sources are nodes 0 … num_sources − 1.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lambdascale.errors import ConfigError


class Transfer(NamedTuple):
    """Block `block` travels from `src` to `dst` during `tick`."""

    tick: int
    src: int
    dst: int
    block: int


class Multicast(Protocol):
    """What the validator and the evaluator of times need to know; `Schedule` and `Repair` have it.

    `held`: per node, the blocks it holds before tick 1. `subgroups`: who waits for whom at a barrier.
    `in_order`: it was made for slow links, so that no send overtakes one before it.
    """

    @property
    def num_nodes(self) -> int: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def subgroups(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def transfers(self) -> tuple[Transfer, ...]: ...
    @property
    def held(self) -> tuple[frozenset[int], ...]: ...
    @property
    def in_order(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """A complete plan: `transfers` in tick order, and the sub-groups (source first) it was made of.

    `in_order`: see `Multicast`.
    """

    algorithm: str
    num_nodes: int
    num_sources: int
    num_blocks: int
    subgroups: tuple[tuple[int, ...], ...]
    transfers: tuple[Transfer, ...]
    in_order: bool = False

    @property
    def num_ticks(self) -> int:
        return max((t.tick for t in self.transfers), default=0)

    @property
    def held(self) -> tuple[frozenset[int], ...]:
        """Per node, what it holds before tick 1: everything (a source) or nothing."""
        num_destinations = self.num_nodes - self.num_sources
        everything = frozenset(range(self.num_blocks))
        return (everything,) * self.num_sources + (frozenset(),) * num_destinations

    def sends_of(self, node: int) -> tuple[Transfer, ...]:
        """What `node` sends, in order."""
        return tuple(t for t in self.transfers if t.src == node)

    def receives_of(self, node: int) -> tuple[Transfer, ...]:
        """What `node` receives, in order."""
        return tuple(t for t in self.transfers if t.dst == node)


@dataclass(frozen=True, slots=True)
class Repair:
    """What is still to be sent when node i holds blocks `held[i]`, until every survivor holds them all.

    A dead node holds nothing and is no survivor. `transfers` are in tick order; ticks count from 1.
    """

    num_nodes: int
    num_blocks: int
    survivors: tuple[int, ...]
    held: tuple[frozenset[int], ...]
    transfers: tuple[Transfer, ...]
    in_order: bool = False

    @property
    def num_ticks(self) -> int:
        return max((t.tick for t in self.transfers), default=0)

    @property
    def subgroups(self) -> tuple[tuple[int, ...], ...]:
        return (self.survivors,)


def check_request(num_nodes: int, num_sources: int, num_blocks: int) -> None:
    """Raise ConfigError unless k sources can serve N − k destinations with b blocks."""
    if num_nodes < 2:
        raise ConfigError(f"nodes is {num_nodes}; a scale-out needs at least 2")
    if not 1 <= num_sources < num_nodes:
        raise ConfigError(
            f"sources is {num_sources}; it must be at least 1 and less than nodes ({num_nodes})"
        )
    if num_blocks < num_sources:
        raise ConfigError(
            f"blocks is {num_blocks}; use at least one per source ({num_sources}) so that the "
            "sub-groups can start with different blocks"
        )
