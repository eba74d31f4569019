// Payloads of some of the elements: indices as a Rice stream, then values.
#pragma once

#include "bits.h"
#include "codec.h"
#include "half.h"

namespace bgc {

// the most bytes that the indices of `count` of d elements take
inline size_t most_index_bytes(size_t d, size_t count) {
  const int b = rice_parameter(d, count);
  return words_of(count * uint64_t(1 + b) + (uint64_t(d - count) >> b));
}

// Writes ascending indices; returns the bytes.
size_t write_indices(const uint32_t* indices, size_t count, size_t d, uint8_t* out);
// Reads exactly `bytes` bytes of `count` ascending indices below d.
bool read_indices(const uint8_t* data, size_t bytes, size_t d, size_t count, uint32_t* indices, Refusal* why);

// As what values travel.
enum class Narrow { kNot, kHalf, kBfloat16 };
inline Narrow narrow_type(const Options& o) {
  return o.flag("half") ? Narrow::kHalf : o.flag("bfloat16") ? Narrow::kBfloat16 : Narrow::kNot;
}
inline const char* wrong_narrow(const Options& o) {
  return o.flag("half") && o.flag("bfloat16") ? "bfloat16" : nullptr;
}
inline uint16_t flag_of(Narrow as) { return as == Narrow::kHalf ? kHalf : as == Narrow::kBfloat16 ? kBfloat16 : 0; }
inline size_t value_size(Narrow as) { return as == Narrow::kNot ? 4 : 2; }
// The least magnitude, as bits, that is infinite, or is read as infinite.
inline uint32_t limit_of(Narrow as) {
  return as == Narrow::kHalf ? kHalfLimit : as == Narrow::kBfloat16 ? kBfloat16Limit : kInfinityBits;
}

// Writes values as float32, as float16 in units of payload->scale or as bfloat16; sets scale and flags. Returns the
// bytes, 0 if a value is not finite, or would be read so. `sent` receives what a reader reads (it may be `values`).
size_t write_values(const float* values, size_t count, Narrow as, uint8_t* out, Payload* payload, float* sent);
// Checks that all values are finite, also times their unit.
bool check_values(const Header& header, const uint8_t* data, size_t count, Refusal* why);
void read_values(const Header& header, const uint8_t* data, size_t count, float* values);
// Does both, in one pass if they travel as float32.
bool read_checked(const Header& header, const uint8_t* data, size_t count, float* values, Refusal* why);

inline size_t value_bytes(uint16_t flags, size_t count) { return count * (flags & (kHalf | kBfloat16) ? 2 : 4); }

// The sum of sparse arrays, which remembers which elements it has. One at a time in each thread.
class Union {
 public:
  explicit Union(uint32_t d);
  // Adds entries; `first` is the index of element 0.
  void add(const uint32_t* indices, const float* values, size_t count, uint32_t first = 0);
  // Writes the entries' indices and values (float32); false if that takes more than `most` bytes.
  bool write(size_t most, uint8_t* out, Payload* payload);
  // Writes all d values.
  void write_dense(float* out) const;

 private:
  uint32_t d_;
  float* sums_;
  uint64_t* present_;
};

// A codec of entries: what its pushes say is decoded into indices and values.
class SparseCodec : public Codec {
 public:
  using Codec::Codec;
  Reads reads() const override { return kSome; }
  bool write(const Header& header, const uint8_t* payload, float* out, Refusal* why) const override;
  bool add(const Header& header, const uint8_t* payload, float* out, Refusal* why) const override;
  bool keep(const uint8_t* payload, Push* push, Refusal* why) const override;
  bool encoded_reply() const override { return false; }
  void sum_block(const Pushes& pushes, size_t offset, size_t n, float* out) const override;
  bool merge(const Pushes& pushes, size_t most, uint8_t* out, Payload* payload) const override;
  void merge_dense(const Pushes& pushes, float* out) const override;
  void settle(float* p) override;

 protected:
  // Decodes a payload into header.count indices and values; false, with the reason, if it is malformed.
  virtual bool entries(const Header& header, const uint8_t* payload, uint32_t* indices, float* values,
                       Refusal* why) const = 0;
  // The same for a reply that is a union.
  static bool union_entries(const Header& header, const uint8_t* payload, uint32_t* indices, float* values,
                            Refusal* why);

  // what the last finish() sent
  uint32_t sent_count_ = 0;
  const uint32_t* sent_indices_ = nullptr;
  const float* sent_values_ = nullptr;

 private:
  bool read(const Header& header, const uint8_t* payload, uint32_t** indices, float** values, Refusal* why) const;
};

// What topk and randomk share: how many elements travel, and as what.
class KeepingCodec : public SparseCodec {
 public:
  explicit KeepingCodec(const Options& o) : SparseCodec(o), as_(narrow_type(o)), k_(o.number("k")) {}
  uint16_t fixed_flags() const override { return flag_of(as_); }
  static std::vector<Rule> rules() { return {bgc::number("k", 0, kMaxUint32), flag("half"), later_flag("bfloat16")}; }
  static const char* wrong(const Options& o) {
    const double k = o.number("k");
    return k > 0 && (k < 1 || k == std::floor(k)) ? wrong_narrow(o) : "k";
  }

 protected:
  // how many of d elements travel
  uint32_t kept(uint32_t d) const {
    const double wanted = k_ < 1 ? std::floor(k_ * double(d) + 0.5) : k_;
    return wanted < 1 ? 1 : wanted > double(d) ? d : uint32_t(wanted);
  }
  size_t value_size() const { return bgc::value_size(as_); }

  const Narrow as_;

 private:
  const double k_;
};

}  // namespace bgc
