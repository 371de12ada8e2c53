"""What is shown while a run goes on.

On a terminal: a bar of blocks per node and the answers as they grow; finished answers scroll up. Elsewhere
(a file, a pipe): every answer when it is finished, at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from lambdascale.cli.answers import Answers
from lambdascale.cluster.records import BlockRecord, PhaseRecord, Record
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.text import Tokenizer

MAX_GROWING = 10  # lines of unfinished answers
DOING = {  # after each phase of the set-up, what takes time until the next one
    "called": "starting the agents",
    "inputs ready": "starting the agents",
    "agents up": "preparing memory and engines, loading the sources",
    "prepared": "connecting",
}


@contextmanager
def watching(
    spec: RunSpec, tokenizer: Tokenizer, silent: bool = False
) -> Iterator[Callable[[Record], None]]:
    """Yield the function that a run shows its records to."""
    answers = Answers(spec.prompts, tokenizer)
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if silent:
        yield lambda _: None
    elif not console.is_terminal:
        yield lambda record: _print(answers.see(record))
    else:
        screen = _Screen(spec, answers, console)
        with Live(get_renderable=screen.render, console=console, transient=True) as live:
            yield screen.see
            live.refresh()


def _print(answer: str | None) -> None:
    if answer is not None:
        print(answer, flush=True)


class _Screen:
    def __init__(self, spec: RunSpec, answers: Answers, console: Console) -> None:
        self._prompts = spec.prompts
        self._answers = answers
        self._console = console
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._bars = Progress(*columns, console=console)
        self._nodes = {
            node: self._bars.add_task(f"node {node}, blocks", total=spec.scale.num_blocks)
            for node in spec.scale.destinations
        }
        self._phase = "starting the agents"

    def see(self, record: Record) -> None:
        match record:
            case BlockRecord():
                self._bars.advance(self._nodes[record.node])
            case PhaseRecord():
                reached = f"{record.phase} after {record.time_s:.2f} s"
                self._phase = DOING.get(record.phase, reached)
        if (answer := self._answers.see(record)) is not None:
            self._console.print(answer)

    def render(self) -> Group:
        growing = list(self._answers.growing.items())
        done, waiting = self._answers.num_finished, self._answers.num_waiting
        state = (
            f"{self._phase}; answers: {done} finished, {len(growing)} growing, {waiting} waiting"
        )
        lines = [self._line(*answer) for answer in growing[:MAX_GROWING]]
        return Group(*lines, self._bars, Text(state, no_wrap=True, overflow="ellipsis"))

    def _line(self, request: int, text: str) -> Text:
        """The prompt and the end of its answer, in one line of the terminal."""
        words = " ".join(text.split())
        prompt = f"[{request}] {self._prompts[request][: self._console.width // 3]} → "
        return Text(prompt + words[-max(0, self._console.width - len(prompt) - 1) :], no_wrap=True)
