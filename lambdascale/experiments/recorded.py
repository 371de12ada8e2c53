"""What the authors' logs say of how fast their systems were: numbers that ours are fitted to or replay.

Calibrated: a number chosen so that the simulation agrees with the records named. Replayed: a recorded time
itself, where nobody has a model. Neither counts as a prediction of what it came from.
"""

from lambdascale.setup_times import SetupTime
from lambdascale.sim.testbeds import TESTBED1, TESTBED2
from lambdascale.units import gbps

# calibrated on rounds of 7B and 13B at 4 and 8 nodes: seconds = ROUND_S + bytes ÷ rate (paper.md h.1)
ROUND_S = 6.3e-3
MESSAGE_S = ROUND_S / 2  # the report that a round is over, and the command for the next one
LAMBDASCALE_RATE = 42.1e9
FAASNET_RATE = 38.2e9  # and no time per round

# replayed: seconds of NCCL broadcasts by bytes and nodes (paper.md 6.6), and on which links
NCCL = {
    13_476_831_232: (TESTBED1, {2: 0.4534, 3: 0.6542, 4: 0.9286, 8: 0.8268}),
    26_031_728_640: (TESTBED1, {2: 0.9024, 3: 0.9706, 4: 0.9706, 8: 1.2227}),
    137_953_296_384: (TESTBED2, {2: 9.432, 3: 10.6234, 4: 12.9054}),
}
NCCL_GROUPS = tuple(  # whatever the bytes leave is what it takes to form a group
    SetupTime(nbytes, members, seconds - nbytes / gbps(testbed.link_gbps))
    for nbytes, (testbed, recorded) in NCCL.items()
    for members, seconds in recorded.items()
)

# seconds that a multicast took by model and nodes, one source (paper.md 6.6)
MULTICASTS = {
    "lambdascale-paper": {
        "llama-2-7b": {4: 0.45, 8: 0.4715},
        "llama-2-13b": {4: 0.7748, 8: 0.80},
        "llama-2-70b": {2: 7.44, 4: 9.2734},
    },
    "faasnet": {
        "llama-2-7b": {4: 0.68, 8: 0.7620},
        "llama-2-13b": {4: 1.3348, 8: 1.4622},
        "llama-2-70b": {2: 7.53, 4: 16.2504},
    },
    "nccl": {
        "llama-2-7b": {4: 0.9286, 8: 0.8268},
        "llama-2-13b": {4: 0.9706, 8: 1.2227},
        "llama-2-70b": {2: 9.432, 4: 12.9054},
    },
}
