#include "partition.h"

#include "half.h"

namespace bgc {

namespace {

bool travels_raw(const Registration& r, const Codec& codec) {
  return kHeader + codec.max_payload(r.bytes / r.element()) > r.bytes - r.alignment();
}

}  // namespace

static bool refuse(std::string* why, const std::string& text) {
  *why = text;
  return false;
}

bool check_registration(const Texts& texts, int dtype, size_t bytes, int workers, Registration* r, std::string* why) {
  if (!read_options(texts, &r->options, why)) return false;
  if (dtype != kFloat32 && dtype != kFloat16)
    return refuse(why, "gradient dtype " + std::to_string(dtype) + " cannot be compressed, only float32 and float16");
  r->dtype = DType(dtype);
  if (bytes == 0 || bytes % r->alignment() || bytes > 0xffffffffu)
    return refuse(why, "invalid partition size of " + std::to_string(bytes) + " bytes");
  if (workers < 1 || workers >= kServer)
    return refuse(why, "unsupported number of workers: " + std::to_string(workers));
  r->bytes = bytes;
  r->workers = uint16_t(workers);
  return true;
}

Partition::Partition(const Registration& registration)
    : registration_(registration), codec_(make_codec(registration.options)), raw_(travels_raw(registration, *codec_)) {}

const float* Partition::wide(const void* data, size_t d) const {
  if (registration_.dtype == kFloat32) return static_cast<const float*>(data);
  float* values = scratch<float>(Scratch::kGradient).reserve(d);
  from_half(static_cast<const uint8_t*>(data), d, 1, values);
  return values;
}

void Partition::narrow(const float* values, size_t d, void* out) const {
  if (registration_.dtype == kFloat16)
    to_half(values, d, 1, static_cast<uint8_t*>(out));
  else if (values != out)
    std::memmove(out, values, d * sizeof(float));
}

bool Partition::check(const Header& h, bool reply, size_t elements, Refusal* why) const {
  if (h.codec != codec_->number()) return refuse(why, Code::CODEC);
  if (h.digest != registration_.options.digest) return refuse(why, Code::OPTIONS);
  if (h.dtype != registration_.dtype) return refuse(why, Code::DTYPE);
  if (elements ? h.d != elements : !registration_.allows(h.d))
    return refuse(why, Code::ELEMENTS, std::to_string(h.d) + " elements");
  if (h.workers != registration_.workers)
    return refuse(why, Code::WORKERS,
                  std::to_string(h.workers) + " instead of " + std::to_string(registration_.workers));
  const bool encoded = !reply || codec_->encoded_reply();
  uint16_t flags = encoded ? codec_->fixed_flags() : 0;
  uint16_t optional = (encoded ? codec_->optional_flags() : 0) | (reply ? 0 : kSkipped | kReset);
  if (h.flags & kNonfinite) flags = kNonfinite, optional &= kSkipped | kReset;
  if ((h.flags & ~optional) != (flags | (reply ? kReply : 0))) return refuse(why, Code::FLAGS);
  return true;
}

View Partition::seal(Header header, const Payload& payload) {
  header.codec = codec_->number();
  header.dtype = registration_.dtype;
  header.digest = registration_.options.digest;
  header.workers = registration_.workers;
  header.flags |= payload.flags;
  header.count = payload.count;
  header.scale = payload.scale;
  header.length = payload.length;
  uint8_t* frame = frame_.reserve(kHeader + payload.length);
  write_frame(header, frame, payload.summed ? &payload.crc : nullptr);
  return {frame, kHeader + payload.length};
}

}  // namespace bgc
