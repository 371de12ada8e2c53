"""An answer as it grows, each token in the colour of who served it: an execution pipeline or a replica.

Pure, from the records of a run. A node of a pipeline may hold part of the model only: how much it held at
that moment is told for every token.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lambdascale.cluster.records import BlockRecord, PipelineRecord, Record, TokenRecord
from lambdascale.model.text import Tokenizer

COLORS = {  # by kind of server, one after the other: oranges and blues, as in every figure
    "pipeline": ("#f6c667", "#f4a582", "#e8d58b"),
    "replica": ("#9ecae8", "#c6dbef", "#b3cde3"),
}


@dataclass(frozen=True, slots=True)
class Server:
    """Who served: `held` is the share of the model that each of its nodes held when it began to."""

    kind: str
    held: tuple[tuple[int, float], ...]
    color: str

    @property
    def name(self) -> str:
        """E.g. *pipeline 2+3* or *replica 2*."""
        return f"{self.kind} {'+'.join(str(node) for node, _ in self.held)}"


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one token (empty if it is no text of its own), when and by whom."""

    text: str
    time_s: float
    server: Server
    held: tuple[tuple[int, float], ...]  # share of the model per node, at this moment


class Served:
    """Takes records and keeps the pieces of one request's answer; sources hold all from the start."""

    def __init__(
        self, request: int, num_sources: int, num_blocks: int, tokenizer: Tokenizer
    ) -> None:
        self.pieces: list[Piece] = []
        self._request, self._num_sources, self._num_blocks = request, num_sources, num_blocks
        self._stream = tokenizer.stream()
        self._blocks: defaultdict[int, set[int]] = defaultdict(set)
        self._nodes: dict[int, tuple[int, ...]] = {}
        self._servers: dict[int, Server] = {}

    def see(self, record: Record) -> None:
        """Take in a record."""
        match record:
            case BlockRecord():
                self._blocks[record.node].add(record.block)
            case PipelineRecord(formed=True):
                self._nodes[record.pipeline] = tuple(dict.fromkeys(s.node for s in record.stages))
            case TokenRecord(request=self._request):
                self._add(record)

    def _add(self, record: TokenRecord) -> None:
        server = self._server(record)
        text = self._stream.push(record.token)
        if record.last:
            text += self._stream.finish()
        held = self._held(record.pipeline)
        self.pieces.append(Piece(text, record.time_s, server, held))

    def _server(self, record: TokenRecord) -> Server:
        if record.pipeline not in self._servers:
            alike = [s for s in self._servers.values() if s.kind == record.kind]
            colors = COLORS[record.kind]
            color = colors[len(alike) % len(colors)]
            held = self._held(record.pipeline)
            self._servers[record.pipeline] = Server(record.kind, held, color)
        return self._servers[record.pipeline]

    def _held(self, pipeline: int) -> tuple[tuple[int, float], ...]:
        return tuple((node, self._share(node)) for node in self._nodes.get(pipeline, ()))

    def _share(self, node: int) -> float:
        if node < self._num_sources:
            return 1.0
        return len(self._blocks[node]) / self._num_blocks


def answer_html(pieces: Sequence[Piece]) -> str:
    """Return the answer, each token on the colour of its server; a tooltip says when and by whom."""
    marks = "".join(_mark(number, piece) for number, piece in enumerate(pieces, start=1))
    return f'<p style="line-height: 1.9; font-size: 15px; max-width: 60em">{marks or "…"}</p>'


def servers_html(pieces: Sequence[Piece]) -> str:
    """Return one line per server: its colour, how many tokens, when, and how much of the model it held."""
    groups: dict[Server, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece.server, []).append(piece)
    return "".join(_line(server, mine) for server, mine in groups.items())


def half_loaded(pieces: Sequence[Piece]) -> int:
    """Count the tokens that were served by nodes none of which held the whole model."""
    return sum(all(share < 1 for _, share in piece.held) for piece in pieces)


def _mark(number: int, piece: Piece) -> str:
    title = (
        f"token {number} after {piece.time_s:.2f} s by {piece.server.name}: {_shares(piece.held)}"
    )
    style = f"background: {piece.server.color}; border-radius: 3px; padding: 2px 0"
    text = escape(piece.text).replace("\n", "<br>")
    return f'<span style="{style}" title="{escape(title)}">{text}</span>'


def _line(server: Server, mine: Sequence[Piece]) -> str:
    chip = f'<span style="background: {server.color}; padding: 1px 8px">{server.name}</span>'
    when = f"{mine[0].time_s:.2f} to {mine[-1].time_s:.2f} s"
    plural = "token" if len(mine) == 1 else "tokens"
    return f"<div>{chip} {len(mine)} {plural}, {when}; at first {_shares(server.held)}</div>"


def _shares(held: Sequence[tuple[int, float]]) -> str:
    """E.g. *node 2 held 56 % of the model, node 3 50 %*."""
    first, *others = [f"{share:.0%}".replace("%", " %") for _, share in held] or ["?"]
    nodes = [node for node, _ in held]
    parts = [f"node {nodes[0]} held {first} of the model"] if nodes else []
    parts += [f"node {node} {share}" for node, share in zip(nodes[1:], others, strict=True)]
    return ", ".join(parts)
