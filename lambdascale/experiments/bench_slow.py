"""Do fast receivers wait behind a slow one? A star over links that the kernel shapes, one at a quarter.

In a star nobody relays, so that only the window of the source can hold up anybody (`multicast.window`). The
ratio is that of `peers.contest`: seconds until the last fast receiver has the image ÷ one copy. The source's
link takes 2 copies for two fast receivers, and more if the slow one takes its share meanwhile. Needs root.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from lambdascale.experiments import bench_peers
from lambdascale.experiments.peers.contest import Entry, Outcome, Setup, compete, table
from lambdascale.experiments.peers.sitting import Program
from lambdascale.units import MIB, gbps

SETUPS = tuple(Setup(3, gbps(0.5), 32 * MIB, slow) for slow in (1.0, 0.25))
WINDOWS = (2, 4)
ENTRIES = tuple(Entry(f"star, window {w}", Program("ours"), "star", 32, w) for w in WINDOWS)
PASSES, ROUNDS = 2, 3


def over_even(found: Mapping[Setup, Sequence[Outcome]]) -> dict[str, float]:
    """Return per contestant how much later the fast ones are complete than if all are fast (medians)."""
    even, slow = (found[setup] for setup in SETUPS)
    return {
        late.name: statistics.median(late.fast_ratios(SETUPS[1]))
        / statistics.median(early.fast_ratios(SETUPS[0]))
        for early, late in zip(even, slow, strict=True)
    }


def main() -> None:
    """Print both tables and the ratios; with a folder, keep every round there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--passes", type=int, default=PASSES, help=f"default {PASSES}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of a pass; default {ROUNDS}")
    parser.add_argument("--out", type=Path, help="a folder for rounds.csv and manifest.json")
    arguments = parser.parse_args()
    found = {s: compete(s, ENTRIES, arguments.passes, arguments.rounds) for s in SETUPS}
    for setup, outcomes in found.items():
        print(table(setup, outcomes))
    for name, ratio in over_even(found).items():
        print(f"{name}: the fast ones take {ratio:.2f} × as long as if all were fast")
    if arguments.out:
        bench_peers.save(arguments.out, found, {})


if __name__ == "__main__":
    main()
