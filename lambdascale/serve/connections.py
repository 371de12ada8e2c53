"""Connections that do not wait for ever: the headers of a request must come in time, and not all at once.

uvicorn bounds how large headers are and how long an idle connection is kept, but not how slowly headers come.
"""

import asyncio
import json
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lambdascale.serve.problems import TOO_SLOW, ApiError

SPARE = 64  # connections beyond those that get an answer, so that others are told to come again


class Config(uvicorn.Config):
    """How to serve; headers must be here `header_s` after they could begin."""

    def __init__(self, *, header_s: float, max_connections: int, **others: Any) -> None:
        super().__init__(http=Connection, limit_concurrency=max_connections + SPARE, **others)
        self.header_s = header_s
        self.most_connections = max_connections + 2 * SPARE  # more are closed at once


class Connection(H11Protocol):
    """One client, whose time runs whenever it is his turn to send the headers of a request."""

    config: Config
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.config.most_connections:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Let the time of headers run, if they are what is waited for, and else not."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.config.header_s, self._give_up)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        problem = ApiError(TOO_SLOW, "the headers did not come in time; send them at once")
        headers = [("content-type", "application/json"), ("connection", "close")]
        answer = h11.Response(status_code=TOO_SLOW, headers=headers, reason=b"Request Timeout")
        body = h11.Data(data=json.dumps(problem.body).encode())
        for event in (answer, body, h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
