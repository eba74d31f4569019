// Placement of partitions on servers: each goes to the server with the fewest bytes so far.
#ifndef BYTEPS_GC_PLACEMENT_H
#define BYTEPS_GC_PLACEMENT_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace byteps {
namespace common {

// All workers add the same tensors in the same order, the order of declaration,
// so their placements are the same.
class Placement {
 public:
  static Placement& Get() {
    static Placement placement;
    return placement;
  }

  // Places a tensor of `bytes` bytes, in partitions of at most `bound` with keys
  // from `first` on. Does nothing if the user has set a hash function.
  void Add(uint64_t first, size_t bytes, size_t bound) {
    const int servers = Number("DMLC_NUM_SERVER");
    if (servers < 1 || getenv("BYTEPS_KEY_HASH_FN") ||
        Number("BYTEPS_ENABLE_MIXED_MODE")) {
      return;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    loads_.resize(servers);
    for (uint64_t key = first; bytes > 0; ++key) {
      const size_t part = std::min(bytes, bound);
      const auto least = std::min_element(loads_.begin(), loads_.end());
      *least += part;
      servers_[key] = static_cast<int>(least - loads_.begin());
      bytes -= part;
    }
  }

  // Gets the server of a key; false if its tensor was not added.
  bool Find(uint64_t key, int* server) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = servers_.find(key);
    if (found == servers_.end()) return false;
    *server = found->second;
    return true;
  }

  void Clear() {
    std::lock_guard<std::mutex> lock(mutex_);
    loads_.clear();
    servers_.clear();
  }

 private:
  static int Number(const char* variable) {
    const char* text = getenv(variable);
    return text ? atoi(text) : 0;
  }

  std::mutex mutex_;
  std::vector<size_t> loads_;  // bytes on each server
  std::unordered_map<uint64_t, int> servers_;
};

}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_GC_PLACEMENT_H
