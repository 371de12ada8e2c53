"""One validator for every schedule: it accepts a plan only if each transfer can happen, and all is delivered.

The rules: every destination gets every block that it lacks exactly once; a sender holds what it sends (a
block that arrives in tick t may be passed on from tick t + 1); a node sends at most one block per tick and
receives at most as many as its algorithm states (a repair: one); sources receive nothing, dead nodes too.
"""

from collections.abc import Mapping, Sequence

from lambdascale.errors import ScheduleError
from lambdascale.multicast.plan import algorithm_named
from lambdascale.multicast.schedule import Multicast, Repair, Schedule, Transfer

NEVER = -1


def validate(schedule: Schedule) -> None:
    """Raise ScheduleError naming the first transfer that breaks a rule.

    Raises ConfigError if the schedule's algorithm, and so its port limit, is unknown.
    """
    limit = algorithm_named(schedule.algorithm).receives_per_tick
    _check_subgroups(schedule)
    receive_limit = [0] * schedule.num_nodes
    for group in schedule.subgroups:
        for node in group[1:]:
            receive_limit[node] = limit(len(group))
    closed = dict.fromkeys(range(schedule.num_sources), "is a source and needs nothing")
    _Ledger(schedule, receive_limit, closed).replay()


def validate_repair(repair: Repair) -> None:
    """Raise ScheduleError naming the first transfer that breaks a rule; one receive per node and tick."""
    alive = set(repair.survivors)
    closed = {node: "is gone" for node in range(repair.num_nodes) if node not in alive}
    if any(repair.held[node] for node in closed):
        raise ScheduleError(f"nodes {sorted(closed)} are gone and cannot hold blocks")
    _Ledger(repair, [1] * repair.num_nodes, closed).replay()


def _check_subgroups(schedule: Schedule) -> None:
    """Each sub-group is a source and then destinations; together they hold each destination once."""
    k = schedule.num_sources
    heads = [group[0] for group in schedule.subgroups if group]
    if len(set(heads)) != len(schedule.subgroups) or not all(0 <= head < k for head in heads):
        raise ScheduleError(
            f"sub-groups {schedule.subgroups} must each begin with a source of its own"
        )
    destinations = sorted(node for group in schedule.subgroups for node in group[1:])
    if destinations != list(range(k, schedule.num_nodes)):
        raise ScheduleError(
            f"sub-groups {schedule.subgroups} must hold each of nodes {k} to "
            f"{schedule.num_nodes - 1} exactly once"
        )


class _Ledger:
    """What has happened so far: when each block reached each node, and how busy each node is in this tick.

    `receive_limit` is in blocks per tick; `closed` says why a node takes nothing and need not be complete.
    """

    def __init__(
        self, plan: Multicast, receive_limit: Sequence[int], closed: Mapping[int, str]
    ) -> None:
        blocks = range(plan.num_blocks)
        self.plan = plan
        self.arrived = [[0 if block in held else NEVER for block in blocks] for held in plan.held]
        self.receive_limit = receive_limit
        self.closed = closed
        self.tick = 1
        self.sent: set[int] = set()
        self.received: dict[int, int] = {}

    def replay(self) -> None:
        """Raise unless every transfer can happen and every open node gets everything."""
        for transfer in self.plan.transfers:
            self.check(transfer)
            self.record(transfer)
        self.check_complete()

    def check(self, transfer: Transfer) -> None:
        """Raise unless `transfer` may come next."""
        self._check_range(transfer)
        tick, src, dst, block = transfer
        if tick > self.tick:
            self.tick, self.sent, self.received = tick, set(), {}
        if self.arrived[src][block] == NEVER:
            _refuse(transfer, f"node {src} does not hold block {block}")
        if self.arrived[src][block] >= tick:
            _refuse(transfer, f"block {block} arrives at node {src} only in this tick")
        if self.arrived[dst][block] != NEVER:
            _refuse(transfer, f"node {dst} already has block {block}")
        if src in self.sent:
            _refuse(transfer, f"node {src} already sends in this tick")
        if self.received.get(dst, 0) >= self.receive_limit[dst]:
            _refuse(transfer, f"node {dst} can receive {self.receive_limit[dst]} per tick")

    def _check_range(self, transfer: Transfer) -> None:
        tick, src, dst, block = transfer
        plan = self.plan
        if tick < self.tick:
            _refuse(
                transfer, f"it comes after tick {self.tick}; transfers must be in tick order from 1"
            )
        if not 0 <= src < plan.num_nodes or not 0 <= dst < plan.num_nodes:
            _refuse(transfer, f"nodes are 0 to {plan.num_nodes - 1}")
        if not 0 <= block < plan.num_blocks:
            _refuse(transfer, f"blocks are 0 to {plan.num_blocks - 1}")
        if dst in self.closed:
            _refuse(transfer, f"node {dst} {self.closed[dst]}")

    def record(self, transfer: Transfer) -> None:
        self.arrived[transfer.dst][transfer.block] = transfer.tick
        self.sent.add(transfer.src)
        self.received[transfer.dst] = self.received.get(transfer.dst, 0) + 1

    def check_complete(self) -> None:
        for node, ticks in enumerate(self.arrived):
            if NEVER in ticks and node not in self.closed:
                raise ScheduleError(
                    f"incomplete schedule: node {node} never gets block {ticks.index(NEVER)}"
                )


def _refuse(transfer: Transfer, why: str) -> None:
    tick, src, dst, block = transfer
    raise ScheduleError(f"tick {tick}, node {src} to node {dst}, block {block}: {why}")
