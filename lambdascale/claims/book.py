"""`artifact/claims.yaml`: every claim and every constant, read and checked against each other."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from lambdascale.claims.claim import Claim, Constant
from lambdascale.errors import ConfigError

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "artifact" / "claims.yaml"


@dataclass(frozen=True, slots=True)
class Book:
    """All claims in the order of the file, the constants that were fitted on some of them, and the
    notebooks that are yet to be written."""

    claims: tuple[Claim, ...]
    constants: tuple[Constant, ...] = ()
    planned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _once("claim", [claim.id for claim in self.claims])
        _once("constant", [constant.name for constant in self.constants])
        said = {(claim.id, name) for claim in self.claims for name in claim.fitted}
        kept = {
            (claim, constant.name) for constant in self.constants for claim in constant.fitted_on
        }
        for claim, constant in sorted(said ^ kept):
            raise ConfigError(
                f"claim {claim} (fitted) and constant {constant} (fitted_on) must name each other"
            )

    def about(self, metric: str) -> tuple[Claim, ...]:
        """Return the claims that say something of a metric."""
        return tuple(claim for claim in self.claims if claim.is_about(metric))


@cache
def book(path: Path = CLAIMS) -> Book:
    """Read a file of claims; ConfigError says which of them is wrong, and why."""
    if not path.is_file():
        raise ConfigError(f"{path} is missing; install the project from its checkout (make setup)")
    stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    for kind, name, of in (("claims", "id", Claim), ("constants", "name", Constant)):
        for entry in stated.get(kind, ()):
            _no_other_keys(entry, str(entry.get(name)), of)
    try:
        return msgspec.convert(stated, Book)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path.name}: {error}") from error


def _no_other_keys(entry: Mapping[str, Any], name: str, of: type[Claim] | type[Constant]) -> None:
    known = [field.name for field in fields(of)]
    if other := sorted(entry.keys() - set(known)):
        raise ConfigError(f"{name} has {', '.join(other)}; it may have {', '.join(known)}")


def _once(kind: str, names: Iterable[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"{kind} {', '.join(twice)} is there twice; names are unique")
