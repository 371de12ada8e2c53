"""The HTTP application over a running controller: OpenAI's routes, metrics and health.

Everything that can be refused is refused before an answer begins; errors have OpenAI's form.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lambdascale import __version__
from lambdascale.errors import LambdaScaleError, OverloadedError
from lambdascale.serve.answer import Answer
from lambdascale.serve.backend import Backend, Model
from lambdascale.serve.exchange import Exchange
from lambdascale.serve.forms import ChatForm, CompletionForm, Form, Writer
from lambdascale.serve.guard import HEALTH, Guard
from lambdascale.serve.limits import Endpoint
from lambdascale.serve.metrics import REFUSED, Metrics, Timing
from lambdascale.serve.problems import ApiError, as_json, invalid, problem_of
from lambdascale.serve.schemas import Asked, ChatRequest, Completion, CompletionRequest, Refusal

COMPLETION_TOKENS = (
    16  # of a completion that does not say how many; a chat takes what there is room for
)
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": text}
    for status, text in (
        (400, "What is asked for cannot be had"),
        (401, "The API key is missing or wrong"),
        (404, "There is no such model"),
        (413, "The body is too large"),
        (429, "Too many requests wait"),
        (503, "The cluster has failed"),
    )
}


def make_app(backend: Backend, metrics: Metrics, endpoint: Endpoint) -> Guard:
    """Return the application, behind its guard."""
    app = FastAPI(title="λScale", version=__version__, docs_url=None, redoc_url=None)
    _handle_errors(app)
    _add_views(app, backend, metrics)
    _add_answers(app, Desk(backend, metrics))
    return Guard(app, endpoint)


class Desk:
    """Takes requests in."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics

    def complete(self, asked: CompletionRequest) -> Response:
        """Continue a text."""
        model = self._backend.model(asked.model)
        given = asked.prompt
        prompt = model.tokenizer.encode(given) if isinstance(given, str) else tuple(given)
        return self._answer(asked, model, prompt, COMPLETION_TOKENS, CompletionForm())

    def chat(self, asked: ChatRequest) -> Response:
        """Say the next message."""
        model = self._backend.model(asked.model)
        messages = [{"role": m.role, "content": m.text} for m in asked.messages]
        prompt = model.tokenizer.encode_messages(messages)
        return self._answer(asked, model, prompt, None, ChatForm())

    def _answer(
        self, asked: Asked, model: Model, prompt: tuple[int, ...], default: int | None, form: Form
    ) -> Response:
        room = model.room(prompt, asked.limit, default)
        sampling = asked.sampling(fresh_seed=secrets.randbits(63))
        try:
            asking = self._backend.ask(model, prompt, room, sampling)
        except OverloadedError:
            self._metrics.requests.labels(model.name, REFUSED).inc()
            raise
        return Exchange(
            asking,
            Answer(model.tokenizer.stream(), model.tokenizer.stop_ids, asked.stops),
            Writer(form, model.name, len(prompt)),
            Timing(self._metrics, model.name),
            asked.with_usage if asked.stream else None,
        )


def _add_answers(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/completions", response_model=Completion, responses=REFUSALS)
    async def complete(asked: CompletionRequest) -> Response:
        """Continue a text; as server-sent events with `stream`."""
        return desk.complete(asked)

    @app.post("/v1/chat/completions", response_model=Completion, responses=REFUSALS)
    async def chat(asked: ChatRequest) -> Response:
        """Answer a conversation; as server-sent events with `stream`."""
        return desk.chat(asked)


def _add_views(app: FastAPI, backend: Backend, metrics: Metrics) -> None:
    since = int(time.time())

    def card(name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": since, "owned_by": "lambdascale"}

    @app.get("/v1/models")
    async def models() -> Response:
        """List the models that can be asked for."""
        return as_json({"object": "list", "data": [card(name) for name in backend.models]})

    @app.get("/v1/models/{name}", responses=REFUSALS)
    async def model(name: str) -> Response:
        """Describe one of them."""
        return as_json(card(backend.model(name).name))

    @app.get("/metrics")
    async def scrape() -> Response:
        """Everything that is measured, for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get(HEALTH)
    async def health() -> Response:
        """Say that requests are taken in."""
        return as_json({"status": "ok"})


def _handle_errors(app: FastAPI) -> None:
    def handler(describe: Callable[[Any], ApiError]) -> Callable[[Request, Exception], Response]:
        return lambda _, error: describe(error).response()

    app.add_exception_handler(LambdaScaleError, handler(problem_of))
    app.add_exception_handler(RequestValidationError, handler(lambda e: invalid(e.errors())))
    app.add_exception_handler(Exception, handler(lambda _: ApiError(500, "an error of the server")))
    app.add_exception_handler(HTTPException, handler(_http_problem))


def _http_problem(error: HTTPException) -> ApiError:
    problem = ApiError(error.status_code, error.detail)
    problem.headers.update(error.headers or {})
    return problem
