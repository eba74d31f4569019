// Element-wise sums and copies on the host (byteps_gc's own implementation of
// the interface of BytePS's reducer).
//
// Stock BytePS selects instructions at compile time, which ties a build to the
// processor of the build machine. Here one library runs on every x86-64
// processor: the kernels are compiled for AVX2 and for plain x86-64, and chosen
// at run time. Both give the same bits (no fused multiply-add).
#ifndef BYTEPS_CPU_REDUCER_H
#define BYTEPS_CPU_REDUCER_H

#include <cstddef>
#include <memory>

#include "common.h"
#include "logging.h"

#ifndef BYTEPS_BUILDING_SERVER
#include "communicator.h"
#else
typedef void BytePSComm;
#endif

namespace byteps {
namespace common {

class CpuReducer {
 public:
  explicit CpuReducer(std::shared_ptr<BytePSComm> comm);

  // All lengths are in bytes.
  // dst += src
  int sum(void* dst, const void* src, size_t len, DataType dtype);
  // dst = src1 + src2
  int sum(void* dst, const void* src1, const void* src2, size_t len,
          DataType dtype);
  // dst += alpha * src
  int sum(void* dst, const void* src, size_t len, DataType dtype, float alpha);
  // dst = src1 + alpha * src2
  int sum(void* dst, const void* src1, const void* src2, size_t len,
          DataType dtype, float alpha);
  int copy(void* dst, const void* src, size_t len);

#ifndef BYTEPS_BUILDING_SERVER
  bool isRoot();
  std::shared_ptr<BytePSComm> getComm() { return comm_; }
#endif

  DataType GetDataType(int dtype) { return static_cast<DataType>(dtype); }

 private:
  std::shared_ptr<BytePSComm> comm_;
  int threads_;
};

}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_CPU_REDUCER_H
