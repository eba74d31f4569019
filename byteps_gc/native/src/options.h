// Options as the engine carries them: texts, checked here because they come from the network.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace bgc {

using Texts = std::map<std::string, std::string>;

// One option of a codec, and which texts it accepts.
struct Rule {
  std::string key;
  enum Type { kFlag, kNumber, kInteger, kChoice } type;
  double least = 0, most = 0;        // of numbers and integers, both accepted
  std::vector<std::string> choices;  // of a choice
  bool needed = true;                // a registration without it is rejected
};
inline Rule flag(const char* key) { return {key, Rule::kFlag, 0, 0, {}}; }
inline Rule number(const char* key, double least, double most) { return {key, Rule::kNumber, least, most, {}}; }
inline Rule integer(const char* key, double least, double most) { return {key, Rule::kInteger, least, most, {}}; }
inline Rule choice(const char* key, std::vector<std::string> choices) {
  return {key, Rule::kChoice, 0, 0, std::move(choices)};
}
// A choice that is spelled only where it is not the default, so that it does not change the digest of other options.
inline Rule later_choice(const char* key, std::vector<std::string> others) {
  return {key, Rule::kChoice, 0, 0, std::move(others), false};
}
inline Rule later_flag(const char* key) { return later_choice(key, {"true"}); }
constexpr double kMaxUint32 = 4294967295.0;

class Codec;
class Options;

// A codec as it registers itself (Registered, in codec.h).
struct Kind {
  std::string name;
  uint8_t number;           // in frames
  std::vector<Rule> rules;  // of its options
  std::unique_ptr<Codec> (*make)(const Options&);
  const char* (*wrong)(const Options&);  // the key of an option that does not go with the others, or null
};
// All of them, in the order of their numbers.
const std::vector<Kind>& kinds();
void add_kind(Kind kind);  // before main() begins
const Kind* find_kind(const std::string& name);

// A codec and its options, checked, and what wraps it.
class Options {
 public:
  const Kind* kind = nullptr;
  bool feedback = false, has_momentum = false;
  float mu = 0;
  uint32_t digest = 0;

  // An option's value; the codec has a rule of this key.
  bool is(const char* key, const char* text) const { return values_.count(key) && values_.at(key) == text; }
  bool flag(const char* key) const { return is(key, "true"); }
  double number(const char* key) const;
  uint32_t integer(const char* key) const { return uint32_t(number(key)); }
  const std::string& choice(const char* key) const { return values_.at(key); }

 private:
  friend bool read_options(const Texts& texts, Options* options, std::string* why);
  Texts values_;
};

// Reads and checks; false, with the reason. Every option of the codec has to be there, and every key has to be known.
bool read_options(const Texts& texts, Options* options, std::string* why);

}  // namespace bgc
