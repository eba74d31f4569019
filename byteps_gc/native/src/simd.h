// Eight lanes of float32 or uint32: AVX2 where this translation unit may use it,
// plain loops elsewhere. Both round every operation once, so both give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace bgc {

#ifdef __AVX2__

struct F8 {
  __m256 v;
  static F8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static F8 all(float x) { return {_mm256_set1_ps(x)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void stream(float* p) const { _mm256_stream_ps(p, v); }
  F8 abs() const { return {_mm256_andnot_ps(_mm256_set1_ps(-0.f), v)}; }
  F8 max(F8 o) const { return {_mm256_max_ps(v, o.v)}; }
  // a bit for each lane that is below zero (-0 is not)
  uint32_t negative() const { return _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ)); }
};
inline F8 operator+(F8 a, F8 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline F8 operator-(F8 a, F8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline F8 operator*(F8 a, F8 b) { return {_mm256_mul_ps(a.v, b.v)}; }

// +s or, where the lane's bit is set, -s
inline F8 signed_by(uint32_t bits, F8 s) {
  const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), lane), lane);
  return {_mm256_xor_ps(s.v, _mm256_and_ps(_mm256_castsi256_ps(set), _mm256_set1_ps(-0.f)))};
}
// +s or, where x < 0, -s
inline F8 signed_like(F8 x, F8 s) {
  const __m256 below = _mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_LT_OQ);
  return {_mm256_xor_ps(s.v, _mm256_and_ps(below, _mm256_set1_ps(-0.f)))};
}
// eight sums of squares, in double
struct Squares {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
  void add(F8 x) {
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(x.v)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(x.v, 1));
    low = _mm256_add_pd(low, _mm256_mul_pd(a, a));
    high = _mm256_add_pd(high, _mm256_mul_pd(b, b));
  }
  void store(double* lanes) const {
    _mm256_storeu_pd(lanes, low);
    _mm256_storeu_pd(lanes + 4, high);
  }
};
inline void stream_fence() { _mm_sfence(); }

// |x| of eight floats as integers, which order as |x| does, with infinity and NaN above all numbers
struct Magnitudes {
  __m256i v;
  static Magnitudes none() { return {_mm256_setzero_si256()}; }
  static Magnitudes of(const float* x) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    return {_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff))};
  }
  Magnitudes max(Magnitudes o) const { return {_mm256_max_epu32(v, o.v)}; }
  bool any_from(uint32_t least) const {  // least > 0
    return !_mm256_testz_si256(_mm256_cmpgt_epi32(v, _mm256_set1_epi32(int(least - 1))), _mm256_set1_epi32(-1));
  }
  void store(uint32_t* out) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), v); }
};

#else

struct F8 {
  float v[8];
  static F8 load(const float* p) {
    F8 r;
    std::memcpy(r.v, p, 32);
    return r;
  }
  static F8 all(float x) { return {{x, x, x, x, x, x, x, x}}; }
  void store(float* p) const { std::memcpy(p, v, 32); }
  void stream(float* p) const { store(p); }
  F8 abs() const {
    F8 r;
    for (int i = 0; i < 8; ++i) r.v[i] = __builtin_fabsf(v[i]);
    return r;
  }
  F8 max(F8 o) const {
    F8 r;
    for (int i = 0; i < 8; ++i) r.v[i] = v[i] > o.v[i] ? v[i] : o.v[i];
    return r;
  }
  uint32_t negative() const {
    uint32_t bits = 0;
    for (int i = 0; i < 8; ++i) bits |= uint32_t(v[i] < 0) << i;
    return bits;
  }
};
#define BGC_LANES(name, expression)  \
  inline F8 name(F8 a, F8 b) {       \
    F8 r;                            \
    for (int i = 0; i < 8; ++i) r.v[i] = expression; \
    return r;                        \
  }
BGC_LANES(operator+, a.v[i] + b.v[i])
BGC_LANES(operator-, a.v[i] - b.v[i])
BGC_LANES(operator*, a.v[i] * b.v[i])
BGC_LANES(signed_like, a.v[i] < 0 ? -b.v[i] : b.v[i])
#undef BGC_LANES

inline F8 signed_by(uint32_t bits, F8 s) {
  F8 r;
  for (int i = 0; i < 8; ++i) r.v[i] = bits >> i & 1 ? -s.v[i] : s.v[i];
  return r;
}
struct Squares {
  double sums[8] = {};
  void add(F8 x) {
    for (int i = 0; i < 8; ++i) sums[i] += double(x.v[i]) * double(x.v[i]);
  }
  void store(double* lanes) const { std::memcpy(lanes, sums, sizeof sums); }
};
inline void stream_fence() {}

struct Magnitudes {
  uint32_t v[8];
  static Magnitudes none() { return {}; }
  static Magnitudes of(const float* x) {
    Magnitudes r;
    std::memcpy(r.v, x, 32);
    for (uint32_t& bits : r.v) bits &= 0x7fffffffu;
    return r;
  }
  Magnitudes max(Magnitudes o) const {
    for (int i = 0; i < 8; ++i) o.v[i] = v[i] > o.v[i] ? v[i] : o.v[i];
    return o;
  }
  bool any_from(uint32_t least) const {
    bool any = false;
    for (uint32_t bits : v) any |= bits >= least;
    return any;
  }
  void store(uint32_t* out) const { std::memcpy(out, v, 32); }
};

#endif

inline uint32_t largest(Magnitudes m) {
  uint32_t lanes[8], most = 0;
  m.store(lanes);
  for (uint32_t lane : lanes) most = most > lane ? most : lane;
  return most;
}

inline uint32_t bits_of(float x) {
  uint32_t b;
  std::memcpy(&b, &x, 4);
  return b;
}
inline float float_of(uint32_t b) {
  float x;
  std::memcpy(&x, &b, 4);
  return x;
}

}  // namespace bgc
