// onebit: the sign of every element, and one scale.
#include "codecs.h"

namespace bgc {

namespace {

class Onebit : public Codec {
 public:
  using Codec::Codec;
  uint8_t number() const override { return 1; }
  size_t max_payload(size_t d) const override { return (d + 7) / 8; }

  void begin(uint32_t d) override {
    Codec::begin(d);
    sum_ = 0;
    signs_ = scratch<uint8_t>(0).reserve(d / 8 + 64);
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

  bool finish(const float*, const Draw&, uint8_t* out, Payload* payload) override {
    if (!std::isfinite(sum_)) return false;
    payload->count = d_;
    payload->length = uint32_t(max_payload(d_));
    payload->scale = options_.scaling ? float(sum_ / double(d_)) : 1;
    std::memcpy(out, signs_, payload->length);
    return true;
  }

  bool has_scale(const Header& h) const override { return options_.scaling || h.scale == 1; }
  Reads reads() const override { return kNothing; }
  void feed(const float* x, const float* last, size_t n, float scale, float ratio, bool stream, float* next,
            float* out) const override {
    const F8 s = F8::all(scale);
    feed_blocks(x, last, n, ratio, stream, next, out, [s](F8 p) { return p - signed_like(p, s); });
  }

  bool write(const Header& h, const uint8_t* payload, float* out, Refusal* why) const override {
    if (!check(h, payload, why)) return false;
    const F8 s = F8::all(h.scale);
    size_t i = 0;
    for (; i + 8 <= h.d; i += 8) signed_by(payload[i / 8], s).store(out + i);
    for (; i < h.d; ++i) out[i] = payload[i / 8] >> (i % 8) & 1 ? -h.scale : h.scale;
    return true;
  }

  bool add(const Header& h, const uint8_t* payload, float* out, Refusal* why) const override {
    if (!check(h, payload, why)) return false;
    const F8 s = F8::all(h.scale);
    size_t i = 0;
    for (; i + 8 <= h.d; i += 8) (F8::load(out + i) + signed_by(payload[i / 8], s)).store(out + i);
    for (; i < h.d; ++i) out[i] += payload[i / 8] >> (i % 8) & 1 ? -h.scale : h.scale;
    return true;
  }

  bool keep(const uint8_t* payload, Push* push, Refusal* why) const override {
    return check(push->header, payload, why) && copy(payload, push);
  }

  bool encoded_reply() const override { return true; }
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

 private:
  bool check(const Header& h, const uint8_t* payload, Refusal* why) const {
    if (h.count != h.d) return refuse(why, Code::COUNT);
    if (h.length != max_payload(h.d)) return refuse(why, Code::PAYLOAD);
    if (h.d % 8 && payload[h.length - 1] >> (h.d % 8)) return refuse(why, Code::PADDING);
    return true;
  }

  double sum_ = 0;
  uint8_t* signs_ = nullptr;
};

}  // namespace

std::unique_ptr<Codec> make_onebit(const Options& options) { return std::make_unique<Onebit>(options); }

}  // namespace bgc
