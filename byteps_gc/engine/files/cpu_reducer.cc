#include "cpu_reducer.h"

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "half.h"
#ifndef BYTEPS_BUILDING_SERVER
#include "global.h"
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#define BYTEPS_GC_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define BYTEPS_GC_CLONES
#endif

namespace byteps {
namespace common {
namespace {

using mshadow::half::half_t;

// Elements that one thread sums at a time: few enough to balance the load,
// enough to make the scheduling overhead negligible.
const size_t kBlock = 64 * 1024;

// Bytes for which waking one more thread pays off.
const size_t kShare = 1024 * 1024;

int Share(int threads, size_t bytes) {
  return static_cast<int>(std::min<size_t>(threads, std::max<size_t>(1, bytes / kShare)));
}

BYTEPS_GC_CLONES void AddFloat(float* dst, const float* a, const float* b,
                               size_t n) {
  for (size_t i = 0; i < n; ++i) dst[i] = a[i] + b[i];
}

BYTEPS_GC_CLONES void AddScaledFloat(float* dst, const float* a,
                                     const float* b, float alpha, size_t n) {
  for (size_t i = 0; i < n; ++i) dst[i] = a[i] + alpha * b[i];
}

void AddHalfPortable(half_t* dst, const half_t* a, const half_t* b,
                     float alpha, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    dst[i] = half_t(static_cast<float>(a[i]) + alpha * static_cast<float>(b[i]));
  }
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) void AddHalfF16c(half_t* dst,
                                                     const half_t* a,
                                                     const half_t* b,
                                                     float alpha, size_t n) {
  const __m256 scale = _mm256_set1_ps(alpha);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 x = _mm256_cvtph_ps(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
    const __m256 y = _mm256_cvtph_ps(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
    const __m256 z = _mm256_add_ps(x, _mm256_mul_ps(scale, y));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i),
                     _mm256_cvtps_ph(z, _MM_FROUND_TO_NEAREST_INT));
  }
  AddHalfPortable(dst + i, a + i, b + i, alpha, n - i);
}
#endif

typedef void (*AddHalf)(half_t*, const half_t*, const half_t*, float, size_t);

AddHalf ChooseAddHalf() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c")) {
    return AddHalfF16c;
  }
#endif
  return AddHalfPortable;
}

// The types in which values are added: integers as unsigned, which wrap around.
template <typename T, bool = std::is_integral<T>::value>
struct Addend {
  typedef T type;
};

template <typename T>
struct Addend<T, true> {
  typedef typename std::make_unsigned<T>::type type;
};

template <typename T>
void Add(T* dst, const T* a, const T* b, float alpha, size_t n) {
  typedef typename Addend<T>::type One;
  if (alpha == 1.0f) {
    for (size_t i = 0; i < n; ++i) dst[i] = static_cast<T>(static_cast<One>(a[i]) + static_cast<One>(b[i]));
  } else {
    for (size_t i = 0; i < n; ++i) dst[i] = a[i] + alpha * b[i];
  }
}

void Add(float* dst, const float* a, const float* b, float alpha, size_t n) {
  if (alpha == 1.0f) {
    AddFloat(dst, a, b, n);
  } else {
    AddScaledFloat(dst, a, b, alpha, n);
  }
}

void Add(half_t* dst, const half_t* a, const half_t* b, float alpha,
         size_t n) {
  static const AddHalf add = ChooseAddHalf();
  add(dst, a, b, alpha, n);
}

template <typename T>
void AddBlocks(void* dst, const void* a, const void* b, size_t bytes,
               float alpha, int threads) {
  const size_t n = bytes / sizeof(T);
  const size_t step = kBlock / sizeof(T);
  const int64_t blocks = (n + step - 1) / step;
  threads = Share(threads, bytes);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < blocks; ++i) {
    const size_t at = i * step;
    Add(static_cast<T*>(dst) + at, static_cast<const T*>(a) + at,
        static_cast<const T*>(b) + at, alpha, std::min(step, n - at));
  }
}

int AddAny(void* dst, const void* a, const void* b, size_t bytes,
           DataType dtype, float alpha, int threads) {
  switch (dtype) {
    case BYTEPS_FLOAT32:
      AddBlocks<float>(dst, a, b, bytes, alpha, threads);
      break;
    case BYTEPS_FLOAT64:
      AddBlocks<double>(dst, a, b, bytes, alpha, threads);
      break;
    case BYTEPS_FLOAT16:
      AddBlocks<half_t>(dst, a, b, bytes, alpha, threads);
      break;
    case BYTEPS_UINT8:
      AddBlocks<uint8_t>(dst, a, b, bytes, alpha, threads);
      break;
    case BYTEPS_INT32:
      AddBlocks<int32_t>(dst, a, b, bytes, alpha, threads);
      break;
    case BYTEPS_INT8:
      AddBlocks<int8_t>(dst, a, b, bytes, alpha, threads);
      break;
    case BYTEPS_INT64:
      AddBlocks<int64_t>(dst, a, b, bytes, alpha, threads);
      break;
    default:
      BPS_CHECK(0) << "cannot sum data of type " << dtype;
  }
  return 0;
}

}  // namespace

CpuReducer::CpuReducer(std::shared_ptr<BytePSComm> comm) {
  const char* threads = getenv("BYTEPS_OMP_THREAD_PER_GPU");
  threads_ = std::max(1, threads ? atoi(threads) : std::min(4, omp_get_num_procs()));
#ifndef BYTEPS_BUILDING_SERVER
  if (comm) {
    // processes with the same rank on their PCIe switches reduce together
    std::vector<int> peers;
    const int stride = BytePSGlobal::GetPcieSwitchSize();
    const int first = BytePSGlobal::GetLocalRank() % stride;
    for (int i = first; i < BytePSGlobal::GetLocalSize(); i += stride) {
      peers.push_back(i);
    }
    comm_ = std::make_shared<BytePSCommSocket>(comm, std::string("cpu"), peers);
  }
#endif
}

#ifndef BYTEPS_BUILDING_SERVER
bool CpuReducer::isRoot() {
  return comm_ && comm_->getRoot() == BytePSGlobal::GetLocalRank();
}
#endif

int CpuReducer::sum(void* dst, const void* src, size_t len, DataType dtype) {
  return AddAny(dst, dst, src, len, dtype, 1.0f, threads_);
}

int CpuReducer::sum(void* dst, const void* src1, const void* src2, size_t len,
                    DataType dtype) {
  return AddAny(dst, src1, src2, len, dtype, 1.0f, threads_);
}

int CpuReducer::sum(void* dst, const void* src, size_t len, DataType dtype,
                    float alpha) {
  return AddAny(dst, dst, src, len, dtype, alpha, threads_);
}

int CpuReducer::sum(void* dst, const void* src1, const void* src2, size_t len,
                    DataType dtype, float alpha) {
  return AddAny(dst, src1, src2, len, dtype, alpha, threads_);
}

int CpuReducer::copy(void* dst, const void* src, size_t len) {
  const int64_t blocks = (len + kBlock - 1) / kBlock;
  const int threads = Share(threads_, len);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < blocks; ++i) {
    const size_t at = i * kBlock;
    std::memcpy(static_cast<char*>(dst) + at,
                static_cast<const char*>(src) + at,
                std::min(kBlock, len - at));
  }
  return 0;
}

}  // namespace common
}  // namespace byteps
