// Arrays through BytePS's core without a framework, from the host's memory or a GPU's: what device_exchange.py calls.
#include <cuda_runtime.h>

#include <future>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "byteps/common/global.h"
#include "byteps/common/operations.h"
#include "byteps/common/placement.h"

namespace {

using namespace byteps;  // for the macros of its logging
using namespace byteps::common;

class Array : public Tensor {
 public:
  Array(void* data, int64_t elements, DataType dtype) : data_(data), elements_(elements), dtype_(dtype) {}
  const DataType dtype() const override { return dtype_; }
  const TensorShape shape() const override {
    TensorShape shape;
    shape.AddDim(elements_);
    return shape;
  }
  const void* data() const override { return data_; }
  int64_t size() const override { return elements_ * getDataTypeLength(dtype_); }

 private:
  void* data_;
  int64_t elements_;
  DataType dtype_;
};

// A tensor that is declared: where it stands, on the GPU or else in host memory, and the exchange that is under way.
struct Place {
  void* gpu = nullptr;
  void* host = nullptr;
  size_t bytes = 0;
  int dtype = 0;
  std::promise<std::string> done;
};

std::map<std::string, Place>& places() {
  static std::map<std::string, Place> all;
  return all;
}

#ifdef BYTEPS_GC_HOST_MEMORY
void* allocate(size_t) { return nullptr; }
#else
void* allocate(size_t bytes) {
  void* memory = nullptr;
  CUDA_CALL(cudaSetDevice(BytePSGlobal::GetLocalRank()));
  CUDA_CALL(cudaMalloc(&memory, bytes));
  return memory;
}
#endif

}  // namespace

// Declares a tensor with compression options; on_gpu: it will be exchanged from the GPU's memory.
extern "C" void byteps_gc_declare(const char* name, uint64_t bytes, int dtype, int on_gpu, int options,
                                  const char** keys, const char** values) {
  IsTensorDeclared(name);
  std::unordered_map<std::string, std::string> kwargs;
  for (int i = 0; i < options; ++i) kwargs[keys[i]] = values[i];
  if (options) RegisterCompressor(name, kwargs);
  Placement::Get().Add(GetContextFromName(name).declared_key << 16, bytes, BytePSGlobal::GetPartitionBound());
  Place& place = places()[name];
  place.bytes = bytes;
  place.dtype = dtype;
  if (on_gpu) place.gpu = allocate(bytes);
}

// What stands at `host` is the tensor's value.
extern "C" void byteps_gc_put(const char* name, void* host) {
  Place& place = places()[name];
  place.host = host;
  if (!place.gpu) return;
  CUDA_CALL(cudaMemcpy(place.gpu, host, place.bytes, cudaMemcpyHostToDevice));
  CUDA_CALL(cudaStreamSynchronize(nullptr));  // from memory that is not pinned, it may still be under way
}

// Begins to replace the value by its sum over all workers.
extern "C" void byteps_gc_begin(const char* name) {
  Place& place = places()[name];
  place.done = std::promise<std::string>();
  BPSContext& context = GetContextFromName(name);
  InitTensor(context, place.bytes, place.dtype, nullptr);
  const int device = place.gpu ? BytePSGlobal::GetLocalRank() : CPU_DEVICE_ID;
  const auto dtype = static_cast<DataType>(place.dtype);
  auto array = std::make_shared<Array>(place.gpu ? place.gpu : place.host,
                                       place.bytes / getDataTypeLength(place.dtype), dtype);
  auto queues = GetPushQueueList(device);
  auto after = GetPullQueueList(device);
  queues->insert(queues->end(), after->begin(), after->end());
  const Status status = EnqueueTensor(
      context, array, array, nullptr, device, 0, 0,
      [&place](const Status& end) { place.done.set_value(end.ok() ? "" : end.reason()); }, queues);
  if (!status.ok()) place.done.set_value(status.reason());
}

// Waits for the end of that; 0, or 1 and a line on the standard error stream.
extern "C" int byteps_gc_end(const char* name) {
  const std::string why = places()[name].done.get_future().get();
  if (!why.empty()) fprintf(stderr, "%s: %s\n", name, why.c_str());
  return !why.empty();
}

// Writes the value to where it was put from.
extern "C" void byteps_gc_get(const char* name) {
  Place& place = places()[name];
  if (place.gpu) CUDA_CALL(cudaMemcpy(place.host, place.gpu, place.bytes, cudaMemcpyDeviceToHost));
}
