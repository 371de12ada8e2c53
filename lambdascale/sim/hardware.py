"""Testbeds and engines under one name: what an experiment runs on (paper.md 6.1, h.1 to h.8).

The value and its file are in `machines`, the paper's numbers in `testbeds`, engines in `engine_spec`.
"""

from lambdascale.sim.engine_spec import AUTHORS, CONTINUOUS, ENGINES, EngineSpec
from lambdascale.sim.machines import Hardware, load
from lambdascale.sim.testbeds import H200, TESTBED1, TESTBED2, TESTBED2_NVLINK, TESTBEDS, WIRE_RATE

__all__ = [
    "AUTHORS",
    "CONTINUOUS",
    "ENGINES",
    "H200",
    "TESTBED1",
    "TESTBED2",
    "TESTBED2_NVLINK",
    "TESTBEDS",
    "WIRE_RATE",
    "EngineSpec",
    "Hardware",
    "load",
]
