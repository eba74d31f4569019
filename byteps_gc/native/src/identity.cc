// identity: every element, as float16 (as float32 a partition travels raw, without a codec).
#include "codecs.h"
#include "half.h"
#include "sparse.h"

namespace bgc {

namespace {

class Identity : public Codec {
 public:
  using Codec::Codec;
  uint8_t number() const override { return 5; }
  uint16_t fixed_flags() const override { return options_.half ? kHalf : 0; }
  size_t max_payload(size_t d) const override { return d * (options_.half ? 2 : 4); }

  void scan(const float* x, size_t, size_t n) override {
    const uint32_t most = block_max_bits(x, n);
    if (most > most_) most_ = most;
  }

  bool finish(const float* p, const Draw&, uint8_t* out, Payload* payload) override {
    if (most_ >= kHalfLimit) return false;
    const int e = half_exponent(float_of(most_));
    payload->count = d_;
    payload->length = d_ * 2;
    payload->scale = power_of_two(e);
    payload->flags |= kHalf;
    to_half(p, d_, power_of_two(-e), out);
    sent_ = out, scale_ = payload->scale;
    return true;
  }

  Reads reads() const override { return kAll; }
  void settle(float* p) override {
    float values[kBlock];
    for (size_t offset = 0; offset < d_; offset += kBlock) {
      const size_t n = d_ - offset < kBlock ? d_ - offset : kBlock;
      from_half(sent_ + 2 * offset, n, scale_, values);
      for (size_t i = 0; i < n; ++i) p[offset + i] -= values[i];
    }
  }

  bool write(const Header& h, const uint8_t* payload, float* out, Refusal* why) const override {
    if (!check(h, payload, why)) return false;
    read_values(h, payload, h.d, out);
    return true;
  }
  bool add(const Header& h, const uint8_t* payload, float* out, Refusal* why) const override {
    if (!check(h, payload, why)) return false;
    for (size_t offset = 0; offset < h.d; offset += kBlock)
      add_block(h, payload, offset, h.d - offset < kBlock ? h.d - offset : kBlock, out + offset);
    return true;
  }
  bool keep(const uint8_t* payload, Push* push, Refusal* why) const override {
    return check(push->header, payload, why) && copy(payload, push);
  }

  bool encoded_reply() const override { return true; }
  void sum_block(const Pushes& pushes, size_t offset, size_t n, float* out) const override {
    read_values(pushes[0]->header, pushes[0]->payload.get() + 2 * offset, n, out);
    for (size_t w = 1; w < pushes.size(); ++w)
      add_block(pushes[w]->header, pushes[w]->payload.get(), offset, n, out);
  }

 private:
  static void add_block(const Header& h, const uint8_t* payload, size_t offset, size_t n, float* out) {
    float values[kBlock];
    read_values(h, payload + 2 * offset, n, values);
    for (size_t i = 0; i < n; ++i) out[i] += values[i];
  }
  static bool check(const Header& h, const uint8_t* payload, Refusal* why) {
    if (h.count != h.d) return refuse(why, Code::COUNT);
    if (h.length != h.d * uint64_t(2)) return refuse(why, Code::PAYLOAD);
    return check_values(h, payload, h.d, why);
  }

  const uint8_t* sent_ = nullptr;  // by the last finish()
  float scale_ = 0;
};

}  // namespace

std::unique_ptr<Codec> make_identity(const Options& options) { return std::make_unique<Identity>(options); }

}  // namespace bgc
