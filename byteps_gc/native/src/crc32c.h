// CRC-32C (Castagnoli), as in iSCSI: reflected, from and to all ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace bgc {

// A register after n more zero bytes, n < 2^32. It is linear in the register: one bit of n is one matrix.
inline uint32_t crc32c_zeros(uint32_t crc, size_t n);

#ifdef __SSE4_2__
// The instruction takes three cycles but one can begin in each: four parts of a long text are read at a time.
constexpr size_t kCrcPart = 1024, kCrcParts = 4;
constexpr size_t kCrcAhead = 6 * 1024;  // distance of the prefetch

inline uint32_t crc32c_skip_part(uint32_t crc) {
  static const auto tables = [] {
    std::array<std::array<uint32_t, 256>, 4> t{};
    for (uint32_t i = 0; i < 256; ++i)
      for (int k = 0; k < 4; ++k) t[k][i] = crc32c_zeros(i << 8 * k, kCrcPart);
    return t;
  }();
  return tables[0][crc & 255] ^ tables[1][crc >> 8 & 255] ^ tables[2][crc >> 16 & 255] ^ tables[3][crc >> 24];
}

inline uint64_t crc32c_word(uint64_t crc, const uint8_t* data) {
  uint64_t word;
  std::memcpy(&word, data, 8);
  return _mm_crc32_u64(crc, word);
}
#endif

// The register after n more bytes, one word after the other.
inline uint32_t crc32c_words(uint32_t crc, const uint8_t* data, size_t n) {
#ifdef __SSE4_2__
  uint64_t wide = crc;
  for (; n >= 8; n -= 8, data += 8) wide = crc32c_word(wide, data);
  crc = uint32_t(wide);
  for (; n; --n) crc = _mm_crc32_u8(crc, *data++);
#else
  static const auto tables = [] {
    std::array<std::array<uint32_t, 256>, 8> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = c >> 1 ^ (c & 1 ? 0x82F63B78u : 0);
      t[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; ++i)
      for (int k = 1; k < 8; ++k) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
    return t;
  }();
  for (; n >= 8; n -= 8, data += 8) {
    uint32_t low, high;
    std::memcpy(&low, data, 4);
    std::memcpy(&high, data + 4, 4);
    low ^= crc;
    crc = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^ tables[4][low >> 24] ^
          tables[3][high & 255] ^ tables[2][high >> 8 & 255] ^ tables[1][high >> 16 & 255] ^ tables[0][high >> 24];
  }
  for (; n; --n) crc = crc >> 8 ^ tables[0][(crc ^ *data++) & 255];
#endif
  return crc;
}

// The register after n more bytes. Calls see(line) for every whole 64 bytes from the first on, in any order, before
// their checksum is computed.
template <typename See>
inline uint32_t crc32c_more(uint32_t crc, const uint8_t* data, size_t n, See see) {
#ifdef __SSE4_2__
  for (; n >= kCrcParts * kCrcPart; n -= kCrcParts * kCrcPart, data += kCrcParts * kCrcPart) {
    uint64_t parts[kCrcParts] = {crc};
    for (size_t line = 0; line < kCrcPart; line += 64) {
      // Prefetch by ascending address. In the order of the parts, the same checksum takes 1.6 times as long.
      for (size_t k = 0; k < kCrcParts; ++k) __builtin_prefetch(data + kCrcAhead + kCrcParts * line + 64 * k);
      for (size_t k = 0; k < kCrcParts; ++k) see(data + line + k * kCrcPart);
      for (size_t i = line; i < line + 64; i += 8)
        for (size_t k = 0; k < kCrcParts; ++k) parts[k] = crc32c_word(parts[k], data + i + k * kCrcPart);
    }
    crc = uint32_t(parts[0]);
    for (size_t k = 1; k < kCrcParts; ++k) crc = crc32c_skip_part(crc) ^ uint32_t(parts[k]);
  }
#endif
  for (; n >= 64; n -= 64, data += 64) {
    see(data);
    crc = crc32c_words(crc, data, 64);
  }
  return crc32c_words(crc, data, n);
}

inline uint32_t crc32c_more(uint32_t crc, const uint8_t* data, size_t n) {
  return crc32c_more(crc, data, n, [](const uint8_t*) {});
}

inline uint32_t crc32c_zeros(uint32_t crc, size_t n) {
  using Matrix = std::array<uint32_t, 32>;
  static const auto powers = [] {
    const uint8_t zero = 0;
    std::array<Matrix, 32> all{};
    for (int bit = 0; bit < 32; ++bit) all[0][bit] = crc32c_more(1u << bit, &zero, 1);
    for (int k = 1; k < 32; ++k)
      for (int bit = 0; bit < 32; ++bit)
        for (int i = 0; i < 32; ++i) all[k][bit] ^= all[k - 1][bit] >> i & 1 ? all[k - 1][i] : 0;
    return all;
  }();
  for (int k = 0; n; ++k, n >>= 1) {
    if (!(n & 1)) continue;
    uint32_t next = 0;
    for (int i = 0; i < 32; ++i) next ^= crc >> i & 1 ? powers[k][i] : 0;
    crc = next;
  }
  return crc;
}

inline uint32_t crc32c(const void* data, size_t n) { return ~crc32c_more(~0u, static_cast<const uint8_t*>(data), n); }

}  // namespace bgc
