"""What a terminal shows while a run goes on: a bar of blocks per node and the answers as they come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from lambdascale.cluster.records import BlockRecord, PhaseRecord, Record, TokenRecord
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.text import Tokenizer

TAIL = 90  # characters shown of each answer
MAX_ANSWERS = 12


@contextmanager
def watching(spec: RunSpec, tokenizer: Tokenizer, show: bool) -> Iterator[Callable[[Record], None]]:
    """Yield the function that a run shows its records to; silent unless `show`."""
    if not show:
        yield lambda _: None
        return
    screen = _Screen(spec, tokenizer)
    with Live(get_renderable=screen.render, refresh_per_second=8, transient=True):
        yield screen.see


class _Screen:
    def __init__(self, spec: RunSpec, tokenizer: Tokenizer) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._progress = Progress(*columns)
        self._bars = {
            node: self._progress.add_task(f"node {node} blocks", total=spec.scale.num_blocks)
            for node in spec.scale.destinations
        }
        self._tokenizer = tokenizer
        self._prompts = spec.prompts
        self._phase = "starting agents"
        self._answers: dict[int, list[int]] = {}

    def see(self, record: Record) -> None:
        match record:
            case BlockRecord():
                self._progress.advance(self._bars[record.node])
            case PhaseRecord():
                self._phase = f"{record.phase} ({max(record.time_s, 0):.2f} s)"
            case TokenRecord():
                self._answers.setdefault(record.request, []).append(record.token)

    def render(self) -> Group:
        newest = list(self._answers.items())[-MAX_ANSWERS:]
        lines = [
            f"[{request}] {self._prompts[request][:30]} → {self._tail(ids)}"
            for request, ids in newest
        ]
        return Group(self._progress, Text(self._phase), Text("\n".join(lines), no_wrap=True))

    def _tail(self, ids: list[int]) -> str:
        return " ".join(self._tokenizer.decode(ids).split())[-TAIL:]
