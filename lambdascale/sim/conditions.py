"""What a simulated cluster costs beyond its rates: latencies, set-up, start-up, what varies, what fails.

All defaults cost nothing, but for the two latencies, which are those measured on loopback (METHODOLOGY.md).
Which numbers belong to which testbed is said in `hardware`; here they are only named and checked.
"""

import math
from dataclasses import dataclass, fields

from lambdascale.cluster.records import START_UP
from lambdascale.errors import ConfigError

REGISTERED = START_UP[-1]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Seconds and shares, all at least 0.

    latency_s      of a write, beside the time of its bytes
    occupancy_s    for which a write keeps its ports busy beyond its bytes
    control_s      of a control message, one way
    connect_s      of opening a link, beside two latencies
    decision_s     from the moment a scale-out is wanted until it is decided upon
    register_s     of registering memory at a node that a scale-out takes (unless it starts hot)
    start_up       (phase, seconds) of such a node before that, none with a warm pool; see `START_UP`
    jitter         relative standard deviation of the times of writes, loads and copies, of mean 1
    stragglers     (node, factor): its links, tiers and device take that many times as long
    pcie_shared    GPUDirect writes and copies between host and GPU share the node's PCIe link
    corruption     share of the writes of blocks whose bytes arrive changed, below 1
    deaths         (node, seconds after the start): its agent is killed then

    `seed` is that of the jitter and of the corruption. The controller waits out decision_s, register_s and
    start_up, and nodes die, under any clock; the rest is simulated only. Raises ConfigError.
    """

    latency_s: float = 20e-6
    occupancy_s: float = 0.0
    control_s: float = 20e-6
    connect_s: float = 0.0
    decision_s: float = 0.0
    register_s: float = 0.0
    start_up: tuple[tuple[str, float], ...] = ()
    jitter: float = 0.0
    stragglers: tuple[tuple[int, float], ...] = ()
    pcie_shared: bool = False
    seed: int = 0
    corruption: float = 0.0
    deaths: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for name in [field.name for field in fields(self) if field.name.endswith("_s")]:
            self._check(name, getattr(self, name), "give seconds, 0 or more")
        self._check("jitter", self.jitter, "give a share of an operation's time, 0 or more")
        self._check("corruption", self.corruption, "give a share of the writes, below 1", below=1)
        for phase, seconds in self.start_up:
            self._check(f"start_up of {phase!r}", seconds, "give seconds, 0 or more")
        phases = [phase for phase, _ in self.start_up]
        if phases != [phase for phase in START_UP[:-1] if phase in phases]:
            known = ", ".join(START_UP[:-1])
            raise ConfigError(f"start_up has the phases {phases}; use {known}, each once, in order")
        self._check_stragglers()
        for node, at_s in self.deaths:
            self._check(f"death of node {node}", at_s, "give seconds after the start, 0 or more")

    def _check(self, name: str, value: float, advice: str, below: float = math.inf) -> None:
        if not 0 <= value < below:
            raise ConfigError(f"{name} is {value}; {advice}")

    def _check_stragglers(self) -> None:
        nodes = [node for node, _ in self.stragglers]
        if len(set(nodes)) < len(nodes) or min(nodes, default=0) < 0:
            raise ConfigError(f"stragglers are nodes {nodes}; number them from 0, each once")
        for node, factor in self.stragglers:
            if not 0 < factor < math.inf:
                raise ConfigError(
                    f"straggler {node} has factor {factor}; say how many times slower it is"
                )

    @property
    def set_up(self) -> tuple[tuple[str, float], ...]:
        """Everything that a node goes through before it has links: start-up, then registration."""
        registered = ((REGISTERED, self.register_s),) if self.register_s else ()
        return (*self.start_up, *registered)

    def slowdown(self, node: int) -> float:
        """Return how many times longer everything takes at `node`."""
        return dict(self.stragglers).get(node, 1.0)
