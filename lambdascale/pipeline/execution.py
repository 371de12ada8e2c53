"""Execution pipelines: a serving instance over nodes that jointly hold the model (paper.md c.6).

Pure decisions. The controller calls `next_pipelines` whenever holdings change and launches what comes back;
a member that becomes complete leaves for local execution, its pipeline dissolves, and the members it leaves
behind are free again at the next call. A node is in at most one pipeline.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lambdascale.errors import ConfigError
from lambdascale.model.blocks import BlockMap
from lambdascale.pipeline.algorithm2 import member_sets
from lambdascale.pipeline.stages import Stage, assign_stages

Holdings = Mapping[int, Collection[int]]  # node → blocks it holds, verified


@dataclass(frozen=True, slots=True)
class ExecutionPipeline:
    """Stages in execution order; together they run every part once."""

    id: int
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        joined = all(a.stop == b.first for a, b in pairwise(self.stages))
        if not self.stages or self.stages[0].first != 0 or not joined:
            raise ConfigError(f"stages of pipeline {self.id} must follow each other from part 0 on")

    @property
    def members(self) -> tuple[int, ...]:
        """The nodes, in the order in which a token first meets them."""
        return tuple(dict.fromkeys(stage.node for stage in self.stages))

    @property
    def head(self) -> int:
        """The node of part 0: it admits requests and samples."""
        return self.stages[0].node


def form(
    members: Collection[int], holdings: Holdings, block_map: BlockMap, costs: Sequence[float]
) -> tuple[Stage, ...] | None:
    """Return the stages in which `members` can run the whole model now, or None if they cannot yet.

    A member that is complete needs nobody else, so the answer is then that member alone. Holding every
    block jointly is not quite enough: a part that straddles two blocks needs both on one node.
    """
    if len(costs) != block_map.num_parts:
        raise ConfigError(
            f"costs has {len(costs)} entries; give one per part ({block_map.num_parts})"
        )
    runnable = {node: block_map.runnable(holdings.get(node, ())) for node in members}
    return assign_stages(costs, runnable)


def next_pipelines(
    destinations: Sequence[Sequence[int]],
    holdings: Holdings,
    unavailable: Collection[int],
    block_map: BlockMap,
    costs: Sequence[float],
    whole_ones: bool = False,
) -> tuple[tuple[Stage, ...], ...]:
    """Return the stages of every pipeline that can be launched now.

    `destinations` are those of each sub-group, in order. `unavailable` nodes already serve in a pipeline or
    are dead. A complete node is a replica and never a member, unless `whole_ones` wait for others to become
    replicas with them: meanwhile they may be members, or a pipeline by themselves. Algorithm 2 runs over the
    nodes that are left in each sub-group, so those whose planned partners are gone find new ones.
    """
    most = block_map.num_blocks - (not whole_ones)
    free = [
        [n for n in group if n not in unavailable and len(holdings.get(n, ())) <= most]
        for group in destinations
    ]
    formed = (
        form(members, holdings, block_map, costs)
        for members in member_sets(free)
        if len(frozenset().union(*(holdings.get(node, ()) for node in members)))
        == block_map.num_blocks
    )
    return tuple(stages for stages in formed if stages is not None)
