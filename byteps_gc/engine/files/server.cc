// BytePS's server (byteps_gc's own implementation): it sums what the workers push of each key, and answers with the sum.
//
// A key goes through phases, and all workers go through them together: it is announced, its compressor, if it has one,
// is registered, and then come rounds. In a round every worker pushes once and gets the sum once, either as the answer
// to its push or as the answer to a pull. A worker pushes again only when it has the sum, so that there are at most two
// rounds of a key under way: one that workers still read, and one that they push to. Each has its own buffer.
//
// Some keys are exchanged by a certain number of workers only: those that announce them, as many as they say. The others
// count as zeros, and are not waited for.
//
// A worker that has joined (bps.join()) is not waited for until all have: its part of every sum is zero. It goes through
// the phases that it has missed when it comes back. A worker that has left is waited for never again: whoever needs it
// for a phase ends the job.
//
// A request that comes again, because a connection was lost, is known by its timestamp: it is answered, never counted
// twice. A push or a pull that belongs to no phase, and a push of an earlier round, are dropped and reported. Workers that
// disagree about a key, or push it twice in a round, end the job.
//
// One thread handles all requests. Sums, and all that compressors do, are computed by lanes.
#include "server.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "../common/byteps_gc_protocol.h"
#include "../common/compressor/compressor.h"
#include "../common/compressor/compressor_registry.h"
#include "../common/compressor/utils.h"
#include "../common/cpu_reducer.h"
#include "ps/ps.h"

namespace ps {
[[noreturn]] void EndJob(const std::string& why, int status);  // the van's
}

namespace byteps {
namespace server {
namespace {

using common::Announcement;
using common::DataType;
using common::compressor::Compressor;
using common::compressor::tensor_t;
using Data = ps::KVPairs<char>;

constexpr int kStatus = 70;  // of a server that ends because its workers disagree
constexpr size_t kPage = 4096;

struct Request {
  int type, detail;  // detail: the dtype, or what a worker does
};

Request Read(int command) {
  if (command < 0) return {-1, -1};
  const int64_t sum = static_cast<int64_t>((std::sqrt(8.0 * command + 1) - 1) / 2);
  const int64_t detail = command - sum * (sum + 1) / 2;
  return {static_cast<int>(sum - detail), static_cast<int>(detail)};
}

bool Known(int dtype) { return dtype >= common::BYTEPS_FLOAT32 && dtype <= common::BYTEPS_INT64; }

std::string DtypeName(int dtype) {
  static const char* const names[] = {"float32", "float64", "float16", "uint8", "int32", "int8", "int64"};
  return names[dtype];
}

// All processes of the job end, and say why.
[[noreturn]] void Fail(const std::string& why) { ps::EndJob(why, kStatus); }

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

// What a server knows of a worker, for all keys.
struct Worker {
  std::string name;
  bool joined = false;
  std::atomic<bool> left{false};
  ps::KVMeta request{};      // its last one about its membership, and
  int asked = -1;            // the timestamp,
  uint64_t key = 0;          // the key,
  std::string answer;        // and the answer
  bool answered = false;
};

// What a server knows of a worker, for one key.
struct Member {
  // Of the current round: nothing yet, it has pushed, all have pushed, the sum is there and it has not asked for it.
  enum { kIdle, kPushed, kComplete, kSummed } round = kIdle;
  bool announced = false, registered = false;
  bool waits = false;    // for the answer to `request`
  ps::KVMeta request{};
  int pushed = -1, answered = -1;  // timestamps of the last push and of the last request that was answered
  int rounds = 0;                  // that it has pushed to
};

class Server;

struct Key {
  Key(uint64_t number, const Announcement& is, int dtype, int first, int workers)
      : number(number), size(is.bytes), is(is), dtype(dtype), first(first), members(workers) {}

  const uint64_t number;  // as it is sent
  const size_t size;
  const Announcement is;  // the first worker's
  const int dtype, first;

  std::mutex mu;  // of what follows, which the handler and the key's lane share
  std::vector<Member> members;
  int arrived = 0, lane = -1;  // pushes in this round
  bool open = false;            // all have announced it
  std::unique_ptr<Compressor> compressor;
  common::compressor::kwargs_t options;
  bool ready = false;                         // all have registered the compressor
  std::unique_ptr<Buffer> sum, other, reply;  // where pushes go, what workers still read, what a compressor has made
  const char* answer = nullptr;               // of the last round that is complete
  size_t answer_size = 0;
};

struct Task {
  enum { kFirst, kNext, kSum, kEnd } kind = kEnd;
  Key* key = nullptr;
  char* sum = nullptr;
  Data data;       // keeps what was pushed until it is summed
  int absent = 0;  // workers that have not pushed to this round, because they have joined
};

thread_local int absent_workers = 0;

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
    for (size_t i = 0; i < workers_.size(); ++i) workers_[i].name = "the worker with the number " + std::to_string(i);
    service_->set_request_handle([this](const ps::KVMeta& meta, const Data& data, ps::KVServer<char>*) { Handle(meta, data); });
  }

  // Nothing is received any more.
  void Close() {
    lanes_.clear();
    service_.reset();
  }

  void Do(Task* task) {
    Key* key = task->key;
    if (task->kind == Task::kSum) return Publish(key, task->sum, task->absent);
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
  using Guard = std::unique_lock<std::mutex>;

  static int Number(const char* name, int otherwise) {
    const char* text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
  }

  int workers() const { return static_cast<int>(workers_.size()); }

  // The van has checked that the sender is a worker of this job, and that a message has one key, one length and as many values.
  void Handle(const ps::KVMeta& meta, const Data& data) {
    const Request request = Read(meta.cmd);
    const int worker = ps::Postoffice::IDtoRank(meta.sender);
    if (worker >= workers()) return Drop(meta, "an unknown command");
    if (request.type == common::kMembership && meta.push) return Change(worker, request.detail, meta, data);
    if (!Known(request.detail) || (request.type != common::kPushPullRequest && request.type != common::kCompressorRequest))
      return Drop(meta, "an unknown command");
    const auto found = keys_.find(data.keys[0]);
    Key* key = found == keys_.end() ? nullptr : found->second.get();
    if (!key || !key->members[worker].announced) {
      if (!meta.push || request.type != common::kPushPullRequest) return Drop(meta, "a request for a key that was not announced");
      return Announce(key, worker, meta, data, request.detail);
    }
    Guard guard(key->mu);
    if (meta.push && meta.timestamp == key->members[worker].pushed) return Again(key, worker, meta, &guard);
    if (meta.push && Earlier(meta.timestamp, key->members[worker].pushed)) return Drop(meta, "a repeated push of an earlier round");
    if (!key->open) return Drop(meta, "a request for a key that not all workers have announced");
    if (!meta.push) return Pull(key, worker, meta, &guard);
    if (request.type == common::kCompressorRequest) return Register(key, worker, meta, data, &guard);
    if (request.detail != key->dtype)
      Fail(workers_[worker].name + " pushes " + Name(*key) + " as " + DtypeName(request.detail) + " after it was announced as " +
           DtypeName(key->dtype));
    asynchronous_ ? Add(key, worker, meta, data, &guard) : Push(key, worker, meta, data, &guard);
  }

  // The first push of a key describes it; it is answered when all workers have announced the key, with the same words.
  void Announce(Key* key, int worker, const ps::KVMeta& meta, const Data& data, int dtype) {
    Announcement is;
    if (!is.Read(data.vals.data(), data.vals.size())) return Drop(meta, "data of a key that was not announced");
    if (is.workers > workers_.size()) return Drop(meta, "a key for more workers than there are");
    workers_[worker].name = is.worker;
    if (!key) {
      const uint64_t number = data.keys[0];
      key = (keys_[number] = std::unique_ptr<Key>(new Key(number, is, dtype, worker, workers()))).get();
    }
    Compare(*key, is, dtype);
    Guard guard(key->mu);
    if (key->open && OfSome(*key))
      Fail(is.worker + " announces " + Name(*key) + ", which " + std::to_string(is.workers) + " other workers exchange");
    Wait(&key->members[worker], meta);
    key->members[worker].announced = true;
    if (key->open) return AnswerNow(&key->members[worker], &guard);  // it had joined when the others announced it
    Await(key);
    Advance(key, &guard);
  }

  // Ends the job if a worker describes a key in other words than the first one.
  void Compare(const Key& key, const Announcement& is, int dtype) const {
    const Announcement& was = key.is;
    const std::string quoted = "'" + is.tensor + "'" + (is.label.empty() ? "" : " (" + is.label + ")");
    if (is.tensor != was.tensor)
      Fail(is.worker + " has the tensor '" + is.tensor + "' where " + was.worker + " has '" + was.tensor +
           "': all workers must declare the same tensors in the same order");
    if (is.workers != was.workers)
      Fail(is.worker + " exchanges " + quoted + " among " + std::to_string(is.workers) + " workers, " + was.worker + " among " +
           std::to_string(was.workers) + " (0: all): start the same number of workers on each host");
    if (dtype != key.dtype)
      Fail(is.worker + " has " + quoted + " as " + DtypeName(dtype) + ", " + was.worker + " as " + DtypeName(key.dtype) +
           ": use the same dtype and the same fp16 or bf16 setting on all workers");
    if (is.tensor_bytes != was.tensor_bytes)
      Fail(is.worker + " has " + quoted + " with " + std::to_string(is.tensor_bytes) + " bytes, " + was.worker + " with " +
           std::to_string(was.tensor_bytes) + ": all workers must train the same model");
    if (is.options != was.options)
      Fail(is.worker + " " + Compression(is.options, was.options, quoted) + ", " + was.worker + " " +
           Compression(was.options, is.options, "it") +
           ": use the same compression_params (also fp16 and bf16) and BYTEPS_MIN_COMPRESS_BYTES on all workers");
    // what a worker derives from all that
    if (is.partition_bytes != was.partition_bytes)
      Fail(is.worker + " has BYTEPS_PARTITION_BYTES=" + std::to_string(is.partition_bytes) + ", " + was.worker + " has " +
           std::to_string(was.partition_bytes) + ", as " + quoted + " shows: set the same value on all hosts");
    if (is.bytes != was.bytes || is.part != was.part)
      Fail(is.worker + " divides " + quoted + " otherwise than " + was.worker + ": start all processes with the same byteps_gc");
  }

  // What a worker does with a tensor: only the options that another one has not.
  static std::string Compression(const std::string& options, const std::string& others, const std::string& tensor) {
    if (options.empty()) return "does not compress " + tensor;
    std::istringstream words(others);
    std::set<std::string> known{std::istream_iterator<std::string>(words), std::istream_iterator<std::string>()};
    std::istringstream mine(options);
    std::string found;
    for (std::string word; !others.empty() && mine >> word;) {
      if (!known.count(word)) found += (found.empty() ? " with " : " ") + word;
    }
    return "compresses " + tensor + found;
  }

  // Every worker registers the same compressor; that is answered when all have.
  void Register(Key* key, int worker, const ps::KVMeta& meta, const Data& data, Guard* guard) {
    const std::string text(data.vals.data(), data.vals.size());
    // the reader makes as many options as the text begins with saying that it has
    if (strtoull(text.c_str(), nullptr, 10) > text.size()) return Drop(meta, "options that cannot be read");
    const auto options = common::compressor::Deserialize(text);
    const std::string name = workers_[worker].name;
    if (key->is.options.empty() || (key->compressor && options != key->options))
      Fail(name + " registers another compressor of " + Name(*key) + " than it announced");
    if (!key->compressor) {
      key->options = options;
      const size_t size = common::Align(key->size, key->dtype);
      key->compressor = common::compressor::CompressorRegistry::Create(options, size, static_cast<DataType>(key->dtype));
      if (!key->compressor) Fail(name + " registers " + Name(*key) + " without a compressor");
      key->reply.reset(new Buffer(size));
    }
    Wait(&key->members[worker], meta);
    key->members[worker].registered = true;
    if (key->ready) return AnswerNow(&key->members[worker], guard);
    Await(key);
    Advance(key, guard);
  }

  void Push(Key* key, int worker, const ps::KVMeta& meta, const Data& data, Guard* guard) {
    Member& member = key->members[worker];
    if (member.round != Member::kIdle)
      Fail(workers_[worker].name + " pushes " + Name(*key) + " again before it has the sum of its last push");
    if (member.registered == key->is.options.empty() || (member.registered && !key->ready))
      return Drop(meta, "a push before the registration of its compressor");
    if (key->compressor ? data.vals.size() > key->size : data.vals.size() != key->size)
      Fail(workers_[worker].name + " pushes " + std::to_string(data.vals.size()) + " bytes of " + Name(*key) + ", which has " +
           std::to_string(key->size));
    Task task;
    task.kind = key->arrived++ == 0 ? Task::kFirst : Task::kNext;
    task.key = key;
    task.sum = key->sum->data();
    task.data = data;
    lanes_[key->lane]->Add(std::move(task));
    ++member.rounds;
    member.round = Member::kPushed;
    Wait(&member, meta);
    const bool acknowledged = !meta.option;  // the sum is asked for by a pull
    if (acknowledged) Answered(&member);
    Await(key);
    Advance(key, guard);
    if (acknowledged) Answer(meta, nullptr);
  }

  // Asynchronous training: a push is added to what is there, and answered at once.
  void Add(Key* key, int worker, const ps::KVMeta& meta, const Data& data, Guard* guard) {
    if (key->compressor || data.vals.size() != key->size)
      Fail(workers_[worker].name + " pushes " + Name(*key) + " in a way that asynchronous training cannot add");
    reducer_.sum(key->sum->data(), data.vals.data(), key->size, static_cast<DataType>(key->dtype));
    key->answer = key->sum->data();
    key->answer_size = key->size;
    Wait(&key->members[worker], meta);
    Answered(&key->members[worker]);
    guard->unlock();
    Answer(meta, meta.option ? key : nullptr);
  }

  void Pull(Key* key, int worker, const ps::KVMeta& meta, Guard* guard) {
    Member& member = key->members[worker];
    if (asynchronous_ || meta.timestamp == member.answered) {
      guard->unlock();
      return key->answer ? Answer(meta, key) : Drop(meta, "a pull before the first push");
    }
    if (member.round == Member::kIdle) return Drop(meta, "a pull before a push");
    if (member.waits && meta.timestamp != member.request.timestamp) return Drop(meta, "a second request for one sum");
    member.waits = true;
    member.request = meta;
    if (member.round != Member::kSummed) return;
    member.round = Member::kIdle;
    Answered(&member);
    guard->unlock();
    Answer(meta, key);
  }

  // Whether a timestamp is earlier than another. Timestamps count up, and wrap around.
  static bool Earlier(int timestamp, int other) {
    return static_cast<int32_t>(static_cast<uint32_t>(timestamp) - static_cast<uint32_t>(other)) < 0;
  }

  // A push that has come already. If it has been answered, the answer may have been lost with a connection.
  void Again(Key* key, int worker, const ps::KVMeta& meta, Guard* guard) {
    const bool answered = key->members[worker].answered == meta.timestamp;
    guard->unlock();
    if (answered) Answer(meta, meta.option ? key : nullptr);
  }

  static void Wait(Member* member, const ps::KVMeta& meta) {
    member->waits = true;
    member->request = meta;
    member->pushed = meta.timestamp;
  }

  static void Answered(Member* member) {
    member->waits = false;
    member->answered = member->request.timestamp;
  }

  // Whether only some workers exchange a key.
  bool OfSome(const Key& key) const { return key.is.workers && key.is.workers != workers_.size(); }

  // Whether a worker is known to exchange a key.
  bool Exchanges(const Key& key, int worker) const { return !OfSome(key) || key.members[worker].announced; }

  // Whether nobody is waited for in a key's phase: every worker that exchanges it has done it, or has joined.
  template <typename Done>
  bool All(const Key& key, Done done) const {
    size_t known = 0;
    for (int worker = 0; worker < workers(); ++worker) {
      if (!Exchanges(key, worker)) continue;
      if (!workers_[worker].joined && !done(key.members[worker])) return false;
      ++known;
    }
    return !OfSome(key) || known == key.is.workers;
  }

  // Ends the job if a key's phase, which some worker is in, needs one that has left.
  void Await(Key* key) const {
    for (int worker = 0; worker < workers(); ++worker) {
      const Worker& gone = workers_[worker];
      if (!gone.left || !Exchanges(*key, worker) || Done(*key, key->members[worker])) continue;
      for (int other = 0; other < workers(); ++other) {
        if (workers_[other].left || !Done(*key, key->members[other])) continue;
        const int rounds = key->members[worker].rounds;
        const std::string had = rounds ? "after " + std::to_string(rounds) + (rounds > 1 ? " exchanges" : " exchange") : "without an exchange";
        Fail(gone.name + " has ended " + had + " of " + Name(*key) + " while " + workers_[other].name +
             " waits for the next one; call bps.join() when workers have different numbers of batches");
      }
    }
  }

  // Whether a worker has done what a key's phase takes.
  bool Done(const Key& key, const Member& member) const {
    if (!key.open) return member.announced;
    if (!key.ready && !key.is.options.empty()) return member.registered;
    return asynchronous_ || member.round == Member::kPushed;
  }

  // Goes to a key's next phase if nobody is waited for in this one. Unlocks the key.
  void Advance(Key* key, Guard* guard) {
    const auto done = [this, key](const Member& member) { return Done(*key, member); };
    if (!All(*key, done)) return guard->unlock();
    if (!key->open) {
      key->open = true;
      Begin(key);
      AnswerAll(key, guard);
    } else if (key->compressor && !key->ready) {
      key->ready = true;
      AnswerAll(key, guard);
    } else {
      if (key->arrived) Complete(key);
      guard->unlock();
    }
  }

  void Begin(Key* key) {
    key->sum.reset(new Buffer(key->size));
    key->other.reset(new Buffer(key->size));
    if (asynchronous_) memset(key->sum->data(), 0, key->size);
    key->lane = static_cast<int>(std::min_element(lanes_.begin(), lanes_.end(), [](const std::unique_ptr<Lane>& a,
                                     const std::unique_ptr<Lane>& b) { return a->bytes < b->bytes; }) - lanes_.begin());
    lanes_[key->lane]->bytes += key->size;
  }

  // All pushes of a round are there.
  void Complete(Key* key) {
    Task last;
    last.kind = Task::kSum;
    last.key = key;
    last.sum = key->sum->data();
    last.absent = workers() - key->arrived;
    lanes_[key->lane]->Add(std::move(last));
    key->arrived = 0;
    key->sum.swap(key->other);  // the next round's pushes go where nobody reads any more
    for (Member& member : key->members) {
      if (member.round == Member::kPushed) member.round = Member::kComplete;
    }
  }

  // In the key's lane: a round is complete.
  void Publish(Key* key, char* sum, int absent) {
    const char* answer = sum;
    size_t size = key->size;
    if (key->compressor) {
      absent_workers = absent;
      const tensor_t made = key->compressor->Compress({sum, key->size, key->dtype});
      if (made.size > key->size) Fail("the compressor of " + Name(*key) + " makes more bytes than the tensor has");
      reducer_.copy(key->reply->data(), made.data, made.size);
      answer = key->reply->data();
      size = made.size;
    }
    std::vector<ps::KVMeta> asked;
    {
      std::lock_guard<std::mutex> guard(key->mu);
      key->answer = answer;
      key->answer_size = size;
      for (size_t worker = 0; worker < key->members.size(); ++worker) {
        Member& member = key->members[worker];
        if (member.round != Member::kComplete) continue;
        member.round = member.waits ? Member::kIdle : Member::kSummed;
        if (!member.waits) continue;
        Answered(&member);
        if (!workers_[worker].left) asked.push_back(member.request);
      }
    }
    for (const auto& meta : asked) Answer(meta, key);
  }

  // Answers a worker that comes to a phase after the others. Unlocks the key.
  void AnswerNow(Member* member, Guard* guard) {
    Answered(member);
    const ps::KVMeta request = member->request;
    guard->unlock();
    Answer(request, nullptr);
  }

  // Answers all that wait for the end of a phase. Unlocks the key.
  void AnswerAll(Key* key, Guard* guard) {
    std::vector<ps::KVMeta> requests;
    for (Member& member : key->members) {
      if (!member.waits) continue;
      Answered(&member);
      requests.push_back(member.request);
    }
    guard->unlock();
    for (const auto& meta : requests) Answer(meta, nullptr);
  }

  // A worker joins or leaves.
  void Change(int worker, int what, const ps::KVMeta& meta, const Data& data) {
    common::Member said;
    if ((what != common::kJoin && what != common::kLeave) || !said.Read(data.vals.data(), data.vals.size()))
      return Drop(meta, "an unknown command");
    Worker& one = workers_[worker];
    const bool again = one.asked == meta.timestamp;
    if (one.asked >= 0 && Earlier(meta.timestamp, one.asked)) return Drop(meta, "a repeated join or leave");
    one.request = meta;
    one.asked = meta.timestamp;
    one.key = data.keys[0];
    if (again) return one.answered ? Answer(one) : void();
    one.name = said.name;
    one.answered = false;
    what == common::kJoin ? Join(worker, said) : Leave(worker);
  }

  void Join(int worker, const common::Member& said) {
    workers_[worker].joined = true;
    for (const Worker& other : workers_) Missed(other);
    if (std::all_of(workers_.begin(), workers_.end(), [](const Worker& one) { return one.joined; })) {
      for (Worker& one : workers_) one.joined = false;
      for (Worker& one : workers_) {
        one.answer = said.Write();
        Answer(one);
      }
      return;
    }
    for (auto& key : keys_) {
      Guard guard(key.second->mu);
      if (InPhase(*key.second)) Advance(key.second.get(), &guard);
    }
  }

  void Leave(int worker) {
    Worker& one = workers_[worker];
    one.left = true;
    Missed(one);
    for (auto& key : keys_) {
      Guard guard(key.second->mu);
      Await(key.second.get());
    }
    Answer(one);
  }

  // Ends the job if a worker has left that others, which have joined, wait for.
  void Missed(const Worker& gone) const {
    if (!gone.left) return;
    for (const Worker& one : workers_) {
      if (one.joined)
        Fail(gone.name + " has ended without bps.join() while " + one.name + " waits in it; call bps.join() on all workers");
    }
  }

  // Whether some worker waits for others in a key's phase.
  bool InPhase(const Key& key) const {
    if (key.open && (key.ready || key.is.options.empty())) return key.arrived > 0;
    return std::any_of(key.members.begin(), key.members.end(), [this, &key](const Member& one) { return Done(key, one); });
  }

  // Answers a worker that has joined or left.
  void Answer(Worker& worker) {
    worker.answered = true;
    Data answer;
    answer.keys = {worker.key};
    answer.lens = {static_cast<int>(worker.answer.size())};
    answer.vals.CopyFrom(worker.answer.data(), worker.answer.size());
    ps::KVMeta meta = worker.request;
    meta.push = false;
    service_->Response(meta, answer);
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

  // A key, as messages name it: 'gradient_3' (dense0_weight, part 2 of 5).
  static std::string Name(const Key& key) {
    const uint64_t parts = (key.is.tensor_bytes - 1) / key.is.partition_bytes + 1;
    std::string more = key.is.label;
    if (parts > 1) more += (more.empty() ? "part " : ", part ") + std::to_string(key.is.part + 1) + " of " + std::to_string(parts);
    return "'" + key.is.tensor + "'" + (more.empty() ? "" : " (" + more + ")");
  }

  void Drop(const ps::KVMeta& meta, const std::string& what) {
    if (!dropped_.emplace(meta.sender, what).second) return;
    const size_t worker = ps::Postoffice::IDtoRank(meta.sender);
    const std::string name = worker < workers_.size() ? workers_[worker].name : "node " + std::to_string(meta.sender);
    std::cerr << "byteps: dropped " << what << " from " << name << std::endl;
  }

  std::vector<Worker> workers_;  // by their numbers in ps-lite, which are not their ranks
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

// how many workers take part with zeros in the sum that this thread's compressor is asked for
extern "C" int byteps_gc_absent_workers() { return absent_workers; }

extern "C" void byteps_server() {
  Server server;
  ps::StartAsync(0, "byteps_server\0");
  if (!ps::Postoffice::Get()->is_recovery()) ps::Postoffice::Get()->Barrier(0, ps::kWorkerGroup + ps::kServerGroup + ps::kScheduler);
  ps::Finalize(0, true);
  server.Close();
}

}  // namespace server
}  // namespace byteps
