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
  size_t max_payload(size_t d) const override { return d * (options_.half ? 2 : 4); }

  void scan(const float* x, size_t, size_t n) override {
    const uint32_t most = block_max_bits(x, n);
    if (most > most_) most_ = most;
  }

  bool finish(const float* p, const Draw&, uint8_t* out, Payload* payload) override {
    if (most_ >= kInfinityBits) return false;
    const int e = half_exponent(float_of(most_));
    payload->count = d_;
    payload->length = d_ * 2;
    payload->scale = power_of_two(e);
    payload->flags |= kHalf;
    uint16_t* halves = reinterpret_cast<uint16_t*>(out);
    to_half(p, d_, power_of_two(-e), halves);
    if (options_.feedback()) from_half(halves, d_, payload->scale, sent_ = scratch<float>(0).reserve(d_));
    return true;
  }

  Reads reads() const override { return kAll; }
  void settle(float* p) override {
    for (uint32_t i = 0; i < d_; ++i) p[i] -= sent_[i];
  }

  bool check(const Header& h, const uint8_t* payload, std::string* why) const override {
    if (h.count != h.d || h.length != h.d * uint64_t(2) || !(h.flags & kHalf) || h.flags & kDense)
      return refuse(why, "an identity payload of another form");
    return check_values(h, payload, h.d, why);
  }
  void write(const Header& h, const uint8_t* payload, float* out) const override {
    read_values(h, payload, h.d, out);
  }
  void add(const Header& h, const uint8_t* payload, float* out) const override {
    float* values = scratch<float>(3).reserve(h.d);
    read_values(h, payload, h.d, values);
    for (uint32_t i = 0; i < h.d; ++i) out[i] += values[i];
  }

  bool encoded_reply() const override { return true; }
  void sum_block(const Header* h, const uint8_t* const* payloads, size_t pushes, size_t offset, size_t n,
                 float* out) const override {
    float values[kBlock];
    for (size_t w = 0; w < pushes; ++w) {
      read_values(h[w], payloads[w] + 2 * offset, n, w ? values : out);
      for (size_t i = 0; w && i < n; ++i) out[i] += values[i];
    }
  }

 private:
  float* sent_ = nullptr;
};

}  // namespace

std::unique_ptr<Codec> make_identity(const Options& options) { return std::make_unique<Identity>(options); }

}  // namespace bgc
