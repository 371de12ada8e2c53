"""What is shown while a trace is replayed: how many requests are answered, how many nodes work.

On a terminal only; a file or a pipe gets the result alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lambdascale.cluster.records import AllocationRecord, PhaseRecord, Record, TokenRecord


@contextmanager
def progress(num_requests: int, silent: bool = False) -> Iterator[Callable[[Record], None]]:
    """Yield the function that a run shows its records to."""
    console = Console()
    if silent or not console.is_terminal:
        yield lambda _: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bars(bars, num_requests).see


class _Bars:
    def __init__(self, bars: Progress, num_requests: int) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=num_requests)
        self._num_nodes = 0

    def see(self, record: Record) -> None:
        match record:
            case PhaseRecord():
                self._bars.update(self._task, description=record.phase)
            case AllocationRecord():
                self._num_nodes += 1 if record.allocated else -1
                state = f"answered, {self._num_nodes} nodes at work"
                self._bars.update(self._task, description=state)
            case TokenRecord(last=True):
                self._bars.advance(self._task)
