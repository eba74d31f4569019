// Values of 16 bits: float16, by software where the processor has no instruction, and bfloat16. Round to nearest even.
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

#ifdef __F16C__
inline F8 from_halves(__m128i halves) { return {_mm256_cvtph_ps(halves)}; }
inline F8 load_halves(const uint8_t* h) { return from_halves(_mm_loadu_si128(reinterpret_cast<const __m128i*>(h))); }
inline void store_halves(F8 x, uint8_t* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvtps_ph(x.v, 0));
}
// what a reader of float16 reads
inline F8 through_half(F8 x) { return from_halves(_mm256_cvtps_ph(x.v, 0)); }
#else
inline void store_halves(F8 x, uint8_t* out) {
  for (int i = 0; i < 8; ++i) {
    const uint16_t half = to_half(x.v[i]);
    std::memcpy(out + 2 * i, &half, 2);
  }
}
inline F8 through_half(F8 x) {
  for (float& lane : x.v) lane = from_half(to_half(lane));
  return x;
}
#endif

inline void to_half(const float* x, size_t n, float factor, uint8_t* out) {
  size_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= n; i += 8) store_halves(F8::load(x + i) * F8::all(factor), out + 2 * i);
#endif
  for (; i < n; ++i) {
    const uint16_t half = to_half(x[i] * factor);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

// Gives every value to `take(place, values)`, eight at a time where F8 is, or `take_one(place, value)`.
template <typename Take, typename TakeOne>
inline void each_half(const uint8_t* h, size_t n, float factor, Take take, TakeOne take_one) {
  size_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= n; i += 8) take(i, load_halves(h + 2 * i) * F8::all(factor));
#else
  (void)take;
#endif
  for (; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, h + 2 * i, 2);
    take_one(i, from_half(half) * factor);
  }
}

inline void from_half(const uint8_t* h, size_t n, float factor, float* out) {
  each_half(
      h, n, factor, [out](size_t i, F8 x) { x.store(out + i); }, [out](size_t i, float x) { out[i] = x; });
}

inline void add_half(const uint8_t* h, size_t n, float factor, float* out) {
  each_half(
      h, n, factor, [out](size_t i, F8 x) { (F8::load(out + i) + x).store(out + i); },
      [out](size_t i, float x) { out[i] += x; });
}

// bfloat16: the upper half of a float32. A NaN stays one.
inline uint32_t rounded_bfloat16(uint32_t bits) {
  const uint32_t nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
inline float through_bfloat16(float x) { return float_of(rounded_bfloat16(bits_of(x)) << 16); }

#ifdef __AVX2__
inline __m256i bfloat16_bits(F8 x) {  // of numbers, still at their place
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
}
inline F8 through_bfloat16(F8 x) {
  return {_mm256_castsi256_ps(_mm256_and_si256(bfloat16_bits(x), _mm256_set1_epi32(int(0xffff0000u))))};
}
inline void store_bfloat16(F8 x, uint8_t* out) {
  const __m256i upper = _mm256_srli_epi32(bfloat16_bits(x), 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), packed);
}
#else
inline F8 through_bfloat16(F8 x) {
  for (float& lane : x.v) lane = through_bfloat16(lane);
  return x;
}
inline void store_bfloat16(F8 x, uint8_t* out) {
  for (int i = 0; i < 8; ++i) {
    const uint16_t value = uint16_t(rounded_bfloat16(bits_of(x.v[i])));
    std::memcpy(out + 2 * i, &value, 2);
  }
}
#endif

inline void to_bfloat16(const float* x, size_t n, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    const uint16_t value = uint16_t(rounded_bfloat16(bits_of(x[i])));
    std::memcpy(out + 2 * i, &value, 2);
  }
}

inline float bfloat16_at(const uint8_t* data, size_t i) {
  uint16_t value;
  std::memcpy(&value, data + 2 * i, 2);
  return float_of(uint32_t(value) << 16);
}
inline void from_bfloat16(const uint8_t* data, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = bfloat16_at(data, i);
}
inline void add_bfloat16(const uint8_t* data, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] += bfloat16_at(data, i);
}
// From here on, bfloat16 rounds a value to infinity.
constexpr uint32_t kBfloat16Limit = 0x7f7f8000u;

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
