"""When every block arrives if a schedule is run as the runtime runs it: by dependencies, not by ticks.

The rules are those of `cluster.sends` and of the simulated links:

    a node posts its sends in order, each as soon as its block is here and the window has room, but for those
    to a peer to which it may not write now (`window`): they wait, and later ones go before them;
    posted → egress of the sender → left → latency → ingress of the receiver → shown, done

A port is busy for occupancy + bytes ÷ rate per write; an idle receiver as fast as the sender adds nothing
(cut-through), a slower or a busy one makes the write wait. Latency keeps nothing busy. With `barrier`, a
tick of a sub-group starts when all writes of its earlier ticks are done (the paper's system).
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lambdascale.errors import ConfigError
from lambdascale.multicast.schedule import Multicast, Transfer
from lambdascale.multicast.window import Flight, Window

Times = list[list[float]]  # [node][block] → seconds; 0.0: held from the start, inf: never
LANDED, SHOWN = 0, 1
ROUNDING = 1e-12  # a write that the ingress delays by no more than this part of now is not delayed
Event = tuple[float, int, int, Transfer]
Jitter = Callable[
    [Transfer], float
]  # seconds that a write keeps the sender's port busy beyond its time


def arrival_times(
    schedule: Multicast,
    rates: Sequence[float] | float,
    block_nbytes: float,
    occupancy_s: float = 0.0,
    latency_s: float = 0.0,
    window: int = 2,
    barrier: bool = False,
    jitter: Jitter | None = None,
) -> Times:
    """Return times[node][block] in seconds (0.0: held from the start, inf: never arrives).

    `rates` is in bytes/s, one for all nodes or one per node, the same in both directions. ConfigError if a
    value cannot work.

    >>> from lambdascale.multicast.plan import plan
    >>> arrival_times(plan("binomial", 4, 1, 2), rates=1.0, block_nbytes=1.0)
    [[0.0, 0.0], [3.0, 2.0], [1.0, 3.0], [2.0, 3.0]]
    """
    per_node = node_rates(rates, schedule.num_nodes)
    _check_costs(block_nbytes, occupancy_s, latency_s, window)
    busy = [occupancy_s + block_nbytes / rate for rate in per_node]
    ticks = _Ticks(schedule) if barrier else None
    return _Run(schedule, busy, latency_s, window, ticks, jitter).times()


def node_rates(rates: Sequence[float] | float, num_nodes: int) -> list[float]:
    """Return one positive rate per node; ConfigError otherwise."""
    per_node = [float(rates)] * num_nodes if isinstance(rates, int | float) else list(rates)
    if len(per_node) != num_nodes:
        raise ConfigError(f"rates has {len(per_node)} values; give one per node ({num_nodes})")
    for node, rate in enumerate(per_node):
        if not rate > 0:
            raise ConfigError(f"the rate of node {node} is {rate} bytes/s; it must be positive")
    return per_node


def _check_costs(block_nbytes: float, occupancy_s: float, latency_s: float, window: int) -> None:
    if not block_nbytes > 0:
        raise ConfigError(f"block_nbytes is {block_nbytes}; it must be positive")
    if not (occupancy_s >= 0 and latency_s >= 0):
        raise ConfigError(
            f"occupancy_s is {occupancy_s}, latency_s is {latency_s}; both must be at least 0"
        )
    if window < 1:
        raise ConfigError(f"window is {window}; at least one write must be in flight")


class _Ticks:
    """Barrier mode: which tick each sub-group is in, and how many of its writes are not done."""

    def __init__(self, schedule: Multicast) -> None:
        self.group_of = {node: i for i, group in enumerate(schedule.subgroups) for node in group}
        self.open = [1] * len(schedule.subgroups)
        self._left: list[dict[int, int]] = [{} for _ in schedule.subgroups]
        for tick, src, _, _ in schedule.transfers:
            left = self._left[self.group_of[src]]
            left[tick] = left.get(tick, 0) + 1
        for group, left in enumerate(self._left):
            self.open[group] = min(left, default=1)

    def may_send(self, transfer: Transfer) -> bool:
        return transfer.tick <= self.open[self.group_of[transfer.src]]

    def done(self, transfer: Transfer) -> int | None:
        """Count a write as done; return its sub-group if that opens a tick."""
        group = self.group_of[transfer.src]
        left = self._left[group]
        left[transfer.tick] -= 1
        if left[transfer.tick]:
            return None
        del left[transfer.tick]
        self.open[group] = min(left, default=self.open[group])
        return group


@dataclass(slots=True)
class _Sender:
    """What a node has yet to send to each peer, with its place in the plan, and its writes in flight."""

    window: Window
    links: dict[int, deque[tuple[int, Transfer]]] = field(default_factory=dict)
    flights: dict[Transfer, Flight] = field(default_factory=dict)


class _Run:
    """The events of one run: a write lands at its receiver, and is then shown when the port allows."""

    def __init__(
        self,
        schedule: Multicast,
        busy: Sequence[float],
        latency_s: float,
        window: int,
        ticks: _Ticks | None,
        jitter: Jitter | None,
    ) -> None:
        n, b = schedule.num_nodes, schedule.num_blocks
        self._schedule = schedule
        self._busy = busy
        self._latency_s = latency_s
        self._ticks = ticks
        self._jitter = jitter
        self._times = [[0.0 if m in held else math.inf for m in range(b)] for held in schedule.held]
        self._egress = [0.0] * n
        self._ingress = [0.0] * n
        self._senders = [_Sender(Window(window, in_order=schedule.in_order)) for _ in range(n)]
        for at, transfer in enumerate(schedule.transfers):
            links = self._senders[transfer.src].links
            links.setdefault(transfer.dst, deque()).append((at, transfer))
        self._events: list[Event] = []
        self._num_events = 0

    def times(self) -> Times:
        for node in range(self._schedule.num_nodes):
            self._post(node, 0.0)
        while self._events:
            now = self._events[0][0]
            shown = []
            while self._events and self._events[0][0] == now:
                _, _, kind, transfer = heapq.heappop(self._events)
                if kind == SHOWN or self._is_shown(transfer, now):
                    shown.append(transfer)
            self._show(shown, now)
        return self._times

    def _at(self, when: float, kind: int, transfer: Transfer) -> None:
        self._num_events += 1
        heapq.heappush(self._events, (when, self._num_events, kind, transfer))

    def _post(self, node: int, now: float) -> None:
        """Post what `node` may send now."""
        sender = self._senders[node]
        while (transfer := self._next(node, now)) is not None:
            sender.flights[transfer] = sender.window.begin(transfer.dst)
            left = max(self._egress[node], now) + self._busy[node]
            if self._jitter:
                left += self._jitter(transfer)
            self._egress[node] = left
            self._at(left + self._latency_s, LANDED, transfer)

    def _next(self, node: int, now: float) -> Transfer | None:
        """Take the first of the plan that the window has room for, unless one before it lacks its block."""
        sender, held = self._senders[node], self._times[node]
        for _, transfer in sorted(link[0] for link in sender.links.values() if link):
            if held[transfer.block] > now or (self._ticks and not self._ticks.may_send(transfer)):
                return None
            if sender.window.admits(transfer.dst):
                sender.links[transfer.dst].popleft()
                return transfer
        return None

    def _is_shown(self, transfer: Transfer, now: float) -> bool:
        """Let a write that has landed pass the ingress; it began to come when it began to leave."""
        _, src, dst, _ = transfer
        began = max(self._ingress[dst], now - self._busy[src])
        shown = self._ingress[dst] = max(began + self._busy[dst], now)
        if shown > now * (1 + ROUNDING):
            self._at(shown, SHOWN, transfer)
            return False
        return True

    def _show(self, transfers: Sequence[Transfer], now: float) -> None:
        """The receivers go on first: a sender learns a moment later that its write is done."""
        for _, _, dst, block in transfers:
            self._times[dst][block] = min(self._times[dst][block], now)
        for _, _, dst, _ in transfers:
            self._post(dst, now)
        for transfer in transfers:
            sender = self._senders[transfer.src]
            sender.window.end(sender.flights.pop(transfer))
            self._post(transfer.src, now)
        for group in self._opened(transfers):
            for node in self._schedule.subgroups[group]:
                self._post(node, now)

    def _opened(self, transfers: Sequence[Transfer]) -> list[int]:
        if self._ticks is None:
            return []
        done = map(self._ticks.done, transfers)
        return [group for group in done if group is not None]
