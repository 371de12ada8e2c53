"""A client of an endpoint that notes when tokens come: one streamed completion, over HTTP."""

import json
import time
from dataclasses import dataclass

import httpx

from lambdascale.workload.request import Request

PATIENCE_S = 300.0  # between two bytes; an endpoint that waits sends comments


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as text, and the request that it makes: its tokens, limits, sampling and arrival."""

    prompt: str
    request: Request


@dataclass(frozen=True, slots=True)
class Heard:
    """What a client heard: text, tokens by the endpoint's count, why it failed (empty: it did not).

    Times by the monotonic clock: the question was sent, the first text and the end came (0: never).
    """

    text: str
    num_tokens: int
    failure: str
    asked_s: float
    first_s: float
    ended_s: float

    @property
    def ttft_s(self) -> float:
        """From the question to the first text."""
        return self.first_s - self.asked_s

    @property
    def token_s(self) -> float:
        """Seconds per token after the first one; 0 of one token."""
        return (self.ended_s - self.first_s) / (self.num_tokens - 1) if self.num_tokens > 1 else 0.0


async def ask(client: httpx.AsyncClient, model: str, question: Question) -> Heard:
    """Ask `client`'s endpoint, and listen until the end of the answer, whatever that is."""
    listener = _Listener()
    try:
        async with client.stream("POST", "completions", json=_body(model, question)) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                return listener.heard(f"status {response.status_code}: {response.text}")
            async for line in response.aiter_lines():
                listener.hear(line)
    except httpx.HTTPError as error:
        return listener.heard(f"{type(error).__name__}: {error}")
    return listener.heard("" if listener.done else "it ended in the middle")


def _body(model: str, question: Question) -> dict[str, object]:
    request = question.request
    return {
        "model": model,
        "prompt": question.prompt,
        "max_tokens": request.max_tokens,
        "temperature": request.sampling.temperature,
        "seed": request.sampling.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


class _Listener:
    """Takes the lines of a stream."""

    def __init__(self) -> None:
        self.done = False
        self._asked_s = time.monotonic()
        self._first_s = 0.0
        self._text: list[str] = []
        self._num_tokens = 0
        self._failure = ""

    def hear(self, line: str) -> None:
        """Take the next one; comments and empty ones say nothing."""
        if not line.startswith("data: "):
            return
        data = line.removeprefix("data: ")
        self.done = data == "[DONE]"
        if not self.done:
            self._event(json.loads(data))

    def _event(self, event: dict[str, object]) -> None:
        match event:
            case {"error": error}:
                self._failure = str(error)
            case {"usage": {"completion_tokens": int(count)}}:
                self._num_tokens = count
            case {"choices": [{"text": str(text)}]}:
                self._first_s = self._first_s or time.monotonic()
                self._text.append(text)

    def heard(self, failure: str) -> Heard:
        text, ended_s = "".join(self._text), time.monotonic()
        failure = self._failure or failure
        return Heard(text, self._num_tokens, failure, self._asked_s, self._first_s, ended_s)
