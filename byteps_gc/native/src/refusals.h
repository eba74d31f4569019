// Why a frame is refused: one code for each reason, the same as in byteps_gc/compressors/refusals.py. A reader makes
// its checks in the order of the codes (docs/wire_format.md, "What is rejected").
#pragma once

#include <string>
#include <utility>

namespace bgc {

#define BGC_REFUSALS(X)                                                                            \
  X(SHORT, 1, "a frame shorter than its header")                                                   \
  X(MAGIC, 2, "a frame without the magic BGC")                                                     \
  X(VERSION, 3, "a frame of a different version")                                                  \
  X(LENGTH, 4, "a frame whose length is not the one in its header")                                \
  X(CHECKSUM, 5, "a frame with a wrong checksum")                                                  \
  X(UNKNOWN_FLAGS, 6, "a frame with unknown flags")                                                \
  X(INVALID_ETA, 7, "a learning rate that is negative or not finite")                              \
  X(INVALID_SCALE, 8, "a scale that is negative or not finite")                                    \
  X(NONFINITE, 9, "a NONFINITE frame with entries or a payload")                                   \
  X(ERROR, 10, "a malformed ERROR frame")                                                          \
  X(REJECTED, 11, "the server rejected the step")                                                  \
  X(RAW_LENGTH, 12, "a raw partition of a different length")                                       \
  X(CODEC, 13, "a frame of a different compressor")                                                \
  X(OPTIONS, 14, "a frame with different options")                                                 \
  X(DTYPE, 15, "a gradient of a different dtype")                                                  \
  X(ELEMENTS, 16, "a partition of a different length")                                             \
  X(WORKERS, 17, "a different number of workers")                                                  \
  X(FLAGS, 18, "flags that do not belong to this frame")                                           \
  X(WORKER, 19, "a frame of an unknown worker")                                                    \
  X(COMPLETE, 20, "a step that is already complete")                                               \
  X(SECOND, 21, "a second push of one worker in a step")                                           \
  X(STEP, 22, "different steps")                                                                   \
  X(ETA, 23, "different learning rates")                                                           \
  X(STREAM, 24, "different random streams")                                                        \
  X(SKIPPED, 25, "workers that disagree about SKIPPED (the last step was skipped)")                \
  X(RESET, 26, "workers that disagree about RESET (states start from zero)")                       \
  X(SCALE, 27, "a scale that this compressor does not have")                                       \
  X(COUNT, 28, "a number of entries that this compressor does not have")                           \
  X(PAYLOAD, 29, "a payload of a wrong length")                                                    \
  X(NORM, 30, "a norm that is negative or not finite")                                             \
  X(CODE, 31, "a malformed code: past the end, outside the partition, or above the highest level") \
  X(ENTRIES, 32, "more or fewer entries than the count")                                           \
  X(PADDING, 33, "nonzero or too many bits after the last code")                                   \
  X(VALUE, 34, "a value that is not finite")                                                       \
  X(MISSING, 35, "a step without the pushes of all workers")

enum class Code : int {
  NONE = 0,
#define BGC_CODE(name, number, text) name = number,
  BGC_REFUSALS(BGC_CODE)
#undef BGC_CODE
};

inline const char* text_of(Code code) {
  switch (code) {
#define BGC_TEXT(name, number, text) \
  case Code::name:                   \
    return text;
    BGC_REFUSALS(BGC_TEXT)
#undef BGC_TEXT
    default:
      return "";
  }
}

inline const char* name_of(Code code) {
  switch (code) {
#define BGC_NAME(name, number, text) \
  case Code::name:                   \
    return #name;
    BGC_REFUSALS(BGC_NAME)
#undef BGC_NAME
    default:
      return "";
  }
}

// The reason for a refusal; NONE if nothing was refused.
struct Refusal {
  Code code = Code::NONE;
  std::string detail;

  explicit operator bool() const { return code != Code::NONE; }
  std::string text() const { return text_of(code) + (detail.empty() ? "" : ": " + detail); }
};

inline bool refuse(Refusal* why, Code code, std::string detail = "") {
  *why = {code, std::move(detail)};
  return false;
}

}  // namespace bgc
