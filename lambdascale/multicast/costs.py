"""What a write costs, what a schedule therefore takes in seconds, and how early any schedule could end.

A write of n bytes keeps both ports busy for an occupancy o + n ÷ rate; it then travels for a latency L in
which the ports do other work. `experiments.op_cost` measures all three. Ticks say how many rounds a schedule
has, seconds which schedule is best: latency makes the rounds of a relay longer than those of a stream.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.multicast.schedule import Multicast
from lambdascale.multicast.timing import Jitter, Times, arrival_times

WINDOW = 2  # writes in flight per node


@dataclass(frozen=True, slots=True)
class LinkCost:
    """Seconds per write that keep a port busy and that do not, and the rate of a port in bytes/s."""

    occupancy_s: float
    latency_s: float
    rate: float

    def __post_init__(self) -> None:
        for name in ("occupancy_s", "latency_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}; it must be a number of seconds, at least 0")
        if not 0 < self.rate < math.inf:
            raise ConfigError(f"rate is {self.rate} bytes/s; it must be positive and finite")

    def busy_s(self, nbytes: float) -> float:
        """Seconds for which a write of `nbytes` keeps a port busy."""
        return self.occupancy_s + nbytes / self.rate


def predicted_times(
    schedule: Multicast,
    image_nbytes: float,
    cost: LinkCost,
    barrier: bool = False,
    window: int = WINDOW,
    jitter: Jitter | None = None,
) -> Times:
    """Return when each block arrives at each node: times[node][block] in seconds (see `timing`)."""
    block_nbytes = image_nbytes / schedule.num_blocks
    o, latency = cost.occupancy_s, cost.latency_s
    return arrival_times(schedule, cost.rate, block_nbytes, o, latency, window, barrier, jitter)


def predicted_seconds(
    schedule: Multicast,
    image_nbytes: float,
    cost: LinkCost,
    barrier: bool = False,
    window: int = WINDOW,
    jitter: Jitter | None = None,
) -> float:
    """Return the seconds after which every node holds every block.

    With `barrier` every round waits for the one before it, as in the paper's system; a system's control
    cost per round is then its occupancy (paper.md h.1).

    >>> from lambdascale.multicast.plan import plan
    >>> predicted_seconds(plan("binomial", 4, 1, 2), image_nbytes=2.0, cost=LinkCost(0.5, 0.0, 1.0))
    4.5
    """
    return completion(predicted_times(schedule, image_nbytes, cost, barrier, window, jitter))


def completion(times: Times) -> float:
    """Return when the last block arrives; ScheduleError if one never does."""
    return _finite(max(map(max, times)))


def joint_seconds(times: Times, members: Iterable[int]) -> float:
    """Return the seconds after which `members` together hold every block; ScheduleError if never."""
    return _finite(max(map(min, zip(*(times[node] for node in members), strict=True))))


def _finite(seconds: float) -> float:
    if seconds == math.inf:
        raise ScheduleError("some block never arrives; validate the schedule first")
    return seconds


def lower_bound_seconds(
    num_nodes: int, num_sources: int, num_blocks: int, image_nbytes: float, cost: LinkCost
) -> float:
    """Return a time before which no schedule of equal blocks can end on links that cost the same.

    The last destination to hold anything holds one block then, and takes b − 1 more one after another.

    >>> lower_bound_seconds(8, 1, 16, image_nbytes=16.0, cost=LinkCost(0.0, 0.0, 1.0))
    18.0
    """
    busy_s = cost.busy_s(image_nbytes / num_blocks)
    return (
        spread_seconds(num_nodes, num_sources, busy_s, cost.latency_s) + (num_blocks - 1) * busy_s
    )


def spread_seconds(num_nodes: int, num_sources: int, busy_s: float, latency_s: float) -> float:
    """Return the least time in which all N nodes can hold any block at all (Bar-Noy & Kipnis, SPAA 1992).

    Whoever holds one sends without a pause; a write lands `busy_s` + `latency_s` after its start.

    >>> spread_seconds(5, 1, busy_s=1.0, latency_s=1.0)
    4.0
    """
    landings = [busy_s + latency_s] * num_sources
    landing = 0.0
    for _ in range(num_nodes - num_sources):
        landing = landings[0]
        heapq.heapreplace(landings, landing + busy_s)
        heapq.heappush(landings, landing + busy_s + latency_s)
    return landing
