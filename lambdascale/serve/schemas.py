"""What clients may ask and what they get: models that check requests and make the OpenAPI schema.

Of OpenAI's fields those that are known here are taken; any other is refused rather than ignored, and so are
values that would change the answer in a way that is not built.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lambdascale.workload.request import Sampling

GREEDY_BELOW = 1e-5  # a lower temperature divides logits by next to nothing
INT64 = 1 << 63


def _check_text(text: str) -> str:
    """JSON can carry halves of characters, tokenizers take whole ones; raises ValueError."""
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise ValueError("the text has half a character (a lone surrogate); send Unicode")
    return text


Prose = Annotated[str, AfterValidator(_check_text)]
Count = Annotated[int, Field(ge=1, le=1 << 20)]
StopText = Annotated[str, Field(min_length=1, max_length=256)]


class StreamOptions(BaseModel):
    """Whether the last event of a stream says how many tokens there were."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class Asked(BaseModel):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(extra="forbid")
    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    user: str | None = None
    n: Literal[1] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which the answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def with_usage(self) -> bool:
        """Does the last event of the stream state the usage?"""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def limit(self) -> int | None:
        """How many tokens it asks for; None: it does not say."""
        return self.max_tokens

    def sampling(self, fresh_seed: int) -> Sampling:
        """How tokens are chosen; with a fresh seed where none is given."""
        temperature = 1.0 if self.temperature is None else self.temperature
        return Sampling(
            temperature if temperature >= GREEDY_BELOW else 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=fresh_seed if self.seed is None else self.seed,
        )


class CompletionRequest(Asked):
    """A text, or its token ids, to be continued."""

    prompt: Prose | list[int]


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: Prose


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: Prose | list[TextPart]

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(Asked):
    """A conversation that asks for the next message."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Count | None = None

    @property
    def limit(self) -> int | None:
        """How many tokens it asks for, by either of its names."""
        return self.max_completion_tokens or self.max_tokens


class Usage(BaseModel):
    """Tokens of the prompt and of the answer, one that ends it included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """An answer; the choice has `text`, or the `message` of a chat, and a `finish_reason`."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: Usage | None


class Error(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(BaseModel):
    """The body of a response that is no answer."""

    error: Error
