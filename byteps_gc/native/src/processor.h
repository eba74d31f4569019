// The arithmetic that every entry into the library computes with.
#pragma once

#include <xmmintrin.h>

namespace bgc {

// Round to nearest, denormals kept: other libraries change this for whole threads.
class PlainArithmetic {
 public:
  PlainArithmetic() : before_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~PlainArithmetic() { _mm_setcsr(before_); }
  PlainArithmetic(const PlainArithmetic&) = delete;
  PlainArithmetic& operator=(const PlainArithmetic&) = delete;

 private:
  const unsigned before_;
};

}  // namespace bgc
