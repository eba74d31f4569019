// topk: the k elements that are largest in magnitude (arXiv 1809.07599).
#include "sparse.h"

namespace bgc {

namespace {

constexpr size_t kSample = 64;  // the threshold is estimated from one element in 64

class TopK : public KeepingCodec {
 public:
  using KeepingCodec::KeepingCodec;
  size_t max_payload(size_t d) const override {
    const size_t k = kept(uint32_t(d));
    return most_index_bytes(d, k) + k * value_size();
  }

  void begin(uint32_t d) override {
    Codec::begin(d);
    found_ = 0;
    threshold_ = hint_;
    indices_ = scratch<uint32_t>(Scratch::kSent).reserve(d);
    bits_ = scratch<uint32_t>(Scratch::kLevels).reserve(d);
  }

  // Collects candidates while the values are in the cache, if the last step has left a hint.
  void scan(const float* x, size_t offset, size_t n) override {
    Magnitudes most = Magnitudes::none();
    for (size_t i = 0; i < n; i += kLanes, ahead(x + i)) {
      Magnitudes group[4];
      for (int j = 0; j < 4; ++j) group[j] = Magnitudes::of(x + i + 8 * j);
      const Magnitudes largest = group[0].max(group[1]).max(group[2].max(group[3]));
      most = most.max(largest);
      if (threshold_ && largest.any_from(threshold_)) collect(x + i, offset + i, n - i < kLanes ? n - i : kLanes);
    }
    const uint32_t bits = bgc::largest(most);
    if (bits > most_) most_ = bits;
  }

  bool finish(const float* p, const Draw&, uint8_t* out, Payload* payload) override {
    if (most_ >= kInfinityBits) return false;
    const uint32_t k = kept(d_);
    if (!threshold_ || found_ < k) search(p, k);
    const uint32_t last = select(k);
    hint_ = bits_of(float_of(last) * 0.75f);
    float* values = scratch<float>(Scratch::kSent).reserve(k);
    for (uint32_t i = 0; i < k; ++i) values[i] = p[indices_[i]];
    payload->count = k;
    const size_t stream = write_indices(indices_, k, d_, out);
    const size_t bytes = write_values(values, k, as_, out + stream, payload, values);
    if (!bytes) return false;
    payload->length = uint32_t(stream + bytes);
    sent_count_ = k, sent_indices_ = indices_, sent_values_ = values;
    return true;
  }

 protected:
  bool entries(const Header& h, const uint8_t* payload, uint32_t* indices, float* values,
               Refusal* why) const override {
    const uint32_t k = kept(h.d);
    if (h.flags & kReply ? h.count < k : h.count != k) return refuse(why, Code::COUNT);
    if (h.flags & kReply) return union_entries(h, payload, indices, values, why);
    const size_t bytes = value_bytes(h.flags, h.count);
    if (h.length < bytes || (h.length - bytes) % 4) return refuse(why, Code::PAYLOAD);
    const size_t stream = h.length - bytes;
    if (!read_indices(payload, stream, h.d, h.count, indices, why)) return false;
    return read_checked(h, payload + stream, h.count, values, why);
  }

 private:
  void collect(const float* x, size_t offset, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      const uint32_t bits = bits_of(x[i]) & 0x7fffffffu;
      indices_[found_] = uint32_t(offset + i);
      bits_[found_] = bits;
      found_ += bits >= threshold_;
    }
  }

  // Collects candidates without a hint, or after a bad one, by a threshold that is estimated from a sample. If that
  // threshold is too high, all elements are candidates.
  void search(const float* p, uint32_t k) {
    const size_t sampled = d_ / kSample;
    threshold_ = 0;
    if (sampled >= kSample) {
      for (size_t i = 0; i < sampled; ++i) bits_[i] = bits_of(p[i * kSample]) & 0x7fffffffu;
      found_ = uint32_t(sampled);
      const size_t wanted = size_t(k) * 3 / 2 / kSample + 8;
      if (wanted < sampled) threshold_ = kth(uint32_t(wanted)).value;
    }
    for (int attempt = 0; attempt < 2; ++attempt) {
      found_ = 0;
      for (size_t i = 0; i < d_; i += kBlock) collect(p + i, i, d_ - i < kBlock ? d_ - i : kBlock);
      if (found_ >= k) return;
      threshold_ = 0;
    }
  }

  struct Kth {
    uint32_t value, equals;  // the k-th largest, and how many of the k largest are equal to it
  };
  // Finds the k-th largest candidate, by the upper and then the lower 16 bits.
  Kth kth(uint32_t k) const {
    uint32_t* counts = scratch<uint32_t>(Scratch::kCounts).reserve(65536);
    std::memset(counts, 0, 65536 * 4);
    for (uint32_t i = 0; i < found_; ++i) ++counts[bits_[i] >> 16];
    uint32_t upper = 65535, left = k;
    while (counts[upper] < left) left -= counts[upper--];
    std::memset(counts, 0, 65536 * 4);
    for (uint32_t i = 0; i < found_; ++i) counts[bits_[i] & 65535] += bits_[i] >> 16 == upper;
    uint32_t lower = 65535;
    while (counts[lower] < left) left -= counts[lower--];
    return {upper << 16 | lower, left};
  }

  // Moves the k selected indices, ascending, to the front; returns the smallest selected magnitude.
  uint32_t select(uint32_t k) {
    Kth last = kth(k);
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < found_ && chosen < k; ++i) {
      const bool equal = bits_[i] == last.value && last.equals;
      last.equals -= equal;
      indices_[chosen] = indices_[i];
      chosen += bits_[i] > last.value || equal;
    }
    return last.value;
  }

  uint32_t hint_ = 0, threshold_ = 0, found_ = 0;
  uint32_t *indices_ = nullptr, *bits_ = nullptr;
};

const Registered<TopK> kRegistered("topk", 2, TopK::rules());

}  // namespace

}  // namespace bgc
