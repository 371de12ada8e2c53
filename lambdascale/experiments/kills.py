"""A trace asked of a real endpoint over HTTP, while its agents are killed (beyond the paper).

The same requests twice, each time of a `lambdascale serve` that has just begun: undisturbed, and with kills
(SIGKILL) of agents drawn by a seed. Every answer is compared with that of plain `transformers`. Half of the
requests are greedy, the others drawn with a seed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from random import Random

import numpy as np
import pandas as pd

from lambdascale.claims.metric import Metric, metric, word
from lambdascale.errors import ConfigError
from lambdascale.experiments.asking import Heard, Question
from lambdascale.experiments.kills_run import LOST, RETURNED, Kill, Seen, replay
from lambdascale.experiments.parity import generated
from lambdascale.experiments.prompts import questions
from lambdascale.experiments.summary import quantile
from lambdascale.model.catalogue import load_packed
from lambdascale.model.text import Tokenizer
from lambdascale.workload.named import load_trace
from lambdascale.workload.request import Request, Sampling
from lambdascale.workload.trace import TraceRow

DTYPE = "float32"
SAMPLINGS = (Sampling(), Sampling(1.0, seed=7))
UNDISTURBED = "undisturbed"


@dataclass(frozen=True, slots=True)
class KillSpec:
    """The first `seconds` of a trace, `speedup` times as fast, answers of at most `max_tokens` tokens.

    Prompts are `num_prompts` questions in turn. One agent is killed at a moment, drawn by `seed`, of each of
    `num_kills` equal parts of the time. `link_gbps` is imposed on links and SSDs (0: nothing is).
    """

    model: str = "smollm2-135m"
    num_nodes: int = 4
    trace: str = "burstgpt-like"
    seconds: float = 600.0
    speedup: float = 1.0
    max_tokens: int = 32
    num_prompts: int = 24
    num_kills: int = 4
    seed: int = 0
    link_gbps: float = 0.0

    def __post_init__(self) -> None:
        for name in ("seconds", "speedup"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be more than 0")
        for name, least in (("max_tokens", 1), ("num_prompts", 1), ("num_kills", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least {least}")

    @property
    def label(self) -> str:
        """The name of a run."""
        if not self.num_kills:
            return UNDISTURBED
        return f"{self.num_kills} kill{'s' if self.num_kills > 1 else ''}"

    @property
    def provenance(self) -> str:
        """What the numbers of a run are: see METHODOLOGY.md."""
        return "emulated" if self.link_gbps else "measured"

    @property
    def options(self) -> tuple[object, ...]:
        """The options of `lambdascale serve`."""
        rates = ("--link-gbps", self.link_gbps, "--ssd-gbps", self.link_gbps)
        shape = ("--model", self.model, "--dtype", DTYPE, "--nodes", self.num_nodes)
        return (*shape, *rates) if self.link_gbps else shape

    def kill_times(self) -> tuple[float, ...]:
        """Return when agents are killed, in seconds since the first arrival could come."""
        draw, part = Random(f"{self.seed}/when"), self.seconds / max(1, self.num_kills)
        return tuple(part * (i + draw.random()) for i in range(self.num_kills))


@dataclass(frozen=True)
class KillResult:
    """`requests` and `kills` as tables of both runs, a row each; `runs` has one row per run.

    requests: `run request arrival_s prompt_tokens tokens ttft_s token_s ended_s right failure`.
    kills: `run at_s in_flight servers`: when, and how many replicas and pipelines served how many requests.
    runs: `run requests right failed ttft_p50_s ttft_p99_s token_s gpu_s lost returned`.
    """

    spec: KillSpec
    requests: pd.DataFrame
    kills: pd.DataFrame
    runs: pd.DataFrame
    note: str


def compare(spec: KillSpec) -> KillResult:
    """Replay without kills, then with them, and say how every request went. Raises LambdaScaleError."""
    return replays(replace(spec, num_kills=0), spec)


def replays(*specs: KillSpec) -> KillResult:
    """Replay each; they differ in their number of kills alone. Raises LambdaScaleError."""
    asked = asked_of(specs[0])
    expected = expected_of(specs[0], [question.request for question in asked])
    seen = {spec.label: _replayed(spec, asked) for spec in specs}
    requests = [_requests(run, asked, one, expected) for run, one in seen.items()]
    kills = [{"run": run, **asdict(kill)} for run, one in seen.items() for kill in one.kills]
    rows = [_run(run, seen[run], table) for run, table in zip(seen, requests, strict=True)]
    return KillResult(
        specs[-1],
        pd.concat(requests, ignore_index=True),
        pd.DataFrame(kills, columns=["run", *Kill.__dataclass_fields__]),
        pd.DataFrame(rows),
        note_of(specs[0], asked),
    )


def _replayed(spec: KillSpec, asked: Sequence[Question]) -> Seen:
    whom = Random(f"{spec.seed}/whom")
    return replay(spec.options, asked, spec.seconds, spec.kill_times(), whom)


def note_of(spec: KillSpec, asked: Sequence[Question]) -> str:
    """Say in one line what of the trace is asked."""
    return (
        f"{len(asked)} requests of the first {spec.seconds * spec.speedup:g} s of {spec.trace}, arrivals "
        f"{spec.speedup:g} times as fast, {spec.num_prompts} prompts, answers of at most {spec.max_tokens} "
        "tokens"
    )


def asked_of(spec: KillSpec) -> list[Question]:
    """Return what is asked, in the order of the trace; ConfigError if that is nothing."""
    rows = load_trace(spec.trace, spec.seed)
    mine = [row for row in rows if row.arrival_s < spec.seconds * spec.speedup]
    if not mine:
        raise ConfigError(f"trace {spec.trace} has no request in that time; raise seconds")
    tokenizer = Tokenizer(load_packed(spec.model, DTYPE))
    prompts = [(text, tokenizer.encode(text)) for text in questions(spec.num_prompts)]
    rounds = cycle((prompt, sampling) for sampling in SAMPLINGS for prompt in prompts)
    return [
        Question(text, _request(spec, number, row, tokens, sampling, tokenizer.stop_ids))
        for number, (row, ((text, tokens), sampling)) in enumerate(zip(mine, rounds, strict=False))
    ]


def _request(
    spec: KillSpec,
    number: int,
    row: TraceRow,
    prompt: tuple[int, ...],
    sampling: Sampling,
    stop: tuple[int, ...],
) -> Request:
    length, arrival_s = min(row.output_tokens, spec.max_tokens), row.arrival_s / spec.speedup
    return Request(number, prompt, length, sampling, stop, arrival_s, spec.model, key=0)


def expected_of(spec: KillSpec, requests: Sequence[Request]) -> dict[int, tuple[str, int]]:
    """Return the right answer to each request: its text, and how many tokens it takes.

    `transformers` answers each prompt once, as long as any request wants; the others are its beginnings.
    """
    alike: dict[tuple[tuple[int, ...], Sampling], Request] = {}
    for request in requests:
        alike.setdefault((request.prompt, request.sampling), request)
    longest = max(request.max_tokens for request in requests)
    asked = [replace(request, max_tokens=longest) for request in alike.values()]
    outputs = generated(spec.model, DTYPE, asked)
    tokenizer = Tokenizer(load_packed(spec.model, DTYPE))
    return {
        request.id: answer_of(tokenizer, outputs[first.id][: request.max_tokens])
        for request in requests
        for first in (alike[request.prompt, request.sampling],)
    }


def answer_of(tokenizer: Tokenizer, tokens: Sequence[int]) -> tuple[str, int]:
    """Return the text of an answer of these tokens, and their number."""
    shown = [token for token in tokens if token not in tokenizer.stop_ids]
    return tokenizer.decode(shown), len(tokens)


def _requests(
    run: str, asked: Sequence[Question], seen: Seen, expected: Mapping[int, tuple[str, int]]
) -> pd.DataFrame:
    rows = [
        {
            "run": run,
            "request": question.request.id,
            "arrival_s": question.request.arrival_s,
            "prompt_tokens": len(question.request.prompt),
            "tokens": heard.num_tokens,
            **_times(heard, seen.begun_s),
            "right": (heard.text, heard.num_tokens) == expected[question.request.id],
            "failure": heard.failure,
        }
        for question, heard in zip(asked, seen.heard, strict=True)
    ]
    return pd.DataFrame(rows)


def _times(heard: Heard, begun_s: float) -> dict[str, float]:
    return {
        "ttft_s": heard.ttft_s if heard.first_s else math.nan,
        "token_s": heard.token_s if heard.num_tokens > 1 else math.nan,
        "ended_s": heard.ended_s - begun_s,
    }


def _run(run: str, seen: Seen, requests: pd.DataFrame) -> dict[str, object]:
    return {
        "run": run,
        "requests": len(requests),
        "right": int(requests["right"].sum()),
        "failed": int((requests["failure"] != "").sum()),
        "ttft_p50_s": quantile(requests["ttft_s"], 0.5),
        "ttft_p99_s": quantile(requests["ttft_s"], 0.99),
        "token_s": float(np.nanmean(requests["token_s"])),
        "gpu_s": seen.metrics["lambdascale_gpu_seconds_total"],
        "lost": int(seen.metrics[LOST]),
        "returned": int(seen.metrics[RETURNED]),
    }


def metrics(result: KillResult) -> Iterator[Metric]:
    """Share of right answers per run; times to first token, per token, and GPU-seconds of each."""
    runs, provenance = result.runs, result.spec.provenance
    note = ", ".join(
        f"{right} of {num}" for right, num in zip(runs["right"], runs["requests"], strict=True)
    )
    yield metric("beyond.kills.right", runs["right"] / runs["requests"], provenance, note)
    for row in runs.to_dict("records"):
        head = f"beyond.kills.{word('killed' if row['run'] != UNDISTURBED else UNDISTURBED)}"
        for name in ("ttft_p50_s", "ttft_p99_s", "token_s", "gpu_s"):
            yield metric(f"{head}.{name}", row[name], provenance)
