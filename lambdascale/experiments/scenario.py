"""What-if of one multicast: a schedule, a slow node, a node that dies midway; when every block arrives.

Pure values, from the planners and the evaluator of times that the runtime is checked against. The unit of
time is the *block time*: what one block takes on a full link without occupancy or latency.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from lambdascale.errors import ConfigError
from lambdascale.multicast.costs import LinkCost, lower_bound_seconds
from lambdascale.multicast.plan import plan
from lambdascale.multicast.repair import repair
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.multicast.timing import Times, arrival_times
from lambdascale.multicast.weighted import NAME as WEIGHTED
from lambdascale.multicast.weighted import weighted

SLOWEST = 0.05  # of a full link


@dataclass(frozen=True, slots=True)
class Scenario:
    """k → N nodes and b blocks; `slow_rate` is a share of a full link, `killed_at` in block times."""

    algorithm: str = "kway"
    num_nodes: int = 8
    num_sources: int = 2
    num_blocks: int = 16
    slow_node: int | None = None
    slow_rate: float = 0.25
    killed_node: int | None = None
    killed_at: float = 8.0

    def __post_init__(self) -> None:
        for what, node in (("slow", self.slow_node), ("killed", self.killed_node)):
            if node is not None and not 0 <= node < self.num_nodes:
                raise ConfigError(f"{what} node is {node}; nodes are 0 to {self.num_nodes - 1}")
        if not SLOWEST <= self.slow_rate <= 1:
            raise ConfigError(f"slow_rate is {self.slow_rate}; it must be {SLOWEST} to 1")
        if not 0 <= self.killed_at < math.inf:
            raise ConfigError(f"killed_at is {self.killed_at}; it must be a time, at least 0")

    @property
    def rates(self) -> tuple[float, ...]:
        """Per node, its share of a full link."""
        return tuple(
            self.slow_rate if node == self.slow_node else 1.0 for node in range(self.num_nodes)
        )

    def schedule(self) -> Schedule:
        """Plan the multicast; only `weighted` knows of the slow node. ConfigError if it cannot work."""
        if self.algorithm == WEIGHTED:
            return weighted(self.rates, self.num_sources, self.num_blocks)
        return plan(self.algorithm, self.num_nodes, self.num_sources, self.num_blocks)


@dataclass(frozen=True)
class Outcome:
    """times[node][block] in block times (0: held from the start, inf: never) and how it was planned.

    `num_repaired` counts the transfers of the repair. `bound` is that of an undisturbed multicast.
    """

    scenario: Scenario
    times: Times
    num_repaired: int
    bound: float

    @property
    def receivers(self) -> tuple[int, ...]:
        """The nodes that began with nothing."""
        return tuple(range(self.scenario.num_sources, self.scenario.num_nodes))

    @property
    def survivors(self) -> tuple[int, ...]:
        """The receivers that are alive at the end."""
        return tuple(node for node in self.receivers if node != self.scenario.killed_node)

    @cached_property
    def end(self) -> float:
        """When every survivor holds every block; 0 if there is none."""
        return self.completion(self.survivors)

    @property
    def span(self) -> float:
        """The time a picture has to show: everything that happens."""
        killed_at = 0.0 if self.scenario.killed_node is None else self.scenario.killed_at
        return max(self.end, killed_at)

    def completion(self, nodes: Iterable[int]) -> float:
        """Return when all of `nodes` hold every block."""
        return max((max(self.times[node]) for node in nodes), default=0.0)

    def alive(self, now: float) -> tuple[int, ...]:
        """Return the receivers that have not been killed by `now`."""
        return self.receivers if now < self.scenario.killed_at else self.survivors

    def mean_share(self, now: float) -> float:
        """Return the share of the model that a receiver holds at `now`, on average."""
        alive = self.alive(now)
        held = sum(time <= now for node in alive for time in self.times[node])
        return held / (len(alive) * self.scenario.num_blocks) if alive else 1.0

    def covered_share(self, now: float) -> float:
        """Return the share of the model that the receivers hold together at `now`."""
        num_blocks = self.scenario.num_blocks
        first = [
            min((self.times[n][block] for n in self.alive(now)), default=math.inf)
            for block in range(num_blocks)
        ]
        return sum(time <= now for time in first) / num_blocks


def foretell(scenario: Scenario) -> Outcome:
    """Return when each block arrives. ConfigError for a request that cannot work, ScheduleError if lost.

    What is in flight when a node dies is lost, too: the repair starts from what has arrived.

    >>> foretell(Scenario("circulant", num_nodes=4, num_sources=1, num_blocks=4)).end
    5.0
    >>> foretell(Scenario("circulant", 4, 1, 4, killed_node=2, killed_at=3.0)).num_repaired
    4
    """
    times = arrival_times(scenario.schedule(), scenario.rates, block_nbytes=1.0)
    num_repaired = 0
    if scenario.killed_node is not None:
        times, repaired = _killed(scenario, scenario.killed_node, times)
        num_repaired = len(repaired)
    n, k, b = scenario.num_nodes, scenario.num_sources, scenario.num_blocks
    return Outcome(
        scenario, times, num_repaired, lower_bound_seconds(n, k, b, b, LinkCost(0, 0, 1))
    )


def _killed(scenario: Scenario, dead: int, times: Times) -> tuple[Times, tuple[Transfer, ...]]:
    """Stop at the moment of death, and complete the multicast among the survivors."""
    now, slow = scenario.killed_at, scenario.slow_node
    held = [{b for b, time in enumerate(own) if time <= now} for own in times]
    periods = {} if slow in (None, dead) else {slow: 1 / scenario.slow_rate}
    todo = repair(held, scenario.num_blocks, dead=[dead], slow=periods)
    after = arrival_times(todo, scenario.rates, block_nbytes=1.0)
    pairs = [zip(*two, strict=True) for two in zip(times, after, strict=True)]
    return [[t if t <= now else now + later for t, later in own] for own in pairs], todo.transfers
