"""What the metrics of a run make of a claim.

Every value in the accepted range: the word of the claim's kind. Some of them: partly. None: not. No value:
not run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lambdascale.claims.claim import Claim
from lambdascale.claims.metric import Metric

WORDS = {
    "predicted": "reproduced",
    "calibrated": "consistent (calibrated)",
    "replayed": "replayed",
    "ours": "met",
}
PARTLY, NOT, NOT_RUN = "partly", "not", "not run"
MEANINGS = {
    WORDS["predicted"]: "in the accepted range, and nothing was fitted on it",
    WORDS[
        "calibrated"
    ]: "in the accepted range, but constants were fitted on it or on what it follows from",
    WORDS["replayed"]: "the authors' own numbers, used again",
    WORDS["ours"]: "a target of this project that the paper does not have",
    PARTLY: "some of its values are in the accepted range",
    NOT: "none is",
    NOT_RUN: "there is no complete result",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A claim, the metrics it was judged by, and where they are from (a profile, here or the reference)."""

    claim: Claim
    metrics: tuple[Metric, ...] = ()
    profile: str = ""
    origin: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        """Every value of every metric."""
        return tuple(value for metric in self.metrics for value in metric.values)

    @property
    def num_accepted(self) -> int:
        """How many of them are in the accepted range."""
        return sum(value in self.claim.accepted for value in self.values)

    @property
    def verdict(self) -> str:
        """One of MEANINGS."""
        if not self.values:
            return NOT_RUN
        if self.num_accepted == len(self.values):
            return WORDS[self.claim.kind]
        return PARTLY if self.num_accepted else NOT

    @property
    def is_wrong(self) -> bool:
        """Is an answer wrong, and not only a time missed?"""
        return self.claim.correctness and self.verdict in (PARTLY, NOT)

    @property
    def provenance(self) -> str:
        """measured, emulated, simulated, or several."""
        words = [word for metric in self.metrics for word in metric.provenance.split(", ")]
        return ", ".join(dict.fromkeys(words))


def judge(
    claim: Claim, metrics: Iterable[Metric], profile: str = "", origin: str = ""
) -> Judgement:
    """Return what those of `metrics` that the claim is about make of it."""
    found = tuple(metric for metric in metrics if claim.is_about(metric.name))
    return Judgement(claim, found, profile, origin) if found else Judgement(claim)
