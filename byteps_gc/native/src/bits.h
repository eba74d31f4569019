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

// Reads a stream of n bytes; what is behind its end reads as zeros, and is reported.
class BitReader {
 public:
  BitReader(const uint8_t* data, size_t n) : data_(data), left_(n) {}
  // the number of zeros before the next one, which is read too; `most` + 1 if there are more
  uint64_t zeros(uint64_t most) {
    uint64_t n = 0;
    while (true) {
      fill();
      const int zeros = trailing_zeros();
      if (zeros < have_) {
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
    uint64_t gap;
    if (held_rice(b, &gap)) return gap;
    const uint64_t most = past >> b, q = zeros(most);
    uint32_t rest = 0;
    return q <= most && take(b, &rest) ? (q << b) + rest : past;
  }
  // Reads a number in Rice's code, a sign and, if `gamma`, a level as signed_gamma() writes it, else a level of 1.
  // False, and nothing is read, if they are not short.
  bool short_entry(int b, bool gamma, uint64_t* gap, uint32_t* sign, uint32_t* level) {
    fill();
    uint64_t held = held_;
    const int q = held ? __builtin_ctzll(held) : 64;
    held >>= q & 63;
    *gap = (uint64_t(q) << b) + (held >> 1 & ((uint64_t(1) << b) - 1));
    held >>= b + 1;
    *sign = uint32_t(held & 1);
    held >>= 1;
    *level = 1;
    int bits = q + b + 2;
    if (gamma) {
      const int n = held ? __builtin_ctzll(held) : 64;
      held = held >> (n & 63) >> 1;
      const uint64_t power = uint64_t(1) << (n & 31);
      *level = uint32_t(power | (held & (power - 1)));
      held >>= n & 31;
      bits += 2 * n + 1;
    }
    if (bits > have_) return false;
    held_ = held;
    have_ -= bits;
    return true;
  }
  bool take(int bits, uint32_t* value) {  // bits <= 32
    fill();
    if (have_ < bits) return false;
    *value = uint32_t(held_ & ((uint64_t(1) << bits) - 1));
    drop(bits);
    return true;
  }
  bool padding() {  // whether only zeros are left, fewer than a word
    fill();
    return !left_ && have_ < 32 && trailing_zeros() >= have_;
  }

 private:
  int trailing_zeros() const { return held_ ? __builtin_ctzll(held_) : 64; }
  // A number in Rice's code whose bits are all held.
  bool held_rice(int b, uint64_t* gap) {
    const int q = trailing_zeros();
    if (q + 1 + b > have_) return false;
    *gap = (uint64_t(q) << b) + (held_ >> q >> 1 & ((uint64_t(1) << b) - 1));
    drop(q + 1 + b);
    return true;
  }
  // Holds at least 56 bits, or all that are left. Far from the end there is one branch: a byte that does not fit
  // entirely is read again.
  void fill() {
    if (left_ >= 8) {
      uint64_t word;
      std::memcpy(&word, data_, 8);
      held_ |= word << have_;
      const size_t bytes = size_t(63 - have_) / 8;
      data_ += bytes;
      left_ -= bytes;
      have_ |= 56;  // have_ + 8 * bytes
      return;
    }
    for (; have_ < 56 && left_; have_ += 8, --left_) held_ |= uint64_t(*data_++) << have_;
  }
  void drop(int bits) {  // bits < 64
    held_ >>= bits;
    have_ -= bits;
  }
  const uint8_t* data_;
  size_t left_;
  uint64_t held_ = 0;  // the lowest have_ bits come next; those above are zeros, or the first of what is at data_
  int have_ = 0;       // at most 63
};

}  // namespace bgc
