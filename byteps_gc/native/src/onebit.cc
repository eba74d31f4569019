// onebit: the sign of every element, and one scale.
#include "dense.h"

namespace bgc {

namespace {

class Onebit : public DenseCodec {
 public:
  explicit Onebit(const Options& o) : DenseCodec(o), scaling_(o.flag("scaling")) {}
  size_t max_payload(size_t d) const override { return (d + 7) / 8; }

  void begin(uint32_t d) override {
    Codec::begin(d);
    sum_ = 0;
    signs_ = scratch<uint8_t>(Scratch::kSent).reserve(d / 8 + 64);
  }

  void scan(const float* x, size_t offset, size_t n) override {
    F8 sums[4] = {F8::all(0), F8::all(0), F8::all(0), F8::all(0)};
    uint8_t* out = signs_ + offset / 8;
    for (size_t i = 0; i < n; i += kLanes, ahead(x + i)) {
      uint32_t signs = 0;
      for (int j = 0; j < 4; ++j) {
        const F8 value = F8::load(x + i + 8 * j);
        sums[j] = sums[j] + value.abs();
        signs |= value.negative() << (8 * j);
      }
      std::memcpy(out + i / 8, &signs, 4);
    }
    sum_ += block_abs_of(sums, x, n);
  }

  bool has_scale(const Header& h) const override { return scaling_ || h.scale == 1; }
  Reads reads() const override { return kNothing; }
  void settle(float*) override {}  // feed() computes what was lost
  void feed(const float* x, const float* last, size_t n, float scale, float ratio, bool stream, float* next,
            float* out) const override {
    const F8 s = F8::all(scale);
    feed_blocks(x, last, n, ratio, stream, next, out, [s](F8 p) { return p - signed_like(p, s); });
  }

  void sum_block(const Pushes& pushes, size_t offset, size_t n, float* out) const override {
    auto part = [&](const Push& push, size_t i) {
      return signed_by(push.payload.get()[(offset + i) / 8], F8::all(push.header.scale));
    };
    for (size_t i = 0; i < n; i += 8) {
      F8 sum = part(*pushes[0], i);
      for (size_t w = 1; w < pushes.size(); ++w) sum = sum + part(*pushes[w], i);
      sum.store(out + i);
    }
  }

 protected:
  bool encode(const float*, const Draw&, uint8_t* out, Payload* payload) override {
    if (!std::isfinite(sum_)) return false;
    payload->scale = scaling_ ? float(sum_ / double(d_)) : 1;
    std::memcpy(out, signs_, payload->length);
    return true;
  }
  bool check(const Header& h, const uint8_t* payload, Refusal* why) const override {
    if (h.d % 8 && payload[h.length - 1] >> (h.d % 8)) return refuse(why, Code::PADDING);
    return true;
  }
  void decode_block(const Header& h, const uint8_t* payload, size_t offset, size_t n, float* out) const override {
    const uint8_t* signs = payload + offset / 8;
    const F8 s = F8::all(h.scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) signed_by(signs[i / 8], s).store(out + i);
    for (; i < n; ++i) out[i] = signs[i / 8] >> (i % 8) & 1 ? -h.scale : h.scale;
  }
  void add_block(const Header& h, const uint8_t* payload, size_t offset, size_t n, float* out) const override {
    const uint8_t* signs = payload + offset / 8;
    const F8 s = F8::all(h.scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) (F8::load(out + i) + signed_by(signs[i / 8], s)).store(out + i);
    for (; i < n; ++i) out[i] += signs[i / 8] >> (i % 8) & 1 ? -h.scale : h.scale;
  }

 private:
  const bool scaling_;
  double sum_ = 0;
  uint8_t* signs_ = nullptr;
};

const Registered<Onebit> kRegistered("onebit", 1, {flag("scaling")});

}  // namespace

}  // namespace bgc
