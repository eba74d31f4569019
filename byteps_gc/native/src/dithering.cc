// dithering: unbiased or nearest rounding of x / ||x|| to a few levels, entropy coded
// (arXiv 1610.02132: linear levels; arXiv 1905.10988: natural levels).
#include <algorithm>
#include <cmath>

#include "rounding.h"
#include "sparse.h"

namespace bgc {

namespace {

constexpr uint32_t kUpperDomain = 2, kLowerDomain = 3;
constexpr uint32_t kHalf = 1u << 30;  // of 2^31
constexpr uint8_t kBelowHalf = (kHalf >> 23) - 1;

class Dithering : public SparseCodec {
 public:
  explicit Dithering(const Options& o)
      : SparseCodec(o),
        s_(o.integer("k")),
        bucket_(o.integer("bucket")),
        seed_(o.integer("seed")),
        natural_(o.is("partition", "natural")),
        nearest_(o.is("rounding", "nearest")),
        l2_(o.is("normalize", "l2")),
        encoded_(o.is("reply", "encoded")) {
    width_ = floor_log2(2 * uint64_t(s_)) + 1;
  }
  static const char* wrong(const Options& o) {
    if (o.is("partition", "natural") && o.integer("k") > 30) return "k";
    if (o.is("rounding", "nearest") && o.is("normalize", "l2")) return "rounding";
    return o.integer("bucket") && o.integer("bucket") < 64 ? "bucket" : nullptr;
  }
  Reads reads() const override { return kAll; }
  uint16_t optional_flags() const override { return kDense; }
  bool has_scale(const Header& h) const override {
    return h.scale == (options_.feedback && (encoded_ || !(h.flags & kReply)) ? shrink(h.d) : 1);
  }
  bool encoded_reply() const override { return encoded_; }
  size_t max_payload(size_t d) const override { return 4 * buckets(d) + words_of(uint64_t(d) * width_); }

  void begin(uint32_t d) override {
    Codec::begin(d);
    squares_ = 0;
  }
  void scan(const float* x, size_t offset, size_t n) override {
    if (l2_ && !bucket_)
      squares_ += block_squares(x, n);
    else
      SparseCodec::scan(x, offset, n);
  }

  bool finish(const float* p, const Draw& draw, uint8_t* out, Payload* payload) override {
    if (most_ >= kInfinityBits || !std::isfinite(squares_)) return false;
    uint32_t* indices = scratch<uint32_t>(Scratch::kSent).reserve(d_);
    uint32_t* levels = scratch<uint32_t>(Scratch::kLevels).reserve(d_);  // with the sign as the highest bit
    float* values = scratch<float>(Scratch::kSent).reserve(d_);
    const size_t size = bucket_size(d_);
    const float alpha = options_.feedback ? shrink(d_) : 1;
    found_ = 0;
    for (size_t begin = 0, number = 0; begin < d_; begin += size, ++number) {
      const size_t n = std::min(size, d_ - begin);
      const float norm = norm_of(p + begin, n);
      if (!std::isfinite(norm)) return false;
      std::memcpy(out + 4 * number, &norm, 4);
      const uint32_t first = found_;
      quantise(p, begin, n, norm, draw, indices, levels);
      const float unit = unit_of(norm, alpha);
      for (uint32_t i = first; i < found_; ++i) values[i] = value_of(levels[i], unit);
      if (!are_finite(values, first, found_, unit)) return false;
    }
    payload->scale = alpha;
    payload->count = found_;
    const size_t norms = 4 * buckets(d_);
    payload->length = uint32_t(norms + code(indices, levels, out + norms, payload));
    sent_count_ = found_, sent_indices_ = indices, sent_values_ = values;
    return true;
  }

 protected:
  bool entries(const Header& h, const uint8_t* payload, uint32_t* indices, float* values,
               Refusal* why) const override {
    if (h.flags & kReply && !encoded_) return union_entries(h, payload, indices, values, why);
    const size_t norms = 4 * buckets(h.d), size = bucket_size(h.d);
    const float alpha = h.scale;
    if (h.length < norms || h.length > max_payload(h.d) || h.length % 4) return refuse(why, Code::PAYLOAD);
    if (!check_norms(payload, buckets(h.d), why)) return false;
    uint32_t* levels = scratch<uint32_t>(Scratch::kEntryLevels).reserve(h.count);
    const bool good = h.flags & kDense ? read_dense(h, payload + norms, h.length - norms, indices, levels, why)
                                       : read_sparse(h, payload + norms, h.length - norms, indices, levels, why);
    if (!good) return false;
    for (uint32_t i = 0, bucket = 0; i < h.count; ++bucket) {
      float norm;
      std::memcpy(&norm, payload + 4 * bucket, 4);
      const float unit = unit_of(norm, alpha);
      const uint32_t first = i;
      for (; i < h.count && indices[i] < (bucket + 1) * size; ++i) values[i] = value_of(levels[i], unit);
      if (!are_finite(values, first, i, unit)) return refuse(why, Code::VALUE);
    }
    return true;
  }

 private:
  size_t bucket_size(size_t d) const { return bucket_ ? bucket_ : d; }
  size_t buckets(size_t d) const { return (d + bucket_size(d) - 1) / bucket_size(d); }

  // 1 / (1 + omega), omega the variance of the rounding relative to ||x||^2
  float shrink(size_t d) const {
    if (nearest_) return 1;
    const double n = double(bucket_size(d)), s = s_;
    const double omega = natural_ ? 0.125 + std::min(n * std::ldexp(1.0, 2 - 2 * int(s_)) / 4,
                                                     std::sqrt(n) * std::ldexp(1.0, 1 - int(s_)))
                                  : std::min(n / (4 * s * s), std::sqrt(n) / s);
    return float(1 / (1 + omega));
  }
  float unit_of(float norm, float alpha) const { return natural_ ? norm * alpha : norm / float(s_) * alpha; }
  float value_of(uint32_t level, float unit) const {
    const uint32_t l = level & ~kNegative;
    const float size = natural_ ? unit * power_of_two(int(l) - int(s_)) : float(l) * unit;
    return level & kNegative ? -size : size;
  }

  // Whether values[first, end) of one bucket are finite. Checks the highest level first. Not inlined into finish(), as
  // g++ 12 would compile the rounding to code that is 1.6 times as slow.
  __attribute__((noinline)) bool are_finite(const float* values, uint32_t first, uint32_t end, float unit) const {
    if (std::isfinite(value_of(s_, unit))) return true;
    return std::all_of(values + first, values + end, [](float value) { return std::isfinite(value); });
  }

  float norm_of(const float* x, size_t n) const {
    if (!bucket_) return l2_ ? float(std::sqrt(squares_)) : float_of(most_);
    double squares = 0;
    uint32_t most = 0;
    float block[kBlock];
    for (size_t i = 0; i < n; i += kBlock) {
      const size_t here = std::min(kBlock, n - i);
      std::memcpy(block, x + i, here * 4);
      std::memset(block + here, 0, (kBlock - here) * 4);
      squares += block_squares(block, here);
      most = std::max(most, block_max_bits(block, here));
    }
    return l2_ ? float(std::sqrt(squares)) : float_of(most);
  }

  // Appends the elements of p[begin, begin + n) whose level is above zero.
  void quantise(const float* p, size_t begin, size_t n, float norm, Draw draw, uint32_t* indices, uint32_t* levels) {
    if (norm == 0) return;
    draw.seed = seed_, draw.domain = kUpperDomain;
    const float least = natural_ ? power_of_two(int(s_) - 1) : 0;
    const float factor = 256 * (natural_ ? least : float(s_)) / norm * (1 + 0x1p-20f);
    const bool rare = l2_ && !bucket_;  // few levels are above zero with the L2 norm of a whole partition
    const uint32_t digits = nearest_ ? kHalf : ~0u;
    auto eight = [&](size_t i, const uint8_t* upper) {
      if (round_eight(p + i, norm, s_, least, digits, upper, uint32_t(i), indices, levels, &found_)) return;
      for (size_t j = 0; j < 8; ++j) one(p, i + j, norm, upper[j], draw, indices, levels);
    };
    uint32_t words[32];  // random bytes of elements i & ~127 .. | 127; nearest: just below one half
    std::memset(words, kBelowHalf, sizeof words);
    size_t drawn = ~size_t(0);
    for (size_t i = begin; i < begin + n;) {
      if (i / 128 != drawn) {
        drawn = i / 128;
        for (size_t at = 0; at < 128; at += kLanes) ahead(p + i + at);
        if (!nearest_) philox8(uint32_t(drawn * 8), draw, words);
      }
      const size_t end = std::min(begin + n, (drawn + 1) * 128);
      const uint8_t* upper = reinterpret_cast<const uint8_t*>(words) + i % 128;
      for (; rare && i + 32 <= end; i += 32, upper += 32) {
        for (uint32_t left = may_rise(p + i, factor, upper); left;) {
          const int at = __builtin_ctz(left) & ~7;
          left &= ~(0xffu << at);
          eight(i + at, upper + at);
        }
      }
      for (; i + 8 <= end; i += 8, upper += 8) eight(i, upper);
      for (; i < end; ++i) one(p, i, norm, *upper++, draw, indices, levels);
    }
  }

  void one(const float* p, size_t i, float norm, uint32_t upper, Draw draw, uint32_t* indices, uint32_t* levels) {
    uint32_t level, threshold;  // rounded up if a 31-bit random number is below the threshold
    const float y = __builtin_fabsf(p[i]) / norm;
    if (natural_) {
      const uint32_t bits = bits_of(y);
      const int e = int(bits >> 23) - 127;
      if (e >= 1 - int(s_)) {
        level = uint32_t(int(s_) + e), threshold = (bits & 0x7fffffu) << 8;
      } else {
        level = 0, threshold = uint32_t(y * power_of_two(int(s_) - 1) * 0x1p31f);
      }
    } else {
      const float scaled = y * float(s_);
      level = uint32_t(scaled), threshold = uint32_t((scaled - float(level)) * 0x1p31f);
    }
    if (nearest_) threshold &= kHalf;
    const uint32_t high = threshold >> 23;
    bool up = upper < high;
    if (upper == high && (threshold & 0x7fffffu)) {
      draw.domain = kLowerDomain;
      up = philox(uint32_t(i / 4), draw).w[i % 4] >> 9 < (threshold & 0x7fffffu);
    }
    level += up;
    if (!level) return;
    indices[found_] = uint32_t(i);
    levels[found_++] = level | (bits_of(p[i]) & kNegative);
  }

  size_t code(const uint32_t* indices, const uint32_t* levels, uint8_t* out, Payload* payload) const {
    const int b = rice_parameter(d_, found_);
    uint64_t bits = uint64_t(found_) * uint64_t(b + 2);
    for (uint32_t i = 0, next = 0; i < found_; next = indices[i++] + 1) {
      bits += (indices[i] - next) >> b;
      if (s_ > 1) bits += uint64_t(2 * floor_log2(levels[i] & ~kNegative) + 1);
    }
    BitWriter writer(out);
    if (uint64_t(d_) * width_ < bits) {
      payload->flags |= kDense;
      uint32_t next = 0;
      for (uint32_t i = 0; i < found_; next = indices[i++] + 1) {
        writer.zeros(uint64_t(indices[i] - next) * width_);
        writer.put(2 * (levels[i] & ~kNegative) - 1 + (levels[i] >> 31), width_);
      }
      writer.zeros(uint64_t(d_ - next) * width_);
      return writer.finish();
    }
    for (uint32_t i = 0, next = 0; i < found_; next = indices[i++] + 1) {
      writer.rice(indices[i] - next, b);
      s_ > 1 ? writer.signed_gamma(levels[i] & ~kNegative, levels[i] >> 31) : writer.put(levels[i] >> 31, 1);
    }
    return writer.finish();
  }

  static bool check_norms(const uint8_t* data, size_t count, Refusal* why) {
    for (size_t i = 0; i < count; ++i) {
      uint32_t bits;
      std::memcpy(&bits, data + 4 * i, 4);
      if (bits >= kInfinityBits) return refuse(why, Code::NORM);
    }
    return true;
  }

  bool read_dense(const Header& h, const uint8_t* data, size_t bytes, uint32_t* indices, uint32_t* levels,
                  Refusal* why) const {
    if (bytes != words_of(uint64_t(h.d) * width_)) return refuse(why, Code::PAYLOAD);
    BitReader bits(data, bytes);
    uint32_t count = 0;
    for (uint32_t i = 0; i < h.d; ++i) {
      uint32_t code = 0;
      bits.take(width_, &code);
      if (!code) continue;
      if (code > 2 * s_) return refuse(why, Code::CODE);
      if (count < h.count) {
        indices[count] = i;
        levels[count] = (code + 1) / 2 | (code % 2 ? 0 : kNegative);
      }
      ++count;
    }
    if (count != h.count) return refuse(why, Code::ENTRIES);
    return bits.padding() || refuse(why, Code::PADDING);
  }

  // The same as short_entry(), of any length; false if it does not end, or the gap is not below `past`.
  __attribute__((noinline)) bool long_entry(BitReader* bits, uint64_t past, int b, uint64_t* gap, uint32_t* sign,
                                            uint32_t* level) const {
    uint32_t low = 0;
    *gap = bits->rice(past, b);
    *level = 1;
    if (*gap >= past || !bits->take(1, sign)) return false;
    if (s_ == 1) return true;
    const uint64_t n = bits->zeros(20);
    if (n > 20 || !bits->take(int(n), &low)) return false;
    *level = 1u << n | low;
    return true;
  }

  bool read_sparse(const Header& h, const uint8_t* data, size_t bytes, uint32_t* indices, uint32_t* levels,
                   Refusal* why) const {
    BitReader bits(data, bytes);
    const int b = rice_parameter(h.d, h.count);
    uint64_t next = 0;
    for (uint32_t i = 0; i < h.count; ++i) {
      uint64_t gap;
      uint32_t sign = 0, level = 1;
      if (!bits.short_entry(b, s_ > 1, &gap, &sign, &level)) {
        BitReader copy = bits;  // so that the other stays in registers
        if (!long_entry(&copy, h.d - next, b, &gap, &sign, &level)) return refuse(why, Code::CODE);
        bits = copy;
      }
      const uint64_t index = next + gap;
      if (index >= h.d) return refuse(why, Code::CODE);
      if (level > s_) return refuse(why, Code::CODE);
      indices[i] = uint32_t(index);
      levels[i] = level | (sign ? kNegative : 0);
      next = index + 1;
    }
    return bits.padding() || refuse(why, Code::PADDING);
  }

  const uint32_t s_, bucket_, seed_;
  const bool natural_, nearest_, l2_, encoded_;
  int width_;
  double squares_ = 0;
  uint32_t found_ = 0;
};

const Registered<Dithering> kRegistered("dithering", 4,
                                        {integer("k", 1, 1048576), choice("partition", {"linear", "natural"}),
                                         choice("normalize", {"max", "l2"}), integer("bucket", 0, 8192),
                                         later_choice("rounding", {"nearest"}), integer("seed", 0, kMaxUint32),
                                         choice("reply", {"lossless", "encoded"})});

}  // namespace

}  // namespace bgc
