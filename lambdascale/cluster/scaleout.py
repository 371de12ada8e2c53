"""The state of one scale-out: which blocks are where, and `formation`'s decisions.

Values in, values out; `controller` sends the messages.
"""

from collections.abc import Collection

from lambdascale.model.blocks import BlockMap
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.schedule import Schedule
from lambdascale.pipeline.costs import part_nbytes
from lambdascale.pipeline.formation import Changes, Formation


class ScaleOut:
    """Holdings of every destination of `schedule`, and who is busy in a pipeline."""

    def __init__(self, schedule: Schedule, layout: ImageLayout, execute_while_load: bool) -> None:
        self.schedule = schedule
        self._formation = Formation(
            schedule.subgroups,
            schedule.num_sources,
            BlockMap.of(layout, schedule.num_blocks),
            part_nbytes(layout),
            execute_while_load,
        )

    @property
    def complete(self) -> bool:
        """Does every destination hold every block?"""
        return self._formation.complete

    @property
    def covered(self) -> bool:
        """Do the destinations together hold every block?"""
        return self._formation.covered

    def arrived(self, node: int, blocks: Collection[int]) -> None:
        """Note verified blocks."""
        self._formation.arrived(node, blocks)

    def dissolved(self, pipeline: int) -> None:
        """Free the members of a pipeline."""
        self._formation.dissolved(pipeline)

    def decide(self) -> Changes:
        """Return which pipelines must dissolve and which replicas and pipelines must be formed."""
        return self._formation.decide()
