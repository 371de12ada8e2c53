"""The decisions of a scale-out, taken from coverage alone: which execution pipelines and replicas exist when.

The controller and `timeline` both drive a `Formation`: tell it what arrived and which pipelines have
dissolved, then carry out what `decide` returns. A complete member leaves for local execution: its pipeline
dissolves, and the members it leaves behind are free again. A node is in at most one pipeline.

The authors' system switches a whole group at once instead, when the last member is complete (paper.md c.8).
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from lambdascale.model.blocks import BlockMap
from lambdascale.pipeline.execution import ExecutionPipeline, next_pipelines
from lambdascale.pipeline.stages import Stage


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done now, in this order; ids of `leaving` and of what is formed never repeat."""

    leaving: tuple[int, ...]
    replicas: tuple[ExecutionPipeline, ...]
    pipelines: tuple[ExecutionPipeline, ...]


NOTHING = Changes((), (), ())


class Formation:
    """Holdings of every node, and who serves in which pipeline.

    `groups` are the destinations of each sub-group; `whole` nodes hold everything from the start. Without
    `execute` no execution pipeline is formed, only replicas. With `together` no member becomes a replica
    before all are complete; until then a complete one serves in pipelines like any other. `ids` numbers
    what is formed.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        whole: Collection[int],
        blocks: BlockMap,
        costs: Sequence[float],
        execute: bool = True,
        ids: Iterator[int] | None = None,
        together: bool = False,
    ) -> None:
        self._groups = [tuple(group) for group in groups]
        self._blocks = blocks
        self._costs = costs
        self._execute = execute
        self._together = together
        destinations = sorted(itertools.chain.from_iterable(self._groups))
        self._held = {node: set(range(blocks.num_blocks)) for node in whole}
        self._held |= {node: set() for node in destinations}
        self._places = {node: place for place, node in enumerate(self._held)}
        self._lacking = set(destinations)  # some block
        self._together_held: set[int] = set()  # by the destinations
        self._ready = set(whole)  # complete, and no replica yet
        self._sources = frozenset(whole)
        self._busy: dict[int, int] = {}  # node → pipeline
        self._replicas: set[int] = set()
        self._dissolving: set[int] = set()
        self._ids = ids or itertools.count()

    @property
    def held(self) -> dict[int, frozenset[int]]:
        """Per node, the verified blocks."""
        return {node: frozenset(blocks) for node, blocks in self._held.items()}

    @property
    def complete(self) -> bool:
        """Does every destination hold every block?"""
        return not self._lacking

    @property
    def covered(self) -> bool:
        """Do the destinations together hold every block?"""
        return len(self._together_held) == self._blocks.num_blocks

    def holds(self, node: int, block: int) -> bool:
        """Has `block` been verified on `node`?"""
        return block in self._held[node]

    def arrived(self, node: int, blocks: Collection[int]) -> None:
        """Note verified blocks."""
        self._held[node].update(blocks)
        if node not in self._lacking:
            return
        self._together_held.update(blocks)
        if self.whole(node):
            self._lacking.remove(node)
            self._ready.add(node)

    @property
    def settled(self) -> bool:
        """Is every node a replica?"""
        return len(self._replicas) == len(self._held)

    def dissolved(self, pipeline: int, lingering: Collection[int] = ()) -> None:
        """Free the members of a pipeline that was told to dissolve, but for those still `lingering`."""
        if not lingering:
            self._dissolving.discard(pipeline)
        self._busy = {n: p for n, p in self._busy.items() if p != pipeline or n in lingering}

    def broken(self, pipeline: int) -> None:
        """A pipeline has lost a member: nobody needs to tell it to dissolve."""
        self._dissolving.add(pipeline)

    def lose(self, node: int) -> None:
        """Forget a member that is gone, or gives up."""
        if self._held.pop(node, None) is None:
            return
        self._groups = [tuple(n for n in group if n != node) for group in self._groups]
        self._lacking.discard(node)
        self._ready.discard(node)
        self._replicas.discard(node)
        self._busy.pop(node, None)
        left = [n for group in self._groups for n in group]
        self._together_held = set().union(*(self._held[n] for n in left))

    def decide(self) -> Changes:
        """Return what must change; a decision is returned once. The first call makes sources replicas."""
        leaving = self._leaving()
        self._dissolving.update(leaving)
        replicas = self._new_replicas()
        return Changes(leaving, replicas, self._new_pipelines() if self._execute else ())

    def whole(self, node: int) -> bool:
        """Does `node` hold every block?"""
        return len(self._held[node]) == self._blocks.num_blocks

    def _switches(self, node: int) -> bool:
        """Is it time for `node` to serve by itself?"""
        waits = self._together and self._lacking and node not in self._sources
        return self.whole(node) and not waits

    def _leaving(self) -> tuple[int, ...]:
        """The pipelines that have a complete member, which now leaves for local execution."""
        have = {pipeline for node, pipeline in self._busy.items() if self._switches(node)}
        return tuple(sorted(have - self._dissolving))

    def _new_replicas(self) -> tuple[ExecutionPipeline, ...]:
        """The complete nodes that are in no pipeline, each a pipeline of one stage."""
        able = [node for node in self._ready if node not in self._busy and self._switches(node)]
        ready = sorted(able, key=self._places.__getitem__)
        self._ready.difference_update(ready)
        self._replicas.update(ready)
        return tuple(self._named((Stage(node, 0, self._blocks.num_parts),)) for node in ready)

    def _new_pipelines(self) -> tuple[ExecutionPipeline, ...]:
        """Every execution pipeline that is possible now among free nodes."""
        busy = self._busy.keys() | self._replicas
        formed = next_pipelines(
            self._groups, self._held, busy, self._blocks, self._costs, self._together
        )
        pipelines = tuple(self._named(stages) for stages in formed)
        self._busy |= {stage.node: p.id for p in pipelines for stage in p.stages}
        return pipelines

    def _named(self, stages: tuple[Stage, ...]) -> ExecutionPipeline:
        return ExecutionPipeline(next(self._ids), stages)
