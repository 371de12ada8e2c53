"""A generation request and its sampling parameters: plain values that every floor above passes around."""

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

    `arrival_s` counts from the start of the scale-out.
    """

    id: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = Sampling()
    stop: tuple[int, ...] = ()
    arrival_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ConfigError(f"prompt of request {self.id} is empty; give at least one token")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1")
