"""Hashing of 64-bit numbers, over arrays at once: what a symbolic hidden state is made of.

The finaliser is an odd multiplication and a fold, twice: a bijection, so two states never meet by
themselves. Not a defence against an adversary; a wrong state must only not go unnoticed.
"""

import struct

import numpy as np
import numpy.typing as npt
import xxhash

U64 = npt.NDArray[np.uint64]

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF, _SOME = np.uint64(32), np.uint64(29)
_MASK = (1 << 64) - 1


def name(*numbers: int) -> int:
    """Return a 64-bit name of a sequence of integers (taken modulo 2^64)."""
    packed = struct.pack(f"<{len(numbers)}Q", *(number & _MASK for number in numbers))
    return xxhash.xxh3_64_intdigest(packed)


def mix(state: U64) -> U64:
    """Scatter every bit of an array of states; returns a new array."""
    mixed = state * _FIRST
    mixed ^= mixed >> _HALF
    mixed *= _SECOND
    mixed ^= mixed >> _SOME
    return mixed


def join(state: U64, other: U64 | np.uint64) -> U64:
    """Hash pairs, in this order; `state` is an array."""
    joined = state * _ODD
    joined += other
    return mix(joined)
