// randomk: k elements drawn at random, the same on all workers, so that only values travel.
#include "sparse.h"

namespace bgc {

namespace {

constexpr uint32_t kDomain = 1;

// k of d elements, uniformly and without replacement (Floyd), ascending
void draw_indices(uint32_t d, uint32_t k, Draw draw, uint32_t* out) {
  draw.worker = 0, draw.domain = kDomain;
  uint64_t* chosen = scratch<uint64_t>(Scratch::kDrawn).reserve(d / 64 + 1);
  std::memset(chosen, 0, (d / 64 + 1) * 8);
  Words words{};
  for (uint32_t t = 0; t < k; ++t) {
    const uint32_t j = d - k + t;
    if (t % 2 == 0) words = philox(t / 2, draw);
    const uint64_t u = words.w[t % 2 * 2] | uint64_t(words.w[t % 2 * 2 + 1]) << 32;
    uint32_t at = uint32_t(static_cast<unsigned __int128>(u) * (uint64_t(j) + 1) >> 64);
    if (chosen[at / 64] >> (at % 64) & 1) at = j;
    chosen[at / 64] |= uint64_t(1) << (at % 64);
  }
  for (size_t word = 0, n = 0; word <= d / 64; ++word)
    for (uint64_t rest = chosen[word]; rest; rest &= rest - 1)
      out[n++] = uint32_t(word * 64 + __builtin_ctzll(rest));
}

class RandomK : public KeepingCodec {
 public:
  explicit RandomK(const Options& o) : KeepingCodec(o), seed_(o.integer("seed")) {}
  static std::vector<Rule> rules() {
    std::vector<Rule> rules = KeepingCodec::rules();
    rules.push_back(integer("seed", 0, kMaxUint32));
    return rules;
  }
  size_t max_payload(size_t d) const override {
    return kept(uint32_t(d)) * value_size();
  }

  bool finish(const float* p, const Draw& draw, uint8_t* out, Payload* payload) override {
    if (most_ >= kInfinityBits) return false;
    const uint32_t k = kept(d_);
    uint32_t* indices = scratch<uint32_t>(Scratch::kSent).reserve(k);
    float* values = scratch<float>(Scratch::kSent).reserve(k);
    draw_indices(d_, k, seeded(draw), indices);
    const float factor = options_.feedback ? 1 : float(double(d_) / k);
    for (uint32_t i = 0; i < k; ++i) values[i] = p[indices[i]] * factor;
    payload->count = k;
    payload->length = uint32_t(write_values(values, k, as_, out, payload, values));
    sent_count_ = k, sent_indices_ = indices, sent_values_ = values;
    return payload->length != 0;
  }

  // Only values travel, and indices are all the same: a server needs none.
  bool keep(const uint8_t* payload, Push* push, Refusal* why) const override {
    if (!check(push->header, payload, why)) return false;
    read_values(push->header, payload, push->header.count, push->values.reserve(push->header.count));
    return true;
  }
  bool merge(const Pushes& pushes, size_t most, uint8_t* out, Payload* payload) const override {
    float* sums = summed(pushes);
    payload->count = pushes[0]->header.count;
    payload->length = uint32_t(write_values(sums, payload->count, Narrow::kNot, out, payload, sums));
    if (!payload->length) payload->flags = kNonfinite;
    return payload->length <= most;
  }
  void merge_dense(const Pushes& pushes, float* out) const override {
    const Header& h = pushes[0]->header;
    const float* sums = summed(pushes);
    uint32_t* indices = scratch<uint32_t>(Scratch::kEntries).reserve(h.count);
    draw_indices(h.d, h.count, drawn(h), indices);
    std::memset(out, 0, size_t(h.d) * 4);
    for (uint32_t i = 0; i < h.count; ++i) out[indices[i]] = sums[i];
  }

 protected:
  bool entries(const Header& h, const uint8_t* payload, uint32_t* indices, float* values,
               Refusal* why) const override {
    if (!check(h, payload, why)) return false;
    draw_indices(h.d, h.count, drawn(h), indices);
    read_values(h, payload, h.count, values);
    return true;
  }

 private:
  bool check(const Header& h, const uint8_t* payload, Refusal* why) const {
    if (h.count != kept(h.d)) return refuse(why, Code::COUNT);
    if (h.length != value_bytes(h.flags, h.count)) return refuse(why, Code::PAYLOAD);
    return check_values(h, payload, h.count, why);
  }
  static float* summed(const Pushes& pushes) {
    const uint32_t k = pushes[0]->header.count;
    float* sums = scratch<float>(Scratch::kSent).reserve(k);
    std::memcpy(sums, pushes[0]->values.get(), size_t(k) * 4);
    for (size_t w = 1; w < pushes.size(); ++w)
      for (uint32_t i = 0; i < k; ++i) sums[i] += pushes[w]->values.get()[i];
    return sums;
  }
  Draw drawn(const Header& h) const { return seeded({0, h.stream, h.step, 0, 0}); }
  Draw seeded(Draw draw) const {
    draw.seed = seed_;
    return draw;
  }

  const uint32_t seed_;
};

const Registered<RandomK> kRegistered("randomk", 3, RandomK::rules());

}  // namespace

}  // namespace bgc
