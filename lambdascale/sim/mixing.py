"""Hashing of 64-bit numbers, over arrays at once: what a symbolic hidden state is made of.

Odd multiplications and folds, all bijections, so two states never meet by themselves. Not a defence
against an adversary; a wrong state must only not go unnoticed.
"""

import struct
from functools import cache

import numpy as np
import numpy.typing as npt
import xxhash

U64 = npt.NDArray[np.uint64]

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF, _SOME = np.uint64(32), np.uint64(29)
MASK = (1 << 64) - 1
_FIRST_INT, _SECOND_INT, _ODD = int(_FIRST), int(_SECOND), int(ODD)
_FEW = 12  # more are faster as an array


def name(*numbers: int) -> int:
    """Return a 64-bit name of a sequence of integers (taken modulo 2^64)."""
    packed = struct.pack(f"<{len(numbers)}Q", *(number & MASK for number in numbers))
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


def join_each(state: list[int], other: list[int]) -> list[int]:
    """Do as `join` does; on a few numbers this is several times as fast.

    >>> join_each([1, 2], [3, 4]) == join(np.array([1, 2], np.uint64), np.array([3, 4], np.uint64)).tolist()
    True
    """
    if len(state) > _FEW:
        both = (np.array(numbers, np.uint64) for numbers in (state, other))
        return list(join(*both).tolist())
    return list(map(join_one, state, other))


def join_one(state: int, other: int) -> int:
    """Do as `join` does, on one pair of numbers below 2⁶⁴."""
    mixed = (state * _ODD + other) * _SECOND_INT & MASK
    mixed = (mixed ^ mixed >> 32) * _FIRST_INT & MASK
    mixed = (mixed ^ mixed >> 29) * _SECOND_INT & MASK
    return mixed ^ mixed >> 32


@cache
def odd_numbers(count: int) -> U64:
    """Return `count` odd numbers, always the same ones, as many more are asked for."""
    numbers = mix(np.arange(1, count + 1, dtype=np.uint64)) | np.uint64(1)
    numbers.flags.writeable = False
    return numbers


def inverses(odd: U64) -> U64:
    """Return what odd numbers must be multiplied with to give 1 mod 2⁶⁴ (Newton's iteration).

    >>> inverses(np.array([3], np.uint64)) * np.uint64(3)
    array([1], dtype=uint64)
    """
    found = odd.copy()  # right in the last 3 bits; each turn doubles them
    for _ in range(5):
        found *= np.uint64(2) - odd * found
    return found
