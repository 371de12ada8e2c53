"""Our multicast over links that the kernel shapes, in units of one copy: bytes ÷ link rate.

Every node is a process in a network namespace of its own, and every block is verified before it is sent on.
Two schedules take turns: the chain, which was the fastest of those tried on these links, and whichever the
planner predicts to be best. The prediction knows no receiver that pushes back (decision 0016).
"""

import argparse

from lambdascale.experiments.peers.contest import Entry, Outcome, Setup, compete, table
from lambdascale.experiments.peers.sitting import Program
from lambdascale.multicast.choose import choose
from lambdascale.multicast.costs import LinkCost
from lambdascale.multicast.weighted import NAME as WEIGHTED
from lambdascale.units import MIB, gbps

WIRE = 1514 / 1448  # bytes on an Ethernet link per byte of TCP payload: MTU 1500, timestamps
LATENCY_S = 2e-4  # of an empty write over tcp on two cores (`op_cost`)
OCCUPANCY_S = 0.0  # one copy took 1.045 × bytes ÷ rate with 114 blocks and with 256
WINDOW = 4  # writes in flight per node (production: 2); steadier under bbr, no better under reno
SETUPS = (Setup(3, gbps(1), 128 * MIB), Setup(7, gbps(0.5), 64 * MIB))
OURS, ONE_COPY, STAR = "ours", "one copy", "star"
PASSES, ROUNDS = 3, 3


def cost(setup: Setup) -> LinkCost:
    """Return what a write costs on the links of a set-up."""
    return LinkCost(OCCUPANCY_S, LATENCY_S, setup.rate / WIRE)


def entries(setup: Setup) -> tuple[Entry, ...]:
    """Return ours, ours by the best prediction, a star and one copy, all over our transport."""
    n, nbytes = setup.num_nodes, setup.nbytes
    program = Program("ours")
    best = choose(n, 1, nbytes, cost(setup), window=WINDOW)
    chain = choose(n, 1, nbytes, cost(setup), ("chain",), window=WINDOW).num_blocks
    predicted = Entry(
        f"{OURS}, {best.schedule.algorithm} × {best.num_blocks}",
        program, best.schedule.algorithm, best.num_blocks, WINDOW,
    )  # fmt: skip
    ours = Entry(OURS, program, "chain", chain, WINDOW)
    if setup.slow != 1:
        ours = Entry(OURS, program, WEIGHTED, chain, WINDOW)
    return (
        ours,
        predicted,
        Entry(STAR, program, "star", chain, n - 1),
        Entry(ONE_COPY, program, "chain", chain, WINDOW, num_receivers=1),
    )


def measure(
    num_receivers: int, rate: float, nbytes: int, rounds: int, passes: int = 1
) -> dict[str, Outcome]:
    """Run ours and one copy; return their outcomes by name (`Outcome.ratios` are in copies).

    Needs root. Raises ConfigError without it, and for a request that cannot work.
    """
    setup = Setup(num_receivers, rate, nbytes)
    wanted = [entry for entry in entries(setup) if entry.name in (OURS, ONE_COPY)]
    return {outcome.name: outcome for outcome in compete(setup, wanted, passes, rounds)}


def main() -> None:
    """Print a table per set-up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--passes", type=int, default=PASSES, help=f"default {PASSES}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of a pass; default {ROUNDS}")
    arguments = parser.parse_args()
    for setup in SETUPS:
        print(table(setup, compete(setup, entries(setup), arguments.passes, arguments.rounds)))


if __name__ == "__main__":
    main()
