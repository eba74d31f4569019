// Sums in a fixed order (docs/wire_format.md, "Sums"): blocks of 4096, 32 lanes, a tree.
#pragma once

#include <cmath>

#include "simd.h"

namespace bgc {

constexpr size_t kBlock = 4096;
constexpr size_t kLanes = 32;

// Values a little ahead of those that are read: memory is slower than what is done with them.
inline void ahead(const float* x) {
  __builtin_prefetch(x + 1024);
  __builtin_prefetch(x + 1024 + 16);
}

// The same of eight values.
inline void ahead_of(const float* x) { __builtin_prefetch(x + 1024); }

inline double tree(double* lanes) {
  for (size_t half = kLanes / 2; half; half /= 2)
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  return lanes[0];
}

// sum of |x| of one block, lanes in double: for sums that float32 cannot hold
inline double block_abs_wide(const float* x, size_t n) {
  double lanes[kLanes] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % kLanes] += std::fabs(double(x[i]));
  return tree(lanes);
}

inline double block_abs_of(const F8* sums, const float* x, size_t n) {
  float lanes[kLanes];
  double wide[kLanes];
  for (int j = 0; j < 4; ++j) sums[j].store(lanes + 8 * j);
  for (size_t j = 0; j < kLanes; ++j) wide[j] = lanes[j];
  const double sum = tree(wide);
  return std::isfinite(sum) ? sum : block_abs_wide(x, n);
}

// sum of x*x of one block; x is readable up to the next multiple of 32, zeros behind n
inline double block_squares(const float* x, size_t n) {
  Squares sums[4];
  for (size_t i = 0; i < n; i += kLanes, ahead(x + i))
    for (int j = 0; j < 4; ++j) sums[j].add(F8::load(x + i + 8 * j));
  double lanes[kLanes];
  for (int j = 0; j < 4; ++j) sums[j].store(lanes + 8 * j);
  return tree(lanes);
}

// max |x| of a block that is readable and zero up to the next multiple of 32, as bits
inline uint32_t block_max_bits(const float* x, size_t n) {
  Magnitudes most[4] = {Magnitudes::none(), Magnitudes::none(), Magnitudes::none(), Magnitudes::none()};
  for (size_t i = 0; i < n; i += kLanes, ahead(x + i))
    for (int j = 0; j < 4; ++j) most[j] = most[j].max(Magnitudes::of(x + i + 8 * j));
  return largest(most[0].max(most[1]).max(most[2].max(most[3])));
}

// the same of any n values
inline uint32_t max_bits(const float* x, size_t n) {
  size_t i = n / kLanes * kLanes;
  uint32_t most = block_max_bits(x, i);
  for (; i < n; ++i) most = most > (bits_of(x[i]) & 0x7fffffffu) ? most : bits_of(x[i]) & 0x7fffffffu;
  return most;
}

constexpr uint32_t kInfinityBits = 0x7f800000u;

}  // namespace bgc
