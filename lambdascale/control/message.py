"""The root of all messages of the control plane; `messages` has them all and their codec."""

import msgspec


class Base(msgspec.Struct, frozen=True, tag=True):
    """The root of all messages; the class name travels as the tag."""
