"""One answer on its way to a client: in events or whole, until it is over or the client has gone.

Until the first token a stream carries comments that say what is waited for, so that nobody on the way takes
a cold start for a dead connection.
"""

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lambdascale.errors import LambdaScaleError
from lambdascale.serve.answer import Answer
from lambdascale.serve.backend import Asking
from lambdascale.serve.forms import Json, Writer
from lambdascale.serve.metrics import ANSWERED, FAILED, Timing
from lambdascale.serve.problems import ApiError, as_json, problem_of

PATIENCE_S = 0.5  # between two comments
SSE = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Exchange(Response):
    """The response to a request that has been submitted; its slot is free when this is over."""

    def __init__(
        self, asking: Asking, answer: Answer, writer: Writer, timing: Timing, usage: bool | None
    ) -> None:
        super().__init__()
        self._asking = asking
        self._answer = answer
        self._writer = writer
        self._timing = timing
        self._usage = usage  # None: not streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._timing, self._asking.reading():
            work = self._whole if self._usage is None else self._streamed
            answering = asyncio.ensure_future(work(scope, receive, send))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _ended(answering, leaving)

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            text = "".join([piece async for piece in self._pieces() if piece is not None])
            answer = self._answer
            body = self._writer.whole(text, answer.finish_reason, answer.num_tokens)
            response = as_json(body)
        except LambdaScaleError as error:
            response = self._failure(error).response()
        await response(scope, receive, send)

    async def _streamed(self, _: Scope, __: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in SSE.items()]
        headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for event in self._events():
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncIterator[bytes]:
        """Comments, then the opening, pieces of text, the reason of the end, the usage."""
        writer, begun = self._writer, False
        try:
            async for piece in self._pieces():
                if piece is None:
                    yield f": {self._asking.state()}\n\n".encode()
                    continue
                if not begun and (opening := writer.form.opening()):
                    yield _data(writer.event(opening))
                begun = True
                if piece:
                    yield _data(writer.event(writer.form.piece(piece)))
        except LambdaScaleError as error:
            yield _data(self._failure(error).body)
            return
        yield _data(writer.event(writer.form.piece(""), self._answer.finish_reason))
        if self._usage:
            yield _data(writer.closing(self._answer.num_tokens))
        yield b"data: [DONE]\n\n"

    def _failure(self, error: LambdaScaleError) -> ApiError:
        self._timing.outcome = FAILED
        return problem_of(error)

    async def _pieces(self) -> AsyncIterator[str | None]:
        """Yield the text of the answer as it comes, None for every while in which nothing does."""
        while self._answer.finish_reason is None:
            token = await self._asking.stream.next(PATIENCE_S)
            if token is None:
                if not self._answer.num_tokens:
                    yield None
                continue
            self._timing.token()
            yield self._answer.push(token.token, token.last)
        self._timing.outcome = ANSWERED


def _data(value: Json) -> bytes:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(answering: asyncio.Future[None], leaving: asyncio.Future[None]) -> None:
    """End both; raise what went wrong with the answer, if anything did."""
    for task in (answering, leaving):
        task.cancel()
    await asyncio.wait((answering, leaving))
    if not answering.cancelled():
        answering.result()
