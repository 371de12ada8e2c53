"""A claim, its accepted range, and a constant of the cost model with the claims it was fitted on.

What is *predicted* used no constant that was fitted on it; only that can be reproduced. What is *calibrated*
was fitted or follows from what was, so it can only be consistent. What is *replayed* repeats the authors'
own numbers. *ours* are targets of this project that the paper knows nothing of.
"""

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lambdascale.errors import ConfigError

KINDS = ("predicted", "calibrated", "replayed", "ours")
FORMS = ("exact", "ordering", "ratio", "absolute")  # what is claimed: tables show them apart
PROFILES = ("quick", "trust", "paper", "cluster", "soak", "bench")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A range of values, both ends in it; an end that is not given is open."""

    least: float = -math.inf
    most: float = math.inf

    def __post_init__(self) -> None:
        if not self.least <= self.most:
            raise ConfigError(f"accepted: least is {self.least} and most {self.most}; swap them")

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least:g}"
        if math.isinf(self.least):
            return f"≤ {self.most:g}"
        return f"≥ {self.least:g}" if math.isinf(self.most) else f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of the metrics that `metric` names (`*`: any text), and what would be accepted.

    `paper` is the paper's value, or its range, or None; `reason` says why the accepted range is what it is;
    `why_not` why it is known to be missed, if it is. With `correctness`, a miss is a wrong answer, not a slow
    machine. A `headline` stands in the table of figures.
    """

    id: str
    statement: str
    figure: str
    notebook: str
    metric: str
    accepted: Accepted
    reason: str
    kind: str
    form: str
    profiles: tuple[str, ...]
    paper: float | tuple[float, float] | None = None
    unit: str = ""
    fitted: tuple[str, ...] = field(default=())
    correctness: bool = False
    headline: bool = False
    why_not: str = ""

    def __post_init__(self) -> None:
        _one_of(self.id, "kind", self.kind, KINDS)
        _one_of(self.id, "form", self.form, FORMS)
        for profile in self.profiles:
            _one_of(self.id, "profiles", profile, PROFILES)
        for name in ("statement", "figure", "notebook", "metric", "reason", "profiles"):
            if not getattr(self, name):
                raise ConfigError(f"claim {self.id}: {name} is empty; say it")
        if self.fitted and self.kind == "predicted":
            names = ", ".join(self.fitted)
            raise ConfigError(f"claim {self.id} was used to fit {names}: it is calibrated")

    def is_about(self, name: str) -> bool:
        """Does this claim say something of the metric `name`?"""
        return fnmatchcase(name, self.metric)


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of the cost model: where it comes from, and which claims it was fitted on."""

    name: str
    value: float
    unit: str
    source: str
    fitted_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError(f"constant {self.name} has no source; say where it comes from")


def _one_of(claim: str, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"claim {claim}: {name} is {value!r}; use one of {', '.join(known)}")
