// The state of a server: the workers of its job, and the keys that they exchange.
#ifndef BYTEPS_GC_SERVER_STATE_H
#define BYTEPS_GC_SERVER_STATE_H

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "../common/byteps_gc_protocol.h"
#include "../common/compressor/compressor.h"
#include "ps/ps.h"

namespace ps {
[[noreturn]] void EndJob(const std::string& why, int status);  // defined by the van
}

namespace byteps {
namespace server {

using common::Announcement;
using Data = ps::KVPairs<char>;
using Lock = std::unique_lock<std::mutex>;

constexpr int kStatus = 70;  // exit status of a server whose workers disagree
constexpr size_t kPage = 4096;

// Ends all processes of the job with this reason.
[[noreturn]] inline void Fail(const std::string& why) { ps::EndJob(why, kStatus); }

// The value of an environment variable, or `unset` without one.
inline int Setting(const char* name, int unset) {
  const char* text = getenv(name);
  return text && *text ? atoi(text) : unset;
}

inline bool IsDtype(int number) { return number >= common::BYTEPS_FLOAT32 && number <= common::BYTEPS_INT64; }

inline std::string DtypeName(int dtype) {
  static const char* const names[] = {"float32", "float64", "float16", "uint8", "int32", "int8", "int64"};
  return names[dtype];
}

// Whether a timestamp is earlier than another. Timestamps count up, and wrap around.
inline bool IsEarlier(int timestamp, int other) {
  return static_cast<int32_t>(static_cast<uint32_t>(timestamp) - static_cast<uint32_t>(other)) < 0;
}

// Memory that begins at a page.
class Buffer {
 public:
  explicit Buffer(size_t size) {
    void* data = nullptr;
    if (posix_memalign(&data, kPage, (size + kPage - 1) / kPage * kPage) != 0)
      Fail("out of memory: cannot allocate " + std::to_string(size) + " bytes for a tensor");
    data_ = static_cast<char*>(data);
  }
  ~Buffer() { free(data_); }
  Buffer(const Buffer&) = delete;
  char* data() { return data_; }

 private:
  char* data_;
};

// A worker's state for all keys.
struct Worker {
  std::string name;
  bool joined = false;
  std::atomic<bool> left{false};
  ps::KVMeta request{};    // its last join or leave,
  int timestamp = -1;      // with its timestamp
  uint64_t key = 0;        // and key,
  std::string reply;       // the reply,
  bool replied = false;    // and whether that was sent
};

// A worker's state for one key.
struct Member {
  // Its state in the current round: it has not pushed; it has pushed; all workers have pushed; the sum is complete, but
  // the worker has not asked for it.
  enum { kIdle, kPushed, kComplete, kSummed } round = kIdle;
  bool announced = false, registered = false;
  bool waits = false;  // for the reply to `request`
  ps::KVMeta request{};
  int pushed = -1, replied = -1;  // timestamps of the last push, and of the last request that got a reply
  int rounds = 0;                 // number of rounds that it has pushed to

  // Records a push that waits for its reply.
  void Wait(const ps::KVMeta& meta) {
    waits = true;
    request = meta;
    pushed = meta.timestamp;
  }

  // Records that the waiting request gets its reply.
  void SetReplied() {
    waits = false;
    replied = request.timestamp;
  }
};

struct Key {
  Key(uint64_t number, const Announcement& announcement, int dtype, size_t workers)
      : number(number), size(announcement.bytes), announcement(announcement), dtype(dtype), members(workers) {}

  const uint64_t number;  // as in requests
  const size_t size;
  const Announcement announcement;  // the first worker's
  const int dtype;

  std::mutex mutex;  // of all below, which the receiving thread and the key's engine thread share
  std::vector<Member> members;
  int pushes = 0;  // in this round
  int engine_thread = -1;
  bool open = false;  // all workers have announced it
  std::unique_ptr<common::compressor::Compressor> compressor;
  common::compressor::kwargs_t options;
  bool ready = false;                         // all workers have registered the compressor
  std::unique_ptr<Buffer> sum, previous_sum;  // of this round, and of the last one, which workers still read
  std::unique_ptr<Buffer> compressed;         // the compressed sum
  const char* reply = nullptr;                // the result of the last complete round
  size_t reply_size = 0;

  bool IsCompressed() const { return !announcement.options.empty(); }

  // Its name in messages, such as 'gradient_3' (dense0_weight, part 2 of 5).
  std::string Name() const {
    const uint64_t parts = (announcement.tensor_bytes - 1) / announcement.partition_bytes + 1;
    std::string more = announcement.label;
    const std::string part = "part " + std::to_string(announcement.part + 1) + " of " + std::to_string(parts);
    if (parts > 1) more += (more.empty() ? "" : ", ") + part;
    return "'" + announcement.tensor + "'" + (more.empty() ? "" : " (" + more + ")");
  }
};

struct Job {
  Job() : workers(Setting("DMLC_NUM_WORKER", 1)), asynchronous(Setting("BYTEPS_ENABLE_ASYNC", 0) != 0) {
    for (size_t i = 0; i < workers.size(); ++i) workers[i].name = "the worker with the number " + std::to_string(i);
  }

  int size() const { return static_cast<int>(workers.size()); }

  std::vector<Worker> workers;  // by their numbers in ps-lite, which are not their ranks
  const bool asynchronous;
  std::unordered_map<uint64_t, std::unique_ptr<Key>> keys;  // only the receiving thread uses the map
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_STATE_H
