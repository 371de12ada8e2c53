"""Keys by which nodes let their peers write: the controller makes one for each transfer (decision 0014)."""

import secrets

KEY_BITS = 64


def new_key() -> int:
    """Return a key that nobody can guess."""
    return secrets.randbits(KEY_BITS)
