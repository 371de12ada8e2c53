"""Which results there are, and the verdict on every claim from them.

Results of this machine are those of a folder whose hash says: this notebook, these parameters, this code.
Where there are none, those that are committed below results/reference are taken; never the latest of several.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lambdascale.claims import metric
from lambdascale.claims.book import ROOT, Book, book
from lambdascale.claims.claim import Claim
from lambdascale.claims.metric import Metric
from lambdascale.claims.verdict import Judgement, judge
from lambdascale.experiments.jobs import NOTEBOOKS, PROFILES, RUNS, Task, tasks_of

REFERENCE = ROOT / "results" / "reference"
HERE, COMMITTED = "here", "reference"

Found = tuple[str, str, str, tuple[Metric, ...]]  # notebook, profile, origin, what it reported


def judged(runs: str | Path = "", notebooks: Path = NOTEBOOKS) -> list[Judgement]:
    """Return the verdict on every claim: from the results of this machine, or else from the reference.

    `runs` is the folder of results; an empty text is that of the checkout.
    """
    out = Path(runs) if runs else RUNS
    tasks = [task for profile in reversed(PROFILES) for task in tasks_of(profile, notebooks, out)]
    return judge_all(book(), [*of_tasks(tasks), *of_reference()])


def of_tasks(tasks: Iterable[Task]) -> Iterator[Found]:
    """Yield what the complete tasks reported."""
    for task in tasks:
        if task.is_complete:
            yield task.name, task.profile, HERE, metric.load(task.folder)


def of_reference(root: Path = REFERENCE) -> Iterator[Found]:
    """Yield what is committed, the paper's profile before the quick one."""
    for profile in reversed(PROFILES):
        for path in sorted((root / profile).rglob(metric.METRICS)):
            name = path.parent.relative_to(root / profile).as_posix()
            yield name, profile, COMMITTED, metric.load(path.parent)


def judge_all(
    stated: Book, found: Sequence[Found], profiles: Iterable[str] = tuple(PROFILES)
) -> list[Judgement]:
    """Return a verdict on each claim of these profiles, by the first result that says something of it."""
    shown = set(profiles)
    return [_first(claim, found) for claim in stated.claims if shown & set(claim.profiles)]


def provenance(judgements: Iterable[Judgement]) -> str:
    """Return measured, emulated, simulated, or several: of all that was judged."""
    words = [word for one in judgements if one.values for word in one.provenance.split(", ")]
    return ", ".join(dict.fromkeys(words))


def beside_paper(judgements: Iterable[Judgement]) -> pd.DataFrame:
    """Return one row per claim that was run and has a number in the paper: all ÷ that number (or its middle).

    Columns as `claims_overview` draws them.
    """
    rows = []
    for one in judgements:
        paper = np.mean(one.claim.paper) if one.claim.paper else 0.0
        if not (one.values and paper):
            continue
        values, accepted = np.array(one.values) / paper, one.claim.accepted
        ends = {"least": accepted.least / paper, "most": accepted.most / paper}
        state = {0: "out", len(values): "in"}.get(one.num_accepted, "partly")
        shown = {"low": values.min(), "median": np.median(values), "high": values.max()}
        rows.append({"statement": one.claim.statement, **ends, **shown, "state": state})
    return pd.DataFrame(rows)


def _first(claim: Claim, found: Sequence[Found]) -> Judgement:
    for notebook, profile, origin, metrics in found:
        if notebook == claim.notebook and profile in claim.profiles:
            judgement = judge(claim, metrics, profile, origin)
            if judgement.metrics:
                return judgement
    return judge(claim, [])
