"""What an endpoint is made of, without a network: texts that are cut, doors that are shut, wrong settings."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from tiny import TinyModel

from lambdascale.__main__ import main
from lambdascale.errors import ConfigError
from lambdascale.model.catalogue import load_packed
from lambdascale.model.text import Tokenizer
from lambdascale.serve.answer import Answer, first_stop
from lambdascale.serve.guard import Guard
from lambdascale.serve.limits import Endpoint
from lambdascale.serve.server import bound

EOS = 256


@pytest.fixture(scope="module")
def tokenizer(tiny_model: TinyModel) -> Tokenizer:
    return Tokenizer(load_packed(str(tiny_model("llama")), "float32"))


def told(
    tokenizer: Tokenizer, tokens: Sequence[int], stops: Sequence[str]
) -> tuple[list[str], str]:
    """The pieces of an answer of these tokens, and why it ended."""
    answer, pieces = Answer(tokenizer.stream(), tokenizer.stop_ids, stops), list[str]()
    for i, token in enumerate(tokens):
        pieces.append(answer.push(token, i + 1 == len(tokens)))
        if answer.finish_reason is not None:
            break
    assert answer.finish_reason is not None
    return pieces, answer.finish_reason


@given(text=st.text("ab→", min_size=1), stops=st.lists(st.text("ab→", min_size=1, max_size=3)))
def test_pieces_make_the_text_before_the_first_stop_that_is_complete(
    tokenizer: Tokenizer, text: str, stops: list[str]
):
    pieces, reason = told(tokenizer, tokenizer.encode(text), stops)
    cuts = (first_stop(text[: end + 1], stops) for end in range(len(text)))
    cut = next((cut for cut in cuts if cut is not None), None)
    assert "".join(pieces) == text[:cut]
    assert reason == ("length" if cut is None else "stop")
    assert not any("�" in piece for piece in pieces), "no character is ever split"


def test_what_cannot_begin_a_stop_text_comes_at_once(tokenizer: Tokenizer):
    pieces, _ = told(tokenizer, tokenizer.encode("no, END"), ["END"])
    assert pieces == ["n", "o", ",", " ", "", "", ""]


def test_the_end_of_text_is_no_part_of_it(tokenizer: Tokenizer):
    assert told(tokenizer, (*tokenizer.encode("yes"), EOS), []) == (["y", "e", "s", ""], "stop")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_another_host_than_this_machine_needs_a_key(host: str):
    with pytest.raises(ConfigError, match="there is no API key"):
        Endpoint(host)
    assert Endpoint(host, key="secret").key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_none(host: str):
    assert Endpoint(host).is_local


@pytest.mark.parametrize("wrong", [{"port": 70000}, {"max_body": 0}, {"key": "two words"}])
def test_settings_that_cannot_work_are_named(wrong: dict[str, int | str]):
    with pytest.raises(ConfigError, match=next(iter(wrong)).removeprefix("max_").split("_")[0]):
        Endpoint(**wrong)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that repeats what it is sent."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


async def ask(endpoint: Endpoint, content: object = b"", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(Guard(echo, endpoint))
    base = f"http://{headers.pop('host', '127.0.0.1')}"
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        return await client.post("/v1/x", content=content, headers=headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:1", 200), ("evil.example:8000", 403)],
)
def test_a_web_page_that_comes_under_another_name_is_refused(host: str, status: int):
    assert asyncio.run(ask(Endpoint(), host=host)).status_code == status


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "bearer right", "Bearer right "])
def test_only_the_key_opens(given: str):
    endpoint = Endpoint("0.0.0.0", key="right")
    refused = asyncio.run(ask(endpoint, authorization=given))
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert asyncio.run(ask(endpoint, authorization="Bearer right")).status_code == 200


def test_a_body_that_does_not_come_is_given_up():
    async def slow() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(30)

    async def given_up() -> None:
        with pytest.raises(HTTPException) as raised:
            await ask(Endpoint(body_s=0.05), slow())
        assert raised.value.status_code == 408

    asyncio.run(given_up())


def test_a_port_that_is_taken_is_named_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tiny_model: TinyModel
):
    with bound(Endpoint(port=0)) as sock:
        port = sock.getsockname()[1]
        assert main(["serve", "--model", str(tiny_model("llama")), "--port", str(port)]) == 2
    assert f"port {port} on 127.0.0.1 is taken" in capsys.readouterr().err


def test_the_key_comes_from_a_file_and_never_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    empty = tmp_path / "key"
    empty.write_text("\n", encoding="ascii")
    for path, said in ((empty, "is empty"), (tmp_path / "none", "cannot read the API key")):
        assert main(["serve", "--api-key-file", str(path)]) == 2
        assert said in capsys.readouterr().err
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "there is no API key" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "$LAMBDASCALE_API_KEY" in capsys.readouterr().out
