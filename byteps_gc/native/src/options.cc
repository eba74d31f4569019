#include "options.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "codec.h"
#include "crc32c.h"

namespace bgc {

namespace {

// What every registration may have.
constexpr const char* kCommon[] = {"codec", "version", "ef", "mu", "tensor", "compressor_type"};
constexpr const char* kUndigested[] = {"tensor", "compressor_type"};

template <typename Keys>
bool has(const Keys& keys, const std::string& key) {
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

bool reads_number(const std::string& text, double* value) {
  char* end = nullptr;
  errno = 0;
  *value = std::strtod(text.c_str(), &end);
  return !text.empty() && !*end && errno != ERANGE;
}

bool accepts(const Rule& rule, const std::string& text) {
  if (rule.type == Rule::kFlag) return text == "true" || text == "false";
  if (rule.type == Rule::kChoice) return has(rule.choices, text);
  double value;
  if (!reads_number(text, &value) || !(value >= rule.least && value <= rule.most)) return false;
  return rule.type == Rule::kNumber || value == std::floor(value);
}

bool refuse(std::string* why, const std::string& text) {
  *why = text;
  return false;
}

bool invalid(std::string* why, const std::string& key, const std::string& text) {
  return refuse(why, "option " + key + "=" + text.substr(0, 40) + " is invalid");
}

const std::string* find(const Texts& texts, const std::string& key) {
  const auto found = texts.find(key);
  return found == texts.end() ? nullptr : &found->second;
}

// What wraps a codec, and need not be there.
bool optional(const Texts& texts, const Rule& rule, std::string* text, std::string* why) {
  const std::string* given = find(texts, rule.key);
  if (!given) return true;
  *text = *given;
  return accepts(rule, *given) || invalid(why, rule.key, *given);
}

bool unknown(std::string* why, const std::string& codec) {
  std::string names;
  for (const Kind& kind : kinds()) names += (names.empty() ? "" : ", ") + kind.name;
  return refuse(why, "unknown compressor " + codec.substr(0, 40) + "; the native library has " + names);
}

bool check_version(const Texts& texts, std::string* why) {
  std::string text = "0";
  if (!optional(texts, integer("version", 0, 1e6), &text, why)) return false;
  double version = 0;
  reads_number(text, &version);
  return version == kVersion ||
         refuse(why, "requested compressors of version " + std::to_string(int(version)) +
                         ", but this process has version " + std::to_string(kVersion));
}

bool check_keys(const Texts& texts, const Kind& kind, std::string* why) {
  for (const auto& [key, text] : texts) {
    bool known = has(kCommon, key);
    for (const Rule& rule : kind.rules) known |= rule.key == key;
    if (!known || text.size() > 200) return refuse(why, "option " + key.substr(0, 40) + " is unknown or too long");
  }
  return true;
}

uint32_t digest_of(const Texts& texts) {
  std::string canonical;
  for (const auto& [key, text] : texts)
    if (!has(kUndigested, key)) canonical += key + "=" + text + ";";
  return crc32c(canonical.data(), canonical.size());
}

}  // namespace

// Never destroyed: partitions may outlive static objects.
static std::vector<Kind>& all_kinds() {
  static std::vector<Kind>& all = *new std::vector<Kind>;
  return all;
}

const std::vector<Kind>& kinds() { return all_kinds(); }

void add_kind(Kind kind) {
  auto at = all_kinds().begin();
  while (at != all_kinds().end() && at->number < kind.number) ++at;
  all_kinds().insert(at, std::move(kind));
}

const Kind* find_kind(const std::string& name) {
  for (const Kind& kind : kinds())
    if (kind.name == name) return &kind;
  return nullptr;
}

double Options::number(const char* key) const {
  double value = 0;
  reads_number(values_.at(key), &value);
  return value;
}

bool read_options(const Texts& texts, Options* options, std::string* why) {
  Options& o = *options;
  if (!check_version(texts, why)) return false;
  const std::string* codec = find(texts, "codec");
  o.kind = codec ? find_kind(*codec) : nullptr;
  if (!o.kind) return unknown(why, codec ? *codec : "");
  if (!check_keys(texts, *o.kind, why)) return false;
  for (const Rule& rule : o.kind->rules) {
    const std::string* text = find(texts, rule.key);
    if (!text && !rule.needed) continue;
    if (!text) return refuse(why, "option " + rule.key + " is missing");
    if (!accepts(rule, *text)) return invalid(why, rule.key, *text);
    o.values_[rule.key] = *text;
  }
  std::string ef, mu;
  if (!optional(texts, choice("ef", {"vanilla"}), &ef, why)) return false;
  if (!optional(texts, number("mu", 0, 1), &mu, why)) return false;
  o.feedback = !ef.empty();
  o.has_momentum = !mu.empty();
  o.mu = o.has_momentum ? float(std::strtod(mu.c_str(), nullptr)) : 0;
  if (const char* key = o.kind->wrong(o)) return invalid(why, key, o.values_.at(key));
  o.digest = digest_of(texts);
  return true;
}

}  // namespace bgc
