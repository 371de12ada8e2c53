"""Claims: what was expected, what was obtained, and whether it holds (ARTIFACT.md, C1 to C5).

Pure decisions over numbers of one run or of two that are compared. A claim about correctness must hold
anywhere; one about time may fail on a busy machine, and is then shown as it is.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

CLAIMS = "claims.json"
MULTICAST_TOLERANCE = 0.10
FIRST_TOKEN_RATIO = 0.65


@dataclass(frozen=True, slots=True)
class Claim:
    """One expectation; `correctness` tells whether the right answer or only time is at stake."""

    name: str
    expected: str
    obtained: str
    holds: bool
    provenance: str
    correctness: bool = False


Outputs = Mapping[int, Sequence[int]]


def same_tokens(name: str, ours: Outputs, reference: Outputs, provenance: str) -> Claim:
    """Every request has the same output token ids in both."""
    same = sum(tuple(ours.get(r, ())) == tuple(ids) for r, ids in reference.items())
    obtained = f"{same} of {len(reference)} requests identical"
    holds = same == len(reference) == len(ours) and same > 0
    return Claim(name, "all token ids identical", obtained, holds, provenance, correctness=True)


def close_times(name: str, ratios: Sequence[float], provenance: str) -> Claim:
    """Emulated ÷ simulated is within MULTICAST_TOLERANCE of 1 at every point."""
    low, high = min(ratios), max(ratios)
    least, most = 1 - MULTICAST_TOLERANCE, 1 + MULTICAST_TOLERANCE
    holds = least <= low and high <= most
    expected = f"{least:.2f} to {most:.2f}"
    return Claim(name, expected, f"{low:.2f} to {high:.2f}", holds, provenance)


def at_most(name: str, obtained: float, limit: float, provenance: str) -> Claim:
    """A ratio is no larger than `limit`."""
    return Claim(name, f"≤ {limit:.2f}", f"{obtained:.2f}", obtained <= limit, provenance)


def at_least(name: str, obtained: float, limit: float, provenance: str) -> Claim:
    """A ratio is no smaller than `limit`."""
    return Claim(name, f"≥ {limit:.2f}", f"{obtained:.2f}", obtained >= limit, provenance)


def reported(name: str, obtained: str, provenance: str) -> Claim:
    """A number for which nothing is expected; it is shown as it is."""
    return Claim(name, "reported", obtained, True, provenance)


def table(claims: Iterable[Claim]) -> str:
    """Return the claims as aligned text, one a line; the last column says `yes`, `not`, or nothing."""
    head = ("claim", "expected", "obtained", "provenance", "holds")
    rows = [(c.name, c.expected, c.obtained, c.provenance, _verdict(c)) for c in claims]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def wrong(claims: Iterable[Claim]) -> list[Claim]:
    """Return the claims about correctness that do not hold."""
    return [claim for claim in claims if claim.correctness and not claim.holds]


def save(claims: Sequence[Claim], folder: Path) -> None:
    """Write the claims into `folder`."""
    text = json.dumps(msgspec.to_builtins(claims), indent=2, ensure_ascii=False)
    (folder / CLAIMS).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> list[Claim]:
    """Read what `save` wrote."""
    return msgspec.json.decode((folder / CLAIMS).read_bytes(), type=list[Claim])


def _verdict(claim: Claim) -> str:
    if claim.expected == "reported":
        return ""
    return "yes" if claim.holds else "not"
