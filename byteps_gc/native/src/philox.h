// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#pragma once

#include "simd.h"

namespace bgc {

struct Draw {  // the key and the counter of a random number, apart from its index
  uint32_t seed = 0, stream = 0, step = 0, worker = 0, domain = 0;
};

struct Words {
  uint32_t w[4];
};

inline Words philox(uint32_t n, const Draw& draw) {
  uint32_t c0 = n, c1 = draw.step, c2 = draw.worker, c3 = draw.domain, k0 = draw.seed, k1 = draw.stream;
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xD2511F53u) * c0, b = uint64_t(0xCD9E8D57u) * c2;
    const uint32_t was1 = c1, was3 = c3;
    c0 = uint32_t(b >> 32) ^ was1 ^ k0;
    c1 = uint32_t(b);
    c2 = uint32_t(a >> 32) ^ was3 ^ k1;
    c3 = uint32_t(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

#ifdef __AVX2__
inline void multiply(__m256i a, __m256i b, __m256i* high, __m256i* low) {
  const __m256i even = _mm256_mul_epu32(a, b);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
  *low = _mm256_mullo_epi32(a, b);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}
#endif

// Writes the words of n, n+1, ..., n+7, one after the other.
inline void philox8(uint32_t n, const Draw& draw, uint32_t* out) {
#ifdef __AVX2__
  const __m256i m0 = _mm256_set1_epi32(int(0xD2511F53u)), m1 = _mm256_set1_epi32(int(0xCD9E8D57u));
  __m256i c0 = _mm256_add_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  __m256i c1 = _mm256_set1_epi32(int(draw.step)), c2 = _mm256_set1_epi32(int(draw.worker));
  __m256i c3 = _mm256_set1_epi32(int(draw.domain));
  uint32_t k0 = draw.seed, k1 = draw.stream;
  for (int round = 0; round < 10; ++round) {
    __m256i high0, low0, high1, low1;
    multiply(c0, m0, &high0, &low0);
    multiply(c2, m1, &high1, &low1);
    c0 = _mm256_xor_si256(_mm256_xor_si256(high1, c1), _mm256_set1_epi32(int(k0)));
    c2 = _mm256_xor_si256(_mm256_xor_si256(high0, c3), _mm256_set1_epi32(int(k1)));
    c1 = low1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  // transpose 4 words of 8 numbers to 8 numbers of 4 words
  const __m256i a = _mm256_unpacklo_epi32(c0, c1), b = _mm256_unpackhi_epi32(c0, c1);
  const __m256i c = _mm256_unpacklo_epi32(c2, c3), d = _mm256_unpackhi_epi32(c2, c3);
  const __m256i e = _mm256_unpacklo_epi64(a, c), f = _mm256_unpackhi_epi64(a, c);
  const __m256i g = _mm256_unpacklo_epi64(b, d), h = _mm256_unpackhi_epi64(b, d);
  const __m256i rows[4] = {_mm256_permute2x128_si256(e, f, 0x20), _mm256_permute2x128_si256(g, h, 0x20),
                           _mm256_permute2x128_si256(e, f, 0x31), _mm256_permute2x128_si256(g, h, 0x31)};
  for (int i = 0; i < 4; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8 * i), rows[i]);
#else
  for (uint32_t i = 0; i < 8; ++i) std::memcpy(out + 4 * i, philox(n + i, draw).w, 16);
#endif
}

}  // namespace bgc
