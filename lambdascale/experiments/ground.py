"""What a run on real agents stands on, and how that outlives its controller if it has a state folder."""

import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.fleet.local import LocalSite
from lambdascale.fleet.state import Standing, StateFolder
from lambdascale.transport.auth import make_secret


@dataclass(frozen=True, slots=True)
class Ground:
    """The cluster's secret, where its controller listens, the folder of its SSDs, its agents' lease (s)."""

    secret: bytes
    place: str | socket.socket
    ssd: Path
    lease_s: float = 0.0

    @classmethod
    def fresh(cls, host: str) -> "Ground":
        """Return what nothing outlives."""
        # not made before an agent stores an image: who is killed here could not remove it
        folder = Path(tempfile.gettempdir(), f"lambdascale-ssd-{secrets.token_hex(8)}")
        return cls(make_secret(), host, folder)


@contextmanager
def kept(folder: StateFolder, site: LocalSite, told: Mapping[str, str]) -> Iterator[Ground]:
    """Yield the ground of what was found at `site`, or of a new cluster there; it goes at an orderly end.

    Raises ConfigError, and leaves what was found alone, if it is not what is `told`.
    """
    told = {**told, "lease_s": f"{folder.door.lease_s:g}"}
    standing = folder.same(told) if site.was_found else None
    with _listening(site.host, standing.port if standing else 0) as sock:
        site.take()
        if standing is None:
            standing = Standing(make_secret(), sock.getsockname()[1], told)
            folder.write(standing)
        try:
            yield Ground(standing.secret, sock, folder.ssd, folder.door.lease_s)
        finally:
            site.close()
            folder.clear()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"port {port}, at which agents look for their controller, is taken; end who has it, or wait "
                "until the agents have ended"
            ) from error
        yield sock
