#include "options.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "codec.h"
#include "crc32c.h"

namespace bgc {

namespace {

struct Reader {
  const Texts& texts;
  std::string* why;
  bool good = true;

  void refuse(const char* key, const std::string& text) {
    if (good) *why = std::string("option ") + key + "=" + text.substr(0, 40) + " is invalid";
    good = false;
  }
  const std::string* find(const char* key) const {
    auto found = texts.find(key);
    return found == texts.end() ? nullptr : &found->second;
  }
  void flag(const char* key, bool* value) {
    if (const std::string* text = find(key)) {
      if (*text != "true" && *text != "false") refuse(key, *text);
      *value = *text == "true";
    }
  }
  void number(const char* key, double least, double most, double* value) {
    if (const std::string* text = find(key)) {
      char* end = nullptr;
      errno = 0;
      const double read = std::strtod(text->c_str(), &end);
      if (text->empty() || *end || errno == ERANGE || !(read >= least && read <= most)) return refuse(key, *text);
      *value = read;
    }
  }
  void integer(const char* key, double most, uint32_t* value) {
    double read = *value;
    number(key, 0, most, &read);
    if (read != std::floor(read)) return refuse(key, *find(key));
    *value = uint32_t(read);
  }
  void choice(const char* key, const char* one, const char* other, std::string* value) {
    if (const std::string* text = find(key)) {
      if (*text != one && *text != other) refuse(key, *text);
      *value = *text;
    }
  }
};

constexpr const char* kKnown[] = {"codec",  "k",    "scaling", "half",   "seed",    "partition", "normalize",
                                  "bucket", "ef",   "mu",      "tensor", "version", "compressor_type"};

bool known(const std::string& key) {
  for (const char* name : kKnown)
    if (key == name) return true;
  return false;
}

}  // namespace

uint32_t Options::entries(uint32_t d) const {
  const double wanted = k < 1 ? std::floor(k * double(d) + 0.5) : k;
  return wanted < 1 ? 1 : wanted > double(d) ? d : uint32_t(wanted);
}

bool read_options(const Texts& texts, Options* options, std::string* why) {
  std::string canonical;
  for (const auto& [key, text] : texts) {
    if (!known(key) || text.size() > 200) {
      *why = "option " + key.substr(0, 40) + " is unknown or too long";
      return false;
    }
    if (key != "tensor" && key != "compressor_type") canonical += key + "=" + text + ";";
  }
  Reader reader{texts, why};
  Options& o = *options;
  uint32_t version = 0;
  reader.integer("version", 1e6, &version);
  if (reader.good && version != kVersion) {
    *why = "requested compressors of version " + std::to_string(version) + ", but this process has version " +
           std::to_string(kVersion);
    return false;
  }
  const std::string* codec = reader.find("codec");
  o.codec = codec ? *codec : "";
  const bool sparse = o.codec == "topk" || o.codec == "randomk", dithering = o.codec == "dithering";
  if (!is_codec(o.codec)) {
    *why = "unknown compressor " + o.codec.substr(0, 40);
    return false;
  }
  reader.flag("scaling", &o.scaling);
  reader.flag("half", &o.half);
  reader.number("k", 0, 4294967295.0, &o.k);
  reader.integer("seed", 4294967295.0, &o.seed);
  reader.choice("partition", "linear", "natural", &o.partition);
  reader.choice("normalize", "max", "l2", &o.normalize);
  reader.integer("bucket", 8192, &o.bucket);
  reader.choice("ef", "vanilla", "vanilla", &o.ef);
  double mu = 0;
  reader.number("mu", 0, 1, &mu);
  o.mu = float(mu);
  o.has_momentum = reader.find("mu") != nullptr;
  const bool whole = o.k == std::floor(o.k);
  if (reader.good && sparse && !(o.k > 0 && (o.k < 1 || whole))) reader.refuse("k", std::to_string(o.k));
  const double most = o.partition == "natural" ? 30 : 1048576;
  if (reader.good && dithering && !(o.k >= 1 && o.k <= most && whole)) reader.refuse("k", std::to_string(o.k));
  if (reader.good && o.bucket && o.bucket < 512) reader.refuse("bucket", std::to_string(o.bucket));
  o.digest = crc32c(canonical.data(), canonical.size());
  return reader.good;
}

}  // namespace bgc
