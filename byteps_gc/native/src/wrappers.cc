#include "wrappers.h"

namespace bgc {

void Slots::set(const float* values) {
  at_ = 0, undo_ = false;
  has_[0] = has_[1] = false;
  if (!values) return;
  std::memcpy(arrays_[0].reserve(d_), values, d_ * sizeof(float));
  has_[0] = true;
}

void Momentum::block(const float* g, size_t offset, size_t n, bool stream, float* out) {
  static const float zeros[kBlock] = {};
  const float* old = slots.now() ? slots.now() + offset : zeros;
  float* next = slots.next() + offset;
  const F8 mu = F8::all(mu_);
  for (size_t i = 0; i < n; i += 8) {  // arrays have room behind their end
    ahead_of(g + i), ahead_of(old + i);
    const F8 gradient = F8::load(g + i), m = mu * F8::load(old + i) + gradient;
    keep(m, stream, next + i);
    (gradient + mu * m).store(out + i);
  }
}

bool ErrorFeedback::begin(float eta) {
  const float before = eta_[slots.place()];
  ratio_ = before == 0 ? 1 : before / eta;
  return eta != 0;
}

void ErrorFeedback::block(const float* x, size_t offset, size_t n, bool stream, float* out) {
  static const float zeros[kBlock] = {};
  const int place = slots.place();
  float* next = slots.next() + offset;
  if (!slots.now())
    codec_.Codec::feed(x, zeros, n, 0, ratio_, stream, next, out);
  else if (plain_[place])
    codec_.Codec::feed(x, slots.now() + offset, n, 0, ratio_, stream, next, out);
  else
    codec_.feed(x, slots.now() + offset, n, scale_[place], ratio_, stream, next, out);
}

void ErrorFeedback::commit(float eta, float scale) {
  slots.commit();
  eta_[slots.place()] = eta, scale_[slots.place()] = scale, plain_[slots.place()] = false;
}

void ErrorFeedback::save(size_t d, float* out) const {
  static const float zeros[kBlock] = {};
  alignas(64) float negative_zeros[kBlock];  // what leaves every number as it is when it is added
  for (float& zero : negative_zeros) zero = -0.f;
  alignas(64) float block[kBlock], unused[kBlock];
  const int place = slots.place();
  for (size_t offset = 0; offset < d; offset += kBlock) {
    const size_t n = d - offset < kBlock ? d - offset : kBlock;
    const float* last = slots.now() ? slots.now() + offset : zeros;
    if (slots.now() && !plain_[place])
      codec_.feed(negative_zeros, last, n, scale_[place], 1, false, unused, block);
    else
      std::memcpy(block, last, n * sizeof(float));
    std::memcpy(out + offset, block, n * sizeof(float));
  }
}

void ErrorFeedback::set(const float* values, float eta) {
  slots.set(values);
  eta_[0] = eta, plain_[0] = true;
}

}  // namespace bgc
