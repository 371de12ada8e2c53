"""What is behind the endpoint: the models that can be asked for, and the controller that serves them.

Its answers are streams of tokens; whoever stops reading one gives its slot back.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from lambdascale.cluster.controller import Controller
from lambdascale.model.packed import PackedModel
from lambdascale.model.text import Tokenizer
from lambdascale.serve.problems import BAD_REQUEST, NOT_FOUND, ApiError
from lambdascale.serve.streams import Stream, Streams
from lambdascale.workload.request import Request, Sampling

KEY = 0  # of all draws: the answer to a prompt depends on its seed, not on who asked before


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked for; an answer and its prompt have at most `max_length` tokens."""

    name: str
    tokenizer: Tokenizer
    vocab: int
    max_length: int

    @classmethod
    def of(cls, packed: PackedModel, max_length: int) -> "Model":
        """Describe a packed model."""
        shape = packed.shape
        longest = min(max_length, shape.context_length)
        return cls(packed.layout.model, Tokenizer(packed), shape.vocab, longest)

    def room(self, prompt: tuple[int, ...], asked: int | None, default: int | None) -> int:
        """Return how many tokens may answer `prompt`; raises ApiError if there is no room for them."""
        if not prompt:
            raise ApiError(BAD_REQUEST, "the prompt is empty; send some text", param="prompt")
        if min(prompt) < 0 or max(prompt) >= self.vocab:
            raise ApiError(
                BAD_REQUEST,
                f"the prompt has a token that is none of 0 to {self.vocab - 1}; use the model's tokenizer",
                param="prompt",
            )
        left = self.max_length - len(prompt)
        wanted = asked or min(default or left, left)
        if wanted < 1 or wanted > left:
            raise ApiError(
                BAD_REQUEST,
                f"the prompt has {len(prompt)} tokens and {max(wanted, 1)} are asked for, but "
                f"{self.max_length} fit in all; shorten it, or lower max_tokens",
                "context_length_exceeded",
            )
        return wanted


@dataclass(slots=True)
class Backend:
    """The controller, as HTTP sees it."""

    models: Mapping[str, Model]
    controller: Controller
    streams: Streams
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def model(self, name: str) -> Model:
        """Return a model; raises ApiError if there is none of that name."""
        if name not in self.models:
            known = ", ".join(self.models)
            raise ApiError(
                NOT_FOUND,
                f"there is no such model; ask for one of {known}",
                "model_not_found",
                "model",
            )
        return self.models[name]

    def ask(self, model: Model, prompt: tuple[int, ...], room: int, sampling: Sampling) -> "Asking":
        """Submit a request; raises OverloadedError."""
        stop = model.tokenizer.stop_ids
        request = Request(next(self._ids), prompt, room, sampling, stop, model=model.name, key=KEY)
        stream = self.streams.open(request.id)
        try:
            self.controller.submit(request)
        except BaseException:
            self.streams.close(request.id)
            raise
        return Asking(self, request, stream)

    def state(self, model: str) -> str:
        """Say in two words what a request of `model` waits for."""
        service = self.controller.services[model]
        if service.pipelines.served:
            return "waiting for a slot"
        share = max((growth.share for growth in service.growths.values()), default=0.0)
        return f"loading {share:.0%}".replace("%", " %")


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that has been submitted, and its stream."""

    backend: Backend
    request: Request
    stream: Stream

    def state(self) -> str:
        """Say what it waits for."""
        return self.backend.state(self.request.model)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read its tokens in here; whatever has not come at the end is not wanted any more."""
        try:
            yield
        finally:
            self.backend.streams.close(self.request.id)
            if not self.stream.over:
                self.backend.controller.cancel(self.request)
                self.stream.over = True
