// Rounding of eight elements at a time, with the same results as Dithering one by one.
#pragma once

#include "simd.h"

namespace bgc {

constexpr uint32_t kNegative = 0x80000000u;  // the sign bit of a level

#ifdef __AVX2__

// For every set of lanes, their numbers in ascending order.
struct Compaction {
  uint8_t lanes[256][8] = {};
  constexpr Compaction() {
    for (int set = 0; set < 256; ++set)
      for (int lane = 0, n = 0; lane < 8; ++lane)
        if (set >> lane & 1) lanes[set][n++] = uint8_t(lane);
  }
};
constexpr Compaction kCompaction;

inline __m256i widen(const uint8_t* bytes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
}

// Computes levels, and the 31-bit probabilities of rounding up to the next level.
inline void linear_levels(__m256 y, uint32_t s, __m256i* level, __m256i* chance) {
  const __m256 scaled = _mm256_mul_ps(y, _mm256_set1_ps(float(s)));
  *level = _mm256_cvttps_epi32(scaled);
  const __m256 rest = _mm256_sub_ps(scaled, _mm256_cvtepi32_ps(*level));
  *chance = _mm256_cvttps_epi32(_mm256_mul_ps(rest, _mm256_set1_ps(0x1p31f)));
}
inline void natural_levels(__m256 y, uint32_t s, float least, __m256i* level, __m256i* chance) {
  const __m256i bits = _mm256_castps_si256(y);
  const __m256i e = _mm256_add_epi32(_mm256_srli_epi32(bits, 23), _mm256_set1_epi32(int(s) - 127));
  const __m256i above = _mm256_cmpgt_epi32(e, _mm256_setzero_si256());
  const __m256i mantissa = _mm256_slli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffff)), 8);
  const __m256 small = _mm256_mul_ps(_mm256_mul_ps(y, _mm256_set1_ps(least)), _mm256_set1_ps(0x1p31f));
  *level = _mm256_and_si256(e, above);
  *chance = _mm256_blendv_epi8(_mm256_cvttps_epi32(small), mantissa, above);
}

// Returns a bit for each of 32 elements: whether its level may be above zero after rounding. An element of level zero
// rises only if its upper random bits are at most its probability. A clear bit is exact, a set bit may be a false
// positive. factor: 256 times the number of levels up to y = 1, divided by the norm and rounded up.
inline uint32_t may_rise(const float* x, float factor, const uint8_t* bytes) {
  const __m256 sign = _mm256_set1_ps(-0.f), most = _mm256_set1_ps(255), f = _mm256_set1_ps(factor);
  __m256i chance[4];
  for (int j = 0; j < 4; ++j) {
    const __m256 size = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 8 * j));
    chance[j] = _mm256_cvttps_epi32(_mm256_min_ps(_mm256_mul_ps(size, f), most));  // 0 * infinity counts as `most`
  }
  const __m256i low = _mm256_packs_epi32(chance[0], chance[1]), high = _mm256_packs_epi32(chance[2], chance[3]);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i chances = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
  const __m256i drawn = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  return uint32_t(_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(chances, drawn), chances)));
}

// Appends those of eight elements whose level is above zero. bytes: the upper bits of their random numbers; if these
// are not sufficient, returns false and appends nothing. least: 2^(s-1) for natural levels, else 0. digits: the bits of
// a probability that count.
inline bool round_eight(const float* x, float norm, uint32_t s, float least, uint32_t digits, const uint8_t* bytes,
                        uint32_t index, uint32_t* indices, uint32_t* levels, uint32_t* found) {
  const __m256 v = _mm256_loadu_ps(x), sign = _mm256_set1_ps(-0.f);
  const __m256 y = _mm256_div_ps(_mm256_andnot_ps(sign, v), _mm256_set1_ps(norm));
  __m256i level, chance;
  if (least != 0)
    natural_levels(y, s, least, &level, &chance);
  else
    linear_levels(y, s, &level, &chance);
  chance = _mm256_and_si256(chance, _mm256_set1_epi32(int(digits)));
  const __m256i high = _mm256_srli_epi32(chance, 23), upper = widen(bytes), zero = _mm256_setzero_si256();
  const __m256i exact = _mm256_cmpeq_epi32(_mm256_slli_epi32(chance, 9), zero);
  if (!_mm256_testc_si256(exact, _mm256_cmpeq_epi32(high, upper))) return false;
  level = _mm256_sub_epi32(level, _mm256_cmpgt_epi32(high, upper));
  const __m256 none = _mm256_castsi256_ps(_mm256_cmpeq_epi32(level, zero));
  const uint32_t some = uint32_t(~_mm256_movemask_ps(none)) & 255;
  level = _mm256_or_si256(level, _mm256_castps_si256(_mm256_and_ps(v, sign)));
  const __m256i order = widen(kCompaction.lanes[some]);
  const __m256i at = _mm256_add_epi32(_mm256_set1_epi32(int(index)), order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(indices + *found), at);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(levels + *found), _mm256_permutevar8x32_epi32(level, order));
  *found += uint32_t(__builtin_popcount(some));
  return true;
}

#else

inline uint32_t may_rise(const float*, float, const uint8_t*) { return ~0u; }
inline bool round_eight(const float*, float, uint32_t, float, uint32_t, const uint8_t*, uint32_t, uint32_t*,
                        uint32_t*, uint32_t*) {
  return false;
}

#endif

}  // namespace bgc
