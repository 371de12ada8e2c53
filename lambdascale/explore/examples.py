"""Two runs to compare where none is kept yet: a scale-out with and without execute-while-load, simulated."""

from functools import partial
from pathlib import Path

from lambdascale.config import ScaleSpec
from lambdascale.experiments import compare
from lambdascale.experiments.cached import kept
from lambdascale.experiments.run import ignore, run
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.sim.engine_spec import DTYPE
from lambdascale.sim.hardware import AUTHORS, TESTBED1

MODEL = "llama-2-13b"
NUM_REQUESTS, PROMPT_TOKENS = 24, 8


def examples() -> tuple[RunSpec, ...]:
    """Return the specifications of the two."""
    spec = RunSpec(
        model=MODEL,
        dtype=DTYPE,
        scale=ScaleSpec(num_sources=2, num_nodes=8, max_slots=1),
        max_tokens=32,
        link_gbps=TESTBED1.link_gbps,
        device=AUTHORS.device(MODEL, TESTBED1),
        clock="virtual",
        label=MODEL,
    )
    return compare.variants(spec, 2)


def keep_examples(results: str, wanted: bool = True) -> None:
    """Run both, unless they are kept below `results`/runs/examples already."""
    for spec in examples() if wanted else ():
        inputs = symbolic_inputs(spec, NUM_REQUESTS, PROMPT_TOKENS)
        work = partial(run, spec, inputs=inputs)
        kept(spec, Path(results) / "runs" / "examples", ignore, work)
