"""Text and ids: chat prompts, stop ids, and streams that never cut a character."""

import json
import shutil
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdascale.errors import ModelError
from lambdascale.model.checkpoint import pack
from lambdascale.model.text import Tokenizer

SAMPLES = [
    "Hello, world",
    "naïve café",
    "日本語のテキスト",
    "👩‍👩‍👧 and 🇫🇷",
    "a\n\n  b\tc",
    "x\ufffdy",
]


@pytest.fixture(scope="module")
def chat(smollm2):
    return Tokenizer(smollm2)


@pytest.fixture(scope="module")
def in_bytes(tiny_model, tmp_path_factory):
    return Tokenizer(pack(tiny_model("llama"), "tiny", "float32", tmp_path_factory.mktemp("cache")))


def streamed(tokenizer, ids):
    stream = tokenizer.stream()
    return [*(stream.push(token) for token in ids), stream.finish()]


def test_a_chat_prompt_uses_the_template_of_the_model_and_asks_for_an_answer(chat):
    turn = chat.encode("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n")
    assert chat.encode_chat("Why?")[-len(turn) :] == turn
    assert chat.decode(chat.encode_chat("Why?")).endswith("user\nWhy?\nassistant\n")


def test_without_a_template_a_chat_prompt_is_plain_text(in_bytes):
    assert in_bytes.encode_chat("Why?") == in_bytes.encode("Why?")
    assert len(in_bytes.encode("é?")) == 3


@pytest.mark.parametrize("text", SAMPLES)
def test_decoding_what_was_encoded_gives_the_text_back(text, chat, in_bytes):
    assert chat.decode(chat.encode(text)) == text
    assert in_bytes.decode(in_bytes.encode(text)) == text


def test_an_answer_ends_where_any_file_of_the_model_says(chat, in_bytes, tiny_model, tmp_path):
    assert chat.decode([]) == ""
    assert chat.stop_ids == (0, 2)  # <|endoftext|>, <|im_end|>
    assert in_bytes.stop_ids == (256,)
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "copy")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [300, 301]}))
    assert Tokenizer(pack(folder, "t", "float32", tmp_path)).stop_ids == (256, 300, 301)


@given(text=st.text(max_size=30))
def test_streamed_bytes_join_to_the_text_and_no_piece_cuts_a_character(in_bytes, text):
    ids = in_bytes.encode(text)
    pieces = streamed(in_bytes, ids)
    assert "".join(pieces) == in_bytes.decode(ids)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@given(ids=st.lists(st.integers(0, 256), max_size=30))
def test_any_bytes_stream_to_what_they_decode_to(in_bytes, ids):
    assert "".join(streamed(in_bytes, ids)) == in_bytes.decode(ids)


def test_a_stream_shows_each_word_as_soon_as_it_is_complete(chat):
    ids = chat.encode("The capital of France is Paris.")
    assert streamed(chat, ids) == [chat.decode([token]) for token in ids] + [""]


def test_a_folder_without_a_tokenizer_is_refused_only_when_text_is_wanted(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "copy")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    packed = pack(folder, "tiny", "float32", tmp_path)
    with pytest.raises(ModelError, match="has no usable tokenizer"):
        Tokenizer(packed)


def test_loading_a_tokenizer_asks_nobody(smollm2, monkeypatch):
    def refuse(*_):
        raise AssertionError("a fetched model must not touch a network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert Tokenizer(smollm2).encode("hello")
