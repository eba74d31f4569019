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

// Scratch number `which` of this thread. A number has one user at a time: 0 and 1 the encoder's
// selection, 2 the merge of a reply, 3 entries that are decoded, 4 levels that are,
// 5 a gradient as float32, 6 blocks put together, 7 a copy of a payload.
template <typename T>
Array<T>& scratch(int which) {
  static thread_local Array<T> arrays[8];
  return arrays[which];
}

}  // namespace bgc
