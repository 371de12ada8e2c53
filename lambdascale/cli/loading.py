"""What a terminal shows before there is anything to show."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def loading(what: str, silent: bool = False) -> Iterator[None]:
    """Say on a terminal that `what` is being loaded, until it is."""
    console = Console()
    if silent or not console.is_terminal:
        yield
    else:
        with console.status(f"loading {what}"):
            yield
