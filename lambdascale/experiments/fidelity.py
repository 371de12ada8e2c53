"""How far the simulation can be trusted: the same trials on real processes and under the virtual clock.

    python -m lambdascale.experiments.fidelity --profile full --out FOLDER

Real processes move real bytes over paced links and run real steps on emulated devices. The simulator is
calibrated on the small trials (`fidelity_fit`) and predicts all of them; `fidelity_score` says by how much it
is off on the others. Run it on a machine that does nothing else.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.fidelity_fit import Fit, fit
from lambdascale.experiments.fidelity_points import points
from lambdascale.experiments.fidelity_score import RANKED_BY, errors, metrics, ranking
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.report import Report
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import run
from lambdascale.experiments.simulated import SIZED_ABOVE
from lambdascale.experiments.small_model import small_model
from lambdascale.experiments.trials import PROFILES, Imposed, Trial, backlog, trials_of
from lambdascale.figures import fidelity as drawing
from lambdascale.fleet.base import Site
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.models import image_checksums

COPY_S, STEP_S = 2.0, 0.25  # seconds of wall clock, many times what a node computes in them

Watch = Callable[[Trial], None]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """All points, and what the simulator was calibrated to."""

    points: pd.DataFrame
    fit: Fit

    @property
    def fitted(self) -> pd.DataFrame:
        """The fit as a table of one row."""
        return pd.DataFrame([asdict(self.fit)])


def measure(
    trials: Sequence[Trial],
    copy_s: float = COPY_S,
    step_s: float = STEP_S,
    watch: Watch = lambda _: None,
) -> Fidelity:
    """Run every trial on real processes, calibrate, and predict them all; `watch` sees each trial first."""
    with small_model() as packed:
        imposed = Imposed(packed, copy_s, step_s)
        with agent_site() as site:
            measured = [_real(imposed, trial, site, watch) for trial in trials]
        inside = [trial.in_sample for trial in trials]
        known = [trial for trial in trials if trial.in_sample]
        fitted = fit(
            [result for result, is_in in zip(measured, inside, strict=True) if is_in],
            lambda conditions: [predict(imposed, trial, conditions) for trial in known],
        )
        predicted = [predict(imposed, t, fitted.conditions, fitted.step_s) for t in trials]
    return Fidelity(points(trials, measured, predicted), fitted)


def _real(imposed: Imposed, trial: Trial, site: Site, watch: Watch) -> RunResult:
    watch(trial)
    packed = imposed.packed
    image = ImageSource.of(packed, block_checksums(packed, trial.num_blocks))
    inputs = Inputs(image, backlog(trial, packed.shape.vocab))
    return run(imposed.spec(trial), inputs=inputs, site=site)


def predict(
    imposed: Imposed, trial: Trial, conditions: Conditions, step_s: float = 0.0
) -> RunResult:
    """Simulate a trial; every step takes `step_s` longer than the imposed device says."""
    packed = imposed.packed
    device = replace(imposed.device, launch_s=imposed.device.launch_s + step_s)
    spec = replace(imposed.spec(trial), clock="virtual", device=device, conditions=conditions)
    image = ImageSource.of(packed, image_checksums(packed, trial.num_blocks, SIZED_ABOVE))
    return run(spec, inputs=Inputs(image, backlog(trial, packed.shape.vocab)))


def announced(trials: Sequence[Trial]) -> Watch:
    """Return what prints each trial as it begins."""
    numbers = iter(range(1, len(trials) + 1))

    def watch(trial: Trial) -> None:
        print(f"{next(numbers)} of {len(trials)}: {trial.label}", flush=True)

    return watch


def main() -> None:
    """Measure, print errors, rankings and claims, and keep them with the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--profile", choices=tuple(PROFILES), default="quick")
    parser.add_argument("--out", type=Path, help="folder for points, errors, rankings, fit, figure")
    parser.add_argument("--copy-s", type=float, default=COPY_S, help="of the model on a link")
    parser.add_argument("--step-s", type=float, default=STEP_S, help="of a decode step, at least")
    arguments = parser.parse_args()
    trials = trials_of(arguments.profile)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    found = measure(trials, arguments.copy_s, arguments.step_s, announced(trials))
    out = Report(str(arguments.out or ""))
    print(out.table("fit", found.fitted))
    out.table("points", found.points)
    print(out.table("errors", errors(found.points)).round(3).to_string(index=False))
    for name in RANKED_BY:
        table = out.table(f"ranking_{name.lower()}", ranking(found.points, name))
        print(name, table.round(3).to_string(index=False), sep="\n")
    out.draw("fidelity", drawing, found.points)
    out.metrics(metrics(found.points))


if __name__ == "__main__":
    main()
