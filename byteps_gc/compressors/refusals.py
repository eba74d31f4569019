"""Why a frame is refused: one code for each reason, the same in C++ (native/src/refusals.h, docs/wire_format.md).

A reader makes its checks in the order of the codes, so that a frame with several faults has one code.
"""

import enum

from byteps_gc.errors import CompressionError


class Refusal(enum.IntEnum):
    """A reason. ``text`` describes it in words that follow "rejected"."""

    text: str

    def __new__(cls, code: int, text: str) -> "Refusal":
        member = int.__new__(cls, code)
        member._value_ = code
        member.text = text
        return member

    # any frame
    SHORT = 1, "a frame shorter than its header"
    MAGIC = 2, "a frame without the magic BGC"
    VERSION = 3, "a frame of a different version"
    LENGTH = 4, "a frame whose length is not the one in its header"
    CHECKSUM = 5, "a frame with a wrong checksum"
    UNKNOWN_FLAGS = 6, "a frame with unknown flags"
    INVALID_ETA = 7, "a learning rate that is negative or not finite"
    INVALID_SCALE = 8, "a scale that is negative or not finite"
    NONFINITE = 9, "a NONFINITE frame with entries or a payload"
    ERROR = 10, "a malformed ERROR frame"
    # frames of one partition
    REJECTED = 11, "the server rejected the step"
    RAW_LENGTH = 12, "a raw partition of a different length"
    CODEC = 13, "a frame of a different compressor"
    OPTIONS = 14, "a frame with different options"
    DTYPE = 15, "a gradient of a different dtype"
    ELEMENTS = 16, "a partition of a different length"
    WORKERS = 17, "a different number of workers"
    FLAGS = 18, "flags that do not belong to this frame"
    # frames of one step
    WORKER = 19, "a frame of an unknown worker"
    COMPLETE = 20, "a step that is already complete"
    SECOND = 21, "a second push of one worker in a step"
    STEP = 22, "different steps"
    ETA = 23, "different learning rates"
    STREAM = 24, "different random streams"
    SKIPPED = 25, "workers that disagree about SKIPPED (the last step was skipped)"
    RESET = 26, "workers that disagree about RESET (states start from zero)"
    # payloads
    SCALE = 27, "a scale that this compressor does not have"
    COUNT = 28, "a number of entries that this compressor does not have"
    PAYLOAD = 29, "a payload of a wrong length"
    NORM = 30, "a norm that is negative or not finite"
    CODE = 31, "a malformed code: past the end, outside the partition, or above the highest level"
    ENTRIES = 32, "more or fewer entries than the count"
    PADDING = 33, "nonzero or too many bits after the last code"
    VALUE = 34, "a value that is not finite"
    # steps
    MISSING = 35, "a step without the pushes of all workers"


class FrameError(CompressionError):
    """A frame that is refused: ``code`` says why, and the text is that of the code, with ``detail``."""

    def __init__(self, code: Refusal, detail: str = ""):
        super().__init__(f"{code.text}: {detail}" if detail else code.text)
        self.code = code
