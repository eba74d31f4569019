// BytePS's server (byteps_gc's own implementation): it sums what the workers push of each key, and answers with the sum.
//
// A key goes through phases, and all workers go through them together: its size is announced, its compressor, if it
// has one, is registered, and then come rounds. In a round every worker pushes once and gets the sum once, either as the
// answer to its push or as the answer to a pull. A worker pushes again only when it has the sum, so that there are at
// most two rounds of a key under way: one that workers still read, and one that they push to. Each has its own buffer.
//
// A request that comes again, because a connection was lost, is known by its timestamp: it is answered, never counted
// twice. A push or a pull that belongs to no phase is dropped and reported; workers that disagree about a key end the job.
#include "server.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "../common/compressor/compressor.h"
#include "../common/compressor/compressor_registry.h"
#include "../common/compressor/utils.h"
#include "../common/cpu_reducer.h"
#include "ps/ps.h"

namespace byteps {
namespace server {
namespace {

using common::DataType;
using common::compressor::Compressor;
using common::compressor::tensor_t;
using Data = ps::KVPairs<char>;

constexpr int kPushPull = 0, kCompressor = 2;  // BytePS's types of requests; it pairs them with the dtype as Cantor does
constexpr int kStatus = 70;                    // of a server that ends because its workers disagree
constexpr size_t kAnnouncement = sizeof(uint64_t);
constexpr size_t kPage = 4096;

struct Command {
  int type, dtype;
};

Command Read(int command) {
  const int sum = static_cast<int>((std::sqrt(8.0 * command + 1) - 1) / 2);
  const int dtype = command - sum * (sum + 1) / 2;
  return {sum - dtype, dtype};
}

bool Known(int dtype) { return dtype >= common::BYTEPS_FLOAT32 && dtype <= common::BYTEPS_INT64; }

[[noreturn]] void Fail(const std::string& why) {
  std::cerr << "byteps: " << why << std::endl;
  _exit(kStatus);
}

std::string NameOf(int worker) { return "worker " + std::to_string(worker); }

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

// What a server knows of a worker, for one key.
struct Member {
  enum { kIdle, kPushed, kSummed } round = kIdle;  // of the current round: nothing yet, it has pushed, the sum is there
  bool announced = false, registered = false;
  bool asked = false;  // it has asked for the sum
  ps::KVMeta request{};  // what is to be answered
  int pushed = -1, answered = -1;  // timestamps of the last push and of the last request with an answer
};

class Server;

struct Key {
  explicit Key(uint64_t number, int workers) : number(number), members(workers) {}

  const uint64_t number;  // as it is sent
  std::mutex mu;          // of what follows, which the handler and the key's lane share
  std::vector<Member> members;
  size_t size = 0;
  int dtype = -1, arrived = 0, lane = -1;
  bool open = false;  // all have announced it
  std::unique_ptr<Compressor> compressor;
  std::string options;
  std::unique_ptr<Buffer> sum, other, reply;  // where pushes go, what workers still read, what a compressor has made
  const char* answer = nullptr;               // of the last round that is complete
  size_t answer_size = 0;
};

struct Task {
  enum { kFirst, kNext, kSum, kEnd } kind = kEnd;
  Key* key = nullptr;
  char* sum = nullptr;
  Data data;  // keeps what was pushed until it is summed
};

// A thread that works off the tasks of its keys in order.
class Lane {
 public:
  explicit Lane(Server* server) : thread_(&Lane::Run, this, server) {}
  ~Lane() {
    Add(Task());
    thread_.join();
  }
  void Add(Task task) {
    {
      std::lock_guard<std::mutex> guard(mu_);
      tasks_.push_back(std::move(task));
    }
    news_.notify_one();
  }
  size_t bytes = 0;  // of its keys

 private:
  void Run(Server* server);

  std::mutex mu_;
  std::condition_variable news_;
  std::deque<Task> tasks_;
  std::thread thread_;
};

class Server {
 public:
  Server()
      : workers_(Number("DMLC_NUM_WORKER", 1)),
        asynchronous_(Number("BYTEPS_ENABLE_ASYNC", 0) != 0),
        reducer_(nullptr),
        service_(new ps::KVServer<char>(0)) {
    const int lanes = std::max(1, Number("BYTEPS_SERVER_ENGINE_THREAD", 4));
    for (int i = 0; i < lanes; ++i) lanes_.emplace_back(new Lane(this));
    service_->set_request_handle([this](const ps::KVMeta& meta, const Data& data, ps::KVServer<char>*) { Handle(meta, data); });
  }

  // Nothing is received any more.
  void Close() {
    service_.reset();
    lanes_.clear();
  }

  void Do(Task* task) {
    Key* key = task->key;
    if (task->kind == Task::kSum) return Publish(key, task->sum);
    const char* pushed = task->data.vals.data();
    if (key->compressor) {
      const tensor_t values = key->compressor->Decompress({task->data.vals.data(), task->data.vals.size(), key->dtype});
      if (!values.size) return;  // the compressor keeps sums itself
      pushed = values.data;
    }
    if (task->kind == Task::kFirst) {
      reducer_.copy(task->sum, pushed, key->size);
    } else {
      reducer_.sum(task->sum, pushed, key->size, static_cast<DataType>(key->dtype));
    }
  }

 private:
  static int Number(const char* name, int otherwise) {
    const char* text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
  }

  // The van has checked that the sender is a worker of this job, and that a message has one key, one length and as many values.
  void Handle(const ps::KVMeta& meta, const Data& data) {
    const Command command = Read(meta.cmd);
    const int worker = ps::Postoffice::IDtoRank(meta.sender);
    if (worker >= workers_ || !Known(command.dtype) || (command.type != kPushPull && command.type != kCompressor))
      return Drop(meta, "an unknown command");
    Key* key = Find(data.keys[0], meta.push && command.type == kPushPull);
    if (!key) return Drop(meta, "a request for a key that was not announced");
    std::unique_lock<std::mutex> guard(key->mu);
    if (!meta.push) return Pull(key, worker, meta, &guard);
    if (command.type == kCompressor) return Register(key, worker, meta, data, &guard);
    if (!key->open) return Announce(key, worker, meta, data, command.dtype, &guard);
    if (meta.timestamp == key->members[worker].pushed) return Again(key, worker, meta, &guard);
    if (command.dtype != key->dtype)
      Fail(NameOf(worker) + " pushes " + Text(*key) + " as dtype " + std::to_string(command.dtype) + ", but announced dtype " +
           std::to_string(key->dtype));
    asynchronous_ ? Add(key, worker, meta, data, &guard) : Push(key, worker, meta, data, &guard);
  }

  Key* Find(uint64_t number, bool make) {
    auto found = keys_.find(number);
    if (found != keys_.end()) return found->second.get();
    if (!make) return nullptr;
    return (keys_[number] = std::unique_ptr<Key>(new Key(number, workers_))).get();
  }

  // The first push of a key says how many bytes it has; it is answered when all workers have said so.
  void Announce(Key* key, int worker, const ps::KVMeta& meta, const Data& data, int dtype, std::unique_lock<std::mutex>* guard) {
    if (data.vals.size() != kAnnouncement) return Drop(meta, "data of a key that was not announced");
    uint64_t size;
    memcpy(&size, data.vals.data(), sizeof size);
    if (!key->arrived) {
      key->size = size;
      key->dtype = dtype;
    }
    if (size != key->size || dtype != key->dtype)
      Fail(NameOf(worker) + " has a tensor of " + std::to_string(size) + " bytes where other workers have one of " +
           std::to_string(key->size) + " bytes (key " + std::to_string(key->number) +
           "): the workers' nets, dtypes or BYTEPS_PARTITION_BYTES differ");
    Member& member = key->members[worker];
    member.request = meta;
    member.pushed = meta.timestamp;
    if (!member.announced) ++key->arrived;
    member.announced = true;
    if (key->arrived < workers_) return;
    key->arrived = 0;
    key->open = true;
    key->sum.reset(new Buffer(key->size));
    key->other.reset(new Buffer(key->size));
    if (asynchronous_) memset(key->sum->data(), 0, key->size);
    key->lane = static_cast<int>(std::min_element(lanes_.begin(), lanes_.end(), [](const std::unique_ptr<Lane>& a,
                                     const std::unique_ptr<Lane>& b) { return a->bytes < b->bytes; }) - lanes_.begin());
    lanes_[key->lane]->bytes += key->size;
    AnswerAll(key, guard);
  }

  // Every worker registers the same compressor; that is answered when all have.
  void Register(Key* key, int worker, const ps::KVMeta& meta, const Data& data, std::unique_lock<std::mutex>* guard) {
    if (!key->open) return Drop(meta, "a compressor of a key that was not announced");
    Member& member = key->members[worker];
    if (meta.timestamp == member.pushed) return Again(key, worker, meta, guard);
    const std::string options(data.vals.data(), data.vals.size());
    if (!key->compressor) {
      const size_t size = common::Align(key->size, key->dtype);
      key->options = options;
      key->compressor = common::compressor::CompressorRegistry::Create(common::compressor::Deserialize(options), size,
                                                                       static_cast<DataType>(key->dtype));
      if (!key->compressor) Fail(NameOf(worker) + " registers " + Text(*key) + " without a compressor");
      key->reply.reset(new Buffer(size));
    }
    member.request = meta;
    member.pushed = meta.timestamp;
    if (!member.registered) ++key->arrived;
    member.registered = true;
    if (key->arrived < workers_) return;
    key->arrived = 0;
    AnswerAll(key, guard);
  }

  void Push(Key* key, int worker, const ps::KVMeta& meta, const Data& data, std::unique_lock<std::mutex>* guard) {
    Member& member = key->members[worker];
    if (member.round != Member::kIdle) return Drop(meta, "a second push in one round");
    for (int other = 0; other < workers_; ++other) {
      if (key->members[other].registered != member.registered)
        Fail(NameOf(member.registered ? worker : other) + " compresses " + Text(*key) + ", and " +
             NameOf(member.registered ? other : worker) + " does not: compression_params or BYTEPS_MIN_COMPRESS_BYTES differ");
    }
    if (key->compressor ? data.vals.size() > key->size : data.vals.size() != key->size)
      Fail(NameOf(worker) + " pushes " + std::to_string(data.vals.size()) + " bytes of " + Text(*key) + ", which has " +
           std::to_string(key->size));
    const bool first = key->arrived++ == 0;
    member.round = Member::kPushed;
    member.pushed = meta.timestamp;
    member.asked = meta.option;
    member.request = meta;
    Lane* lane = lanes_[key->lane].get();
    Task task;
    task.kind = first ? Task::kFirst : Task::kNext;
    task.key = key;
    task.sum = key->sum->data();
    task.data = data;
    lane->Add(std::move(task));
    if (key->arrived == workers_) {
      key->arrived = 0;
      Task last;
      last.kind = Task::kSum;
      last.key = key;
      last.sum = key->sum->data();
      lane->Add(std::move(last));
      key->sum.swap(key->other);  // the next round's pushes go where nobody reads any more
    }
    guard->unlock();
    if (!meta.option) Answer(meta, nullptr);
  }

  // Asynchronous training: a push is added to what is there, and answered at once.
  void Add(Key* key, int worker, const ps::KVMeta& meta, const Data& data, std::unique_lock<std::mutex>* guard) {
    if (key->compressor || data.vals.size() != key->size)
      Fail(NameOf(worker) + " pushes " + Text(*key) + " in a way that asynchronous training cannot add");
    Member& member = key->members[worker];
    member.pushed = meta.timestamp;
    reducer_.sum(key->sum->data(), data.vals.data(), key->size, static_cast<DataType>(key->dtype));
    key->answer = key->sum->data();
    key->answer_size = key->size;
    member.answered = meta.timestamp;
    guard->unlock();
    Answer(meta, meta.option ? key : nullptr);
  }

  void Pull(Key* key, int worker, const ps::KVMeta& meta, std::unique_lock<std::mutex>* guard) {
    Member& member = key->members[worker];
    if (!key->open) return Drop(meta, "a pull of a key that was not announced");
    if (asynchronous_ || meta.timestamp == member.answered) {
      guard->unlock();
      return key->answer ? Answer(meta, key) : Drop(meta, "a pull before the first push");
    }
    if (member.round == Member::kIdle) return Drop(meta, "a pull before a push");
    member.asked = true;
    member.request = meta;
    if (member.round != Member::kSummed) return;
    member.round = Member::kIdle;
    member.answered = meta.timestamp;
    guard->unlock();
    Answer(meta, key);
  }

  // A push that has come already. Its answer may have been lost with a connection.
  void Again(Key* key, int worker, const ps::KVMeta& meta, std::unique_lock<std::mutex>* guard) {
    const Member member = key->members[worker];
    guard->unlock();
    if (member.answered == meta.timestamp) return Answer(meta, meta.option ? key : nullptr);
    if (!meta.option && key->arrived == 0) Answer(meta, nullptr);
  }

  // In the key's lane: a round is complete.
  void Publish(Key* key, char* sum) {
    const char* answer = sum;
    size_t size = key->size;
    if (key->compressor) {
      const tensor_t made = key->compressor->Compress({sum, key->size, key->dtype});
      if (made.size > key->size) Fail("the compressor of " + Text(*key) + " makes more bytes than the tensor has");
      reducer_.copy(key->reply->data(), made.data, made.size);
      answer = key->reply->data();
      size = made.size;
    }
    std::vector<ps::KVMeta> asked;
    {
      std::lock_guard<std::mutex> guard(key->mu);
      key->answer = answer;
      key->answer_size = size;
      for (Member& member : key->members) {
        member.round = member.asked ? Member::kIdle : Member::kSummed;
        if (!member.asked) continue;
        member.asked = false;
        member.answered = member.request.timestamp;
        asked.push_back(member.request);
      }
    }
    for (const auto& meta : asked) Answer(meta, key);
  }

  void AnswerAll(Key* key, std::unique_lock<std::mutex>* guard) {
    std::vector<ps::KVMeta> requests;
    for (Member& member : key->members) {
      member.answered = member.request.timestamp;
      requests.push_back(member.request);
    }
    guard->unlock();
    for (const auto& meta : requests) Answer(meta, nullptr);
  }

  // Answers a request: with the sum of a key, or, for none, that it has been received.
  void Answer(ps::KVMeta meta, const Key* key) {
    Data answer;
    if (key) {
      meta.push = false;
      answer.keys = {key->number};
      answer.lens = {static_cast<int>(key->answer_size)};
      answer.vals = ps::SArray<char>(const_cast<char*>(key->answer), key->answer_size, false);
    }
    service_->Response(meta, answer);
  }

  static std::string Text(const Key& key) {
    return "the tensor with key " + std::to_string(key.number) + " (" + std::to_string(key.size) + " bytes)";
  }

  void Drop(const ps::KVMeta& meta, const std::string& what) {
    if (dropped_.emplace(meta.sender, what).second)
      std::cerr << "byteps: dropped " << what << " from node " << meta.sender << std::endl;
  }

  const int workers_;
  const bool asynchronous_;
  common::CpuReducer reducer_;
  std::unique_ptr<ps::KVServer<char>> service_;
  std::unordered_map<uint64_t, std::unique_ptr<Key>> keys_;  // the handler's, whose thread is one
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::set<std::pair<int, std::string>> dropped_;
};

void Lane::Run(Server* server) {
  while (true) {
    Task task;
    {
      std::unique_lock<std::mutex> guard(mu_);
      news_.wait(guard, [this] { return !tasks_.empty(); });
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    if (task.kind == Task::kEnd) return;
    server->Do(&task);
  }
}

}  // namespace

// says to a compressor that it may keep sums
extern "C" void byteps_gc_compressor_keeps_sums() {}

extern "C" void byteps_server() {
  Server server;
  ps::StartAsync(0, "byteps_server\0");
  if (!ps::Postoffice::Get()->is_recovery()) ps::Postoffice::Get()->Barrier(0, ps::kWorkerGroup + ps::kServerGroup + ps::kScheduler);
  ps::Finalize(0, true);
  server.Close();
}

}  // namespace server
}  // namespace byteps
