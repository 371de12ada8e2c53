"""The door of the endpoint: who may come in, and how much they may bring, before anything else looks at it.

In this order: size of the headers, name of the host, key, number of requests at a time, size of the body.
Health is everybody's to ask.
"""

import asyncio
import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambdascale.serve.limits import Endpoint
from lambdascale.serve.problems import (
    FORBIDDEN,
    HEADERS_TOO_LARGE,
    TOO_LARGE,
    TOO_SLOW,
    UNAUTHORIZED,
    ApiError,
    overloaded,
)

HEALTH = "/healthz"
BUSY_S = 1.0  # said to whom there is no room for
DRAINED = 4  # bodies' worth that is read of one that is too large, so that the answer is seen


class Guard:
    """ASGI middleware that lets through what `endpoint` allows."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint) -> None:
        self._app = app
        self._endpoint = endpoint
        self._num_inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        problem = self._refusal(scope, headers) or self._too_large(headers)
        if problem is not None:
            if problem.status == TOO_LARGE:
                await self._drain(receive)
            await problem.response()(scope, receive, send)
            return
        self._num_inside += 1
        try:
            await self._app(scope, Body(receive, self._endpoint), send)
        finally:
            self._num_inside -= 1

    def _refusal(self, scope: Scope, headers: Headers) -> ApiError | None:
        endpoint = self._endpoint
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size + len(scope["query_string"]) > endpoint.max_header:
            return ApiError(HEADERS_TOO_LARGE, f"the headers have {size} bytes; send fewer")
        if not endpoint.key and not _is_called(headers.get("host", ""), endpoint.names):
            return ApiError(FORBIDDEN, "this endpoint answers to the name of its own machine only")
        if scope["path"] == HEALTH:
            return None
        if endpoint.key and not _is_key(headers.get("authorization", ""), endpoint.key):
            problem = ApiError(UNAUTHORIZED, "the API key is missing or wrong", "invalid_api_key")
            problem.headers["WWW-Authenticate"] = "Bearer"
            return problem
        if self._num_inside >= endpoint.max_connections:
            return overloaded("too many requests at a time; try again soon", BUSY_S)
        return None

    def _too_large(self, headers: Headers) -> ApiError | None:
        length = headers.get("content-length", "0")
        most = self._endpoint.max_body
        if length.isdigit() and int(length) > most:
            return ApiError(
                TOO_LARGE, f"the body has {length} bytes, but {most} are allowed; send less"
            )
        return None

    async def _drain(self, receive: Receive) -> None:
        body = Body(receive, self._endpoint, DRAINED * self._endpoint.max_body)
        try:
            while (await body()).get("more_body"):
                pass
        except HTTPException:  # larger still, or slow: then it has seen enough of us
            return


class Body:
    """Receives a body of at most `most` bytes, in time; raises HTTPException."""

    def __init__(self, receive: Receive, endpoint: Endpoint, most: int | None = None) -> None:
        self._receive = receive
        self._most = endpoint.max_body if most is None else most
        self._until_s = asyncio.get_running_loop().time() + endpoint.body_s
        self._size = 0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until_s):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                TOO_SLOW, "the body did not come in time; send it at once"
            ) from error
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > self._most:
            raise HTTPException(TOO_LARGE, f"the body has more than {self._most} bytes; send less")
        return message


def _is_called(host: str, names: tuple[str, ...]) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in names
    except ValueError:
        return False


def _is_key(given: str, key: str) -> bool:
    """Compare in constant time, whatever the lengths."""
    hashed = [hashlib.sha256(text.encode()).digest() for text in (given, f"Bearer {key}")]
    return hmac.compare_digest(*hashed)
