// The CUDA runtime's API on host memory, as far as BytePS calls it.
//
// A machine without a GPU has no device memory: here a device pointer is a
// host pointer, a copy is memcpy, and a stream or an event has nothing to wait
// for, because every call has finished when it returns. Everything that cannot
// be done this way reports an error instead of pretending.
#ifndef BYTEPS_GC_STANDIN_CUDA_RUNTIME_H
#define BYTEPS_GC_STANDIN_CUDA_RUNTIME_H
#define BYTEPS_GC_HOST_MEMORY 1

#include <cstddef>
#include <cstring>

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorCudartUnloading = 4,
};

enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault,
};

struct byteps_gc_host_stream;
struct byteps_gc_host_event;
typedef byteps_gc_host_stream* cudaStream_t;
typedef byteps_gc_host_event* cudaEvent_t;

const unsigned cudaStreamNonBlocking = 1;
const unsigned cudaEventBlockingSync = 1;
const unsigned cudaEventDisableTiming = 2;
const unsigned cudaHostRegisterDefault = 0;
const unsigned cudaHostRegisterMapped = 2;

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "not possible on host memory";
}

inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = 0;
  return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned,
                                                int) {
  *stream = nullptr;
  return cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = nullptr;
  return cudaSuccess;
}

inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }

inline cudaError_t cudaHostRegister(void*, size_t, unsigned) {
  return cudaSuccess;
}
inline cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }

template <typename T>
inline cudaError_t cudaHostGetDevicePointer(T** device, void* host, unsigned) {
  *device = static_cast<T*>(host);
  return cudaSuccess;
}

inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes,
                              cudaMemcpyKind) {
  if (to != from) std::memmove(to, from, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes,
                                   cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}

#endif  // BYTEPS_GC_STANDIN_CUDA_RUNTIME_H
