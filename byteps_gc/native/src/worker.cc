// A partition on a worker: momentum, error feedback, codec, frame.
#include "half.h"
#include "partition.h"
#include "partition_encode.h"

namespace bgc {

namespace {

constexpr uint32_t kInfiniteHalfBits = 0x477ff000u;  // of 65520: from here on, float16 rounds to infinity

bool overlap(View reply, const float* values, size_t d) {
  const auto first = reinterpret_cast<uintptr_t>(reply.data), second = reinterpret_cast<uintptr_t>(values);
  return first < second + d * sizeof(float) && second < first + reply.size;
}

bool all_below(const float* values, size_t d, uint32_t limit) { return max_bits(values, d) < limit; }

}  // namespace

Worker::Worker(const Registration& registration, uint16_t worker, uint32_t stream)
    : Partition(registration), worker_(worker), stream_(stream) {}

void Worker::prepare(size_t d) {
  if (d_) return;
  d_ = uint32_t(d);
  if (registration_.options.has_momentum) momentum_ = std::make_unique<Momentum>(registration_.options.mu, d);
  if (registration_.options.feedback && !raw_) feedback_ = std::make_unique<ErrorFeedback>(*codec_, d);
}

// One block of what the codec sees before error feedback.
const float* Worker::block(const float* g, size_t offset, size_t n, bool stream, float* room) {
  const float* x = g + offset;
  if (n % kLanes) {
    std::memcpy(room, x, n * sizeof(float));
    pad(room, n);
    x = room;
  }
  if (!momentum_) return x;
  momentum_->block(x, offset, n, stream, room);
  pad(room, n);
  return room;
}

View Worker::compress(const void* gradient, size_t d, float eta, Before before) {
  prepare(d);
  eta += 0.f;  // -0 is sent as 0
  settle(before);
  const float* g = wide(gradient, d);
  if (raw_) {
    ++step_;
    return pass(g, d);
  }
  const bool stream = d * sizeof(float) >= kStreamed;
  auto source = [&](size_t offset, size_t n, float* room) { return block(g, offset, n, stream, room); };
  Header header;
  header.flags = before == Before::kReset ? kReset : before == Before::kTakeBack ? kSkipped : 0;
  header.d = d_, header.step = step_, header.worker = worker_, header.stream = stream_, header.eta = eta;
  last_eta_ = eta;
  Payload payload;
  if (!encode(d, eta, {0, stream_, step_, worker_, 0}, momentum_ ? nullptr : g, source, &payload)) {
    payload = Payload{};
    payload.flags = kNonfinite;
  } else if (momentum_) {
    momentum_->slots.commit();
  }
  ++step_;
  return seal(header, payload);
}

// A raw partition: momentum, and nothing is lost.
View Worker::pass(const float* g, size_t d) {
  float* out = scratch<float>(Scratch::kWhole).reserve(d);
  alignas(64) float room[kBlock];
  uint32_t most = 0;
  for (size_t offset = 0; offset < d; offset += kBlock) {
    const size_t n = d - offset < kBlock ? d - offset : kBlock;
    const float* x = block(g, offset, n, false, room);
    const uint32_t bits = block_max_bits(x, n);
    most = most < bits ? bits : most;
    std::memcpy(out + offset, x, n * sizeof(float));
  }
  if (momentum_ && most < kInfinityBits) momentum_->slots.commit();
  const size_t bytes = d * registration_.element();
  uint8_t* data = frame_.reserve(bytes);
  narrow(out, d, data);
  return {data, bytes};
}

bool Worker::check_reply(const Header& h, size_t d, Refusal* why) const {
  if (!check(h, true, d, why)) return false;
  if (h.worker != kServer) return refuse(why, Code::WORKER);
  if (step_ == 0 || h.step != step_ - 1) return refuse(why, Code::STEP);
  if (h.eta != last_eta_) return refuse(why, Code::ETA);
  if (h.stream != stream_) return refuse(why, Code::STREAM);
  return h.flags & kNonfinite || codec_->has_scale(h) || refuse(why, Code::SCALE);
}

bool Worker::decompress(View reply, size_t d, void* out, Refusal* why) {
  const size_t bytes = d * registration_.element();
  if (reply.size == bytes && (raw_ || !codec_->encoded_reply())) {
    if (reply.data != out) std::memmove(out, reply.data, bytes);
    finite_ = all_below(wide(out, d), d, kInfinityBits);
    return true;
  }
  finite_ = false;
  Header h;
  if (!read_frame(reply.data, reply.size, &h, why)) return false;
  if (h.flags & kError)
    return refuse(why, Code::REJECTED, {reinterpret_cast<const char*>(reply.data + kHeader), h.length});
  if (raw_)
    return refuse(why, Code::RAW_LENGTH, std::to_string(reply.size) + " bytes instead of " + std::to_string(bytes));
  if (!check_reply(h, d, why)) return false;
  const bool direct = registration_.dtype == kFloat32;
  float* values = direct ? static_cast<float*>(out) : scratch<float>(Scratch::kWhole).reserve(d);
  if (h.flags & kNonfinite) {
    for (size_t i = 0; i < d; ++i) values[i] = __builtin_nanf("");
  } else {
    const uint8_t* payload = reply.data + kHeader;
    // the values may go where the reply stands
    if (overlap(reply, values, d) && !(codec_->writes_in_place() && reply.data == out)) {
      uint8_t* copy = scratch<uint8_t>(Scratch::kPayload).reserve(h.length);
      std::memcpy(copy, payload, h.length);
      payload = copy;
    }
    if (!codec_->write(h, payload, values, why)) return false;
    finite_ = direct || all_below(values, d, kInfiniteHalfBits);
  }
  if (!direct) narrow(values, d, out);
  return true;
}

void Worker::settle(Before before) {
  if (momentum_) momentum_->slots.begin(before == Before::kTakeBack, before == Before::kReset);
  if (feedback_) feedback_->start(before == Before::kTakeBack, before == Before::kReset);
}

void Worker::save(float* momentum, float* residual) const {
  if (momentum) {
    const float* m = momentum_ ? momentum_->slots.now() : nullptr;
    m ? void(std::memcpy(momentum, m, d_ * sizeof(float))) : void(std::memset(momentum, 0, d_ * sizeof(float)));
  }
  if (residual) {
    if (feedback_)
      feedback_->save(d_, residual);
    else
      std::memset(residual, 0, d_ * sizeof(float));
  }
}

void Worker::load(uint32_t step, float eta, size_t d, const float* momentum, const float* residual) {
  prepare(d);
  step_ = step;
  if (momentum_) momentum_->slots.set(momentum);
  if (feedback_) feedback_->set(residual, eta);
}

}  // namespace bgc
