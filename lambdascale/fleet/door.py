"""The door of a nursery: a Unix socket in a folder of one user, by which a later process finds it again."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lambdascale.errors import ConfigError, DeadlineError

ANSWER_S = 60.0  # it may still be importing
MAX_PATH = 107  # bytes; linux/un.h


@dataclass(frozen=True, slots=True)
class Door:
    """Where a nursery is found, and for how many seconds it waits there while nobody commands it.

    Two must not use a door at once: who does holds the lock of its folder.
    """

    path: Path
    lease_s: float

    def __post_init__(self) -> None:
        if len(os.fsencode(self.path)) > MAX_PATH:
            raise ConfigError(f"{self.path} is too long for a socket; choose a shorter folder")

    def knock(self) -> tuple[socket.socket, int, list[int]] | None:
        """Return a line to who waits here, its pid and the nodes of its children; None if nobody does."""
        line = socket.socket(socket.AF_UNIX)
        try:
            line.settimeout(ANSWER_S)
            line.connect(os.fspath(self.path))
            with line.makefile("rb") as said:
                answer = said.readline()
        except TimeoutError as error:
            line.close()
            raise DeadlineError(
                f"the nursery at {self.path} said nothing for {ANSWER_S:g} s"
            ) from error
        except OSError:
            answer = b""
        if not answer:
            line.close()
            return None
        line.settimeout(None)
        told = json.loads(answer)
        return line, told["nursery"], told["living"]

    @contextmanager
    def hung(self) -> Iterator[socket.socket]:
        """Yield the listening socket, for a nursery to inherit."""
        self.remove()
        with socket.socket(socket.AF_UNIX) as entrance:
            entrance.bind(os.fspath(self.path))
            entrance.listen()
            yield entrance

    def remove(self) -> None:
        """Nobody waits here any more."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
