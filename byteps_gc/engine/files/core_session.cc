// A session of a worker (core_session.h).
#include "byteps_gc_core_session.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "global.h"
#include "operations.h"

// Functions of fix-ups that an engine may lack.
extern "C" uint64_t byteps_gc_split(const char* name, uint64_t partition) __attribute__((weak));
extern "C" void byteps_gc_place(const char* name, uint64_t bytes, uint64_t partition) __attribute__((weak));
extern "C" void byteps_gc_describe(const char* name, const char* label, int workers) __attribute__((weak));

namespace byteps {
namespace common {
namespace core {
namespace {

using Lock = std::unique_lock<std::mutex>;

// A one-dimensional array in the memory of the caller.
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

}  // namespace

StepFunction& HandStep() {
  static StepFunction function = nullptr;
  return function;
}

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

// Queues an errand. The lock is held.
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

// Marks all tensors as busy, or none of them.
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

// Enqueues one exchange. The lock is not held, as the exchange may finish at once.
void Session::Begin(const byteps_gc_core_exchange_of& one, Declared* tensor, uint64_t ticket) {
  if (one.compressor >= 0 && HandStep()) HandStep()(one.compressor, one.rate, one.before, one.factor);
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

}  // namespace core
}  // namespace common
}  // namespace byteps
