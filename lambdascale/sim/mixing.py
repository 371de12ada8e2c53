"""Hashing of 64-bit numbers, over arrays at once: what a symbolic hidden state is made of.

Odd multiplications and folds, all bijections, so two states never meet by themselves. Not a defence
against an adversary; a wrong state must only not go unnoticed.
"""

import struct

import numpy as np
import numpy.typing as npt
import xxhash

U64 = npt.NDArray[np.uint64]

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF, _SOME = np.uint64(32), np.uint64(29)
_MASK = (1 << 64) - 1


def name(*numbers: int) -> int:
    """Return a 64-bit name of a sequence of integers (taken modulo 2^64)."""
    packed = struct.pack(f"<{len(numbers)}Q", *(number & _MASK for number in numbers))
    return xxhash.xxh3_64_intdigest(packed)


def fold(state: U64) -> U64:
    """Scatter the bits of a fresh array in place, once, and return it: enough between two layers."""
    state ^= state >> _HALF
    state *= _FIRST
    state ^= state >> _SOME
    return state


def mix(state: U64) -> U64:
    """Scatter every bit of an array thoroughly; returns a new array."""
    mixed = fold(state * _SECOND)
    mixed *= _SECOND
    mixed ^= mixed >> _HALF
    return mixed


def join(state: U64, other: U64 | np.uint64) -> U64:
    """Hash pairs, in this order; `state` is an array."""
    joined = state * ODD
    joined += other
    return mix(joined)
