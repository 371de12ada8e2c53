"""A contest on shaped links: every contestant in turn, several times, and what it took of each node.

`one copy` is bytes ÷ link rate; the *ratio* of a round is the seconds until the last node had the image ÷
one copy. A contestant that cannot be run is kept, with one line that says why. Emulated: `tc tbf` imposes the
rate.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.peers.member import Task
from lambdascale.experiments.peers.sitting import Program, Sitting
from lambdascale.provision.namespaces import Host, Namespaces
from lambdascale.units import BITS_PER_BYTE, MIB

Ends = tuple[float, ...]  # per node, seconds from the first node's beginning to its own end


@dataclass(frozen=True, slots=True)
class Setup:
    """One source, `num_receivers` receivers and links of `rate` bytes/s for an image of `nbytes`.

    The last receiver's link carries `slow` × `rate`.
    """

    num_receivers: int
    rate: float
    nbytes: int
    slow: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_receivers", "rate", "nbytes"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive")
        if not 0 < self.slow <= 1:
            raise ConfigError(f"slow is {self.slow}; it must be in (0, 1]")

    @property
    def num_nodes(self) -> int:
        return self.num_receivers + 1

    @property
    def rates(self) -> tuple[float, ...]:
        """Bytes/s per node."""
        return (self.rate,) * self.num_receivers + (self.rate * self.slow,)

    @property
    def one_copy_s(self) -> float:
        return self.nbytes / self.rate

    @property
    def name(self) -> str:
        rate = f"{self.rate * BITS_PER_BYTE / 1e6:g} Mbit/s"
        slow = "" if self.slow == 1 else f", the last link × {self.slow:g}"
        return f"1 → {self.num_receivers}, {rate}, {self.nbytes / MIB:g} MiB{slow}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant: its program, and for ours how to plan. `num_receivers`: fewer than the set-up's."""

    name: str
    program: Program
    algorithm: str = ""
    num_blocks: int = 0
    window: int = 2
    num_receivers: int | None = None

    def task(self, setup: Setup, hosts: Sequence[Host]) -> Task:
        addresses = tuple(host.address for host in hosts)
        rates = setup.rates[: len(hosts)]
        return Task(0, addresses, setup.nbytes, self.algorithm, self.num_blocks, self.window, rates)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each round of a contestant took; `failure` says why there are none, or no more."""

    name: str
    rounds: tuple[Ends, ...]
    failure: str = ""

    def ratios(self, setup: Setup) -> list[float]:
        """Per round, the seconds until the last node had the image ÷ one copy."""
        return [max(ends) / setup.one_copy_s for ends in self.rounds]

    def fast_ratios(self, setup: Setup) -> list[float]:
        """The same of the receivers but the last one, which may be slow; 0 if only the source took times."""
        return [max(ends[1:-1], default=0.0) / setup.one_copy_s for ends in self.rounds]

    def joined(self, later: "Outcome") -> "Outcome":
        """Return this outcome with the rounds of another pass added."""
        return Outcome(self.name, self.rounds + later.rounds, self.failure or later.failure)


def compete(
    setup: Setup, entries: Sequence[Entry], passes: int, rounds: int
) -> tuple[Outcome, ...]:
    """Let every contestant run `rounds` rounds after one to warm up, in turns, `passes` times.

    Raises ConfigError if this machine cannot have namespaces.
    """
    outcomes = {entry.name: Outcome(entry.name, ()) for entry in entries}
    with Namespaces(setup.num_nodes, setup.rate) as made:
        if setup.slow != 1:
            made.shape(setup.num_receivers, setup.rates[-1])
        for _ in range(passes):
            for entry in entries:
                found = outcomes[entry.name]
                if not found.failure:
                    outcomes[entry.name] = found.joined(_sit(setup, entry, made.hosts, rounds))
    return tuple(outcomes.values())


def _sit(setup: Setup, entry: Entry, hosts: Sequence[Host], rounds: int) -> Outcome:
    there = hosts[: 1 + (entry.num_receivers or setup.num_receivers)]
    ends: list[Ends] = []
    try:
        with Sitting(entry.program, there, entry.task(setup, there)) as sitting:
            sitting.run()
            ends.extend(sitting.run() for _ in range(rounds))
    except LambdaScaleError as error:
        return Outcome(entry.name, tuple(ends), str(error))
    return Outcome(entry.name, tuple(ends))


def table(setup: Setup, outcomes: Sequence[Outcome]) -> str:
    """Lay out the ratios, one contestant a line."""
    uneven = setup.slow != 1
    lines = [f"{setup.name}: one copy {setup.one_copy_s:.3f} s"]
    lines.append(f"  {'÷ one copy':24} {'min':>6} {'median':>7}" + "   fast ones" * uneven)
    for outcome in outcomes:
        if outcome.failure:
            lines.append(f"  {outcome.name:24} failed: {outcome.failure}")
            continue
        ratios = outcome.ratios(setup)
        line = f"  {outcome.name:24} {min(ratios):6.2f} {statistics.median(ratios):7.2f}"
        middle = statistics.median(outcome.fast_ratios(setup))
        fast = f" {f'{middle:.2f}' if middle >= 0.5 else '–':>11}" if uneven else ""
        lines.append(line + fast)
    return "\n".join(lines)
