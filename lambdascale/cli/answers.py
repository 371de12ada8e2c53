"""The answers of a run as they grow, from its records: each as text, with who gave it."""

import textwrap
from collections.abc import Sequence

from lambdascale.cluster.records import PipelineRecord, Record, TokenRecord
from lambdascale.experiments.frames import served_by
from lambdascale.model.text import TextStream, Tokenizer


class Answers:
    """`growing` holds what is there of each unfinished answer, by request, oldest first."""

    def __init__(self, prompts: Sequence[str], tokenizer: Tokenizer) -> None:
        self.growing: dict[int, str] = {}
        self.num_finished = 0
        self._prompts = prompts
        self._tokenizer = tokenizer
        self._streams: dict[int, TextStream] = {}
        self._tokens: dict[int, list[TokenRecord]] = {}
        self._pipelines: list[Record] = []

    @property
    def num_waiting(self) -> int:
        return len(self._prompts) - len(self._tokens)

    def see(self, record: Record) -> str | None:
        """Take in a record; return an answer in full if this finishes it."""
        if isinstance(record, PipelineRecord):
            self._pipelines.append(record)
        if not isinstance(record, TokenRecord):
            return None
        request = record.request
        self._tokens.setdefault(request, []).append(record)
        if record.last:
            return self._finish(request)
        stream = self._streams.setdefault(request, self._tokenizer.stream())
        self.growing[request] = self.growing.get(request, "") + stream.push(record.token)
        return None

    def _finish(self, request: int) -> str:
        tokens = self._tokens[request]
        self.num_finished += 1
        self.growing.pop(request, None)
        self._streams.pop(request, None)
        text = self._tokenizer.decode([t.token for t in tokens]).strip() or "(an empty answer)"
        servers = ", then ".join(served_by(tokens, self._pipelines))
        facts = f"({len(tokens)} tokens, the first after {tokens[0].time_s:.2f} s; by {servers})"
        body = textwrap.indent(f"{text}\n{facts}", "    ")
        return f"[{request}] {self._prompts[request]}\n{body}"
