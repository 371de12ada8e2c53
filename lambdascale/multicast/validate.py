"""One validator for every schedule: it accepts a plan only if each transfer can happen, and all is delivered.

The rules: every destination gets every block exactly once; a sender holds what it sends (a block that
arrives in tick t may be passed on from tick t + 1); a node sends at most one block per tick and receives at
most as many as its algorithm states; sources receive nothing.
"""

from lambdascale.errors import ScheduleError
from lambdascale.multicast.plan import algorithm_named
from lambdascale.multicast.schedule import Schedule, Transfer

NEVER = -1


def validate(schedule: Schedule) -> None:
    """Raise ScheduleError naming the first transfer that breaks a rule.

    Raises ConfigError if the schedule's algorithm, and so its port limit, is unknown.
    """
    _check_subgroups(schedule)
    ledger = _Ledger(schedule)
    for transfer in schedule.transfers:
        ledger.check(transfer)
        ledger.record(transfer)
    ledger.check_complete()


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
    """What has happened so far: when each block reached each node, and how busy each node is in this tick."""

    def __init__(self, schedule: Schedule) -> None:
        n, k, b = schedule.num_nodes, schedule.num_sources, schedule.num_blocks
        limit = algorithm_named(schedule.algorithm).receives_per_tick
        self.schedule = schedule
        self.arrived = [[0 if node < k else NEVER] * b for node in range(n)]
        self.receive_limit = dict.fromkeys(range(n), 0)
        for group in schedule.subgroups:
            self.receive_limit.update(dict.fromkeys(group[1:], limit(len(group))))
        self.tick = 1
        self.sent: set[int] = set()
        self.received: dict[int, int] = {}

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
        plan = self.schedule
        if tick < self.tick:
            _refuse(
                transfer, f"it comes after tick {self.tick}; transfers must be in tick order from 1"
            )
        if not 0 <= src < plan.num_nodes or not 0 <= dst < plan.num_nodes:
            _refuse(transfer, f"nodes are 0 to {plan.num_nodes - 1}")
        if not 0 <= block < plan.num_blocks:
            _refuse(transfer, f"blocks are 0 to {plan.num_blocks - 1}")
        if dst < plan.num_sources:
            _refuse(transfer, f"node {dst} is a source and needs nothing")

    def record(self, transfer: Transfer) -> None:
        self.arrived[transfer.dst][transfer.block] = transfer.tick
        self.sent.add(transfer.src)
        self.received[transfer.dst] = self.received.get(transfer.dst, 0) + 1

    def check_complete(self) -> None:
        for node, ticks in enumerate(self.arrived):
            if NEVER in ticks:
                raise ScheduleError(
                    f"incomplete schedule: node {node} never gets block {ticks.index(NEVER)}"
                )


def _refuse(transfer: Transfer, why: str) -> None:
    tick, src, dst, block = transfer
    raise ScheduleError(f"tick {tick}, node {src} to node {dst}, block {block}: {why}")
