"""What a system is and what it is asked to do, as frozen values. Baselines are data, not branches."""

import math
from dataclasses import dataclass

from lambdascale.errors import ConfigError
from lambdascale.setup_times import SetupTime

KV_SWITCHES = ("cost", "recompute", "transfer")
SWITCHES = ("node", "group")
SOURCES = ("gpu", "host", "ssd")


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """λScale, its variants and every baseline are values of this type.

    `window` is the number of block writes a node keeps in flight. With `barrier` a tick starts only
    when the sub-group's previous tick is over, as in the paper's system. `sources` are the tiers from
    which a copy may go to other nodes (none: every node loads for itself). `shifted_loads`: nodes that
    load from their own tiers start at different blocks. `demote`: what leaves a GPU goes to host memory.
    `kv_switch`: how KV entries follow a request at a mode switch. `max_queue`: requests of a model that
    may wait before new ones are refused.

    `switch`: a complete *node* becomes a replica by itself, or the *group* of a scale-out at once when all
    its loads are over. `lock_step`: in an execution pipeline the next step begins when every stage has
    ended the last one, and one request enters per step. A message through the system's manager takes
    `message_s`: a barrier waits for one before and one after each tick, a stage hop for `hop_messages`.

    `slow_factor`: a node whose writes all take that many times as long as is usual receives what is left of a
    scale-out, but sends no more of it (None, or with `barrier`: nobody looks).

    `partial_sources`: nodes that are still loading may send what they have to those that begin later.
    `max_sources` nodes send at most. A link carries at most `max_rate` bytes/s, however fast it is.
    `setup_s`: before blocks move between nodes. `instant`: loads take no time (a bound, no system).
    `copy_to_host`: nodes copy the model to host memory as soon as they serve it, not when they are
    released. Copies in host memory of the first `pinned_hosts` nodes never expire. `repairs`: a scale-out
    that loses a node goes on with what is left; without, one that is all from other nodes drops what its
    members have and begins anew, which only a system can do whose copies serve when all are complete.
    """

    name: str = "lambdascale"
    algorithm: str = "kway"
    order: str | None = None
    execute_while_load: bool = True
    barrier: bool = False
    window: int = 2
    sources: tuple[str, ...] = SOURCES
    shifted_loads: bool = True
    gpu_keep_alive_s: float = 15.0
    host_keep_alive_s: float = 15.0
    demote: bool = True
    kv_switch: str = "cost"
    max_queue: int | None = None
    switch: str = "node"
    lock_step: bool = False
    message_s: float = 0.0
    hop_messages: int = 0
    partial_sources: bool = True
    max_sources: int | None = None
    max_rate: float | None = None
    setup_s: tuple[SetupTime, ...] = ()
    instant: bool = False
    copy_to_host: bool = False
    pinned_hosts: int = 0
    repairs: bool = True
    slow_factor: float | None = 3.0

    def __post_init__(self) -> None:
        for name, known in (("kv_switch", KV_SWITCHES), ("switch", SWITCHES)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} {getattr(self, name)!r} is unknown; use one of {', '.join(known)}"
                )
        for source in self.sources:
            if source not in SOURCES:
                raise ConfigError(f"source {source!r} is unknown; use some of {', '.join(SOURCES)}")
        if not self.repairs and (self.execute_while_load or self.switch != "group"):
            raise ConfigError(
                "repairs is False; a scale-out that begins anew has nothing that serves: "
                "set execute_while_load=False, switch='group'"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.window < 1:
            raise ConfigError(f"window is {self.window}; at least one write must be in flight")
        for name in ("gpu_keep_alive_s", "host_keep_alive_s", "message_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give seconds, 0 or more")
        for name in ("hop_messages", "pinned_hosts"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; count from 0")
        if self.max_sources is not None and self.max_sources < 1:
            raise ConfigError(f"max_sources is {self.max_sources}; allow 1, or None for no bound")
        if self.max_rate is not None and not 0 < self.max_rate < math.inf:
            raise ConfigError(f"max_rate is {self.max_rate}; give bytes/s, or None for no bound")

        if self.slow_factor is not None and not self.slow_factor > 1:
            raise ConfigError(f"slow_factor is {self.slow_factor}; give more than 1, or None")

    @property
    def hop_s(self) -> float:
        """Seconds of messages per stage hop."""
        return self.hop_messages * self.message_s

    def link_rate(self, rate: float) -> float:
        """Return the bytes/s that this system gets out of a link of `rate`."""
        if self.instant:
            return math.inf
        return rate if self.max_rate is None else min(rate, self.max_rate)

    def tier_rate(self, rate: float) -> float:
        """Return the bytes/s that this system gets out of an SSD, or host memory, of `rate`."""
        return math.inf if self.instant else rate


@dataclass(frozen=True, slots=True)
class ScaleSpec:
    """One scale-out from `num_sources` to `num_nodes` nodes, the model cut into `num_blocks` blocks.

    `max_slots` sequences of at most `max_length` tokens fit on a node, of which an instance serves
    `in_flight` at once (None: all); a step carries at most `max_step_tokens`. `timeout_s` bounds the whole
    run.
    """

    num_sources: int
    num_nodes: int
    num_blocks: int = 16
    max_slots: int = 8
    max_length: int = 512
    max_step_tokens: int = 64
    timeout_s: float = 600.0
    in_flight: int | None = None

    def __post_init__(self) -> None:
        check_in_flight(self.in_flight, self.max_slots)
        for name in ("max_slots", "max_length", "max_step_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.timeout_s <= 0:
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be positive")

    @property
    def destinations(self) -> range:
        return range(self.num_sources, self.num_nodes)


def check_in_flight(in_flight: int | None, max_slots: int) -> None:
    """Raise ConfigError if an instance cannot serve so many requests at once."""
    if in_flight is not None and not 1 <= in_flight <= max_slots:
        raise ConfigError(
            f"in_flight is {in_flight}; give 1 to max_slots ({max_slots}), or None for all of them"
        )
