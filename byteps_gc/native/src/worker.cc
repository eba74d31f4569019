// A partition on a worker: momentum, error feedback, codec, frame.
#include "half.h"
#include "partition.h"
#include "partition_encode.h"

namespace bgc {

namespace {

bool all_finite(const float* values, size_t d) {
  size_t whole = d / kLanes * kLanes;
  bool finite = block_max_bits(values, whole) < kInfinityBits;
  for (; whole < d; ++whole) finite &= (bits_of(values[whole]) & 0x7fffffffu) < kInfinityBits;
  return finite;
}

}  // namespace

Worker::Worker(const Registration& registration, uint16_t worker, uint32_t stream)
    : Partition(registration), worker_(worker), stream_(stream) {}

void Worker::prepare(size_t d) {
  if (d_) return;
  d_ = uint32_t(d);
  if (registration_.options.has_momentum) momentum_ = std::make_unique<Momentum>(registration_.options.mu, d);
  if (registration_.options.feedback() && !raw_) feedback_ = std::make_unique<ErrorFeedback>(*codec_, d);
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
  if (momentum_) momentum_->slots.begin(before == Before::kTakeBack, before == Before::kReset);
  if (feedback_) feedback_->start(before == Before::kTakeBack, before == Before::kReset);
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
  float* out = scratch<float>(6).reserve(d);
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

bool Worker::decompress(View reply, size_t d, void* out, std::string* why) {
  const size_t bytes = d * registration_.element();
  if (reply.size == bytes) {
    if (reply.data != out) std::memmove(out, reply.data, bytes);
    finite_ = all_finite(wide(out, d), d);
    return true;
  }
  finite_ = false;
  Header h;
  if (!read_frame(reply.data, reply.size, &h, why)) return false;
  if (h.flags & kError) return refuse(why, std::string(reinterpret_cast<const char*>(reply.data + kHeader), h.length));
  if (!(h.flags & kReply) || h.flags & (kSkipped | kReset) || h.worker != kServer) return refuse(why, "a frame that is not a reply");
  if (raw_ || h.codec != codec_->number() || h.dtype != registration_.dtype || h.d != d ||
      h.digest != registration_.options.digest || h.workers != registration_.workers || h.stream != stream_)
    return refuse(why, "a reply for a different partition or different options");
  if (h.step + 1 != step_ || h.eta != last_eta_) return refuse(why, "a reply for a different step");
  const bool direct = registration_.dtype == kFloat32;
  float* values = direct ? static_cast<float*>(out) : scratch<float>(6).reserve(d);
  if (h.flags & kNonfinite) {
    for (size_t i = 0; i < d; ++i) values[i] = __builtin_nanf("");
  } else {
    uint8_t* payload = scratch<uint8_t>(7).reserve(h.length);  // the values may go where the reply stands
    std::memcpy(payload, reply.data + kHeader, h.length);
    if (!codec_->write(h, payload, values, why)) return false;
    finite_ = true;
  }
  if (!direct) narrow(values, d, out);
  return true;
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
