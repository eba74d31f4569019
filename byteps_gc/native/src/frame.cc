#include "frame.h"

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

bool fail(std::string* why, std::string text) {
  *why = std::move(text);
  return false;
}

}  // namespace

void write_frame(const Header& header, uint8_t* out) {
  std::memcpy(out, "BGC", 3);
  out[3] = kVersion;
  fields(header, [out](size_t at, const auto& field) { std::memcpy(out + at, &field, sizeof field); });
  const uint32_t crc = checksum(out, header.length);
  std::memcpy(out + kHeader - 4, &crc, 4);
}

bool read_frame(const uint8_t* data, size_t size, Header* header, std::string* why) {
  if (size < kHeader) return fail(why, "a frame of " + std::to_string(size) + " bytes is shorter than its header");
  if (std::memcmp(data, "BGC", 3) != 0) return fail(why, "a frame without the magic BGC");
  if (data[3] != kVersion)
    return fail(why, "a frame of version " + std::to_string(data[3]) +
                         "; this process has version " + std::to_string(kVersion));
  fields(*header, [data](size_t at, auto& field) { std::memcpy(&field, data + at, sizeof field); });
  const Header& h = *header;
  if (h.length != size - kHeader)
    return fail(why, "a payload length of " + std::to_string(size - kHeader) + " bytes instead of " +
                         std::to_string(h.length));
  uint32_t crc;
  std::memcpy(&crc, data + kHeader - 4, 4);
  if (crc != checksum(data, h.length)) return fail(why, "a frame with a wrong checksum");
  if (h.flags & ~kFlags) return fail(why, "a frame with unknown flags");
  if (!std::isfinite(h.eta) || h.eta < 0) return fail(why, "a learning rate that is negative or not finite");
  if (!std::isfinite(h.scale) || h.scale < 0) return fail(why, "a scale that is negative or not finite");
  if (h.flags & (kNonfinite | kError) && (h.count || h.scale != 0))
    return fail(why, "a NONFINITE or ERROR flag on a frame with entries");
  if (h.flags & kNonfinite && h.length) return fail(why, "a NONFINITE flag on a frame with a payload");
  if (h.flags & kError && (!(h.flags & kReply) || h.length > kMessage || h.flags & kNonfinite))
    return fail(why, "a malformed ERROR frame");
  return true;
}

}  // namespace bgc
