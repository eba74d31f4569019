// Which server a partition goes to: the one that has the fewest bytes so far.
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

// All workers add the same tensors in the same order, that in which they
// declare them, so all of them place every partition alike.
class Placement {
 public:
  static Placement& Get() {
    static Placement placement;
    return placement;
  }

  // A tensor of `bytes` bytes, in partitions of at most `bound` with the keys
  // from `first` on. A user who has named a hash function gets that instead.
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

  // Whether the key's tensor was added, and then its server.
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
  std::vector<size_t> loads_;  // bytes of each server
  std::unordered_map<uint64_t, int> servers_;
};

}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_GC_PLACEMENT_H
