"""How long nodes have worked for each model so far, from the records of a run that goes on."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from lambdascale.cluster.records import AllocationRecord


class Allocated:
    """Takes records as they happen; beginning twice or ending nothing is ignored."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[tuple[str, int], float] = {}
        self._ended: defaultdict[str, float] = defaultdict(float)

    def see(self, record: AllocationRecord) -> None:
        """A node works for a model from now on, or no longer does."""
        key, now_s = (record.model, record.node), self._clock()
        if record.allocated:
            self._since.setdefault(key, now_s)
        elif key in self._since:
            self._ended[record.model] += now_s - self._since.pop(key)

    def seconds(self) -> Mapping[str, float]:
        """Return node × seconds per model, what goes on included."""
        now_s, total = self._clock(), defaultdict(float, self._ended)
        for (model, _), since_s in self._since.items():
            total[model] += now_s - since_s
        return total
