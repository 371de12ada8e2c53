"""Clients that keep a connection busy without asking anything: slow headers, and too many of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from lambdascale.serve.connections import SPARE
from lambdascale.serve.guard import Guard
from lambdascale.serve.limits import Endpoint
from lambdascale.serve.server import bound, serve_http

pytestmark = pytest.mark.alone

HEAD = b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1\r\n"
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


@asynccontextmanager
async def listening(endpoint: Endpoint) -> AsyncIterator[int]:
    """Serve an application that repeats what it is sent; yield its port."""
    ready = asyncio.Event()
    with bound(endpoint) as sock:
        serving = asyncio.create_task(
            serve_http(Guard(echo, endpoint), sock, endpoint, ready.set, lambda: None)
        )
        await ready.wait()
        try:
            yield sock.getsockname()[1]
        finally:
            serving.cancel()
            await asyncio.wait((serving,))


async def trickle(writer: asyncio.StreamWriter) -> None:
    """Send headers that never end, a byte at a time."""
    for byte in HEAD + b"x-slow: " + b"y" * 10_000:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.01)


async def said(client: Client) -> bytes:
    """What a client is told until its connection ends."""
    async with asyncio.timeout(20):
        return await client[0].read()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def test_headers_that_come_byte_by_byte_are_given_up():
    async def body() -> None:
        async with listening(Endpoint(port=0, header_s=0.3)) as port, connected(port) as client:
            trickling = asyncio.create_task(trickle(client[1]))
            answer = await said(client)
            trickling.cancel()
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"connection: close" in answer.lower()
            assert b"the headers did not come in time" in answer
            async with connected(port) as silent:
                assert (await said(silent)).startswith(b"HTTP/1.1 408")

    asyncio.run(body())


def test_a_later_request_of_a_connection_has_the_same_time_and_a_slow_body_has_its_own():
    async def body() -> None:
        async with listening(Endpoint(port=0, header_s=0.3)) as port, connected(port) as client:
            reader, writer = client
            writer.write(HEAD + b"content-length: 4\r\n\r\nab")
            await asyncio.sleep(0.6)
            writer.write(b"cd")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(4) == b"abcd"
            trickling = asyncio.create_task(trickle(writer))
            assert (await said(client)).startswith(b"HTTP/1.1 408")
            trickling.cancel()

    asyncio.run(body())


def test_connections_beyond_the_limit_are_told_so_and_those_beyond_that_are_closed():
    async def body() -> None:
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(listening(Endpoint(port=0, max_connections=1)))
            for _ in range(1 + 2 * SPARE):
                client = await stack.enter_async_context(connected(port))
            client[1].write(HEAD + b"content-length: 0\r\n\r\n")
            assert (await client[0].readline()).startswith(b"HTTP/1.1 503")
            for _ in range(2):  # the one that was told so has left
                one_more = await stack.enter_async_context(connected(port))
            with suppress(ConnectionResetError):  # a reset is as good as an end
                assert await said(one_more) == b""

    asyncio.run(body())
