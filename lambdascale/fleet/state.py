"""The folder by which a cluster that outlives its controller is found again.

    cluster   the secret, the port of the control plane and what the cluster is; there while one may live
    nursery   the door of its nursery
    ssd       images that its agents have stored

Whoever can read it can command the agents, so it is its owner's alone. The lock is on the folder itself and
goes with the process that has it, however that ends.
"""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lambdascale.errors import ConfigError
from lambdascale.fleet.door import Door


class Standing(msgspec.Struct, frozen=True):
    """What a new controller must know: the secret, the port at which agents look for it, what they are."""

    secret: bytes
    port: int
    told: dict[str, str]


class StateFolder:
    """A folder that this process has the lock of; its nursery waits `lease_s` for a new controller."""

    def __init__(self, path: Path, lease_s: float) -> None:
        self._path = path
        self._file = path / "cluster"
        self.door = Door(path / "nursery", lease_s)
        self.ssd = path / "ssd"

    def same(self, told: Mapping[str, str]) -> Standing:
        """Return what the living cluster is; raises ConfigError if it is not what is `told`."""
        try:
            standing = msgspec.json.decode(self._file.read_bytes(), type=Standing)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{self._file} cannot be read; {self._wait}") from error
        for name, value in told.items():
            if (before := standing.told.get(name)) != value:
                raise ConfigError(
                    f"the cluster of {self._path} lives and has {name} {before}, not {value}; start it "
                    f"as before, or {self._wait}"
                )
        return standing

    @property
    def _wait(self) -> str:
        return f"wait {self.door.lease_s:g} s until its agents have ended"

    def write(self, standing: Standing) -> None:
        """Remember a cluster that is about to live; what others have left is removed."""
        self.clear()
        self._file.touch(0o600)
        self._file.write_bytes(msgspec.json.encode(standing))

    def clear(self) -> None:
        """No cluster lives any more."""
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()
        if self.ssd.exists():
            shutil.rmtree(self.ssd)


@contextmanager
def state_folder(path: Path, lease_s: float) -> Iterator[StateFolder]:
    """Lock the folder, making it if need be; raises ConfigError if others have it, or could read it."""
    if not lease_s > 0:
        raise ConfigError(f"lease is {lease_s:g} s; agents must wait for a while to be found")
    path = path.absolute()
    folder = StateFolder(path, lease_s)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be used ({error.strerror}); give another folder"
        ) from error
    try:
        found = os.fstat(lock)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ConfigError(
                f"{path} is not yours alone; make it so (chmod 700), or give another folder"
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process serves with {path}; end it, or give another folder"
            ) from error
        yield folder
    finally:
        os.close(lock)
