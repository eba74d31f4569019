// A codec of all elements: its payload tells something of each, in as many bytes as max_payload() says.
#pragma once

#include "codec.h"

namespace bgc {

class DenseCodec : public Codec {
 public:
  using Codec::Codec;
  Reads reads() const override { return kAll; }
  bool encoded_reply() const override { return true; }

  bool finish(const float* p, const Draw& draw, uint8_t* out, Payload* payload) override {
    payload->count = d_;
    payload->length = uint32_t(max_payload(d_));
    payload->scale = 1;
    if (!encode(p, draw, out, payload)) return false;
    sent_.d = d_, sent_.flags = payload->flags, sent_.scale = payload->scale;
    sent_payload_ = out;
    return true;
  }
  void settle(float* p) override {
    float values[kBlock];
    for (size_t offset = 0; offset < d_; offset += kBlock) {
      const size_t n = d_ - offset < kBlock ? d_ - offset : kBlock;
      decode_block(sent_, sent_payload_, offset, n, values);
      for (size_t i = 0; i < n; ++i) p[offset + i] -= values[i];
    }
  }

  bool write(const Header& h, const uint8_t* payload, float* out, Refusal* why) const override {
    if (!accepts(h, payload, why)) return false;
    for (size_t offset = 0; offset < h.d; offset += kBlock)
      decode_block(h, payload, offset, h.d - offset < kBlock ? h.d - offset : kBlock, out + offset);
    return true;
  }
  bool add(const Header& h, const uint8_t* payload, float* out, Refusal* why) const override {
    if (!accepts(h, payload, why)) return false;
    for (size_t offset = 0; offset < h.d; offset += kBlock)
      add_block(h, payload, offset, h.d - offset < kBlock ? h.d - offset : kBlock, out + offset);
    return true;
  }
  bool keep(const uint8_t* payload, Push* push, Refusal* why) const override {
    return accepts(push->header, payload, why) && copy(payload, push);
  }
  void sum_block(const Pushes& pushes, size_t offset, size_t n, float* out) const override {
    decode_block(pushes[0]->header, pushes[0]->payload.get(), offset, n, out);
    for (size_t w = 1; w < pushes.size(); ++w)
      add_block(pushes[w]->header, pushes[w]->payload.get(), offset, n, out);
  }

 protected:
  // Writes the payload of p, max_payload(d_) bytes, and its scale and flags if it has any; false if a value that a
  // reader decodes is not finite.
  virtual bool encode(const float* p, const Draw& draw, uint8_t* out, Payload* payload) = 0;
  // Checks a payload whose length is right; false, with the reason, if encode() cannot have written it.
  virtual bool check(const Header& header, const uint8_t* payload, Refusal* why) const = 0;
  // Decodes n elements from `offset` on, n at most kBlock, of a payload that is checked.
  virtual void decode_block(const Header& header, const uint8_t* payload, size_t offset, size_t n,
                            float* out) const = 0;
  // Adds them to out. A codec that can do so without decoding them first may have its own.
  virtual void add_block(const Header& header, const uint8_t* payload, size_t offset, size_t n, float* out) const {
    float values[kBlock];
    decode_block(header, payload, offset, n, values);
    for (size_t i = 0; i < n; ++i) out[i] += values[i];
  }
  bool accepts(const Header& h, const uint8_t* payload, Refusal* why) const {
    if (h.count != h.d) return refuse(why, Code::COUNT);
    if (h.length != max_payload(h.d)) return refuse(why, Code::PAYLOAD);
    return check(h, payload, why);
  }

 private:
  Header sent_;  // by the last finish(): what decode_block() has to know
  const uint8_t* sent_payload_ = nullptr;
};

}  // namespace bgc
