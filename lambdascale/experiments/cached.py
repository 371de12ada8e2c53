"""Runs that are kept: one folder per run, named by a hash of its specification; no run is done twice."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from lambdascale.cluster.records import PhaseRecord
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.manifest import is_current
from lambdascale.experiments.results import RunResult, Spec, folder_of, load
from lambdascale.experiments.run import Watch, ignore, run
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.trace_run import run_trace
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.fleet.base import Site
from lambdascale.fleet.placement import Placement
from lambdascale.workload.trace import TraceRow, digest_of

Case = tuple[TraceSpec, Sequence[TraceRow]]
Work = Callable[[Site | None], RunResult]


def cached_run(
    spec: RunSpec, results: str | Path, watch: Watch = ignore, site: Site | None = None
) -> RunResult:
    """Load the result of `spec` from its folder below `results`; run it and keep it if there is none.

    A folder that is not complete, or was written by other code, is written anew. Raises
    LambdaScaleError.
    """
    return kept(spec, results, watch, partial(run, spec, watch, site=site))


def run_each(
    specs: Sequence[RunSpec],
    watch: Callable[[RunSpec], Watch] = lambda _: ignore,
    results: str | Path | None = None,
    placement: Placement | None = None,
) -> RunResult:
    """Run specifications one after the other and return their tables as one; labels must differ.

    `watch` makes what watches each run. With `results`, each run is kept there or loaded. Real runs share
    one site, with the agents of a cluster that `placement` names, so that only the first waits for imports.
    """

    def work(spec: RunSpec, site: Site | None) -> RunResult:
        if results is None:
            return run(spec, watch(spec), site=site)
        return cached_run(spec, results, watch(spec), site)

    return _in_turn(((spec, partial(work, spec)) for spec in specs), placement)


def replay_each(
    cases: Sequence[Case],
    results: str | Path | None = None,
    without: Sequence[str] = (),
    placement: Placement | None = None,
) -> RunResult:
    """Replay traces, each as its specification says, and return their tables as one; as `run_each`.

    The tables `without` are left empty: those of tokens and blocks are most of a long run.
    """

    def work(spec: TraceSpec, rows: Sequence[TraceRow], site: Site | None) -> RunResult:
        spec = replace(spec, trace_digest=spec.trace_digest or digest_of(rows))

        def replay() -> RunResult:
            return run_trace(spec, rows, site=site).without(*without)

        return replay() if results is None else kept(spec, results, ignore, replay)

    return _in_turn(((spec, partial(work, spec, rows)) for spec, rows in cases), placement)


def kept(spec: Spec, results: str | Path, watch: Watch, work: Callable[[], RunResult]) -> RunResult:
    """Load the result of `spec` from its folder below `results`; do `work` and keep it if there is none."""
    folder = folder_of(Path(results), spec)
    if is_current(folder):
        watch(PhaseRecord("loaded", 0.0))
        return load(folder)
    result = work()
    result.save(folder)
    return result


def _in_turn(works: Iterable[tuple[Spec, Work]], placement: Placement | None) -> RunResult:
    """Do one after the other, real ones at one site."""
    done = []
    with ExitStack() as stack:
        site = None
        for spec, work in works:
            if site is None and spec.clock == "real":
                site = stack.enter_context(agent_site(placement))
            done.append(work(site))
    return RunResult.joined(done)
