// A partition on a server: pushes are kept until all workers' are there, then taken in the workers' order.
#include <algorithm>
#include <cstdio>

#include "partition.h"
#include "partition_encode.h"

namespace bgc {

constexpr uint32_t kLastStep = 0xffffffffu;  // is never served: no step could follow it

Server::Server(const Registration& registration) : Partition(registration), pushes_(registration.workers) {}

void Server::prepare(size_t d) {
  if (d_) return;
  d_ = uint32_t(d);
  if (registration_.options.feedback && !raw_ && codec_->encoded_reply())
    feedback_ = std::make_unique<ErrorFeedback>(*codec_, d);
}

bool Server::push(View frame, Refusal* why) {
  if (raw_ ? push_raw(frame, why) : accept(frame, why)) return true;
  if (!refused_) refused_ = *why;
  return false;
}

static std::string pair(uint32_t one, uint32_t other) {
  return std::to_string(std::min(one, other)) + " and " + std::to_string(std::max(one, other));
}

bool Server::agrees(const Header& h, Refusal* why) const {
  if (h.step != first_.step) return refuse(why, Code::STEP, pair(h.step, first_.step));
  if (h.eta != first_.eta) {
    char text[80];
    std::snprintf(text, sizeof text, "%g and %g", double(std::min(first_.eta, h.eta)),
                  double(std::max(first_.eta, h.eta)));
    return refuse(why, Code::ETA, text);
  }
  if (h.stream != first_.stream) return refuse(why, Code::STREAM, pair(h.stream, first_.stream));
  if ((h.flags ^ first_.flags) & kSkipped) return refuse(why, Code::SKIPPED);
  if ((h.flags ^ first_.flags) & kReset) return refuse(why, Code::RESET);
  return true;
}

bool Server::accept(View frame, Refusal* why) {
  Header h;
  if (!read_frame(frame.data, frame.size, &h, why) || !check(h, false, elements(), why)) return false;
  const std::string step = std::to_string(h.step), worker = std::to_string(h.worker);
  if (h.worker >= h.workers) return refuse(why, Code::WORKER, worker + " of " + std::to_string(h.workers));
  if (h.step < next_ || h.step == kLastStep)
    return refuse(why, Code::COMPLETE, "step " + step + " of worker " + worker);
  if (pushes_[h.worker].here) return refuse(why, Code::SECOND, "worker " + worker + ", step " + step);
  if (arrived_ && !agrees(h, why)) return false;
  Push& push = pushes_[h.worker];
  push.header = h;
  if (!(h.flags & kNonfinite)) {
    if (!codec_->has_scale(h)) return refuse(why, Code::SCALE);
    if (!codec_->keep(frame.data + kHeader, &push, why)) return false;
  }
  push.here = true;
  if (!arrived_++) first_ = h;
  return true;
}

bool Server::push_raw(View data, Refusal* why) {
  const size_t d = data.size / registration_.element();
  if (d * registration_.element() != data.size || (elements() ? d != elements() : !registration_.allows(d)))
    return refuse(why, Code::RAW_LENGTH, std::to_string(data.size) + " bytes");
  first_.d = uint32_t(d);
  const float* values = wide(data.data, d);
  double* sums = sums_.reserve(d);
  for (size_t i = 0; i < d; ++i) sums[i] = (arrived_ ? sums[i] : 0) + double(values[i]);
  ++arrived_;
  return true;
}

View Server::reply_raw(size_t d) {
  float* values = scratch<float>(Scratch::kWhole).reserve(d);
  for (size_t i = 0; i < d; ++i) values[i] = float(sums_.get()[i]);
  const size_t bytes = d * registration_.element();
  narrow(values, d, frame_.reserve(bytes));
  end_step();
  return {frame_.get(), bytes};
}

void Server::end_step() {
  for (Push& push : pushes_) push.here = false;
  arrived_ = 0;
  refused_ = {};
}

View Server::reply(size_t d, size_t absent) {
  if (!refused_ && (!arrived_ || arrived_ + absent != size_t(registration_.workers)))
    refuse(&refused_, Code::MISSING, std::to_string(arrived_) + " of " + std::to_string(registration_.workers));
  if (!refused_ && first_.d != d)
    refuse(&refused_, Code::ELEMENTS, std::to_string(first_.d) + " instead of " + std::to_string(d));
  prepare(d);
  if (refused_) return refusal(d);
  if (raw_) return reply_raw(d);
  const View view = answer(d);
  next_ = first_.step + 1;
  end_step();
  return view;
}

// A raw partition has no room for a reason: its answer is then NaN, which nobody takes for a gradient.
View Server::refusal(size_t d) {
  const size_t bytes = d * registration_.element();
  if (raw_) {
    float* values = scratch<float>(Scratch::kWhole).reserve(d);
    for (size_t i = 0; i < d; ++i) values[i] = __builtin_nanf("");
    narrow(values, d, frame_.reserve(bytes));
    end_step();
    return {frame_.get(), bytes};
  }
  if (feedback_) feedback_->slots.settle();  // this step, not the one before, is what workers may skip
  Header header = first_;
  header.flags = kReply | kError;
  header.worker = kServer;
  header.d = uint32_t(d);
  if (!arrived_) header.eta = 0;
  Payload payload;
  const size_t room = bytes > kHeader + 1 ? bytes - kHeader - 1 : 0;
  const std::string text = refused_.text();
  payload.length = uint32_t(std::min({text.size(), kMessage, room}));
  std::memcpy(frame_.reserve(kHeader + payload.length) + kHeader, text.data(), payload.length);
  end_step();
  return seal(header, payload);
}

View Server::answer(size_t d) {
  bool finite = true;
  present_.clear();
  for (const Push& push : pushes_) {
    if (!push.here) continue;
    present_.push_back(&push);
    finite &= !(push.header.flags & kNonfinite);
  }
  if (feedback_) feedback_->start(first_.flags & kSkipped, first_.flags & kReset);
  Header header = first_;
  header.flags = kReply;
  header.worker = kServer;
  Payload payload;
  if (finite && codec_->encoded_reply()) {
    auto source = [&](size_t offset, size_t n, float* room) {
      codec_->sum_block(present_, offset, n, room);
      pad(room, n);
      return static_cast<const float*>(room);
    };
    finite = encode(d, header.eta, {0, header.stream, header.step, kServer, 0}, nullptr, source, &payload);
  } else if (finite) {
    const size_t bytes = d * registration_.element();
    uint8_t* out = frame_.reserve(kHeader + d * 4 + d / 4 + 256) + kHeader;
    if (!codec_->merge(present_, bytes - kHeader - 1, out, &payload)) {
      float* values = scratch<float>(Scratch::kWhole).reserve(d);
      codec_->merge_dense(present_, values);
      narrow(values, d, frame_.reserve(bytes));
      return {frame_.get(), bytes};
    }
  }
  if (!finite || payload.flags & kNonfinite) {
    payload = Payload{};
    payload.flags = kNonfinite;
  }
  return seal(header, payload);
}

bool Server::add(View frame, size_t d, float* out, Refusal* why) const {
  Header h;
  if (!read_frame(frame.data, frame.size, &h, why) || !check(h, false, d, why)) return false;
  if (h.flags & kNonfinite) return refuse(why, Code::VALUE);
  if (!codec_->has_scale(h)) return refuse(why, Code::SCALE);
  return codec_->add(h, frame.data + kHeader, out, why);
}

void Server::save(size_t d, float* residual) const {
  if (!residual) return;
  if (feedback_)
    feedback_->save(d, residual);
  else
    std::memset(residual, 0, d * sizeof(float));
}

void Server::load(uint32_t step, float eta, size_t d, const float* residual) {
  prepare(d);
  next_ = step;
  if (feedback_) feedback_->set(residual, eta);
}

}  // namespace bgc
