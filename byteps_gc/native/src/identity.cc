// identity: every element, as float16 or bfloat16 (as float32 a partition travels raw, without a codec).
#include "crc32c.h"
#include "dense.h"
#include "sparse.h"

namespace bgc {

namespace {

// Memory is slower than the conversion of a block, and than its checksum: each of the two prefetches half a block. The
// conversion of a block begins with kFetched values prefetched and ends with half a block fewer.
constexpr size_t kFetched = kBlock / 2 + 1024;

// Values are converted as they are scanned. The unit of float16 is that of the last step, or of the largest value so
// far; values before the largest of all that were converted in a smaller unit than its own are scanned again.
class Identity : public DenseCodec {
 public:
  explicit Identity(const Options& o) : DenseCodec(o), as_(narrow_type(o)) {}
  static const char* wrong(const Options& o) { return wrong_narrow(o); }
  uint16_t fixed_flags() const override { return flag_of(as_); }
  size_t max_payload(size_t d) const override { return d * value_size(as_); }
  Reads reads() const override { return kNothing; }
  bool writes_in_place() const override { return true; }

  void begin(uint32_t d) override {
    Codec::begin(d);
    stale_ = 0;
    crc_ = tail_crc_ = 0;
  }
  void write_to(uint8_t* out) override { out_ = out; }

  void scan(const float* x, size_t offset, size_t n) override {
    uint8_t* out = out_ + 2 * offset;
    if (as_ == Narrow::kBfloat16) {
      convert(x, n, out, [](F8 value, uint8_t* to) { store_bfloat16(value, to); });
    } else {
      convert_to_half(x, n, out);
      if (most_ < limit_of(as_) && largest_exponent() > exponent_) {
        exponent_ = largest_exponent(), stale_ = offset, crc_ = 0;
        convert_to_half(x, n, out);
      }
    }
    const float* soon = x + n + kFetched - n / 2;
    crc_ = crc32c_more(crc_, out, 2 * n, [&soon](const uint8_t*) { __builtin_prefetch(soon), soon += 16; });
  }

  size_t again() override {
    if (as_ != Narrow::kHalf || most_ >= limit_of(as_)) return 0;
    if (most_ && largest_exponent() < exponent_) exponent_ = largest_exponent(), stale_ = d_, crc_ = 0;
    if (stale_) tail_crc_ = crc_, crc_ = 0;
    return stale_;
  }

  void settle(float*) override {}  // feed() computes what was lost
  void feed(const float* x, const float* last, size_t n, float scale, float ratio, bool stream, float* next,
            float* out) const override {
    const F8 unit = F8::all(scale), inverse = F8::all(1 / scale);
    if (as_ == Narrow::kHalf)
      feed_blocks(x, last, n, ratio, stream, next, out,
                  [unit, inverse](F8 p) { return p - through_half(p * inverse) * unit; });
    else
      feed_blocks(x, last, n, ratio, stream, next, out, [](F8 p) { return p - through_bfloat16(p); });
  }

  bool write(const Header& h, const uint8_t* payload, float* out, Refusal* why) const override {
    if (!accepts(h, payload, why)) return false;
    const auto begin = reinterpret_cast<const uint8_t*>(out);
    if (payload >= begin + size_t(h.d) * 4 || payload + h.length <= begin)
      read_values(h, payload, h.d, out);
    else
      write_over(h, payload, out);
    return true;
  }

 protected:
  bool encode(const float*, const Draw&, uint8_t*, Payload* payload) override {
    if (most_ >= limit_of(as_)) return false;
    if (as_ == Narrow::kHalf) payload->scale = power_of_two(half_exponent(float_of(most_)));
    payload->flags |= flag_of(as_);
    payload->summed = true;
    payload->crc = stale_ ? crc32c_zeros(crc_, 2 * (d_ - stale_)) ^ tail_crc_ : crc_;
    return true;
  }
  bool check(const Header& h, const uint8_t*, Refusal* why) const override {
    const uint16_t limit = as_ == Narrow::kHalf ? half_limit(h.scale) : uint16_t(kInfinityBits >> 16);
    return h.largest < limit || refuse(why, Code::VALUE);
  }
  void decode_block(const Header& h, const uint8_t* payload, size_t offset, size_t n, float* out) const override {
    read_values(h, payload + 2 * offset, n, out);
  }
  void add_block(const Header& h, const uint8_t* payload, size_t offset, size_t n, float* out) const override {
    if (as_ == Narrow::kHalf)
      add_half(payload + 2 * offset, n, h.scale, out);
    else
      add_bfloat16(payload + 2 * offset, n, out);
  }

 private:
  // The payload stands behind a header where the values go: from the last block to the first, each copied.
  static void write_over(const Header& h, const uint8_t* payload, float* out) {
    alignas(64) uint8_t part[2 * kBlock];
    for (size_t end = h.d; end;) {
      const size_t offset = (end - 1) / kBlock * kBlock;
      std::memcpy(part, payload + 2 * offset, 2 * (end - offset));
      read_values(h, part, end - offset, out + offset);
      end = offset;
    }
  }

  // Stores n values, rounded up to a multiple of 32, and keeps the largest of them all.
  template <typename Store>
  void convert(const float* x, size_t n, uint8_t* out, Store store) {
    Magnitudes most[4] = {Magnitudes::none(), Magnitudes::none(), Magnitudes::none(), Magnitudes::none()};
    for (size_t i = 0; i < n; i += kLanes) {
      __builtin_prefetch(x + kFetched + i / 2);
      for (int j = 0; j < 4; ++j) {
        most[j] = most[j].max(Magnitudes::of(x + i + 8 * j));
        store(F8::load(x + i + 8 * j), out + 2 * (i + 8 * j));
      }
    }
    const uint32_t bits = largest(most[0].max(most[1]).max(most[2].max(most[3])));
    if (bits > most_) most_ = bits;
  }
  void convert_to_half(const float* x, size_t n, uint8_t* out) {
    const F8 factor = F8::all(power_of_two(-exponent_));
    convert(x, n, out, [factor](F8 value, uint8_t* to) { store_halves(value * factor, to); });
  }

  // of the values so far; zeros have any
  int largest_exponent() const { return most_ ? half_exponent(float_of(most_)) : -126; }

  const Narrow as_;
  uint8_t* out_ = nullptr;
  int exponent_ = -126;  // of the unit of what is converted
  size_t stale_ = 0;     // values from the first on that were converted in another
  uint32_t crc_ = 0, tail_crc_ = 0;  // of what was converted since, from and to zeros
};

const Registered<Identity> kRegistered("identity", 5, {flag("half"), later_flag("bfloat16")});

}  // namespace

}  // namespace bgc
