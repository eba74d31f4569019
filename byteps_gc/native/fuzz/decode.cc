// Fuzzing of the decoders of bytes from the network: pushes to a server, replies to a worker, registered options.
//
// An input chooses a partition, and then how one of its frames is modified. After any modification: no invalid memory
// is accessed (ASan, UBSan), a frame is accepted or rejected with a reason, the step gets a reply, and the next valid
// frames give the same bytes as on a server and a worker that have not received the modified one. A target is
// CODEC-push, CODEC-reply or options; the first argument of the program names it.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "crc32c.h"
#include "half.h"
#include "input.h"
#include "partition.h"
#include "processor.h"

#if defined(__SANITIZE_ADDRESS__)
#define BGC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BGC_ASAN 1
#endif
#endif
#ifdef BGC_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
#endif

namespace {

using fuzz::count;
using fuzz::fail;
using fuzz::Input;
using fuzz::require;

using bgc::kHeader;
using bgc::Options;
using bgc::Registration;
using bgc::Server;
using bgc::Texts;
using bgc::View;
using bgc::Worker;
using Bytes = std::vector<uint8_t>;

constexpr size_t kRoom = 1 << 15;  // bytes of the longest frame
constexpr size_t kLongest = 3500;  // elements
constexpr uint32_t kStep = 2;      // the step whose frames are modified
constexpr float kEta = 0.1f;

// Memory of which only the first bytes may be accessed.
class Guarded {
 public:
  Guarded() : data_(static_cast<uint8_t*>(std::aligned_alloc(64, kRoom))) { std::memset(data_, 0, kRoom); }
  uint8_t* all() {
    ASAN_UNPOISON_MEMORY_REGION(data_, kRoom);
    return data_;
  }
  uint8_t* only(size_t bytes) {
    ASAN_UNPOISON_MEMORY_REGION(data_, bytes);
    ASAN_POISON_MEMORY_REGION(data_ + bytes, kRoom - bytes);
    return data_;
  }

 private:
  uint8_t* const data_;
};

// A frame that is being modified.
struct Frame {
  uint8_t* data;
  size_t size;
};

struct Field {
  uint8_t at, bytes;
};
constexpr Field kFields[] = {{8, 4},  {12, 4}, {6, 2},  {36, 4}, {16, 4}, {20, 2}, {32, 4}, {40, 4},
                             {24, 4}, {28, 4}, {22, 2}, {4, 1},  {5, 1},  {0, 4},  {3, 1},  {44, 4}};
constexpr uint32_t kExtremes[] = {0,          1,          2,          16,         32,         0x7f,       0xff,
                                  0x7fff,     0xffff,     0x10000,    0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe,
                                  0x7f800000, 0x7fc00000, 0xff800000, 0x00800000, 0x7f000000, 0x7f7fffff, 0x3f800000,
                                  0xbf800000, 0x00400000, 0x71800000};

void set(Frame* frame, Field field, uint32_t value) {
  if (field.at + field.bytes <= frame->size) std::memcpy(frame->data + field.at, &value, field.bytes);
}
uint32_t get(View frame, Field field) {
  uint32_t value = 0;
  if (field.at + field.bytes <= frame.size) std::memcpy(&value, frame.data + field.at, field.bytes);
  return value;
}

// An offset in the payload, or in the whole frame without a payload.
size_t place(const Frame& frame, Input* in) {
  const size_t first = frame.size > kHeader ? kHeader : 0;
  return frame.size > first ? first + in->two() % (frame.size - first) : 0;
}

void resize(Frame* frame, size_t size, uint8_t fill) {
  size = size < kRoom ? size : kRoom;
  if (size > frame->size) std::memset(frame->data + frame->size, fill, size - frame->size);
  frame->size = size;
}

void insert(Frame* frame, size_t at, uint32_t word) {
  if (frame->size + 4 > kRoom) return;
  std::memmove(frame->data + at + 4, frame->data + at, frame->size - at);
  std::memcpy(frame->data + at, &word, 4);
  frame->size += 4;
}

void erase(Frame* frame, size_t at, size_t bytes) {
  if (at + bytes > frame->size) return;
  std::memmove(frame->data + at, frame->data + at + bytes, frame->size - at - bytes);
  frame->size -= bytes;
}

void overwrite(Frame* frame, size_t at, Input* in, size_t most) {
  for (; most && in->left() && at < frame->size; --most) frame->data[at++] = in->byte();
}

void change(Frame* frame, Input* in) {
  const uint8_t what = in->byte();
  const Field field = kFields[what / 16];
  switch (what % 16) {
    case 0:
    case 1:
      return set(frame, field, kExtremes[in->byte() % (sizeof kExtremes / 4)]);
    case 2:
      return set(frame, field, in->four());
    case 3:
    case 4:
      return set(frame, field, get({frame->data, frame->size}, field) + uint32_t(int8_t(in->byte())));
    case 5:
      return set(frame, field, get({frame->data, frame->size}, field) ^ 1u << in->byte() % 32);
    case 6:
    case 7:
    case 8:
      if (frame->size) frame->data[place(*frame, in)] ^= uint8_t(1u << what / 16 % 8);
      return;
    case 9:
      return overwrite(frame, place(*frame, in), in, 1 + what / 16);
    case 10:
      return overwrite(frame, place(*frame, in), in, kRoom);
    case 11:
      return resize(frame, frame->size - std::min<size_t>(frame->size, 1 + in->byte() % (4u << what / 64)), 0);
    case 12:
      return resize(frame, frame->size + 1 + in->byte() % (4u << what / 64), what & 16 ? 0xff : 0);
    case 13:
      return insert(frame, place(*frame, in), what & 16 ? in->four() : what & 32 ? ~0u : 0);
    case 14:
      return erase(frame, place(*frame, in), what & 16 ? 1 : 4);
    default:
      const size_t at = place(*frame, in);
      std::memset(frame->data + at, what & 16 ? 0xff : 0, std::min<size_t>(in->byte(), frame->size - at));
  }
}

// Sets the correct length and checksum.
void repair(Frame* frame, bool length, bool checksum) {
  if (frame->size < kHeader) return;
  if (length) set(frame, {40, 4}, uint32_t(frame->size - kHeader));
  if (!checksum) return;
  const uint32_t crc = bgc::crc32c_more(~0u, frame->data, kHeader - 4);
  set(frame, {44, 4}, ~bgc::crc32c_more(crc, frame->data + kHeader, frame->size - kHeader));
}

// Gradients: bell-shaped, mostly zeros, or of all magnitudes.
Bytes gradient(size_t d, bgc::DType dtype, int pattern, uint32_t seed) {
  Bytes bytes(d * (dtype == bgc::kFloat16 ? 2 : 4));
  for (size_t i = 0; i < d; ++i) {
    const bgc::Words w = bgc::philox(uint32_t(i), {seed, 0, 0, 0, 0});
    float x = (float(w.w[0] >> 8) + float(w.w[1] >> 8) + float(w.w[2] >> 8)) / (3 << 23) - 1;
    if (pattern == 1 && w.w[3] % 8) x = 0;
    if (pattern == 2) x *= std::exp2(float(w.w[3] % 24) - 12);
    const uint16_t half = bgc::to_half(x);
    dtype == bgc::kFloat16 ? std::memcpy(&bytes[2 * i], &half, 2) : std::memcpy(&bytes[4 * i], &x, 4);
  }
  return bytes;
}

Bytes bytes_of(View view) { return Bytes(view.data, view.data + view.size); }
bool same(View view, const Bytes& bytes) {
  return view.size == bytes.size() && std::memcmp(view.data, bytes.data(), view.size) == 0;
}

Registration registration(const Texts& options, bgc::DType dtype, size_t d, int workers) {
  Registration r;
  std::string why;
  const size_t align = dtype == bgc::kFloat16 ? 32 : 128, bytes = d * (dtype == bgc::kFloat16 ? 2 : 4);
  if (!bgc::check_registration(options, dtype, (bytes + align - 1) / align * align, workers, &r, &why))
    fail(why.c_str());
  return r;
}

bool travels_raw(const Registration& r) {
  return kHeader + bgc::make_codec(r.options)->max_payload(r.bytes / r.element()) > r.bytes - r.alignment();
}

// The smallest length at which frames are sent; 1 if there is none.
size_t least_framed(const Texts& options, bgc::DType dtype) {
  for (size_t d = 1; d < kLongest; d += 16)
    if (!travels_raw(registration(options, dtype, d, 1))) return d;
  return 1;
}

// One partition, its frames in step kStep, and the expected results of valid frames.
struct Case {
  Case(const Texts& options, bgc::DType dtype, size_t d, int workers, int pattern);
  void make_odd_frames();
  void end_as_expected(Server* one, bool fresh) const;

  const Registration r;
  const size_t d, bytes;
  const bool raw;
  std::vector<Bytes> pushes, others;  // others: frames that are neither a valid push nor a valid reply here
  Bytes reply, fresh_reply, expected;
  std::vector<float> residual, residual_after, sum;  // of the server; sum: the result of add() for the first push
  bool adds;
  float eta;
  std::unique_ptr<Server> server;
  std::unique_ptr<Worker> worker;
};

Bytes exchange(Server* server, const std::vector<Bytes>& pushes, size_t d) {
  bgc::Refusal why;
  for (const Bytes& push : pushes)
    if (!server->push({push.data(), push.size()}, &why)) fail(why.text().c_str());
  return bytes_of(server->reply(d));
}

Case::Case(const Texts& options, bgc::DType dtype, size_t d, int workers, int pattern)
    : r(registration(options, dtype, d, workers)), d(d), bytes(d * r.element()), raw(travels_raw(r)) {
  Server control(r), fresh(r);
  std::vector<std::unique_ptr<Worker>> all;
  for (int w = 0; w < workers; ++w) all.push_back(std::make_unique<Worker>(r, uint16_t(w), 5));
  residual.resize(d), residual_after.resize(d), sum.resize(d), expected.resize(bytes);
  bgc::Refusal why;
  for (uint32_t step = 0; step <= kStep; ++step) {
    control.save(d, residual.data());
    eta = control.eta();
    pushes.clear();
    for (int w = 0; w < workers; ++w) {
      const Bytes g = gradient(d, dtype, pattern, 2 * step + uint32_t(w));
      pushes.push_back(bytes_of(all[size_t(w)]->compress(g.data(), d, kEta, bgc::Before::kKeep)));
      require(raw || pushes.back().size() < bytes, "a frame that is no shorter than its partition");
    }
    reply = exchange(&control, pushes, d);
  }
  control.save(d, residual_after.data());
  fresh_reply = exchange(&fresh, pushes, d);
  worker = std::move(all[0]);
  if (!worker->decompress({reply.data(), reply.size()}, d, expected.data(), &why)) fail(why.text().c_str());
  server = std::make_unique<Server>(r);
  adds = control.add({pushes[0].data(), pushes[0].size()}, d, sum.data(), &why);
  require(adds == !raw, "add() takes frames, and nothing else");
  if (!raw) make_odd_frames();
}

void Case::make_odd_frames() {
  others.insert(others.end(), {pushes.back(), reply});
  for (const bool push : {true, false}) {
    Bytes odd = push ? pushes[0] : reply;
    bgc::Header h;
    bgc::Refusal why;
    if (!bgc::read_frame(odd.data(), odd.size(), &h, &why)) return;  // the reply may be raw
    h.flags |= push ? bgc::kNonfinite : bgc::kError;
    if (!push) h.flags = bgc::kReply | bgc::kError;
    h.count = 0, h.scale = 0, h.length = push ? 0 : 20;
    odd.resize(kHeader + h.length, ' ');
    bgc::write_frame(h, odd.data());
    others.push_back(odd);
  }
}

// Checks that the valid frames are accepted and give the expected results.
void Case::end_as_expected(Server* one, bool fresh) const {
  bgc::Refusal why;
  for (const Bytes& push : pushes)
    if (!one->push({push.data(), push.size()}, &why)) fail(why.text().c_str());
  require(same(one->reply(d), fresh ? fresh_reply : reply), "another reply");
  if (raw || fresh) return;
  static float after[kLongest];
  one->save(d, after);
  require(std::memcmp(after, residual_after.data(), d * 4) == 0, "another residual");
  require(one->step() == kStep + 1, "another step");
}

Guarded& frame_memory() {
  static Guarded memory;
  return memory;
}

template <typename T>
void forget(bgc::Array<T>* array) {
  array->~Array();
  new (array) bgc::Array<T>();
}

// Frees the scratch memory. It never shrinks, so after a longer partition ASan would not detect writes past the end.
void forget_scratch() {
  for (int purpose = 0; purpose < int(bgc::Scratch::kEnd); ++purpose) {
    forget(&bgc::scratch<uint8_t>(bgc::Scratch(purpose)));
    forget(&bgc::scratch<uint32_t>(bgc::Scratch(purpose)));
    forget(&bgc::scratch<uint64_t>(bgc::Scratch(purpose)));
    forget(&bgc::scratch<float>(bgc::Scratch(purpose)));
  }
}

// One of the case's frames, modified by the input.
View changed(const Case& c, const Bytes& base, uint8_t control, Input* in) {
  Frame frame{frame_memory().all(), 0};
  const uint8_t which = in->byte();
  const Bytes& from = which < 208 || c.others.empty() ? base : c.others[which % c.others.size()];
  std::memcpy(frame.data, from.data(), from.size());
  frame.size = from.size();
  while (in->left()) change(&frame, in);
  repair(&frame, control & 7, control >> 3 & 7);
  return {frame_memory().only(frame.size), frame.size};
}

// Counts a result, and checks it: rejected with a known code, or accepted without a code.
void count(bool accepted, const bgc::Refusal& why) {
  count(accepted);
  require(accepted == !why && (accepted || *bgc::name_of(why.code)), "refused without a code, or accepted with one");
}

// Whether two pushes have the same number of elements, step, stream and learning rate.
bool agrees(View one, const Bytes& other) {
  for (const Field field : {Field{8, 4}, {16, 4}, {24, 4}, {32, 4}})
    if (get(one, field) != get({other.data(), other.size()}, field)) return false;
  return true;
}

bool all_nan(const Case& c, View reply) {
  for (size_t i = 0; i < c.d; ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, reply.data + i * c.r.element(), c.r.element());
    if (c.r.element() == 2 ? (bits & 0x7fff) <= 0x7c00 : (bits & 0x7fffffff) <= bgc::kInfinityBits) return false;
  }
  return reply.size == c.bytes;
}

// Checks the reply of a step with a modified frame.
void check_answer(const Case& c, View reply, bool accepted, bool agreed) {
  static float out[kLongest];
  bgc::Refusal why;
  if (c.raw)
    return require(accepted && agreed ? reply.size == c.bytes : all_nan(c, reply), "a raw answer of another form");
  require(reply.size <= c.bytes, "an answer longer than the partition");
  const bool good = c.worker->decompress(reply, c.d, out, &why);
  require(!good || accepted, "a refused step was answered with values");
  require(good || !accepted || !agreed, "an accepted step was not answered");
  require(good || accepted || why.code == bgc::Code::REJECTED, "an answer without the server's reason");
}

void attack_push(Case& c, uint8_t control, Input* in) {
  const size_t attacked = control >> 6 & 1 ? c.pushes.size() - 1 : 0;
  const bool is_fresh = in->byte() >= 240;
  const View bad = changed(c, c.pushes[attacked], control, in);
  std::unique_ptr<Server> fresh(is_fresh ? new Server(c.r) : nullptr);
  Server* const server = is_fresh ? fresh.get() : c.server.get();
  if (!is_fresh) server->load(kStep, c.eta, c.d, c.residual.data());
  bgc::Refusal why, unused;
  bool accepted = true, mine = true;
  const bool last = control >> 7;
  if (!last) accepted &= mine = server->push(bad, &why);
  for (size_t w = 0; w < c.pushes.size(); ++w)
    if (w != attacked) accepted &= server->push({c.pushes[w].data(), c.pushes[w].size()}, &unused);
  if (last) accepted &= mine = server->push(bad, &why);
  count(mine, why);
  const bool agreed = c.raw ? bad.size == c.bytes : agrees(bad, c.pushes[attacked]);
  require(!accepted || agreed || c.pushes.size() == 1, "workers that do not agree");
  check_answer(c, server->reply(c.d), accepted, agreed);
  if (accepted && is_fresh) return;
  if (accepted)
    server->load(kStep, c.eta, c.d, c.residual.data());
  else
    require(c.raw || server->step() == (is_fresh ? 0 : kStep), "a refused step counts");
  c.end_as_expected(server, is_fresh);
}

// Checks that accepted values are finite.
void require_finite(const Case& c, size_t size, uint8_t flags, const void* values) {
  if (size == c.bytes || flags & bgc::kNonfinite) return;
  uint32_t most = 0;
  for (size_t i = 0; i < c.d; ++i) {
    uint32_t bits;
    std::memcpy(&bits, static_cast<const uint8_t*>(values) + 4 * i, 4);
    most = std::max(most, bits & 0x7fffffffu);
  }
  require(most < bgc::kInfinityBits, "a value that is not finite was accepted");
}

void attack_add(Case& c, uint8_t control, Input* in) {
  static float out[kLongest];
  bgc::Refusal why;
  const View bad = changed(c, c.pushes[0], control, in);
  std::memset(out, 0, c.d * 4);
  const bool accepted = c.server->add(bad, c.d, out, &why);
  count(accepted, why);
  if (accepted) require_finite(c, bad.size, uint8_t(get(bad, {6, 2})), out);
  std::memset(out, 0, c.d * 4);
  const bool good = c.server->add({c.pushes[0].data(), c.pushes[0].size()}, c.d, out, &why);
  require(good == c.adds && std::memcmp(out, c.sum.data(), c.d * 4) == 0, "add() gives something else");
}

void attack_reply(Case& c, uint8_t control, Input* in) {
  static Guarded out;
  bgc::Refusal why;
  const View bad = changed(c, c.reply, control, in);
  const bool in_place = control >> 6 & 1 && bad.size <= c.bytes;  // as in BytePS
  uint8_t* values = in_place ? frame_memory().only(c.bytes) : out.only(c.bytes);
  const uint8_t flags = uint8_t(get(bad, {6, 2}));
  const bool accepted = c.worker->decompress(bad, c.d, values, &why);
  count(accepted, why);
  require((why.code == bgc::Code::REJECTED) == (!accepted && flags == (bgc::kReply | bgc::kError)) ||
              why.code < bgc::Code::REJECTED,
          "an error that is not told as one");
  if (accepted && c.r.dtype == bgc::kFloat32) require_finite(c, bad.size, flags, values);
  values = out.only(c.bytes);
  require(c.worker->decompress({c.reply.data(), c.reply.size()}, c.d, values, &why), "a good reply is refused");
  require(std::memcmp(values, c.expected.data(), c.bytes) == 0, "a good reply gives something else");
}

// Values that are tried for a numeric option, if its rule accepts them.
const char* const kNumbers[] = {"0.1", "0.3", "0.5", "0", "1", "2", "4", "5", "7", "30", "127", "512", "1000",
                                "1048576", "1000000000", "4294967295"};

// An empty text stands for a missing option.
std::vector<std::string> texts_of(const bgc::Rule& rule) {
  if (!rule.needed) return {rule.choices[0], ""};
  if (rule.type == bgc::Rule::kFlag) return {"true", "false"};
  if (rule.type == bgc::Rule::kChoice) return rule.choices;
  return {std::begin(kNumbers), std::end(kNumbers)};
}

bool are_accepted(const Texts& options) {
  Options read;
  std::string why;
  return bgc::read_options(options, &read, &why);
}

// Fixed combinations of all options of a codec, without and with error feedback.
std::vector<Texts> rows(const std::string& codec) {
  constexpr size_t count = 12;
  const bgc::Kind* kind = bgc::find_kind(codec);
  if (!kind) fail("unknown target");
  std::vector<Texts> found;
  for (uint32_t attempt = 0; found.size() < count; ++attempt) {
    require(attempt < 100000, "a codec without options that it accepts");
    Texts options = {{"version", std::to_string(bgc::kVersion)}, {"codec", codec}};
    for (size_t i = 0; i < kind->rules.size(); ++i) {
      const std::vector<std::string> texts = texts_of(kind->rules[i]);
      const std::string& text = texts[bgc::philox(uint32_t(i), {attempt, 0, 0, 0, 0}).w[0] % texts.size()];
      if (!text.empty()) options[kind->rules[i].key] = text;
    }
    if (found.size() % 2) options["ef"] = "vanilla";
    if (are_accepted(options)) found.push_back(options);
  }
  return found;
}

// The cases of one codec, created at first use.
class Cases {
 public:
  explicit Cases(const std::string& codec) : rows_(rows(codec)) {
    for (const Texts& options : rows_)
      for (const bgc::DType dtype : {bgc::kFloat32, bgc::kFloat16}) least_.push_back(least_framed(options, dtype));
    cases_.resize(rows_.size() * 512);
  }
  Case& choose(uint8_t row, uint8_t rest) {
    const bool longer = row >= 228 && row < 232;
    const size_t number = (size_t(row) % rows_.size() * 2 + longer) * 256 + rest;
    if (!cases_[number]) cases_[number] = make(row % rows_.size(), longer, rest);
    return *cases_[number];
  }

 private:
  std::unique_ptr<Case> make(size_t row, bool longer, uint8_t rest) const {
    static constexpr size_t more[] = {0, 1, 2, 7, 8, 9, 15, 16, 31, 32, 33, 47, 64, 65, 130, 600};
    const bool half = rest & 1;
    const size_t d = least_[2 * row + half] + more[rest >> 4] + (longer ? 2000 : 0);
    const bgc::DType dtype = half ? bgc::kFloat16 : bgc::kFloat32;
    return std::make_unique<Case>(rows_[row], dtype, d, 1 + (rest >> 1 & 1), rest >> 2 & 3);
  }
  const std::vector<Texts> rows_;
  std::vector<size_t> least_;
  std::vector<std::unique_ptr<Case>> cases_;
};

// Options

const char* const kWords[] = {
    "\nef=",   "\nmu=",   "\ntensor=",   "\nversion=", "\ncodec=",     "\ncompressor_type=", "\n",    "=",
    "true",    "false",   "vanilla",     "0",          "1",           "2",                  "30",    "31",
    "512",     "8192",    "1048576",     "4294967295", "4294967296",  "0.001",              "0.5",   "0.9999999",
    "-1",      "-0",      "0x1p3",       "1e400",      "1e-320",      "inf",                "nan",   " ",
    "\nef=vanilla", "\nmu=0.9"};

// kWords, and the keys and choices of all codecs.
std::vector<std::string> words() {
  std::vector<std::string> found(std::begin(kWords), std::end(kWords));
  for (const bgc::Kind& kind : bgc::kinds())
    for (const bgc::Rule& rule : kind.rules) {
      found.push_back("\n" + rule.key + "=");
      found.insert(found.end(), rule.choices.begin(), rule.choices.end());
    }
  return found;
}

// For every codec, its name and registrations with some of its options.
std::vector<std::string> begins() {
  std::vector<std::string> found;
  for (const bgc::Kind& kind : bgc::kinds()) {
    found.push_back("version=" + std::to_string(bgc::kVersion) + "\ncodec=" + kind.name);
    for (const Texts& options : rows(kind.name)) {
      std::string text;
      for (const auto& [key, value] : options) text += key + "=" + value + "\n";
      found.push_back(text);
    }
  }
  return found;
}

// Mostly plausible options: words after a valid registration, or after a version and a compressor.
std::string text_of(Input* in) {
  static const std::vector<std::string> known = words(), firsts = begins();
  std::string text;
  const uint8_t kind = in->byte(), begin = in->byte();
  if (kind & 0x38) text = firsts[begin % firsts.size()] + "\n";
  while (in->left()) {
    const uint8_t byte = in->byte();
    byte < 32 ? text.push_back(char(in->byte())) : void(text += known[byte % known.size()]);
  }
  return text;
}

Texts lines_of(const std::string& text) {
  Texts texts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size()), equals = text.find('=', at);
    if (equals < end) texts[text.substr(at, equals - at)] = text.substr(equals + 1, end - equals - 1);
    at = end + 1;
  }
  return texts;
}

// Runs two steps of a partition with accepted options.
void use(const Registration& r, size_t d, int pattern) {
  Server server(r);
  std::vector<std::unique_ptr<Worker>> workers;
  for (uint16_t w = 0; w < r.workers; ++w) workers.push_back(std::make_unique<Worker>(r, w, 5));
  bgc::Refusal why;
  Bytes out(d * r.element());
  for (uint32_t step = 0; step < 2; ++step) {
    std::vector<Bytes> pushes;
    for (uint16_t w = 0; w < r.workers; ++w) {
      const Bytes g = gradient(d, r.dtype, pattern, step + w);
      pushes.push_back(bytes_of(workers[w]->compress(g.data(), d, kEta, bgc::Before::kKeep)));
      require(pushes[w].size() <= out.size(), "a push longer than its partition");
      require(travels_raw(r) == (pushes[w].size() == out.size()), "a frame as long as its partition");
    }
    const Bytes reply = exchange(&server, pushes, d);
    if (!workers[0]->decompress({reply.data(), reply.size()}, d, out.data(), &why)) fail(why.text().c_str());
  }
}

void attack_options(Input* in) {
  static constexpr int dtypes[] = {0, 2, 0, 2, 0, 2, 1, -1};
  static constexpr int counts[] = {1, 2, 1, 3, 0, -1, 65534, 65535};
  const uint8_t head = in->byte(), length = in->byte();
  const bool used = in->byte() % 32 == 1;  // a slow check
  const int dtype = dtypes[head & 7], workers = counts[head >> 3 & 7];
  const size_t align = dtype == bgc::kFloat16 ? 32 : 128;
  size_t bytes = (1 + length % 32) * align;
  if (head >> 6 == 3) bytes = size_t(kExtremes[length % (sizeof kExtremes / 4)]) * (length >> 7 ? align : 1);
  Registration r;
  std::string why;
  const bool accepted = bgc::check_registration(lines_of(text_of(in)), dtype, bytes, workers, &r, &why);
  count(accepted);
  require(accepted || !why.empty(), "refused without a reason");
  if (!accepted) return;
  require(r.bytes == bytes && r.workers == workers && r.dtype == dtype, "another registration");
  if (!used || bytes > 4096 || workers > 3) return;
  const size_t most = bytes / r.element(), fewer = length / 32 * (r.alignment() / r.element() - 1) / 7;
  require(r.allows(most - fewer) && !r.allows(most + 1), "lengths that cannot be registered");
  use(r, most - fewer, head >> 6);
}

std::string& target() {
  static std::string name;
  return name;
}

void attack(Input* in) {
  static const std::string codec = target().substr(0, target().find('-'));
  static const bool reply = target() == codec + "-reply";
  if (codec == "options") return attack_options(in);
  static Cases cases(codec);
  const uint8_t row = in->byte(), rest = in->byte(), control = in->byte();
  Case& c = cases.choose(row, rest);
  if ((row & 0x70) == 0x70) forget_scratch();
  if (reply) return attack_reply(c, control, in);
  row >= 232 ? attack_add(c, control, in) : attack_push(c, control, in);
}

}  // namespace

// Removes the target's name from the arguments.
extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
  if (*count < 2) fail("the first argument has to be a target: CODEC-push, CODEC-reply or options");
  target() = (*words)[1];
  const std::string codec = target().substr(0, target().find('-'));
  if (codec != "options") rows(codec);
  require(codec == "options" || target() == codec + "-push" || target() == codec + "-reply", "unknown target");
  (*words)[1] = (*words)[0];
  ++*words, --*count;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  bgc::PlainArithmetic plain;
  Input in(data, size);
  attack(&in);
  return 0;
}
