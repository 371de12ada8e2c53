"""Writes an image file that appears under its name at once or not at all, from several threads."""

import contextlib
import os
import secrets
from pathlib import Path

from lambdascale.errors import ModelError


class ImageWriter:
    """A nameless draft of `image`; raises ModelError if it cannot be made or written."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._draft = image.with_name(f".{image.name}.{secrets.token_hex(8)}.partial")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileExistsError):  # if it is no folder, opening says so
                image.parent.mkdir(parents=True)
            self._file = os.open(self._draft, flags, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, source: memoryview, start: int) -> None:
        """Write `source` at `start`, and release it. Blocks."""
        done = 0
        with source:
            try:
                while done < len(source):
                    done += os.pwrite(self._file, source[done:], start + done)
            except OSError as error:
                raise self._unwritable(error) from error

    def publish(self) -> None:
        """Bring all bytes to the disk and give the file its name, in place of an older one. Blocks."""
        try:
            os.fsync(self._file)  # the name must not outlive a crash that the bytes do not
            self._draft.replace(self._image)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the file, and remove it unless it was published; no thread may write any more."""
        os.close(self._file)
        self._draft.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> ModelError:
        return ModelError(
            f"cannot write image {self._image} ({error.strerror}); make room or choose another folder"
        )
