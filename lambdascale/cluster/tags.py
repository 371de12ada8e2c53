"""What a notice says: its 32-bit tag is a kind (8 bits) and a value (24 bits). Region keys of an agent."""

from enum import IntEnum

GPU, INBOX, OUTBOX, HOST, KV = 1, 2, 3, 4, 5  # region keys, the same on every agent
MAX_VALUE = (1 << 24) - 1  # of a notice


class Kind(IntEnum):
    WARM = 0  # nothing: what the first write to a region costs was paid before time counts
    BLOCK = 1  # block `value` was written into the copy that contains the place
    ACTIVATION = 2  # slot `value` of the inbox holds a micro-batch
    KV = 3  # the last KV entries that a peer had of slot `value` are here


def tag(kind: Kind, value: int) -> int:
    """Pack kind and value.

    >>> untag(tag(Kind.BLOCK, 7))
    (<Kind.BLOCK: 1>, 7)
    """
    return kind << 24 | value


def untag(packed: int) -> tuple[Kind, int]:
    """Unpack what `tag` packed; ValueError for a kind nobody knows."""
    return Kind(packed >> 24), packed & MAX_VALUE
