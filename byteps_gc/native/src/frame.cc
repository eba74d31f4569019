#include "frame.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "crc32c.h"

namespace bgc {

namespace {

// The fields behind the magic, in their order; `move` writes or reads one.
template <typename H, typename Move>
void fields(H& h, Move move) {
  move(4, h.codec), move(5, h.dtype), move(6, h.flags), move(8, h.d), move(12, h.count), move(16, h.step);
  move(20, h.worker), move(22, h.workers), move(24, h.stream), move(28, h.digest), move(32, h.eta);
  move(36, h.scale), move(40, h.length);
}

uint32_t checksum(const uint8_t* frame, size_t length) {
  const uint32_t crc = crc32c_more(~0u, frame, kHeader - 4);
  return ~crc32c_more(crc, frame + kHeader, length);
}

// A frame's checksum, and the largest word of its payload, which is looked for while it is in the cache.
uint32_t checksum_of_words(const uint8_t* frame, size_t length, uint16_t* largest) {
  typedef int16_t Words __attribute__((vector_size(32)));
  Words most[2] = {};
  const uint8_t* payload = frame + kHeader;
  const uint32_t crc = crc32c_more(crc32c_more(~0u, frame, kHeader - 4), payload, length, [&most](const uint8_t* line) {
    for (Words& seen : most) {
      Words words;
      std::memcpy(&words, line, sizeof words);
      words &= 0x7fff;
      seen = words > seen ? words : seen;
      line += sizeof words;
    }
  });
  int16_t words[4 * 16] = {};
  std::memcpy(words, most, sizeof most);
  std::memcpy(words + 2 * 16, payload + length / 64 * 64, length % 64);
  *largest = 0;
  for (int16_t word : words) *largest = std::max(*largest, uint16_t(word & 0x7fff));
  return ~crc;
}

// The checksum of a frame with a payload whose CRC is known.
uint32_t joined_checksum(const uint8_t* frame, size_t length, uint32_t payload_crc) {
  return ~(crc32c_zeros(crc32c_more(~0u, frame, kHeader - 4), length) ^ payload_crc);
}

// Finite, at least 0, and not -0.
bool is_amount(float x) { return std::isfinite(x) && !std::signbit(x); }

std::string bytes(size_t n) { return std::to_string(n) + " bytes"; }

}  // namespace

void write_frame(const Header& header, uint8_t* out, const uint32_t* payload_crc) {
  std::memcpy(out, "BGC", 3);
  out[3] = kVersion;
  fields(header, [out](size_t at, const auto& field) { std::memcpy(out + at, &field, sizeof field); });
  const uint32_t crc = payload_crc ? joined_checksum(out, header.length, *payload_crc) : checksum(out, header.length);
  std::memcpy(out + kHeader - 4, &crc, 4);
}

bool read_frame(const uint8_t* data, size_t size, Header* header, Refusal* why) {
  if (size < kHeader) return refuse(why, Code::SHORT, bytes(size));
  if (std::memcmp(data, "BGC", 3) != 0) return refuse(why, Code::MAGIC);
  if (data[3] != kVersion)
    return refuse(why, Code::VERSION,
                  std::to_string(data[3]) + ", but this process has " + std::to_string(kVersion));
  fields(*header, [data](size_t at, auto& field) { std::memcpy(&field, data + at, sizeof field); });
  const Header& h = *header;
  if (h.length != size - kHeader)
    return refuse(why, Code::LENGTH, bytes(size) + " instead of " + std::to_string(kHeader + uint64_t(h.length)));
  uint32_t crc;
  std::memcpy(&crc, data + kHeader - 4, 4);
  const bool words = h.length == uint64_t(h.d) * 2;
  if (crc != (words ? checksum_of_words(data, h.length, &header->largest) : checksum(data, h.length)))
    return refuse(why, Code::CHECKSUM);
  if (h.flags & ~kFlags) return refuse(why, Code::UNKNOWN_FLAGS);
  if (!is_amount(h.eta)) return refuse(why, Code::INVALID_ETA);
  if (!is_amount(h.scale)) return refuse(why, Code::INVALID_SCALE);
  const bool empty = !h.count && h.scale == 0;
  if (h.flags & kNonfinite && !(empty && !h.length)) return refuse(why, Code::NONFINITE);
  if (h.flags & kError && !(h.flags == (kReply | kError) && empty && h.length <= kMessage))
    return refuse(why, Code::ERROR);
  return true;
}

}  // namespace bgc
