// Encoding of a partition into a payload, block by block, on a worker and on a server.
#pragma once

#include "partition.h"

namespace bgc {

constexpr size_t kPart = 512;  // elements per call of the wrappers, so that all states are streamed together
constexpr size_t kStreamed = 1 << 20;  // states of at least this many bytes bypass the cache

inline void pad(float* block, size_t n) {
  for (size_t i = n; i % kLanes; ++i) block[i] = 0;
}

template <typename Source>
bool Partition::encode(size_t d, float eta, const Draw& draw, const float* whole, Source source, Payload* payload) {
  alignas(64) float room[kBlock], sum[kBlock];
  const bool feedback = feedback_ && feedback_->begin(eta);
  const bool stream = d * sizeof(float) >= kStreamed && codec_->reads() != Codec::kAll;
  float* kept = nullptr;  // the blocks as one array for finish()
  if (feedback)
    whole = feedback_->slots.next();
  else if (!whole && codec_->reads() != Codec::kNothing)
    whole = kept = scratch<float>(Scratch::kWhole).reserve(d);
  uint8_t* out = frame_.reserve(kHeader + codec_->max_payload(d) + 64) + kHeader;
  codec_->begin(uint32_t(d));
  codec_->write_to(out);
  auto scan = [&](size_t end) {
    for (size_t offset = 0; offset < end; offset += kBlock) {
      const size_t n = d - offset < kBlock ? d - offset : kBlock;
      const float* x = sum;
      if (feedback) {
        for (size_t part = 0; part < n; part += kPart) {
          const size_t m = n - part < kPart ? n - part : kPart;
          feedback_->block(source(offset + part, m, room), offset + part, m, stream, sum + part);
        }
        pad(sum, n);
      } else {
        x = source(offset, n, room);
      }
      if (kept) std::memcpy(kept + offset, x, n * sizeof(float));
      codec_->scan(x, offset, n);
    }
  };
  scan(d);
  scan(codec_->again());
  stream_fence();
  if (!codec_->finish(whole, draw, out, payload)) return false;
  if (feedback) {
    codec_->settle(feedback_->slots.next());
    feedback_->commit(eta, payload->scale);
  }
  return true;
}

}  // namespace bgc
