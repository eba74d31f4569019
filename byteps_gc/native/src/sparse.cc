#include "sparse.h"

#include <algorithm>

#include "rice_bytes.h"

namespace bgc {

size_t write_indices(const uint32_t* indices, size_t count, size_t d, uint8_t* out) {
  BitWriter bits(out);
  const int b = rice_parameter(d, count);
  uint32_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    bits.rice(indices[i] - next, b);
    next = indices[i] + 1;
  }
  return bits.finish();
}

bool read_indices(const uint8_t* data, size_t bytes, size_t d, size_t count, uint32_t* indices, Refusal* why) {
  const int b = rice_parameter(d, count);
  RiceBytes::Position at;
  if (b <= RiceBytes::kMost) at = RiceBytes::of(b).read(data, bytes, count, indices);
  BitReader bits(data + at.bytes, bytes - at.bytes);
  size_t i = at.indices;
  uint64_t next = at.next;
  if (at.missing) {
    uint32_t rest;
    if (!bits.take(at.missing, &rest)) return refuse(why, Code::CODE);
    next += uint64_t(rest) << (b - at.missing);
    indices[i++] = uint32_t(next++);
  }
  if (next > d) return refuse(why, Code::CODE);
  for (; i < count; ++i) {
    const uint64_t index = next + bits.rice(d - next, b);
    if (index >= d) return refuse(why, Code::CODE);
    indices[i] = uint32_t(index);
    next = index + 1;
  }
  return bits.padding() || refuse(why, Code::PADDING);
}

size_t write_values(const float* values, size_t count, Narrow as, uint8_t* out, Payload* payload, float* sent) {
  const uint32_t limit = limit_of(as);
  float most = 0;
  bool finite = true;
  for (size_t i = 0; i < count; ++i) {
    const float a = __builtin_fabsf(values[i]);
    most = a > most ? a : most;
    finite &= bits_of(a) < limit;
  }
  if (!finite) return 0;
  payload->scale = 1;
  payload->flags |= flag_of(as);
  if (as == Narrow::kNot) {
    std::memcpy(out, values, count * 4);
    if (sent != values) std::memcpy(sent, values, count * 4);
    return count * 4;
  }
  if (as == Narrow::kBfloat16) {
    to_bfloat16(values, count, out);
    from_bfloat16(out, count, sent);
    return count * 2;
  }
  const int e = half_exponent(most);
  payload->scale = power_of_two(e);
  to_half(values, count, power_of_two(-e), out);
  from_half(out, count, payload->scale, sent);
  return count * 2;
}

// Whether all numbers' masked bits are below a limit.
template <typename T>
static bool below(const uint8_t* data, size_t count, T mask, T limit) {
  T most = 0;
  for (size_t i = 0; i < count; ++i) {
    T bits;
    std::memcpy(&bits, data + i * sizeof(T), sizeof(T));
    bits &= mask;
    most = bits > most ? bits : most;
  }
  return most < limit;
}

bool check_values(const Header& h, const uint8_t* data, size_t count, Refusal* why) {
  const bool finite = h.flags & kHalf       ? below<uint16_t>(data, count, 0x7fff, half_limit(h.scale))
                      : h.flags & kBfloat16 ? below<uint16_t>(data, count, 0x7fff, kInfinityBits >> 16)
                                            : below<uint32_t>(data, count, 0x7fffffff, kInfinityBits);
  return finite || refuse(why, Code::VALUE);
}

void read_values(const Header& h, const uint8_t* data, size_t count, float* values) {
  if (h.flags & kHalf)
    from_half(data, count, h.scale, values);
  else if (h.flags & kBfloat16)
    from_bfloat16(data, count, values);
  else
    std::memcpy(values, data, count * 4);
}

bool read_checked(const Header& h, const uint8_t* data, size_t count, float* values, Refusal* why) {
  if (h.flags & (kHalf | kBfloat16)) {
    if (!check_values(h, data, count, why)) return false;
    read_values(h, data, count, values);
    return true;
  }
  uint32_t most = 0;
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, data + 4 * i, 4);
    std::memcpy(values + i, &bits, 4);
    bits &= 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  return most < kInfinityBits || refuse(why, Code::VALUE);
}

Union::Union(uint32_t d)
    : d_(d),
      sums_(scratch<float>(Scratch::kUnion).reserve(d)),
      present_(scratch<uint64_t>(Scratch::kUnion).reserve(d / 64 + 1)) {
  std::memset(present_, 0, (d / 64 + 1) * 8);
}

void Union::add(const uint32_t* indices, const float* values, size_t count, uint32_t first) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t at = indices[i] - first;
    const uint64_t bit = uint64_t(1) << (at % 64);
    sums_[at] = present_[at / 64] & bit ? sums_[at] + values[i] : values[i];
    present_[at / 64] |= bit;
  }
}

bool Union::write(size_t most, uint8_t* out, Payload* payload) {
  uint32_t* indices = scratch<uint32_t>(Scratch::kUnion).reserve(d_);
  size_t count = 0;
  for (size_t word = 0; word <= d_ / 64; ++word)
    for (uint64_t rest = present_[word]; rest; rest &= rest - 1)
      indices[count++] = uint32_t(word * 64 + __builtin_ctzll(rest));
  bool finite = true;
  for (size_t i = 0; i < count; ++i) finite &= (bits_of(sums_[indices[i]]) & 0x7fffffffu) < kInfinityBits;
  if (!finite) {
    payload->flags = kNonfinite;
    return true;
  }
  if (count * 4 > most) return false;
  const size_t bytes = write_indices(indices, count, d_, out);
  if (bytes + count * 4 > most) return false;
  for (size_t i = 0; i < count; ++i) std::memcpy(out + bytes + 4 * i, sums_ + indices[i], 4);
  payload->count = uint32_t(count);
  payload->scale = 1;
  payload->length = uint32_t(bytes + count * 4);
  return true;
}

void Union::write_dense(float* out) const {
  for (size_t i = 0; i < d_; ++i) out[i] = present_[i / 64] >> (i % 64) & 1 ? sums_[i] : 0;
}

void SparseCodec::settle(float* p) {
  for (uint32_t i = 0; i < sent_count_; ++i) p[sent_indices_[i]] -= sent_values_[i];
}

bool SparseCodec::union_entries(const Header& h, const uint8_t* payload, uint32_t* indices, float* values,
                                Refusal* why) {
  if (h.length < uint64_t(h.count) * 4 || h.length % 4) return refuse(why, Code::PAYLOAD);
  const size_t bytes = h.length - size_t(h.count) * 4;
  if (!read_indices(payload, bytes, h.d, h.count, indices, why)) return false;
  return read_checked(h, payload + bytes, h.count, values, why);
}

bool SparseCodec::read(const Header& h, const uint8_t* payload, uint32_t** indices, float** values,
                       Refusal* why) const {
  if (h.count > h.d) return refuse(why, Code::COUNT);
  *indices = scratch<uint32_t>(Scratch::kEntries).reserve(h.count);
  *values = scratch<float>(Scratch::kEntries).reserve(h.count);
  return entries(h, payload, *indices, *values, why);
}

bool SparseCodec::write(const Header& h, const uint8_t* payload, float* out, Refusal* why) const {
  uint32_t* indices;
  float* values;
  if (!read(h, payload, &indices, &values, why)) return false;
  constexpr size_t kZeros = 1024;  // zeros that values overwrite while they are in the first-level cache
  uint32_t i = 0;
  for (size_t offset = 0; offset < h.d; offset += kZeros) {
    const size_t end = std::min<size_t>(offset + kZeros, h.d);
    std::memset(out + offset, 0, (end - offset) * 4);
    for (; i < h.count && indices[i] < end; ++i) out[indices[i]] = values[i];
  }
  return true;
}

bool SparseCodec::add(const Header& h, const uint8_t* payload, float* out, Refusal* why) const {
  uint32_t* indices;
  float* values;
  if (!read(h, payload, &indices, &values, why)) return false;
  for (uint32_t i = 0; i < h.count; ++i) out[indices[i]] += values[i];
  return true;
}

bool SparseCodec::keep(const uint8_t* payload, Push* push, Refusal* why) const {
  const Header& h = push->header;
  if (h.count > h.d) return refuse(why, Code::COUNT);
  return entries(h, payload, push->indices.reserve(h.count), push->values.reserve(h.count), why);
}

static Union united(const Pushes& pushes) {
  Union sum(pushes[0]->header.d);
  for (const Push* push : pushes) sum.add(push->indices.get(), push->values.get(), push->header.count);
  return sum;
}

bool SparseCodec::merge(const Pushes& pushes, size_t most, uint8_t* out, Payload* payload) const {
  return united(pushes).write(most, out, payload);
}

void SparseCodec::sum_block(const Pushes& pushes, size_t offset, size_t n, float* out) const {
  Union sum{uint32_t(n)};
  for (const Push* push : pushes) {
    const uint32_t *begin = push->indices.get(), *end = begin + push->header.count;
    const uint32_t* first = std::lower_bound(begin, end, uint32_t(offset));
    const uint32_t* last = std::lower_bound(first, end, uint32_t(offset + n));
    sum.add(first, push->values.get() + (first - begin), size_t(last - first), uint32_t(offset));
  }
  sum.write_dense(out);
}

void SparseCodec::merge_dense(const Pushes& pushes, float* out) const { united(pushes).write_dense(out); }

}  // namespace bgc
