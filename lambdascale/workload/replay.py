"""Replay of a trace: the same arrivals, faster or slower, cut to what a small machine can serve.

A trace states lengths and no text, so prompts are made up: token ids drawn by (seed, request) alone, so
that another speed, limit or cap does not change them. Every request generates exactly its output tokens.
Lengths may be fixed instead, as those of the authors' requests are. What was cut or fixed is said in words
(`statement`), never silently.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from lambdascale.errors import ConfigError
from lambdascale.workload.request import Request, Sampling
from lambdascale.workload.trace import TraceRow

GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Replay:
    """The first `limit` requests (None: all), `speedup` times as fast, lengths cut to the caps.

    With `prompt_tokens` or `output_tokens` every prompt or answer has that length, whatever the trace says.
    Models are renamed by the pairs (name in the trace, name to serve) of `models`, or all of them to
    `model`; a name in no pair stays. Raises ConfigError.
    """

    speedup: float
    max_prompt: int
    max_output: int
    limit: int | None = None
    model: str = ""
    models: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.speedup < math.inf:
            raise ConfigError(f"speedup is {self.speedup}; it must be finite and above 0")
        for name in ("max_prompt", "max_output", "limit", "prompt_tokens", "output_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        self._check_fixed()
        if self.model and self.models:
            raise ConfigError(
                f"model is {self.model!r} and models renames too; give one of the two"
            )
        names = [name for name, _ in self.models]
        if len(set(names)) < len(names):
            raise ConfigError(f"models is {self.models}; rename each name of the trace only once")

    def _check_fixed(self) -> None:
        for name, cap in (("prompt_tokens", "max_prompt"), ("output_tokens", "max_output")):
            fixed, most = getattr(self, name), getattr(self, cap)
            if fixed is not None and fixed > most:
                raise ConfigError(f"{name} is {fixed} but {cap} {most}; raise {cap}")

    def requests(
        self,
        rows: Sequence[TraceRow],
        token_ids: Mapping[str, range],
        sampling: Sampling = GREEDY,
    ) -> tuple[Request, ...]:
        """Return the requests, numbered from 0 in the order of the trace.

        `token_ids` are those a prompt may have, for each model that is served. Raises ConfigError if a
        row is for another model.
        """
        return tuple(
            self._request(number, row, token_ids, sampling)
            for number, row in enumerate(self._chosen(rows))
        )

    def statement(self, rows: Sequence[TraceRow]) -> str:
        """Say in one line what of the trace is replayed, and what was cut or changed."""
        chosen = self._chosen(rows)
        parts = [_share(len(chosen), len(rows), "requests")]
        prompts = [row.prompt_tokens for row in chosen]
        answers = [row.output_tokens for row in chosen]
        parts.append(_lengths("prompts", prompts, self.max_prompt, self.prompt_tokens))
        parts.append(_lengths("answers", answers, self.max_output, self.output_tokens))
        parts += [f"arrivals {self.speedup:g} times as fast"] if self.speedup != 1 else []
        return ", ".join([*parts, *self._renamed(chosen)])

    def _chosen(self, rows: Sequence[TraceRow]) -> Sequence[TraceRow]:
        return rows[: self.limit]

    def _renamed(self, rows: Sequence[TraceRow]) -> list[str]:
        pairs = {row.model: self._served(row) for row in rows}
        changed = [f"{old or 'no name'} as {new}" for old, new in pairs.items() if old != new]
        return [f"served: {', '.join(changed)}"] if changed else []

    def _served(self, row: TraceRow) -> str:
        return self.model or dict(self.models).get(row.model, row.model)

    def _request(
        self, number: int, row: TraceRow, token_ids: Mapping[str, range], sampling: Sampling
    ) -> Request:
        model = self._served(row)
        if model not in token_ids:
            known = ", ".join(token_ids)
            raise ConfigError(
                f"request {number} of the trace is for model {model!r}, which is not served; rename it "
                f"to one of {known}"
            )
        draw = Random(f"{self.seed}/{number}")  # a text seeds it the same in every process
        length = self.prompt_tokens or min(row.prompt_tokens, self.max_prompt)
        prompt = tuple(draw.choices(token_ids[model], k=length))
        max_tokens = self.output_tokens or min(row.output_tokens, self.max_output)
        arrival_s = row.arrival_s / self.speedup
        return Request(number, prompt, max_tokens, sampling, (), arrival_s, model)


def _share(num: int, total: int, what: str) -> str:
    return f"all {total} {what}" if num == total else f"the first {num} of {total} {what}"


def _lengths(what: str, lengths: Sequence[int], cap: int, fixed: int | None) -> str:
    if fixed is not None:
        return f"all {what} of {fixed} tokens"
    num_cut = sum(length > cap for length in lengths)
    cut = f"{num_cut} of {len(lengths)} {what} cut to {cap} tokens"
    return cut if num_cut else f"no {what[:-1]} cut"
