// Error feedback with a changing learning rate (byteps_gc's own implementation
// under the name that BytePS registers).
//
// Zheng, Huang, Kwok: Communication-Efficient Distributed Blockwise Momentum
// SGD with Error-Feedback, arXiv 1905.10936. With learning rate eta_t:
//   p_t = g_t + (eta_s / eta_t) * e_s      s: the last step with eta_s != 0
//   c_t = Compress(p_t)
//   e_t = p_t - c_t
// A step with learning rate 0 changes no weight, so it neither uses nor
// changes the residual (the released code divides 0 by 0 there).
#ifndef BYTEPS_COMPRESSOR_IMPL_VANILLA_ERROR_FEEDBACK_H
#define BYTEPS_COMPRESSOR_IMPL_VANILLA_ERROR_FEEDBACK_H

#include "../error_feedback.h"

namespace byteps {
namespace common {
namespace compressor {

class VanillaErrorFeedbackCompressor : public ErrorFeedback {
 public:
  VanillaErrorFeedbackCompressor(size_t size, DataType dtype,
                                 std::unique_ptr<Compressor> compressor);
  ~VanillaErrorFeedbackCompressor() override;

 protected:
  void UpdateGradient(tensor_t grad) override;
  void UpdateError(tensor_t corrected, tensor_t compressed) override;

 private:
  // the learning rate of this step, shared by the trainer through a file
  const volatile double* rate_file_;
  double rate_ = 0;
  // the learning rate with which the residual was computed; 0: no residual yet
  double residual_rate_ = 0;
};

}  // namespace compressor
}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_COMPRESSOR_IMPL_VANILLA_ERROR_FEEDBACK_H
