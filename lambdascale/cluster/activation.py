"""The form in which a micro-batch travels from stage to stage: a header, then the rows.

    | header length (4 bytes) | header (msgpack) | rows |

It is written into slot `lane` of the next stage's inbox. A lane has one micro-batch, which is in one
place at a time, so a slot is free again whenever its lane comes round.
"""

import struct
from dataclasses import dataclass

import msgspec
import numpy as np

from lambdascale.engine.base import Chunk, EngineLimits, Rows
from lambdascale.model.layout import ALIGNMENT
from lambdascale.pipeline.stages import Stage

ENTRY_NBYTES = 96  # more than a chunk or a stage takes in the header
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Activation:
    """Micro-batch `lane` of `pipeline`, on its way into stage number `hop`; hop = len(stages) is home.

    `hop_s`: what messages cost it per hop.
    """

    pipeline: int
    lane: int
    hop: int
    stages: tuple[Stage, ...]
    chunks: tuple[Chunk, ...]
    row_nbytes: int
    hop_s: float = 0.0


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Activation] = msgspec.msgpack.Decoder(Activation)


def slot_nbytes(limits: EngineLimits, num_parts: int, row_nbytes: int, final_nbytes: int) -> int:
    """Return the size of an inbox slot: the largest header and the largest rows that can follow it."""
    header = ENTRY_NBYTES * (2 + limits.max_slots + num_parts)
    rows = max(limits.max_step_tokens * row_nbytes, limits.max_slots * final_nbytes)
    return (header + rows + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def put(slot: memoryview, activation: Activation, rows: Rows) -> int:
    """Write an activation into `slot` and return its length."""
    header = _encoder.encode(activation)
    start = _LENGTH.size + len(header)
    stop = start + rows.size
    slot[: _LENGTH.size] = _LENGTH.pack(len(header))
    slot[_LENGTH.size : start] = header
    np.frombuffer(slot[start:stop], np.uint8)[:] = rows.reshape(-1)
    return stop


def take(slot: memoryview) -> tuple[Activation, Rows]:
    """Read an activation out of `slot`, copying the rows so that the slot may be written again."""
    (length,) = _LENGTH.unpack(slot[: _LENGTH.size])
    start = _LENGTH.size + length
    activation = _decoder.decode(slot[_LENGTH.size : start])
    flat = np.frombuffer(slot[start:], np.uint8).copy()
    return activation, flat.reshape(-1, activation.row_nbytes)
