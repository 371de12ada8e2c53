"""The JSON of answers: completions and chats, whole or in pieces, as OpenAI's clients read them."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

Json = dict[str, object]


class Form(Protocol):
    """How one kind of answer is written."""

    def opening(self) -> Json | None:
        """The choice of the first event of a stream, before any text."""
        ...

    def piece(self, text: str) -> Json:
        """The choice of an event that carries text; without text, that of the last one."""
        ...

    def whole(self, text: str) -> Json:
        """The choice of an answer in one piece."""
        ...

    @property
    def prefix(self) -> str: ...
    def kind(self, streamed: bool) -> str: ...


class CompletionForm:
    """Continues a text."""

    prefix = "cmpl"

    def opening(self) -> Json | None:
        return None

    def piece(self, text: str) -> Json:
        return {"text": text}

    def whole(self, text: str) -> Json:
        return {"text": text}

    def kind(self, streamed: bool) -> str:
        return "text_completion"


class ChatForm:
    """Says the next message."""

    prefix = "chatcmpl"

    def opening(self) -> Json | None:
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, text: str) -> Json:
        return {"delta": {"content": text} if text else {}}

    def whole(self, text: str) -> Json:
        return {"message": {"role": "assistant", "content": text}}

    def kind(self, streamed: bool) -> str:
        return "chat.completion.chunk" if streamed else "chat.completion"


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes one answer of `model`; every part of it has the same id."""

    form: Form
    model: str
    num_prompt: int
    token: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def event(self, choice: Json, reason: str | None = None) -> Json:
        """An event of a stream."""
        return self._body([self._choice(choice, reason)], streamed=True)

    def closing(self, num_tokens: int) -> Json:
        """The event that states the usage."""
        return self._body([], streamed=True) | {"usage": self._usage(num_tokens)}

    def whole(self, text: str, reason: str | None, num_tokens: int) -> Json:
        """The answer in one piece."""
        choice = self._choice(self.form.whole(text), reason)
        return self._body([choice], streamed=False) | {"usage": self._usage(num_tokens)}

    def _choice(self, choice: Json, reason: str | None) -> Json:
        return {"index": 0, **choice, "logprobs": None, "finish_reason": reason}

    def _body(self, choices: list[Json], streamed: bool) -> Json:
        return {
            "id": f"{self.form.prefix}-{self.token}",
            "object": self.form.kind(streamed),
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _usage(self, num_tokens: int) -> Json:
        total = self.num_prompt + num_tokens
        return {
            "prompt_tokens": self.num_prompt,
            "completion_tokens": num_tokens,
            "total_tokens": total,
        }
