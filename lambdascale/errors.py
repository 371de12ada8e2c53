"""Every error a user of λScale can meet, each one clear line that says what to do next.

The command line prints the message of a `LambdaScaleError` and exits non-zero; anything else is a bug.
"""


class LambdaScaleError(Exception):
    """The root of all named errors."""


class ConfigError(LambdaScaleError):
    """A value given by the user cannot work; names the field, the value and what to do."""


class ModelError(LambdaScaleError):
    """A model cannot be found, read or executed."""


class NoCopyError(ModelError):
    """No node holds a copy of the model that may be used."""


class OverloadedError(LambdaScaleError):
    """Too many requests wait already; ask again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many requests wait; try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class PeerGoneError(LambdaScaleError):
    """The other end of a link or of a control connection is gone."""

    def __init__(self, peer: int, why: str = "connection closed") -> None:
        super().__init__(f"node {peer} is gone: {why}")
        self.peer = peer


class AuthError(LambdaScaleError):
    """The other end does not know this cluster's secret."""


class GrantError(LambdaScaleError):
    """A write that its receiver has not granted, or grants no more."""


class DeadlineError(LambdaScaleError):
    """Something did not happen in time; names what was awaited."""


class CorruptBlockError(LambdaScaleError):
    """A block failed its checksum more often than a retry can explain."""


class ScheduleError(LambdaScaleError):
    """A multicast schedule breaks one of its rules; names the transfer and the rule."""


def plain(error: BaseException) -> BaseException:
    """Unwrap a group down to its first named error, which says what went wrong in one line."""
    if isinstance(error, BaseExceptionGroup):
        named, _ = error.split(LambdaScaleError)
        return plain((named or error).exceptions[0])
    return error
