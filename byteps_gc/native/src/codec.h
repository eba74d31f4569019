// What a compressor computes, for one partition of one gradient (docs/wire_format.md, "Codecs").
//
// Encoding streams: the values come in blocks of kBlock elements while they are in
// the processor's cache (scan), then the payload is written (finish). Scratch
// belongs to the thread, states to the wrappers: a codec keeps only hints that
// make the next step faster and never change its result.
#pragma once

#include <memory>
#include <string>

#include "frame.h"
#include "memory.h"
#include "options.h"
#include "philox.h"
#include "sums.h"

namespace bgc {

struct Payload {
  uint32_t count = 0, length = 0;
  float scale = 0;
  uint16_t flags = 0;
};

// Stores eight values past the cache where `stream` says so: nobody reads them before the next step.
inline void keep(F8 value, bool stream, float* out) { stream ? value.stream(out) : value.store(out); }

template <typename Lost>
inline void feed_blocks(const float* x, const float* last, size_t n, float ratio, bool stream, float* next, float* out,
                        Lost lost) {
  const F8 r = F8::all(ratio);
  for (size_t i = 0; i < n; i += 8) {  // states have room behind their end
    const F8 p = F8::load(x + i) + r * lost(F8::load(last + i));
    keep(p, stream, next + i);
    p.store(out + i);
  }
}

class Codec {
 public:
  explicit Codec(const Options& options) : options_(options) {}
  virtual ~Codec() = default;
  virtual uint8_t number() const = 0;

  // the most bytes that a push of d elements takes
  virtual size_t max_payload(size_t d) const = 0;

  virtual void begin(uint32_t d) { d_ = d, most_ = 0; }
  // n values from `offset` on, readable and zero up to the next multiple of 32
  virtual void scan(const float* x, size_t offset, size_t n) = 0;
  // Writes the payload of p, all d values of which were scanned; false if one is not finite.
  virtual bool finish(const float* p, const Draw& draw, uint8_t* out, Payload* payload) = 0;
  // How much of p finish() reads again: nothing, single elements, or everything.
  enum Reads { kNothing, kSome, kAll };
  virtual Reads reads() const = 0;

  // What was lost of the last p, in one of two ways: settle() leaves it in p, or feed() computes it from p and the
  // scale, one step later and one pass over memory cheaper.
  virtual void settle(float* p) { (void)p; }
  // One block of error feedback: now = x + ratio * (what was lost of `last`). Stores it in `next`, where `stream`
  // past the cache, and in out, which may be x.
  virtual void feed(const float* x, const float* last, size_t n, float scale, float ratio, bool stream, float* next,
                    float* out) const {
    (void)scale;
    feed_blocks(x, last, n, ratio, stream, next, out, [](F8 lost) { return lost; });
  }

  // Checks a payload completely; false with the reason.
  virtual bool check(const Header& header, const uint8_t* payload, std::string* why) const = 0;
  // Writes d values of a checked payload.
  virtual void write(const Header& header, const uint8_t* payload, float* out) const = 0;
  // Adds a checked push to out.
  virtual void add(const Header& header, const uint8_t* payload, float* out) const = 0;

  // Whether the reply is encoded like a push, from the sum; otherwise merge() makes it.
  virtual bool encoded_reply() const = 0;
  // Writes one block of the sum of pushes, in their order.
  virtual void sum_block(const Header*, const uint8_t* const*, size_t, size_t, size_t, float*) const {}
  // Writes the payload of the reply to pushes, or returns false if it takes more than `most` bytes. A sum that is
  // not finite is only flagged.
  virtual bool merge(const Header*, const uint8_t* const*, size_t, size_t, uint8_t*, Payload*) const { return false; }
  // Writes all d values of the reply instead.
  virtual void merge_dense(const Header*, const uint8_t* const*, size_t, float*) const {}

 protected:
  uint32_t d_ = 0;
  uint32_t most_ = 0;  // max |x| as bits, for codecs that look for it
  const Options options_;
};

bool is_codec(const std::string& name);
std::unique_ptr<Codec> make_codec(const Options& options);  // of a name that is one

inline bool refuse(std::string* why, const std::string& text) {
  *why = text;
  return false;
}

}  // namespace bgc
