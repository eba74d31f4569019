// What a compressor computes, for one partition of one gradient (docs/wire_format.md, "Codecs").
//
// Encoding streams: the values come in blocks of kBlock elements while they are in
// the processor's cache (scan), then the payload is written (finish). Scratch
// belongs to the thread, states to the wrappers: a codec keeps only hints that
// make the next step faster and never change its result.
//
// A codec is a class in a file of its own, with a constant of type Registered.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "frame.h"
#include "half.h"
#include "memory.h"
#include "options.h"
#include "philox.h"
#include "sums.h"

namespace bgc {

struct Payload {
  uint32_t count = 0, length = 0;
  float scale = 0;
  uint16_t flags = 0;
  bool summed = false;  // the codec has computed, while the payload was in the cache,
  uint32_t crc = 0;     // its CRC-32C, from and to zeros
};

// What a server keeps of one worker's push until the step's end.
struct Push {
  bool here = false;
  Header header;
  Array<uint8_t> payload;   // as it came, or
  Array<uint32_t> indices;  // its entries
  Array<float> values;
};
using Pushes = std::vector<const Push*>;  // of a step, in the order of the workers

// Stores eight values past the cache where `stream` says so: nobody reads them before the next step.
inline void keep(F8 value, bool stream, float* out) { stream ? value.stream(out) : value.store(out); }

template <typename Lost>
inline void feed_blocks(const float* x, const float* last, size_t n, float ratio, bool stream, float* next, float* out,
                        Lost lost) {
  const F8 r = F8::all(ratio);
  for (size_t i = 0; i < n; i += 8) {  // states have room behind their end
    ahead_of(last + i), ahead_of(x + i);
    const F8 p = F8::load(x + i) + r * lost(F8::load(last + i));
    keep(p, stream, next + i);
    p.store(out + i);
  }
}

class Codec {
 public:
  explicit Codec(const Options& options) : options_(options) {}
  virtual ~Codec() = default;
  uint8_t number() const { return options_.kind->number; }
  // The key of an option that does not go with the others, or null. A codec may have its own.
  static const char* wrong(const Options&) { return nullptr; }

  // the most bytes that a push of d elements takes
  virtual size_t max_payload(size_t d) const = 0;

  virtual void begin(uint32_t d) { d_ = d, most_ = 0; }
  // Where finish() will write the payload: a codec may do so as it scans.
  virtual void write_to(uint8_t* /*out*/) {}
  // n values from `offset` on, readable and zero up to the next multiple of 32
  virtual void scan(const float* x, size_t /*offset*/, size_t n) {
    const uint32_t most = block_max_bits(x, n);
    if (most > most_) most_ = most;
  }
  // How many of the first values are to be scanned again, now that all of them were: whole blocks, or d.
  virtual size_t again() { return 0; }
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

  // Whether a frame can have its scale, which is finite and at least 0.
  virtual bool has_scale(const Header& header) const {
    return header.flags & kHalf ? is_half_unit(header.scale) : header.scale == 1;
  }
  // Flags of every push that has a payload.
  virtual uint16_t fixed_flags() const { return 0; }
  // Flags that a payload decides about.
  virtual uint16_t optional_flags() const { return 0; }

  // What reads a payload, of a header with valid flags and scale, checks it completely: false, with the reason, and
  // nothing is written, if it is malformed.
  // Writes its d values.
  virtual bool write(const Header& header, const uint8_t* payload, float* out, Refusal* why) const = 0;
  // Whether the payload may stand behind a header where the values go.
  virtual bool writes_in_place() const { return false; }
  // Adds a push to out.
  virtual bool add(const Header& header, const uint8_t* payload, float* out, Refusal* why) const = 0;
  // Keeps a push with this header.
  virtual bool keep(const uint8_t* payload, Push* push, Refusal* why) const = 0;

  // Whether the reply is encoded like a push, from the sum; otherwise merge() makes it.
  virtual bool encoded_reply() const = 0;
  // Writes one block of the sum of pushes, n at most kBlock.
  virtual void sum_block(const Pushes&, size_t /*offset*/, size_t /*n*/, float* /*out*/) const {}
  // Writes the payload of the reply to pushes, or returns false if it takes more than `most` bytes. A sum that is
  // not finite is only flagged.
  virtual bool merge(const Pushes&, size_t /*most*/, uint8_t* /*out*/, Payload*) const { return false; }
  // Writes all d values of the reply instead.
  virtual void merge_dense(const Pushes&, float* /*out*/) const {}

 protected:
  uint32_t d_ = 0;
  uint32_t most_ = 0;  // max |x| as bits, of what scan() has seen
  const Options options_;
};

// Keeps a push as it came.
inline bool copy(const uint8_t* payload, Push* push) {
  std::memcpy(push->payload.reserve(push->header.length), payload, push->header.length);
  return true;
}

inline std::unique_ptr<Codec> make_codec(const Options& options) { return options.kind->make(options); }

// Registers a codec under its name, with its number in frames and its options.
template <typename C>
struct Registered {
  Registered(const char* name, uint8_t number, std::vector<Rule> rules) {
    add_kind({name, number, std::move(rules), make, C::wrong});
  }
  static std::unique_ptr<Codec> make(const Options& options) { return std::make_unique<C>(options); }
};

}  // namespace bgc
