// Arrays for states and scratch: aligned, kept, never shrunk.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace bgc {

// Elements of a plain type, aligned to a cache line, with room behind the last
// one for a whole vector. Not initialised.
template <typename T>
class Array {
 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { std::free(data_); }
  // at least n elements; what was in it is lost when it grows
  T* reserve(size_t n) {
    if (n > size_ || !data_) {
      std::free(data_);
      data_ = nullptr;
      size_ = 0;
      const size_t bytes = ((n + 64) * sizeof(T) + 63) / 64 * 64;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      if (!data_) throw std::bad_alloc();
      size_ = n;
    }
    return data_;
  }
  T* get() const { return data_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// What scratch memory is for. Each has one user at a time.
enum class Scratch {
  kSent,         // what an encoder selects: indices, values, signs
  kLevels,       // levels or magnitudes of what it selects
  kCounts,       // a histogram of magnitudes
  kDrawn,        // elements that are drawn at random
  kUnion,        // the sum of entries
  kEntries,      // indices and values that are decoded
  kEntryLevels,  // levels that are decoded
  kGradient,     // a float16 gradient as float32
  kWhole,        // all values of a partition
  kPayload,      // a copy of a payload
  kEnd
};

// This thread's scratch memory for one purpose.
template <typename T>
Array<T>& scratch(Scratch purpose) {
  static thread_local Array<T> arrays[int(Scratch::kEnd)];
  return arrays[int(purpose)];
}

}  // namespace bgc
