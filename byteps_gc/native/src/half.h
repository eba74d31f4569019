// float16 by software where the processor has no instruction: round to nearest even.
#pragma once

#include "simd.h"

namespace bgc {

inline uint16_t to_half(float x) {
#ifdef __F16C__
  return uint16_t(_cvtss_sh(x, 0));
#else
  const uint32_t b = bits_of(x), sign = b >> 16 & 0x8000u, a = b & 0x7fffffffu;
  if (a > 0x7f800000u) return uint16_t(sign | 0x7e00u | (a >> 13 & 0x3ffu));
  if (a >= 0x477ff000u) return uint16_t(sign | 0x7c00u);           // rounds to infinity
  if (a >= 0x38800000u) {                                           // a normal float16
    const uint32_t rounded = a - 0x38000000u + 0xfffu + (a >> 13 & 1);
    return uint16_t(sign | rounded >> 13);
  }
  if (a < 0x33000000u) return uint16_t(sign);                       // below half the least
  const uint32_t shift = 126 - (a >> 23), mantissa = (a & 0x7fffffu) | 0x800000u;
  const uint32_t half = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), middle = 1u << (shift - 1);
  return uint16_t(sign | (half + (rest > middle || (rest == middle && (half & 1)))));
#endif
}

inline float from_half(uint16_t h) {
#ifdef __F16C__
  return _cvtsh_ss(h);
#else
  const uint32_t sign = uint32_t(h & 0x8000u) << 16, e = h >> 10 & 31, m = h & 0x3ffu;
  if (e == 31) return float_of(sign | 0x7f800000u | m << 13 | (m ? 0x400000u : 0));
  if (e) return float_of(sign | (e + 112) << 23 | m << 13);
  const float x = float(m) * 0x1p-24f;
  return sign ? -x : x;
#endif
}

inline void to_half(const float* x, size_t n, float factor, uint8_t* out) {
  size_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * i), _mm256_cvtps_ph((F8::load(x + i) * F8::all(factor)).v, 0));
#endif
  for (; i < n; ++i) {
    const uint16_t half = to_half(x[i] * factor);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

inline void from_half(const uint8_t* h, size_t n, float factor, float* out) {
  size_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= n; i += 8)
    (F8{_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(h + 2 * i)))} * F8::all(factor)).store(out + i);
#endif
  for (; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, h + 2 * i, 2);
    out[i] = from_half(half) * factor;
  }
}

// The exponent of the unit in which values of at most `most` travel as float16.
inline int half_exponent(float most) {
  if (most == 0) return 0;
  int e;
  __builtin_frexpf(most, &e);  // most = f * 2^e, 0.5 <= f < 1
  e -= 15;
  return e < -126 ? -126 : e;
}
// From here on, float16 rounds a value to 2^15, and 2^15 times its unit, the largest, is infinite: 4095 * 2^116.
constexpr uint32_t kHalfLimit = 0x7f7ff000u;
constexpr float kLargestUnit = 0x1p113f;
// Whether half_exponent() gives this unit: a power of two within bounds.
inline bool is_half_unit(float unit) {
  return !(bits_of(unit) & 0x807fffffu) && unit >= 0x1p-126f && unit <= kLargestUnit;
}
// The least float16, as bits without its sign, that is infinite, or is read as infinite.
inline uint16_t half_limit(float unit) { return unit == kLargestUnit ? 0x7800 : 0x7c00; }
inline float power_of_two(int e) { return float_of(uint32_t(e + 127) << 23); }  // -126 <= e <= 127

}  // namespace bgc
