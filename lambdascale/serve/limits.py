"""Where an endpoint listens, whom it lets in, and how much it takes from anybody: one frozen value."""

import ipaddress
from dataclasses import dataclass

from lambdascale.errors import ConfigError

KEY_VARIABLE = "LAMBDASCALE_API_KEY"  # of the environment that `lambdascale serve` is started in
RESTART_S = 1.0  # after which it starts a node that has ended again
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host` and `port` (0: any free one); whoever calls must know `key`, if there is one.

    A body has at most `max_body` bytes and comes within `body_s`, headers have at most `max_header` and come
    within `header_s`; more than `max_connections` requests at a time are turned away. Raises ConfigError.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key: str = ""
    max_body: int = 64 << 10  # it is tokenised on the loop that the controller runs on
    max_header: int = 16 << 10
    max_connections: int = 512
    body_s: float = 20.0
    header_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise ConfigError(f"port is {self.port}; give 1 to 65535, or 0 for any free one")
        for name in ("max_body", "max_header", "max_connections", "body_s", "header_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be more than 0")
        if self.key and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ConfigError(
                "the API key has spaces or letters that no header carries; choose another"
            )
        if not (self.key or self.is_local):
            raise ConfigError(
                f"host {self.host} can be reached from other machines, and there is no API key; give one, or "
                "leave the host at 127.0.0.1"
            )

    @property
    def is_local(self) -> bool:
        """Can only this machine reach it?"""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def names(self) -> tuple[str, ...]:
        """By which names a local endpoint may be called; a web page comes under another."""
        return (*LOCAL_NAMES, self.host)
