// Runs the harness without libFuzzer: on files, or on inputs that it makes of a seed, the same everywhere.
//   replay TARGET FILE...
//   replay TARGET --runs N --seed S
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "input.h"

extern "C" int LLVMFuzzerInitialize(int* count, char*** words);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

struct Random {  // splitmix64
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  size_t below(size_t n) { return size_t(next() % n); }
};

constexpr size_t kKept = 64;  // inputs that later ones are made of

// An input of random bytes, mostly short, or one of those before with a few bytes changed.
Bytes make(Random* random, const std::vector<Bytes>& kept) {
  Bytes input;
  if (!kept.empty() && random->below(2)) input = kept[random->below(kept.size())];
  if (input.empty()) {
    input.resize(4 + random->below(random->below(8) ? 16 : 200));
    for (uint8_t& byte : input) byte = uint8_t(random->next());
  } else {
    for (size_t n = 1 + random->below(3); n; --n) input[random->below(input.size())] = uint8_t(random->next());
    if (!random->below(4)) input.push_back(uint8_t(random->next()));
  }
  return input;
}

void keep_for_crash(const Bytes& input) {  // the input that is running, if somebody asked where to put it
  static const char* const path = std::getenv("FUZZ_LAST_INPUT");
  if (path) std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(input.data()), input.size());
}

void run(uint64_t runs, uint64_t seed) {
  Random random{seed};
  std::vector<Bytes> kept;
  for (uint64_t i = 0; i < runs; ++i) {
    const Bytes input = make(&random, kept);
    keep_for_crash(input);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    if (kept.size() < kKept)
      kept.push_back(input);
    else
      kept[random.below(kKept)] = input;
  }
}

bool replay(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "fuzz: cannot read %s\n", path);
    return false;
  }
  const Bytes input((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  LLVMFuzzerTestOneInput(input.data(), input.size());
  return true;
}

}  // namespace

int main(int count, char** words) {
  LLVMFuzzerInitialize(&count, &words);
  if (count == 5 && !std::strcmp(words[1], "--runs") && !std::strcmp(words[3], "--seed")) {
    run(std::strtoull(words[2], nullptr, 10), std::strtoull(words[4], nullptr, 10));
  } else {
    for (int i = 1; i < count; ++i)
      if (!replay(words[i])) return 2;
  }
  std::printf("%llu refused, %llu accepted\n", static_cast<unsigned long long>(fuzz_refused),
              static_cast<unsigned long long>(fuzz_accepted));
  return 0;
}
