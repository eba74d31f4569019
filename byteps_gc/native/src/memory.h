// Arrays for states and scratch: aligned, kept, never shrunk.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace bgc {

constexpr size_t kHugePage = size_t(2) << 20;

// Memory aligned to a cache line. What fills huge pages, or nearly, is put into such where the system offers them.
inline void* aligned_memory(size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  const size_t whole = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  if (whole - bytes > bytes / 16) return std::aligned_alloc(64, bytes);
  void* const memory = std::aligned_alloc(kHugePage, whole);
  if (memory) (void)madvise(memory, whole, MADV_HUGEPAGE);  // refused: pages of the usual size
  return memory;
}

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
      data_ = static_cast<T*>(aligned_memory((n + 64) * sizeof(T)));
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
