"""The text of one answer while its tokens come: whole characters, cut before the first stop text.

The first is the one that is complete first. What may be the beginning of one is held back until it is known.
"""

from collections.abc import Collection, Sequence

from lambdascale.model.text import TextStream

STOP, LENGTH = "stop", "length"


class Answer:
    """Takes tokens, gives text; `finish_reason` says why it ended, None while it has not."""

    def __init__(self, text: TextStream, stop_ids: Collection[int], stops: Sequence[str]) -> None:
        self.num_tokens = 0
        self.finish_reason: str | None = None
        self._text = text
        self._stop_ids = stop_ids
        self._stops = stops
        self._held = ""

    def push(self, token: int, last: bool) -> str:
        """Take the next token; return the text that is certain now (may be empty)."""
        self.num_tokens += 1
        ends = token in self._stop_ids
        self._held += "" if ends else self._text.push(token)
        if last:
            self._held += self._text.finish()
        cut = first_stop(self._held, self._stops)
        if cut is not None:
            self.finish_reason = STOP
            return self._release(cut)
        if last:
            self.finish_reason = STOP if ends else LENGTH
            return self._release(len(self._held))
        return self._release(len(self._held) - num_open(self._held, self._stops))

    def _release(self, end: int) -> str:
        text, self._held = self._held[:end], self._held[end:]
        return text


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Return where the first stop text begins, if there is any.

    >>> first_stop("one. two", (" two", "."))
    3
    """
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)


def num_open(text: str, stops: Sequence[str]) -> int:
    """Return how many of the last characters may begin a stop text.

    >>> num_open("wait: EN", ("END", "N!"))
    2
    """
    longest = max(map(len, stops), default=0)
    for length in range(min(len(text), longest - 1), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0
