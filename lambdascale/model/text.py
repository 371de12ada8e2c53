"""Text to token ids and back: a thin layer over the tokenizer that belongs to a model.

Uses the chat template of the model if it has one. `TextStream` turns ids that arrive one by one into
text that is never cut inside a character.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer

from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.packed import PackedModel

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>")
BROKEN = "\ufffd"  # what a decoder shows for bytes that are no character (yet)


class Tokenizer:
    """The tokenizer of one model; `stop_ids` end an answer.

    Raises ModelError if the model's folder has no usable tokenizer.
    """

    def __init__(self, packed: PackedModel) -> None:
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                packed.folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{packed.folder} has no usable tokenizer; put the model's tokenizer.json there"
            ) from error
        self.stop_ids: tuple[int, ...] = self._find_stop_ids(packed)

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of plain text, with the special tokens that the model expects."""
        return tuple(self._tokenizer.encode(text))

    def encode_chat(self, prompt: str) -> tuple[int, ...]:
        """Return the ids of one user message that asks for an answer (plain text if no template)."""
        return self.encode_messages([{"role": "user", "content": prompt}])

    def encode_messages(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """Return the ids of a conversation (`role` and `content` each) that asks for the next message.

        A model without a template reads the texts one after the other; raises ConfigError if its template
        does not take such a conversation.
        """
        if self._tokenizer.chat_template is None:
            return self.encode("\n".join(message["content"] for message in messages))
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            raise ConfigError(f"the model's chat template refuses this: {error}") from error
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids` without special tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def stream(self) -> "TextStream":
        """Return a decoder for ids that arrive one by one."""
        return TextStream(self)

    def _find_stop_ids(self, packed: PackedModel) -> tuple[int, ...]:
        """End of sequence as the model's files state it, and the end of a turn in its vocabulary."""
        found = {self._tokenizer.eos_token_id} | _end_ids(packed.config)
        generation = packed.folder / "generation_config.json"
        if generation.is_file():
            found |= _end_ids(generation.read_text(encoding="utf-8"))
        special = self._tokenizer.get_added_vocab()
        found |= {special.get(word) for word in END_OF_TURN}
        return tuple(sorted(found - {None}))


class TextStream:
    """Decodes a growing sequence: the pieces joined are `Tokenizer.decode` of all ids.

    Ids already shown stay as context until the next piece, since a decoder may treat the first id of
    a text differently (a leading space, for one):

        ids    … [ context | held back ] <- push       context is what was emitted last
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._context: list[int] = []
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """Take one id; return the text that is certain now (may be empty)."""
        self._held.append(token)
        piece = self._piece()
        return "" if not piece or piece.endswith(BROKEN) else self._emit(piece)

    def finish(self) -> str:
        """Return what was held back; bytes that never became a character show as U+FFFD."""
        return self._emit(self._piece())

    def _piece(self) -> str:
        before = self._tokenizer.decode(self._context)
        return self._tokenizer.decode(self._context + self._held)[len(before) :]

    def _emit(self, piece: str) -> str:
        self._context, self._held = self._held, []
        return piece


def _end_ids(config: str) -> set[int]:
    value = json.loads(config).get("eos_token_id")
    return set() if value is None else set(value) if isinstance(value, list) else {value}
