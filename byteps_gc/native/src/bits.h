// Streams of bits, least significant first, and the codes written in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bgc {

inline int floor_log2(uint64_t x) { return 63 - __builtin_clzll(x); }  // x > 0

// Rice's parameter for `count` gaps among d places
inline int rice_parameter(size_t d, size_t count) {
  const uint64_t t = count ? uint64_t(d - count) * 45426 / (uint64_t(count) * 65536) : 0;
  return t ? floor_log2(t) : 0;
}
inline size_t words_of(uint64_t bits) { return size_t((bits + 31) / 32 * 4); }  // bytes of whole words

// Writes into a buffer that has room for what is written, rounded up to a word, and eight bytes more.
class BitWriter {
 public:
  explicit BitWriter(uint8_t* out) : begin_(out), out_(out) {}
  void put(uint64_t value, int bits) {  // bits <= 32, value < 2^bits
    held_ |= value << used_;
    used_ += bits;
    const uint32_t word = uint32_t(held_);
    std::memcpy(out_, &word, 4);
    const int full = used_ / 32;
    out_ += 4 * full;
    held_ >>= 32 * full;
    used_ -= 32 * full;
  }
  void zeros(uint64_t n) {
    for (; n >= 32; n -= 32) put(0, 32);
    put(0, int(n));
  }
  void rice(uint32_t gap, int b) {
    const uint32_t q = gap >> b;
    if (q + b < 32) {
      put((uint64_t(1) | uint64_t(gap & ((1u << b) - 1)) << 1) << q, int(q) + 1 + b);
      return;
    }
    zeros(q);
    put(1, 1);
    put(gap & ((uint64_t(1) << b) - 1), b);
  }
  void signed_gamma(uint32_t level, uint32_t sign) {  // 1 <= level < 2^31
    const int n = floor_log2(level);
    put(sign | uint64_t(2) << n, n + 2);
    put(level - (1u << n), n);
  }
  size_t finish() {  // pads to a word; returns the bytes written
    if (used_) put(0, 32 - used_);
    return size_t(out_ - begin_);
  }

 private:
  uint8_t *begin_, *out_;
  uint64_t held_ = 0;
  int used_ = 0;
};

// Reads a stream of n bytes, a multiple of 4; what is behind its end reads as zeros, and is reported.
class BitReader {
 public:
  BitReader(const uint8_t* data, size_t n) : data_(data), left_(n) {}
  // the number of zeros before the next one, which is read too; `most` + 1 if there are more
  uint64_t zeros(uint64_t most) {
    uint64_t n = 0;
    while (true) {
      fill();
      const uint64_t valid = held_ & mask();
      if (valid) {
        const int zeros = __builtin_ctzll(valid);
        drop(zeros + 1);
        n += uint64_t(zeros);
        return n > most ? most + 1 : n;
      }
      n += uint64_t(have_);
      held_ = 0;
      have_ = 0;
      if (!left_ || n > most) return most + 1;
    }
  }
  // A number in Rice's code; `past` or more if it is not below that, or does not end.
  uint64_t rice(uint64_t past, int b) {
    fill();
    const uint64_t valid = held_ & mask();
    const int quick = valid ? __builtin_ctzll(valid) : 64;
    if (quick + 1 + b <= have_) {
      const uint64_t rest = valid >> quick >> 1 & ((uint64_t(1) << b) - 1);
      drop(quick + 1 + b);
      return (uint64_t(quick) << b) + rest;
    }
    const uint64_t most = past >> b, q = zeros(most);
    uint32_t rest = 0;
    return q <= most && take(b, &rest) ? (q << b) + rest : past;
  }
  bool take(int bits, uint32_t* value) {  // bits <= 32
    fill();
    if (have_ < bits) return false;
    *value = uint32_t(held_ & ((uint64_t(1) << bits) - 1));
    drop(bits);
    return true;
  }
  bool padding() {  // whether only zeros are left, fewer than a word
    if (left_) return false;
    return have_ < 32 && !(held_ & mask());
  }

 private:
  uint64_t mask() const { return have_ == 64 ? ~uint64_t(0) : (uint64_t(1) << have_) - 1; }
  void fill() {
    while (have_ <= 32 && left_) {
      uint32_t word;
      std::memcpy(&word, data_, 4);
      held_ |= uint64_t(word) << have_;
      have_ += 32;
      data_ += 4;
      left_ -= 4;
    }
  }
  void drop(int bits) {
    held_ = bits == 64 ? 0 : held_ >> bits;
    have_ -= bits;
  }
  const uint8_t* data_;
  size_t left_;
  uint64_t held_ = 0;
  int have_ = 0;
};

}  // namespace bgc
