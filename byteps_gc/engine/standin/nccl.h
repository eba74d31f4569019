// NCCL's API for a communicator of one member on host memory, as far as
// BytePS calls it. A larger communicator is refused: one worker process is one
// host here, so there is nobody else to talk to.
#ifndef BYTEPS_GC_STANDIN_NCCL_H
#define BYTEPS_GC_STANDIN_NCCL_H

#include <cstddef>
#include <cstring>

#include "cuda_runtime.h"

enum ncclResult_t { ncclSuccess = 0, ncclInvalidArgument = 4 };
enum ncclRedOp_t { ncclSum = 0 };
enum ncclDataType_t {
  ncclInt8 = 0,
  ncclUint8 = 1,
  ncclInt32 = 2,
  ncclInt64 = 4,
  ncclUint64 = 5,
  ncclFloat16 = 6,
  ncclFloat32 = 7,
  ncclFloat64 = 8,
};

struct byteps_gc_host_communicator;
typedef byteps_gc_host_communicator* ncclComm_t;
struct ncclUniqueId {
  char internal[128];
};

inline const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSuccess
             ? "no error"
             : "this engine was built for host memory: one process a worker; "
               "build it with --cuda-home for several devices";
}

inline ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id, 0, sizeof(*id));
  return ncclSuccess;
}

inline ncclResult_t ncclCommInitRank(ncclComm_t* communicator, int members,
                                     ncclUniqueId, int) {
  *communicator = nullptr;
  return members == 1 ? ncclSuccess : ncclInvalidArgument;
}

inline ncclResult_t ncclGroupStart() { return ncclSuccess; }
inline ncclResult_t ncclGroupEnd() { return ncclSuccess; }

inline size_t byteps_gc_width(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
      return 2;
    case ncclInt32:
    case ncclFloat32:
      return 4;
    default:
      return 8;
  }
}

// With one member every collective is a copy of the input to the output.
inline ncclResult_t byteps_gc_alone(const void* from, void* to, size_t count,
                                    ncclDataType_t type) {
  if (from != to) std::memmove(to, from, count * byteps_gc_width(type));
  return ncclSuccess;
}

inline ncclResult_t ncclReduce(const void* from, void* to, size_t count,
                               ncclDataType_t type, ncclRedOp_t, int,
                               ncclComm_t, cudaStream_t) {
  return byteps_gc_alone(from, to, count, type);
}

inline ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count,
                                      ncclDataType_t type, ncclRedOp_t,
                                      ncclComm_t, cudaStream_t) {
  return byteps_gc_alone(from, to, count, type);
}

inline ncclResult_t ncclBroadcast(const void* from, void* to, size_t count,
                                  ncclDataType_t type, int, ncclComm_t,
                                  cudaStream_t) {
  return byteps_gc_alone(from, to, count, type);
}

inline ncclResult_t ncclAllGather(const void* from, void* to, size_t count,
                                  ncclDataType_t type, ncclComm_t,
                                  cudaStream_t) {
  return byteps_gc_alone(from, to, count, type);
}

#endif  // BYTEPS_GC_STANDIN_NCCL_H
