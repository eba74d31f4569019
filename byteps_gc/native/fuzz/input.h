// What the harnesses share: the bytes of an input, failed requirements, and counts for the driver's report.
#ifndef BYTEPS_GC_FUZZ_INPUT_H
#define BYTEPS_GC_FUZZ_INPUT_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

inline uint64_t fuzz_accepted = 0, fuzz_refused = 0;  // changed frames or messages

namespace fuzz {

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

inline void require(bool condition, const char* what) {
  if (!condition) fail(what);
}

inline void count(bool accepted) { ++(accepted ? fuzz_accepted : fuzz_refused); }

// What the fuzzer gave, read from its front; zeros where it ends.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  size_t left() const { return left_; }
  uint8_t byte() { return left_ ? (--left_, *data_++) : 0; }
  uint32_t two() { return byte() | uint32_t(byte()) << 8; }
  uint32_t four() { return two() | two() << 16; }
  uint64_t eight() { return four() | uint64_t(four()) << 32; }

 private:
  const uint8_t* data_;
  size_t left_;
};

}  // namespace fuzz

#endif  // BYTEPS_GC_FUZZ_INPUT_H
