"""The state of one scale-out and the decisions taken from it: which blocks are where, which tick may
start, which execution pipelines to form, which nodes have become replicas.

Values in, values out; `controller` sends the messages.
"""

from collections.abc import Callable, Collection

from lambdascale.model.blocks import BlockMap
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.schedule import Schedule
from lambdascale.pipeline.execution import next_pipelines
from lambdascale.pipeline.stages import Stage


def part_costs(layout: ImageLayout) -> tuple[float, ...]:
    """Return what each part costs its stage, in bytes of weights read per step.

    A tied embedding is read by the head stage as the output head; an untied one is a mere look-up.
    """
    lookup = layout.part_nbytes(0) if layout.tied else 0
    return (float(lookup), *(float(layout.part_nbytes(p)) for p in range(1, layout.num_parts)))


class ScaleOut:
    """Holdings of every destination of `schedule`, and who is busy in a pipeline."""

    def __init__(self, schedule: Schedule, layout: ImageLayout) -> None:
        self.schedule = schedule
        self._blocks = BlockMap.of(layout, schedule.num_blocks)
        self._costs = part_costs(layout)
        destinations = range(schedule.num_sources, schedule.num_nodes)
        self._held: dict[int, set[int]] = {node: set() for node in destinations}
        self._busy: dict[int, int] = {}  # node → pipeline
        self._replicas: set[int] = set()

    @property
    def complete(self) -> bool:
        return all(len(held) == self._blocks.num_blocks for held in self._held.values())

    @property
    def covered(self) -> bool:
        """Do the destinations together hold every block?"""
        return len(set().union(*self._held.values())) == self._blocks.num_blocks

    def arrived(self, node: int, blocks: Collection[int]) -> None:
        """Note verified blocks."""
        self._held[node].update(blocks)

    def new_replicas(self) -> list[int]:
        """Return complete nodes that are in no pipeline, once each."""
        ready = [
            node
            for node, held in self._held.items()
            if len(held) == self._blocks.num_blocks
            and node not in self._busy
            and node not in self._replicas
        ]
        self._replicas.update(ready)
        return ready

    def leaving(self) -> set[int]:
        """Return the pipelines that have a complete member, which now leaves for local execution."""
        return {
            pipeline
            for node, pipeline in self._busy.items()
            if len(self._held[node]) == self._blocks.num_blocks
        }

    def new_pipelines(self, name: Callable[[], int]) -> list[tuple[int, tuple[Stage, ...]]]:
        """Form every execution pipeline that is possible now among free nodes; `name` gives ids."""
        formed = []
        groups = [group[1:] for group in self.schedule.subgroups]
        for stages in next_pipelines(groups, self._held, self._busy, self._blocks, self._costs):
            pipeline = name()
            self._busy.update({stage.node: pipeline for stage in stages})
            formed.append((pipeline, stages))
        return formed

    def dissolved(self, pipeline: int) -> None:
        """Free the members of a pipeline."""
        self._busy = {node: p for node, p in self._busy.items() if p != pipeline}
