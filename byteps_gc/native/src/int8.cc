// int8: linear quantization to 8 bits, with one scale for each bucket of elements (arXiv 1610.02132).
#include <algorithm>

#include "dense.h"

namespace bgc {

namespace {

constexpr float kLevels = 127, kRound = 0x1.8p23f;  // added to a small number, kRound leaves it no bits below 1
constexpr uint32_t kDomain = 4;

class Int8 : public DenseCodec {
 public:
  explicit Int8(const Options& o)
      : DenseCodec(o),
        bucket_(o.integer("bucket")),
        seed_(o.integer("seed")),
        stochastic_(o.choice("rounding") == "stochastic") {}
  size_t max_payload(size_t d) const override { return 4 * buckets(d) + d; }

 protected:
  bool encode(const float* p, const Draw& draw, uint8_t* out, Payload*) override {
    if (most_ >= kInfinityBits) return false;
    int8_t* levels = reinterpret_cast<int8_t*>(out + 4 * buckets(d_));
    for (size_t begin = 0; begin < d_; begin += bucket_, out += 4) {
      const size_t end = std::min<size_t>(begin + bucket_, d_);
      const float scale = float_of(max_bits(p + begin, end - begin));
      std::memcpy(out, &scale, 4);
      if (scale == 0)
        std::memset(levels + begin, 0, end - begin);
      else
        stochastic_ ? draw_levels(p, begin, end, scale, draw, levels) : round_levels(p, begin, end, scale, levels);
    }
    return true;
  }

  bool check(const Header& h, const uint8_t* payload, Refusal* why) const override {
    for (size_t bucket = 0; bucket < buckets(h.d); ++bucket)
      if (bits_of(scale_of(payload, bucket)) >= kInfinityBits) return refuse(why, Code::NORM);
    const uint8_t *levels = payload + 4 * buckets(h.d), *end = payload + h.length;
    uint8_t wrong = 0;
    for (; levels < end; ++levels) wrong |= *levels == 0x80;
    return !wrong || refuse(why, Code::CODE);
  }

  void decode_block(const Header& h, const uint8_t* payload, size_t offset, size_t n, float* out) const override {
    const int8_t* levels = reinterpret_cast<const int8_t*>(payload + 4 * buckets(h.d)) + offset;
    for (size_t i = 0; i < n;) {
      const size_t bucket = (offset + i) / bucket_, end = std::min(n, (bucket + 1) * bucket_ - offset);
      const float scale = scale_of(payload, bucket);
      for (; i < end; ++i) out[i] = float(levels[i]) / kLevels * scale;
    }
  }

 private:
  size_t buckets(size_t d) const { return (d + bucket_ - 1) / bucket_; }
  static float scale_of(const uint8_t* payload, size_t bucket) {
    float scale;
    std::memcpy(&scale, payload + 4 * bucket, 4);
    return scale;
  }

  static void round_levels(const float* p, size_t begin, size_t end, float scale, int8_t* levels) {
    for (size_t i = begin; i < end; ++i) levels[i] = int8_t(p[i] / scale * kLevels + kRound - kRound);
  }

  void draw_levels(const float* p, size_t begin, size_t end, float scale, Draw draw, int8_t* levels) const {
    draw.seed = seed_, draw.domain = kDomain;
    uint32_t words[32];  // of elements i & ~31 .. | 31
    for (size_t i = begin, n; i < end; i += n) {
      philox8(uint32_t(i / 32 * 8), draw, words);
      n = std::min(end - i, 32 - i % 32);
      for (size_t j = 0; j < n; ++j) {
        const float y = __builtin_fabsf(p[i + j]) / scale * kLevels;
        const int32_t below = int32_t(y), chance = int32_t((y - float(below)) * 0x1p24f);
        const int32_t level = below + (int32_t(words[i % 32 + j] >> 8) < chance);
        levels[i + j] = int8_t(p[i + j] < 0 ? -level : level);
      }
    }
  }

  const uint32_t bucket_, seed_;
  const bool stochastic_;
};

const Registered<Int8> kRegistered("int8", 6, {integer("bucket", 64, 8192), integer("seed", 0, kMaxUint32),
                                               choice("rounding", {"nearest", "stochastic"})});

}  // namespace

}  // namespace bgc
