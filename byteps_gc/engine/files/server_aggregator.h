// The aggregation of a round: decompresses and adds the pushes, compresses the sum, and replies to the workers that
// wait.
#ifndef BYTEPS_GC_SERVER_AGGREGATOR_H
#define BYTEPS_GC_SERVER_AGGREGATOR_H

#include <mutex>
#include <vector>

#include "../common/cpu_reducer.h"
#include "server_responder.h"
#include "server_state.h"
#include "server_threads.h"

namespace byteps {
namespace server {

using common::compressor::tensor_t;

// The number of workers that take part with zeros in the sum that this thread's compressor compresses.
inline int& AbsentWorkers() {
  thread_local int absent = 0;
  return absent;
}

class Aggregator {
 public:
  Aggregator(const Job& job, Responder* responder) : job_(job), responder_(*responder), reducer_(nullptr) {}

  // Runs a task, in the key's engine thread.
  void Run(Task* task) {
    Key* key = task->key;
    if (task->kind == Task::kPublish) return Publish(key, task->sum, task->absent);
    const char* pushed = task->data.vals.data();
    if (key->compressor) {
      const tensor_t values = key->compressor->Decompress({task->data.vals.data(), task->data.vals.size(), key->dtype});
      if (!values.size) return;  // the compressor keeps the sum itself
      pushed = values.data;
    }
    if (task->kind == Task::kCopy) {
      reducer_.copy(task->sum, pushed, key->size);
    } else {
      Add(key, task->sum, pushed);
    }
  }

  // Adds the values of a push to a sum, in the calling thread.
  void Add(Key* key, char* sum, const char* pushed) {
    reducer_.sum(sum, pushed, key->size, static_cast<common::DataType>(key->dtype));
  }

 private:
  void Publish(Key* key, char* sum, int absent) {
    const char* reply = sum;
    size_t size = key->size;
    if (key->compressor) {
      AbsentWorkers() = absent;
      const tensor_t made = key->compressor->Compress({sum, key->size, key->dtype});
      if (made.size > key->size) Fail("the compressor of " + key->Name() + " makes more bytes than the tensor has");
      reducer_.copy(key->compressed->data(), made.data, made.size);
      reply = key->compressed->data();
      size = made.size;
    }
    for (const auto& meta : Finish(key, reply, size)) responder_.Reply(meta, key);
  }

  // Ends a round; returns the requests that wait for its sum.
  std::vector<ps::KVMeta> Finish(Key* key, const char* reply, size_t size) {
    std::vector<ps::KVMeta> waiting;
    std::lock_guard<std::mutex> guard(key->mutex);
    key->reply = reply;
    key->reply_size = size;
    for (size_t worker = 0; worker < key->members.size(); ++worker) {
      Member& member = key->members[worker];
      if (member.round != Member::kComplete) continue;
      member.round = member.waits ? Member::kIdle : Member::kSummed;
      if (!member.waits) continue;
      member.SetReplied();
      if (!job_.workers[worker].left) waiting.push_back(member.request);
    }
    return waiting;
  }

  const Job& job_;
  Responder& responder_;
  common::CpuReducer reducer_;
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_AGGREGATOR_H
