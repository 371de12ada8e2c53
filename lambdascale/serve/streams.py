"""From the records of a run to those who wait for them: a queue of tokens per request.

All of it happens on the controller's event loop. A queue holds no more than the tokens of one answer, so a
client that reads slowly costs little.
"""

import asyncio

from lambdascale.cluster.records import FailedRecord, Record, TokenRecord
from lambdascale.errors import LambdaScaleError, NoCopyError


class Stream:
    """The tokens of one request, as they are recorded."""

    def __init__(self) -> None:
        self.over = False  # its last token has come, or no more will
        self._news = asyncio.Queue[TokenRecord | LambdaScaleError]()

    def put(self, news: TokenRecord | LambdaScaleError) -> None:
        """Take in the next token, or why there will be none."""
        self.over = isinstance(news, LambdaScaleError) or news.last
        self._news.put_nowait(news)

    async def next(self, patience_s: float) -> TokenRecord | None:
        """Return the next token, None if there is none within `patience_s`; raises what ended the request."""
        try:
            async with asyncio.timeout(patience_s):
                news = await self._news.get()
        except TimeoutError:
            return None
        if isinstance(news, LambdaScaleError):
            raise news
        return news


class Streams:
    """All requests that somebody waits for; shown every record of the run."""

    def __init__(self) -> None:
        self._open: dict[int, Stream] = {}
        self._ended: LambdaScaleError | None = None

    def see(self, record: Record) -> None:
        """Pass on a token, or that there will be none."""
        match record:
            case TokenRecord() if stream := self._open.get(record.request):
                stream.put(record)
            case FailedRecord() if stream := self._open.get(record.request):
                stream.put(NoCopyError(f"no copy of {record.model} is left on any node that lives"))

    def open(self, request: int) -> Stream:
        """Wait for the tokens of a request; raises what has ended everything."""
        if self._ended:
            raise self._ended
        stream = self._open[request] = Stream()
        return stream

    def close(self, request: int) -> None:
        """Nobody waits for it any more."""
        self._open.pop(request, None)

    def end(self, error: LambdaScaleError) -> None:
        """No more tokens will come: tell everybody who waits why."""
        self._ended = error
        for stream in self._open.values():
            if not stream.over:
                stream.put(error)
