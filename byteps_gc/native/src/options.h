// Options as the engine carries them: words, checked here because they come from the network.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace bgc {

struct Options {
  std::string codec, partition = "linear", normalize = "max", ef;
  double k = 0;
  uint32_t seed = 0, bucket = 0;
  bool scaling = false, half = false;
  bool has_momentum = false;
  float mu = 0;
  uint32_t digest = 0;

  bool feedback() const { return !ef.empty(); }
  uint32_t levels() const { return uint32_t(k); }                 // dithering
  uint32_t entries(uint32_t d) const;                             // topk, randomk: how many of d travel
};

using Texts = std::map<std::string, std::string>;

// Reads and checks; false, with the reason. Every key has to be known.
bool read_options(const Texts& texts, Options* options, std::string* why);

}  // namespace bgc
