"""What a notice says: its 32-bit tag is a kind (8 bits) and a value (24 bits). Region keys of an agent."""

from enum import IntEnum

IMAGE, INBOX, OUTBOX, KV = 1, 2, 3, 5  # region keys, the same on every agent
MAX_VALUE = (1 << 24) - 1  # of a notice


class Kind(IntEnum):
    WARM = 0  # nothing: what the first write to a region costs was paid before time counts
    BLOCK = 1  # block `value` was written into the image
    RESEND = 2  # please write block `value` again; it arrived corrupted
    ACTIVATION = 3  # slot `value` of the inbox holds a micro-batch


def tag(kind: Kind, value: int) -> int:
    """Pack kind and value.

    >>> untag(tag(Kind.RESEND, 7))
    (<Kind.RESEND: 2>, 7)
    """
    return kind << 24 | value


def untag(packed: int) -> tuple[Kind, int]:
    """Unpack what `tag` packed; ValueError for a kind nobody knows."""
    return Kind(packed >> 24), packed & MAX_VALUE
