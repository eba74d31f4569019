// The C surface of a worker's engine; core_api.h describes it.
#include "byteps_gc_core_api.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "global.h"
#include "operations.h"

// Functions of fix-ups that an engine may lack.
extern "C" uint64_t byteps_gc_split(const char* name, uint64_t partition) __attribute__((weak));
extern "C" void byteps_gc_place(const char* name, uint64_t bytes, uint64_t partition) __attribute__((weak));
extern "C" void byteps_gc_describe(const char* name, const char* label, int workers) __attribute__((weak));

namespace byteps {
namespace common {
namespace {

using Lock = std::unique_lock<std::mutex>;

void (*hand_step)(int, float, int, float) = nullptr;

// One-dimensional memory of the caller.
class Array : public Tensor {
 public:
  Array(void* data, uint64_t bytes, int dtype) : data_(data), bytes_(bytes), dtype_(static_cast<DataType>(dtype)) {}
  const DataType dtype() const override { return dtype_; }
  const TensorShape shape() const override {
    TensorShape shape;
    shape.AddDim(bytes_ / getDataTypeLength(dtype_));
    return shape;
  }
  const void* data() const override { return data_; }
  int64_t size() const override { return bytes_; }

 private:
  void* data_;
  int64_t bytes_;
  DataType dtype_;
};

// A declared tensor. bytes is 0 until it is registered; busy: its registration or an exchange is under way.
struct Declared {
  BPSContext* context;
  std::string name;
  uint64_t bytes = 0;
  int dtype = 0;
  bool busy = false;
};

// What was begun together and is waited for together.
struct Ticket {
  size_t left;
  bool queued;
  std::string first;  // name of its first tensor
  std::string failure;
};

// What waits for other processes, and so has a thread of its own: a registration, or without a tensor the connection.
struct Errand {
  Declared* tensor;
  uint64_t ticket;
};

// From open() to close(). Engine threads that still complete something hold it, so it outlives close().
class Session : public std::enable_shared_from_this<Session> {
 public:
  int Declare(const std::string& name, uint64_t bytes, uint64_t partition, const char* label, int workers,
              std::unordered_map<std::string, std::string> options, std::string* why);
  uint64_t Connect(std::string* why);
  uint64_t Register(int number, uint64_t bytes, int dtype, std::string* why);
  uint64_t Exchange(int count, const byteps_gc_core_exchange_of* each, bool queued, std::string* why);
  int Wait(uint64_t ticket, double seconds, std::string* why);
  uint64_t Next(double seconds);
  bool Drain(double seconds);
  void Close();
  bool Stop(double seconds);

 private:
  bool Known(int number, std::string* why) const;
  uint64_t Add(size_t count, bool queued, const std::string& first);
  bool Claim(int count, const byteps_gc_core_exchange_of* each, std::string* why);
  void Begin(const byteps_gc_core_exchange_of& one, Declared* tensor, uint64_t ticket);
  void Finish(Declared* tensor, uint64_t ticket, const std::string& failure);
  uint64_t Send(Declared* tensor, const std::string& name);
  void RunErrands();

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::deque<Declared> tensors_;  // its elements never move
  std::unordered_map<uint64_t, Ticket> tickets_;
  std::deque<uint64_t> finished_;
  std::deque<Errand> errands_;
  bool has_runner_ = false;  // the thread of errands
  bool closed_ = false, stopping_ = false, stopped_ = false;
  uint64_t last_ = 0;
};

int Session::Declare(const std::string& name, uint64_t bytes, uint64_t partition, const char* label, int workers,
                     std::unordered_map<std::string, std::string> options, std::string* why) {
  const std::string full = "byteps." + name;
  Lock lock(mutex_);
  if (closed_) return *why = "BytePS has been shut down", -1;
  IsTensorDeclared(full);
  if (!options.empty()) RegisterCompressor(full, options);
  if (partition) partition = byteps_gc_split ? byteps_gc_split(name.c_str(), partition) : 0;
  if (bytes && byteps_gc_place) byteps_gc_place(name.c_str(), bytes, partition);
  if (byteps_gc_describe) byteps_gc_describe(name.c_str(), label, workers);
  tensors_.emplace_back();
  tensors_.back().context = &GetContextFromName(full);
  tensors_.back().name = name;
  return static_cast<int>(tensors_.size()) - 1;
}

bool Session::Known(int number, std::string* why) const {
  if (closed_) return *why = "BytePS has been shut down", false;
  if (number >= 0 && static_cast<size_t>(number) < tensors_.size()) return true;
  *why = "tensor " + std::to_string(number) + " has not been declared";
  return false;
}

uint64_t Session::Add(size_t count, bool queued, const std::string& first) {
  tickets_[++last_] = {count, queued, first, ""};
  return last_;
}

uint64_t Session::Register(int number, uint64_t bytes, int dtype, std::string* why) {
  Lock lock(mutex_);
  if (!Known(number, why)) return 0;
  Declared& tensor = tensors_[number];
  if (dtype < BYTEPS_FLOAT32 || dtype > BYTEPS_INT64) return *why = tensor.name + " has an unknown dtype", 0;
  if (!bytes || bytes % getDataTypeLength(dtype)) {
    return *why = tensor.name + ": " + std::to_string(bytes) + " bytes are not a positive number of elements", 0;
  }
  if (tensor.bytes || tensor.busy) return *why = tensor.name + " has been registered already", 0;
  tensor.bytes = bytes;
  tensor.dtype = dtype;
  tensor.busy = true;
  return Send(&tensor, tensor.name);
}

uint64_t Session::Connect(std::string* why) {
  Lock lock(mutex_);
  if (closed_) return *why = "BytePS has been shut down", 0;
  return Send(nullptr, "the first tensor");
}

// Queues an errand; the lock is held.
uint64_t Session::Send(Declared* tensor, const std::string& name) {
  const uint64_t ticket = Add(1, false, name);
  errands_.push_back({tensor, ticket});
  if (!has_runner_) {
    has_runner_ = true;
    auto self = shared_from_this();
    std::thread([self] { self->RunErrands(); }).detach();
  }
  changed_.notify_all();
  return ticket;
}

// Runs errands in order, until close().
void Session::RunErrands() {
  Lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closed_ || !errands_.empty(); });
    if (closed_) return;
    const Errand one = errands_.front();
    errands_.pop_front();
    lock.unlock();
    if (one.tensor) {
      InitTensor(*one.tensor->context, one.tensor->bytes, one.tensor->dtype, nullptr);
    } else {
      BytePSGlobal::GetOrInitPS();
    }
    Finish(one.tensor, one.ticket, "");
    lock.lock();
  }
}

// Marks all tensors as busy, or none.
bool Session::Claim(int count, const byteps_gc_core_exchange_of* each, std::string* why) {
  int claimed = 0;
  for (; claimed < count; ++claimed) {
    if (!Known(each[claimed].tensor, why)) break;
    Declared& tensor = tensors_[each[claimed].tensor];
    if (!tensor.bytes) *why = tensor.name + " has not been registered";
    if (!each[claimed].data) *why = tensor.name + " has no array";
    if (tensor.busy) *why = "an exchange of " + tensor.name + " is under way; wait for it before the next one";
    if (!why->empty()) break;
    tensor.busy = true;
  }
  if (claimed == count) return true;
  while (claimed > 0) tensors_[each[--claimed].tensor].busy = false;
  return false;
}

uint64_t Session::Exchange(int count, const byteps_gc_core_exchange_of* each, bool queued, std::string* why) {
  if (count < 1) return *why = "there is nothing to exchange", 0;
  std::vector<Declared*> tensors;
  uint64_t ticket;
  {
    Lock lock(mutex_);
    if (!Claim(count, each, why)) return 0;
    for (int i = 0; i < count; ++i) tensors.push_back(&tensors_[each[i].tensor]);
    ticket = Add(count, queued, tensors[0]->name);
  }
  for (int i = 0; i < count; ++i) Begin(each[i], tensors[i], ticket);
  return ticket;
}

// Enqueues one exchange; without the lock, as it may be done at once.
void Session::Begin(const byteps_gc_core_exchange_of& one, Declared* tensor, uint64_t ticket) {
  if (one.compressor >= 0 && hand_step) hand_step(one.compressor, one.rate, one.before, one.factor);
  auto array = std::make_shared<Array>(one.data, tensor->bytes, tensor->dtype);
  auto queues = GetPushQueueList(CPU_DEVICE_ID);
  auto pulls = GetPullQueueList(CPU_DEVICE_ID);
  queues->insert(queues->end(), pulls->begin(), pulls->end());
  auto self = shared_from_this();
  auto done = [self, tensor, ticket](const Status& status) {
    self->Finish(tensor, ticket, status.ok() ? "" : status.reason());
  };
  const Status status =
      EnqueueTensor(*tensor->context, array, array, nullptr, CPU_DEVICE_ID, one.priority, 0, done, queues);
  if (!status.ok()) done(status);
}

void Session::Finish(Declared* tensor, uint64_t ticket, const std::string& failure) {
  Lock lock(mutex_);
  if (tensor) tensor->busy = false;
  auto found = tickets_.find(ticket);
  if (found == tickets_.end()) return;  // close() came first
  if (!failure.empty()) found->second.failure = tensor->name + ": " + failure;
  if (--found->second.left) return;
  if (found->second.queued) finished_.push_back(ticket);
  changed_.notify_all();
}

int Session::Wait(uint64_t ticket, double seconds, std::string* why) {
  Lock lock(mutex_);
  if (!tickets_.count(ticket)) return *why = "ticket " + std::to_string(ticket) + " does not exist", 2;
  const bool ended = changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this, ticket] {
    auto found = tickets_.find(ticket);
    return closed_ || found == tickets_.end() || !found->second.left;
  });
  if (!ended) return 1;
  auto found = tickets_.find(ticket);
  if (found == tickets_.end()) return *why = "ticket " + std::to_string(ticket) + " was waited for twice", 2;
  *why = found->second.left ? "BytePS was shut down during the exchange of " + found->second.first
                            : found->second.failure;
  tickets_.erase(found);
  return why->empty() ? 0 : 2;
}

bool Session::Drain(double seconds) {
  Lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] {
    const auto under_way = [](const std::pair<const uint64_t, Ticket>& one) { return one.second.left > 0; };
    return closed_ || std::none_of(tickets_.begin(), tickets_.end(), under_way);
  });
}

uint64_t Session::Next(double seconds) {
  Lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return closed_ || !finished_.empty(); });
  if (finished_.empty()) return 0;
  const uint64_t ticket = finished_.front();
  finished_.pop_front();
  return ticket;
}

void Session::Close() {
  Lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

bool Session::Stop(double seconds) {
  Lock lock(mutex_);
  if (!stopping_) {
    stopping_ = true;
    auto self = shared_from_this();
    std::thread([self] {
      byteps_shutdown();
      Lock lock(self->mutex_);
      self->stopped_ = true;
      self->changed_.notify_all();
    }).detach();
  }
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return stopped_; });
}

// The session that is open, or the last one: never destroyed, as threads may still use it when the process ends.
std::mutex current_mutex;
std::shared_ptr<Session>& Slot() {
  static auto* slot = new std::shared_ptr<Session>;
  return *slot;
}

std::shared_ptr<Session> Current(std::string* why) {
  std::lock_guard<std::mutex> lock(current_mutex);
  if (!Slot()) *why = "BytePS has not been started";
  return Slot();
}

// Calls a function of the session; `failed` without one. What went wrong is written to `why`.
template <class Result, class Function>
Result Call(Result failed, char* why, size_t room, Function function) {
  std::string text;
  const auto session = Current(&text);
  const Result result = session ? function(*session, &text) : failed;
  snprintf(why, room, "%s", text.c_str());
  return result;
}

}  // namespace
}  // namespace common
}  // namespace byteps

using byteps::common::Call;
using byteps::common::Session;

extern "C" {

void byteps_gc_core_open() {
  std::lock_guard<std::mutex> lock(byteps::common::current_mutex);
  byteps::common::Slot() = std::make_shared<Session>();
}

void byteps_gc_core_close() {
  std::string why;
  if (const auto session = byteps::common::Current(&why)) session->Close();
}

uint64_t byteps_gc_core_connect(char* why, size_t room) {
  return Call(uint64_t(0), why, room, [](Session& session, std::string* text) { return session.Connect(text); });
}

int byteps_gc_core_stop(double seconds) {
  std::string why;
  const auto session = byteps::common::Current(&why);
  return session && !session->Stop(seconds);
}

int byteps_gc_core_declare(const char* name, uint64_t bytes, uint64_t partition, const char* label, int workers,
                           int options, const char* const* keys, const char* const* values, char* why, size_t room) {
  std::unordered_map<std::string, std::string> texts;
  for (int i = 0; i < options; ++i) texts[keys[i]] = values[i];
  return Call(-1, why, room, [&](Session& session, std::string* text) {
    return session.Declare(name, bytes, partition, label, workers, texts, text);
  });
}

uint64_t byteps_gc_core_register(int tensor, uint64_t bytes, int dtype, char* why, size_t room) {
  return Call(uint64_t(0), why, room, [&](Session& session, std::string* text) {
    return session.Register(tensor, bytes, dtype, text);
  });
}

uint64_t byteps_gc_core_exchange(int count, const byteps_gc_core_exchange_of* each, int queued, char* why,
                                 size_t room) {
  return Call(uint64_t(0), why, room, [&](Session& session, std::string* text) {
    return session.Exchange(count, each, queued != 0, text);
  });
}

int byteps_gc_core_wait(uint64_t ticket, double seconds, char* why, size_t room) {
  return Call(2, why, room, [&](Session& session, std::string* text) { return session.Wait(ticket, seconds, text); });
}

int byteps_gc_core_drain(double seconds) {
  std::string why;
  const auto session = byteps::common::Current(&why);
  return session && !session->Drain(seconds);
}

uint64_t byteps_gc_core_next(double seconds) {
  std::string why;
  const auto session = byteps::common::Current(&why);
  return session ? session->Next(seconds) : 0;
}

void byteps_gc_core_use_steps(void (*step)(int, float, int, float)) { byteps::common::hand_step = step; }

}  // extern "C"
