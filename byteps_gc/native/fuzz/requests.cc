// Fuzzing of a server's sums: requests of two workers, valid and not, in any order.
//
// Whatever is asked: nothing is read or written that should not be, an answer is for a request of that worker, there
// are no more answers than requests, and none is longer than its key was announced. The server's threads are run by the
// harness, early or late as the input says. In the end a new key is announced, pushed and summed as if nothing had
// been.
#include "process.h"

namespace std {
struct idle_thread {  // whose work the harness does
  template <typename... T>
  explicit idle_thread(T&&...) {}
  void join() {}
};
}  // namespace std

#define thread idle_thread
#include "byteps/server/server.cc"
#undef thread
#include "byteps/common/compressor/compressor_registry.cc"

namespace fuzz {
namespace {

using byteps::common::Announcement;
using byteps::common::Command;
using byteps::common::compressor::Compressor;
using byteps::common::compressor::tensor_t;
using byteps::server::Server;

constexpr int kDtypes[] = {0, 2, 6};  // of the keys 0, 1 and 2
constexpr uint64_t kSizes[] = {4, 8, 64, 100, 1000, 4096};
constexpr uint64_t kNewKey = 77;
constexpr int kNewTimestamp = 1 << 20;

// Copies what it is given, as long as it is; an empty push is kept, as by a compressor that keeps sums.
class Copier : public Compressor {
 public:
  Copier(size_t size, byteps::common::DataType dtype) : Compressor(size, dtype), room_(size) {}
  tensor_t Compress(tensor_t grad) override { return Copy(grad); }
  tensor_t Decompress(tensor_t compressed) override {
    tensor_t copy = Copy(compressed);
    if (compressed.size) copy.size = room_.size();
    return copy;
  }

 private:
  tensor_t Copy(tensor_t from) {
    memcpy(room_.data(), from.data, std::min(from.size, room_.size()));
    return {room_.data(), std::min(from.size, room_.size())};
  }
  std::vector<char> room_;
};

std::unique_ptr<Compressor> copier(const byteps::common::compressor::kwargs_t&, size_t size,
                                   byteps::common::DataType dtype) {
  return std::make_unique<Copier>(size, dtype);
}
byteps::common::compressor::CompressorRegistry::Register registered("copier_compressor", copier);

std::string announcement(uint64_t size, bool compressed, int worker) {
  Announcement is;
  is.bytes = is.tensor_bytes = is.partition_bytes = size;
  is.worker = "worker-" + std::to_string(worker) + " on 10.0.0.2";
  is.tensor = "gradient_0";
  if (compressed) is.options = "compressor_type=copier";
  return is.Write();
}

class Requests {
 public:
  explicit Requests(Input* in) : Requests(in, in->byte()) {}

  void Run() {
    if (!process_.Run([this](Process*) { return Next(); })) return;
    CheckAnswers();
  }

 private:
  Requests(Input* in, uint8_t head)
      : in_(in),
        changes_(head & 1),
        asynchronous_(head / 2 % 8 == 7),
        process_(ps::Node::SERVER),
        server_(Made(asynchronous_)) {
    process_.Join();
  }

  static Server* Made(bool asynchronous) {
    setenv("BYTEPS_ENABLE_ASYNC", asynchronous ? "1" : "0", 1);
    return new Server();
  }

  bool Next() {
    auto& dropped = server_->responder_.dropped_;
    if (changed_) count(dropped.empty());
    dropped.clear();
    changed_ = in_->left() > 0;
    if (in_->left()) return Ask();
    return Finish();
  }

  bool Ask() {
    const uint8_t what = in_->byte(), how = in_->byte();
    if (what >= 224) {
      Work(how % 4 ? how % 4 : 1000);
      return Ask2();
    }
    const int worker = kWorkerIds[what & 1];
    const uint64_t key = what / 2 % 3;
    const uint64_t size = kSizes[how / 32 % 6];
    int& timestamp = timestamps_[worker];
    const int now = how % 32 == 31 ? timestamp - in_->byte() % 4 : ++timestamp;
    const int dtype = how % 32 == 30 ? in_->byte() % 24 : kDtypes[key];
    const int command = how % 32 == 27 ? int(extreme(in_)) : Command(0, dtype);
    switch (what / 8 % 8) {
      case 0:
        return Send(worker, key, now, command, false, Announced(worker, key, size, how));
      case 1:
        return Send(worker, key, now, Command(2, dtype), false, Options(how));
      case 2:
        return Pull(worker, key, now, command);
      case 3:
        if (changes_) return Send(worker, ~key, now, Command(3, how % 3), true, Membership(worker - 9, how));
        return Ask2();
      default:
        if (how % 32 < 29 && Pushed(worker, key)) return Ask2();  // seldom: it would end the job
        return Send(worker, key, now, command, what & 128, Values(key, how));
    }
  }

  bool Ask2() { return in_->left() ? Ask() : Finish(); }

  std::string Announced(int worker, uint64_t key, uint64_t size, uint8_t how) {
    std::string text = announcement(how % 32 == 29 && key < 2 ? extreme(in_) : Size(key, size), key == 2, worker);
    if (how % 32 == 28) change(&text, in_);
    return text;
  }

  std::string Membership(int rank, uint8_t how) {
    std::string text = std::to_string(rank / 2) + "\nworker-0 on 10.0.0.2\nany";
    if (how % 32 > 24) change(&text, in_);
    return text;
  }

  // The bytes of a key: what was said first.
  uint64_t Size(uint64_t key, uint64_t wanted) { return sizes_.emplace(key, wanted).first->second; }

  std::string Values(uint64_t key, uint8_t how) {
    uint64_t size = Size(key, 64);
    if (how % 32 == 28) size = in_->two();
    return std::string(size, char(how));
  }

  // Whether a worker waits for the sum of its last push.
  bool Pushed(int worker, uint64_t key) {
    const auto found = server_->job_.keys.find(key);
    if (found == server_->job_.keys.end()) return false;
    return found->second->members[size_t(worker - 9) / 2].round != byteps::server::Member::kIdle;
  }

  std::string Options(uint8_t how) {
    std::string text = (how % 32 == 26 ? std::to_string(extreme(in_)) : "1") + " compressor_type copier";
    if (how % 32 > 26) change(&text, in_);
    return text;
  }

  bool Send(int worker, uint64_t key, int timestamp, int command, bool wants_sum, const std::string& values) {
    const Meta meta = DataMeta(true, true, command, timestamp, wants_sum);
    return Deliver(worker, timestamp, {Name(worker), Packed(meta), Bytes(key), values, Bytes(int(values.size()))});
  }

  bool Pull(int worker, uint64_t key, int timestamp, int command) {
    const Meta meta = DataMeta(true, false, command, timestamp, false);
    return Deliver(worker, timestamp, {Name(worker), Packed(meta), Bytes(key), ""});
  }

  bool Deliver(int worker, int timestamp, const Parts& parts) {
    ++asked_[{worker, timestamp}];
    return process_.Deliver({Arrival::kListener, parts});
  }

  // Lets the server's threads do some of their tasks.
  void Work(int tasks) {
    for (auto& thread : server_->threads_.threads_) {
      for (int i = 0; i < tasks && !thread->tasks_.empty(); ++i) {
        byteps::server::Task task = std::move(thread->tasks_.front());
        thread->tasks_.pop_front();
        server_->aggregator_.Run(&task);
      }
    }
  }

  // A key that nobody has named before: announced, and two rounds.
  bool Finish() {
    Work(1 << 20);
    if (final_ == 6) return false;
    const int worker = final_ % 2, round = final_ / 2;
    const float values[] = {1.5f + float(round), float(worker)};
    ++final_;
    return Send(kWorkerIds[worker], kNewKey, kNewTimestamp + round, Command(0, 0), round > 0,
                round ? Bytes(values) : announcement(sizeof values, false, worker));
  }

  void CheckAnswers() {
    std::map<std::pair<int, int>, int> answers;
    int sums = 0;
    for (const Parts& parts : process_.Sent()) {
      require(parts.size() == 3 || parts.size() >= 6, "an answer of other parts");
      Meta meta;
      require(ps::wire::Read(parts[2].data(), parts[2].size(), &meta) && !meta.request, "an answer that is none");
      const int worker = parts[0] == Name(kWorkerIds[0]) ? kWorkerIds[0] : kWorkerIds[1];
      const std::pair<int, int> which{worker, meta.timestamp};
      require(++answers[which] <= asked_[which], "more answers than requests");
      if (parts.size() == 3) continue;
      uint64_t key;
      memcpy(&key, parts[3].data(), sizeof key);
      if (key > kNewKey) continue;  // about membership
      require(server_->job_.keys.count(key), "an answer of no key");
      require(parts[4].size() <= server_->job_.keys[key]->size, "an answer longer than its key");
      if (key != kNewKey) continue;
      const float round = float(meta.timestamp - kNewTimestamp);
      const float sum[] = {2 * (1.5f + round), 1};
      require(changes_ || asynchronous_ || parts[4] == Bytes(sum), "a wrong sum");
      ++sums;
    }
    require(changes_ || sums == 4, "a good request is not answered");
  }

  Input* const in_;
  const bool changes_, asynchronous_;  // workers join and leave
  Process process_;
  std::unique_ptr<Server> server_;
  std::map<std::pair<int, int>, int> asked_;  // requests, by worker and timestamp
  std::map<int, int> timestamps_;
  std::map<uint64_t, uint64_t> sizes_;
  bool changed_ = false;
  int final_ = 0;
};

}  // namespace

void attack_requests(Input* in) { Requests(in).Run(); }

}  // namespace fuzz
