// The header in front of every payload (docs/wire_format.md, "Frame").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "refusals.h"

namespace bgc {

constexpr size_t kHeader = 48;
#ifndef BGC_VERSION
#define BGC_VERSION 1  // of frames and options; byteps_gc/compressors/options.py has the same
#endif
constexpr uint8_t kVersion = BGC_VERSION;
constexpr uint16_t kServer = 0xFFFF;
constexpr size_t kMessage = 200;  // bytes of an ERROR's text, at most

enum Flag : uint16_t {
  kReply = 1,
  kNonfinite = 2,
  kError = 4,
  kSkipped = 8,
  kDense = 16,
  kHalf = 32,
  kReset = 64,
  kBfloat16 = 128,
  kFlags = 255
};
enum DType : uint8_t { kFloat32 = 0, kFloat16 = 2 };

struct Header {
  uint8_t codec = 0, dtype = 0;
  uint16_t flags = 0;
  uint32_t d = 0, count = 0, step = 0;
  uint16_t worker = 0, workers = 0;
  uint32_t stream = 0, digest = 0;
  float eta = 0, scale = 0;
  uint32_t length = 0;  // of the payload, in bytes
  // Not in the frame. Of a payload that read_frame() has read: the largest of its words of 16 bits, without their
  // signs, if it has one for each element.
  uint16_t largest = 0xffff;
};

// Writes the header in front of the payload of header.length bytes that stands at out + kHeader.
// payload_crc: the payload's CRC-32C from and to zeros, or null: it is computed here.
void write_frame(const Header& header, uint8_t* out, const uint32_t* payload_crc = nullptr);

// Reads and checks what holds for every frame; false, with the reason, if something is wrong.
bool read_frame(const uint8_t* data, size_t size, Header* header, Refusal* why);

}  // namespace bgc
