// C functions around the compressors of stock BytePS, for byteps_gc/bench/stock/compressors.py.
//
// This file is linked twice with upstream's own files: as a worker has them
// (Decompress works in place) and as a server has them (it does not).
#include <omp.h>
#include <stdlib.h>

#include <memory>
#include <string>

#include "byteps/common/compressor/compressor_registry.h"
#include "byteps/common/cpu_reducer.h"

namespace {

using byteps::common::BYTEPS_FLOAT32;
using byteps::common::CpuReducer;
namespace released = byteps::common::compressor;

struct Handle {
  std::unique_ptr<released::Compressor> compressor;
  std::unique_ptr<CpuReducer> reducer;
  released::tensor_t payload;
};

Handle* Of(void* handle) { return static_cast<Handle*>(handle); }

// Before upstream's compressors register, which they tell about.
__attribute__((constructor(101))) void Silence() { setenv("BYTEPS_LOG_LEVEL", "FATAL", 1); }

}  // namespace

extern "C" {

// How many threads the calling thread's loops use. Upstream's reducer asks for
// a number of its own, which it reads when it is made: call this first.
void released_threads(int count) {
  setenv("BYTEPS_OMP_THREAD_PER_GPU", std::to_string(count).c_str(), 1);
  omp_set_num_threads(count);
}

// kwargs: "n key value key value ...", as they travel to BytePS's servers. Null if no compressor is named.
void* released_new(const char* kwargs, size_t bytes) {
  std::unique_ptr<Handle> handle(new Handle);
  handle->compressor = released::CompressorRegistry::Create(released::Deserialize(kwargs), bytes, BYTEPS_FLOAT32);
  handle->reducer.reset(new CpuReducer(nullptr));
  return handle->compressor ? handle.release() : nullptr;
}

void released_free(void* handle) { delete Of(handle); }

// Returns the size of the payload. Momentum and error feedback change data.
size_t released_compress(void* handle, float* data, size_t bytes) {
  auto& payload = Of(handle)->payload;
  payload = Of(handle)->compressor->Compress({data, bytes, BYTEPS_FLOAT32});
  return payload.size;
}

// The last payload, in the compressor's own memory.
const void* released_payload(void* handle) { return Of(handle)->payload.data; }

// A worker unpacks the payload in the buffer (which has room for the result)
// into that buffer, a server into memory of its own. Returns where the result is.
const void* released_decompress(void* handle, void* buffer, size_t bytes) {
  return Of(handle)->compressor->Decompress({buffer, bytes, BYTEPS_FLOAT32}).data;
}

// What a server does with every payload but the first: unpack, then add. sum has room for a partition of size bytes.
void released_add(void* handle, void* payload, size_t bytes, float* sum, size_t size) {
  auto* unpacked = Of(handle)->compressor->Decompress({payload, bytes, BYTEPS_FLOAT32}).data;
  Of(handle)->reducer->sum(sum, unpacked, size, BYTEPS_FLOAT32);
}

}  // extern "C"
