"""The codec of simulated channels: what one message says to many is written and read only once.

A thousand agents are prepared by the same message, of a megabyte if there are many models. Messages are
frozen, so those who receive the same frame may share what it says.
"""

from lambdascale.control.messages import Message, decode, encode

LARGE = 4096  # bytes; smaller frames are coded as fast as they are looked up


class Codec:
    """Remembers the last large frame."""

    def __init__(self) -> None:
        self._sent: Message | None = None
        self._frame = b""
        self._read: Message | None = None

    def encode(self, message: Message) -> bytes:
        """Return the wire form of `message`."""
        if message is self._sent:
            return self._frame
        frame = encode(message)
        if len(frame) >= LARGE:
            self._sent, self._frame, self._read = message, frame, None
        return frame

    def decode(self, frame: bytes) -> Message:
        """Return the message in `frame`."""
        if frame is not self._frame:
            return decode(frame)
        if self._read is None:
            self._read = decode(frame)
        return self._read
