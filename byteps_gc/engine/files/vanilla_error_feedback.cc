#include "vanilla_error_feedback.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "../compressor_registry.h"

namespace byteps {
namespace common {
namespace compressor {
namespace {

CompressorRegistry::Register reg(
    "vanilla_ef",
    [](const kwargs_t& kwargs, size_t size,
       DataType dtype) -> std::unique_ptr<Compressor> {
      auto inner = kwargs;
      inner.erase("ef_type");
      auto compressor = CompressorRegistry::Create(inner, size, dtype);
      BPS_CHECK(compressor != nullptr) << "error feedback needs a compressor";
      return std::unique_ptr<Compressor>(new VanillaErrorFeedbackCompressor(
          size, dtype, std::move(compressor)));
    });

const char* RateFile() {
  const char* path = getenv("BYTEPS_GC_LR_FILE");
  return path ? path : "lr.s";
}

}  // namespace

VanillaErrorFeedbackCompressor::VanillaErrorFeedbackCompressor(
    size_t size, DataType dtype, std::unique_ptr<Compressor> compressor)
    : ErrorFeedback(size, dtype, std::move(compressor)) {
  const int file = open(RateFile(), O_RDONLY);
  BPS_CHECK_GE(file, 0) << "error feedback reads the learning rate from "
                        << RateFile() << ": " << strerror(errno)
                        << "; a server needs a worker on its host";
  struct stat status;
  BPS_CHECK(fstat(file, &status) == 0 && status.st_size >= 8)
      << RateFile() << " holds no learning rate";
  void* mapped = mmap(nullptr, 8, PROT_READ, MAP_SHARED, file, 0);
  BPS_CHECK(mapped != MAP_FAILED) << "mmap " << RateFile() << ": "
                                  << strerror(errno);
  close(file);
  rate_file_ = static_cast<const volatile double*>(mapped);
}

VanillaErrorFeedbackCompressor::~VanillaErrorFeedbackCompressor() {
  munmap(const_cast<double*>(rate_file_), 8);
}

void VanillaErrorFeedbackCompressor::UpdateGradient(tensor_t grad) {
  rate_ = *rate_file_;
  if (rate_ == 0 || residual_rate_ == 0) return;
  _cpu_reducer->sum(grad.data, _error.get(), grad.size,
                    static_cast<DataType>(grad.dtype),
                    static_cast<float>(residual_rate_ / rate_));
}

void VanillaErrorFeedbackCompressor::UpdateError(tensor_t corrected,
                                                 tensor_t compressed) {
  if (rate_ == 0) return;
  ErrorFeedback::UpdateError(corrected, compressed);
  residual_rate_ = rate_;
}

}  // namespace compressor
}  // namespace common
}  // namespace byteps
