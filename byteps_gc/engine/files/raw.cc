// The identity as a compressor: what a partition gets that is too small to
// shrink. It keeps momentum and error feedback working around it.
#include <cstring>

#include "../compressor_registry.h"

namespace byteps {
namespace common {
namespace compressor {
namespace {

class RawCompressor : public Compressor {
 public:
  RawCompressor(size_t size, DataType dtype) : Compressor(size, dtype) {}

  tensor_t Compress(tensor_t grad) override {
    std::memcpy(_buf.get(), grad.data, grad.size);
    return {_buf.get(), grad.size, grad.dtype};
  }

  tensor_t Decompress(tensor_t compressed) override { return compressed; }

  void FastUpdateError(tensor_t error, tensor_t corrected,
                       tensor_t) override {
    std::memset(error.data, 0, corrected.size);
  }
};

CompressorRegistry::Register reg(
    "raw_compressor", [](const kwargs_t&, size_t size, DataType dtype) {
      return std::unique_ptr<Compressor>(new RawCompressor(size, dtype));
    });

}  // namespace
}  // namespace compressor
}  // namespace common
}  // namespace byteps
