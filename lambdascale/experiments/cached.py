"""Runs that are kept: one folder per run, named by a hash of its specification; no run is done twice."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lambdascale.cluster.records import PhaseRecord
from lambdascale.experiments.agents import agent_nursery
from lambdascale.experiments.manifest import is_current
from lambdascale.experiments.results import RunResult, folder_of, load
from lambdascale.experiments.run import Watch, ignore, run
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.nursery import Nursery


def cached_run(
    spec: RunSpec, results: str | Path, watch: Watch = ignore, nursery: Nursery | None = None
) -> RunResult:
    """Load the result of `spec` from its folder below `results`; run it and keep it if there is none.

    A folder that is not complete, or was written by other code, is written anew. Raises
    LambdaScaleError.
    """
    folder = folder_of(Path(results), spec)
    if is_current(folder):
        watch(PhaseRecord("loaded", 0.0))
        return load(folder)
    result = run(spec, watch, nursery=nursery)
    result.save(folder)
    return result


def run_each(
    specs: Sequence[RunSpec],
    watch: Callable[[RunSpec], Watch] = lambda _: ignore,
    results: str | Path | None = None,
) -> RunResult:
    """Run specifications one after the other and return their tables as one; labels must differ.

    `watch` makes what watches each run. With `results`, each run is kept there or loaded. Real runs share
    one nursery, so that only the first waits for imports.
    """
    done = []
    with ExitStack() as stack:
        nursery = None
        for spec in specs:
            if nursery is None and spec.clock == "real":
                nursery = stack.enter_context(agent_nursery())
            if results is None:
                done.append(run(spec, watch(spec), nursery=nursery))
            else:
                done.append(cached_run(spec, results, watch(spec), nursery))
    return RunResult.joined(done)
