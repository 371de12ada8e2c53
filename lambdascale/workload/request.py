"""A generation request and its sampling parameters: plain values that every floor above passes around."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; temperature 0 is greedy.

    The draw at a position depends on (seed, request, position) and on nothing else, so a request that
    moves to another node continues exactly.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ConfigError(
                f"temperature is {self.temperature}; it must be 0 (greedy) or positive"
            )
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}; it must be 0 (off) or positive")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it must be in (0, 1]")


@dataclass(frozen=True, slots=True)
class Request:
    """`prompt` token ids and at most `max_tokens` to generate.

    `arrival_s` counts from the start of the run. `model` names who is to answer; empty: the only model
    there is. Draws are keyed by `key` in the place of `id`, if given: who asks the same again, with the same
    seed, gets the same. Numbers are plain `int`s: those of arrays and tensors do not travel. Raises
    ConfigError.
    """

    id: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = Sampling()
    stop: tuple[int, ...] = ()
    arrival_s: float = 0.0
    model: str = ""
    key: int | None = None

    @property
    def draw_id(self) -> int:
        """What its draws are keyed by, beside seed and position."""
        return self.id if self.key is None else self.key

    def __post_init__(self) -> None:
        _plain("id of a request", (self.id,))
        _plain(f"token of the prompt of request {self.id}", self.prompt)
        _plain(f"max_tokens of request {self.id}", (self.max_tokens,))
        _plain(f"stop token of request {self.id}", self.stop)
        if type(self.arrival_s) not in (float, int) or not 0 <= self.arrival_s < math.inf:
            raise ConfigError(
                f"arrival_s of request {self.id} is {self.arrival_s!r}; give a plain, finite number of "
                "at least 0"
            )
        if len(self.prompt) == 0:
            raise ConfigError(f"prompt of request {self.id} is empty; give at least one token")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1")


def check_ids(requests: Sequence[Request]) -> None:
    """Raise ConfigError if two requests have the same id."""
    seen: set[int] = set()
    for request in requests:
        if request.id in seen:
            raise ConfigError(f"request id {request.id} repeats; give every request its own")
        seen.add(request.id)


def _plain(what: str, numbers: Sequence[int]) -> None:
    """Raise ConfigError if one of `numbers` is no `int`; a subclass or a NumPy integer is none."""
    for number in numbers:
        if type(number) is not int:
            raise ConfigError(
                f"{what} is {number!r} ({type(number).__name__}); give a plain int, as int() or .tolist() "
                "makes it"
            )
