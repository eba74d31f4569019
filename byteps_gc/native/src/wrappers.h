// Error feedback and Nesterov momentum: decorators that transform a gradient block by
// block on its way to the codec, and whose last step can be taken back.
#pragma once

#include "codec.h"

namespace bgc {

// A state array in two places: a step reads one and writes the other, so that nothing is
// lost before the step is known to count.
class Slots {
 public:
  explicit Slots(size_t d) : d_(d) {}
  // the state, or null while it is all zeros
  const float* now() const { return has_[at_] ? arrays_[at_].get() : nullptr; }
  float* next() { return arrays_[1 - at_].reserve(d_); }
  void commit() { at_ = 1 - at_, has_[at_] = true, undo_ = true; }
  void settle() { undo_ = false; }  // the last step counts
  // A step begins: the last one counts, or is taken back, or the state is all zeros again.
  void begin(bool take_back, bool reset) {
    if (reset) return set(nullptr);
    if (take_back && undo_) at_ = 1 - at_;
    settle();
  }
  int place() const { return at_; }
  void set(const float* values);

 private:
  size_t d_;
  Array<float> arrays_[2];
  bool has_[2] = {false, false};
  int at_ = 0;
  bool undo_ = false;
};

// m = mu * m + g; x = g + mu * m
class Momentum {
 public:
  Momentum(float mu, size_t d) : slots(d), mu_(mu) {}
  // transforms one block; out and g may be the same
  void block(const float* g, size_t offset, size_t n, bool stream, float* out);
  Slots slots;

 private:
  float mu_;
};

// p = x + (eta' / eta) * e; e = p - what a reader decodes
class ErrorFeedback {
 public:
  ErrorFeedback(const Codec& codec, size_t d) : slots(d), codec_(codec) {}
  void start(bool take_back, bool reset) { reset ? set(nullptr, 0) : slots.begin(take_back, false); }
  // false: the rate is 0, the residual stays as it is and is not added
  bool begin(float eta);
  void block(const float* x, size_t offset, size_t n, bool stream, float* out);
  // what was sent of p: p's array is the new state
  void commit(float eta, float scale);
  float eta() const { return eta_[slots.place()]; }
  void save(size_t d, float* out) const;
  void set(const float* residual, float eta);
  Slots slots;

 private:
  const Codec& codec_;
  float eta_[2] = {0, 0}, scale_[2] = {0, 0};  // of the state in each place
  bool plain_[2] = {false, false};             // whether that state is e, not p
  float ratio_ = 1;
};

}  // namespace bgc
