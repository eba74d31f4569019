// identity: every element, as float16 (as float32 a partition travels raw, without a codec).
#include "dense.h"
#include "sparse.h"

namespace bgc {

namespace {

class Identity : public DenseCodec {
 public:
  explicit Identity(const Options& o) : DenseCodec(o), half_(o.flag("half")) {}
  uint16_t fixed_flags() const override { return half_ ? kHalf : 0; }
  size_t max_payload(size_t d) const override { return d * (half_ ? 2 : 4); }

 protected:
  bool encode(const float* p, const Draw&, uint8_t* out, Payload* payload) override {
    if (most_ >= kHalfLimit) return false;
    const int e = half_exponent(float_of(most_));
    payload->scale = power_of_two(e);
    payload->flags |= kHalf;
    to_half(p, d_, power_of_two(-e), out);
    return true;
  }
  bool check(const Header& h, const uint8_t* payload, Refusal* why) const override {
    return check_values(h, payload, h.d, why);
  }
  void decode_block(const Header& h, const uint8_t* payload, size_t offset, size_t n, float* out) const override {
    read_values(h, payload + 2 * offset, n, out);
  }

 private:
  const bool half_;
};

const Registered<Identity> kRegistered("identity", 5, {flag("half")});

}  // namespace

}  // namespace bgc
