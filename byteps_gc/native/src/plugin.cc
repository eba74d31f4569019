// The compressors in BytePS's own registry: what its worker and its server call.
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "byteps_abi.h"
#include "capi.h"
#include "crc32c.h"
#include "half.h"
#include "partition.h"
#include "processor.h"

namespace {

using byteps::common::DataType;
using byteps::common::compressor::BPSTensor;
using byteps::common::compressor::Compressor;
using byteps::common::compressor::Constructor;
using byteps::common::compressor::Settings;

class WorkerSide;

// What a worker's next exchange of one tensor is to use, and how the last one went.
struct Tensor {
  explicit Tensor(const std::string& name) : name(name), stream(bgc::crc32c(name.data(), name.size())) {}
  const std::string name;
  uint32_t stream;  // of its next partition
  std::atomic<float> eta{1}, factor{1};
  std::atomic<bgc::Before> before{bgc::Before::kKeep};
  std::atomic<int> not_finite{0};  // partitions
  std::atomic<uint32_t> steps{0};  // exchanges of this tensor, and
  std::atomic<uint32_t> missed{0};  // those of them that other workers made without this one
  std::mutex mutex;                // of all below
  std::string failure;
  std::vector<WorkerSide*> partitions;  // in order

  void fail(const std::string& why) {
    std::lock_guard<std::mutex> lock(mutex);
    if (failure.empty()) failure = name + ": " + why;
  }
};

struct Process {
  int workers = 1, worker = 0;
  bool keeps_sums = false;  // this BytePS leaves the sum of a compressed key to its compressor
  int (*absent)() = nullptr;  // of workers, in the sum that is asked for now
  std::atomic<int> registered{0};
  std::mutex mutex;  // of all below
  std::map<std::string, int> numbers;
  std::vector<std::shared_ptr<Tensor>> tensors;
};

Process& process() {
  static Process p;
  return p;
}

// The lock is held.
int number_of(const std::string& name) {
  const auto found = process().numbers.emplace(name, int(process().tensors.size()));
  if (found.second) process().tensors.push_back(std::make_shared<Tensor>(name));
  return found.first->second;
}

std::shared_ptr<Tensor> tensor_at(int number) {
  std::lock_guard<std::mutex> lock(process().mutex);
  return process().tensors.at(number);
}

// In place, where the sum will stand.
void multiply(const BPSTensor& gradient, size_t n, size_t element, float factor) {
  if (factor == 1) return;
  if (element == sizeof(float)) {
    float* values = reinterpret_cast<float*>(gradient.data);
    for (size_t i = 0; i < n; ++i) values[i] *= factor;
  } else {
    uint16_t* values = reinterpret_cast<uint16_t*>(gradient.data);
    for (size_t i = 0; i < n; ++i) values[i] = bgc::to_half(bgc::from_half(values[i]) * factor);
  }
}

// A worker's state of a partition, from another process.
struct Saved {
  std::vector<float> momentum, residual;
  size_t elements;
  float eta;
  uint32_t step;

  void write(float* momentum_to, float* residual_to, float* eta_to, uint32_t* step_to) const {
    std::copy(momentum.begin(), momentum.end(), momentum_to);
    std::copy(residual.begin(), residual.end(), residual_to);
    *eta_to = eta;
    *step_to = step;
  }
};

class WorkerSide : public Compressor {
 public:
  WorkerSide(const bgc::Registration& r, uint32_t stream, std::shared_ptr<Tensor> tensor)
      : worker_(r, uint16_t(process().worker), stream),
        element_(r.element()),
        first_(stream == bgc::crc32c(tensor->name.data(), tensor->name.size())),
        tensor_(std::move(tensor)) {
    std::lock_guard<std::mutex> lock(tensor_->mutex);
    tensor_->partitions.push_back(this);
  }

  ~WorkerSide() {
    std::lock_guard<std::mutex> lock(tensor_->mutex);
    auto& all = tensor_->partitions;
    all.erase(std::remove(all.begin(), all.end(), this), all.end());
  }

  size_t elements() const { return saved_ ? saved_->elements : elements_; }

  void save(bgc::Before before, float* momentum, float* residual, float* eta, uint32_t* step) {
    if (saved_) return saved_->write(momentum, residual, eta, step);
    worker_.settle(before);
    worker_.save(momentum, residual);
    *eta = worker_.eta();
    *step = worker_.step();
  }

  void load(std::unique_ptr<Saved> saved) { saved_ = std::move(saved); }

  BPSTensor Compress(BPSTensor gradient) override {
    bgc::PlainArithmetic plain;
    elements_ = gradient.size / element_;
    if (saved_) restore();
    multiply(gradient, elements_, element_, tensor_->factor);
    const uint32_t missed = tensor_->missed;
    worker_.pass_over(missed - missed_);
    missed_ = missed;
    if (first_) ++tensor_->steps;
    const bgc::View frame = worker_.compress(gradient.data, elements_, tensor_->eta, tensor_->before);
    return {const_cast<char*>(reinterpret_cast<const char*>(frame.data)), frame.size, gradient.dtype};
  }

  // in place: BytePS gives the partition's own memory, with the reply at its front
  BPSTensor Decompress(BPSTensor reply) override {
    bgc::PlainArithmetic plain;
    bgc::Refusal why;
    if (!worker_.decompress({reinterpret_cast<uint8_t*>(reply.data), reply.size}, elements_, reply.data, &why)) {
      tensor_->fail(why.text());
      std::memset(reply.data, 0xff, elements_ * element_);  // NaN: nobody takes it for a gradient
    }
    if (!worker_.finite()) ++tensor_->not_finite;
    return {reply.data, elements_ * element_, reply.dtype};
  }

 private:
  void restore() {
    const std::unique_ptr<Saved> s = std::move(saved_);
    if (s->elements != elements_) {
      return tensor_->fail("its saved state has a partition of " + std::to_string(s->elements) + " elements, not " +
                           std::to_string(elements_) + "; use the same BYTEPS_PARTITION_BYTES");
    }
    worker_.load(s->step, s->eta, elements_, s->momentum.empty() ? nullptr : s->momentum.data(),
                 s->residual.empty() ? nullptr : s->residual.data());
  }

  bgc::Worker worker_;
  const size_t element_;
  const bool first_;  // of the tensor's partitions
  const std::shared_ptr<Tensor> tensor_;
  size_t elements_ = 0;
  uint32_t missed_ = 0;
  std::unique_ptr<Saved> saved_;  // until the next exchange
};

struct Free {
  void operator()(char* p) const { std::free(p); }
};
using Memory = std::unique_ptr<char, Free>;

// read, but never written: pages that do not exist
Memory zeros(size_t bytes) { return Memory(static_cast<char*>(std::calloc(1, bytes))); }

class ServerSide : public Compressor {
 public:
  ServerSide(const bgc::Registration& r, const std::string& tensor)
      : server_(r), element_(r.element()), bytes_(r.bytes), tensor_(tensor) {
    if (!process().keeps_sums) zeros_ = zeros(bytes_);
  }

  BPSTensor Decompress(BPSTensor frame) override {
    bgc::PlainArithmetic plain;
    bgc::Refusal why;
    if (!server_.push({reinterpret_cast<uint8_t*>(frame.data), frame.size}, &why))
      std::fprintf(stderr, "byteps_gc: server: %s: rejected %s\n", tensor_.c_str(), why.text().c_str());
    return {zeros_.get(), zeros_ ? bytes_ : 0, frame.dtype};
  }

  BPSTensor Compress(BPSTensor sum) override {
    bgc::PlainArithmetic plain;
    const bgc::View frame = server_.reply(sum.size / element_, process().absent ? size_t(process().absent()) : 0);
    return {const_cast<char*>(reinterpret_cast<const char*>(frame.data)), frame.size, sum.dtype};
  }

 private:
  bgc::Server server_;
  const size_t element_, bytes_;
  const std::string tensor_;
  Memory zeros_;  // what BytePS adds up where it insists on doing so
};

// On a server that cannot serve what was registered: it says so to every worker.
class Refusal : public Compressor {
 public:
  Refusal(size_t bytes, const std::string& why) : bytes_(bytes), why_(why), zeros_(zeros(bytes)) {}
  BPSTensor Decompress(BPSTensor frame) override {
    return {zeros_.get(), process().keeps_sums ? 0 : bytes_, frame.dtype};
  }
  BPSTensor Compress(BPSTensor sum) override {
    bgc::Header header;
    header.flags = bgc::kReply | bgc::kError;
    const size_t room = sum.size > bgc::kHeader + 1 ? sum.size - bgc::kHeader - 1 : 0;
    header.length = uint32_t(std::min({why_.size(), bgc::kMessage, room}));
    std::memcpy(frame_ + bgc::kHeader, why_.data(), header.length);
    bgc::write_frame(header, frame_);
    const size_t size = bgc::kHeader + header.length;
    if (size < sum.size) return {reinterpret_cast<char*>(frame_), size, sum.dtype};
    std::memset(zeros_.get(), 0xff, sum.size);  // no room for a reason: NaN
    return {zeros_.get(), sum.size, sum.dtype};
  }

 private:
  const size_t bytes_;
  const std::string why_;
  Memory zeros_;
  uint8_t frame_[bgc::kHeader + bgc::kMessage];
};

std::string tensor_of(const Settings& settings) {
  auto found = settings.find("tensor");
  return found == settings.end() ? "" : found->second.substr(0, 200);
}

bool read(const Settings& settings, size_t bytes, DataType dtype, bgc::Registration* r, std::string* why) {
  const bgc::Texts texts(settings.begin(), settings.end());
  return bgc::check_registration(texts, int(dtype), bytes, process().workers, r, why);
}

std::unique_ptr<Compressor> on_worker(const Settings& settings, size_t bytes, DataType dtype) {
  bgc::Registration r;
  std::string why;
  const std::string name = tensor_of(settings);
  if (!read(settings, bytes, dtype, &r, &why)) {
    std::fprintf(stderr, "byteps_gc: %s: %s\n", name.c_str(), why.c_str());
    std::_Exit(2);
  }
  std::lock_guard<std::mutex> lock(process().mutex);
  const auto& tensor = process().tensors[number_of(name)];
  const uint32_t stream = tensor->stream;
  tensor->stream += 0x9E3779B9u;
  ++process().registered;
  return std::unique_ptr<Compressor>(new WorkerSide(r, stream, tensor));
}

std::unique_ptr<Compressor> on_server(const Settings& settings, size_t bytes, DataType dtype) {
  bgc::Registration r;
  std::string why;
  const std::string tensor = tensor_of(settings);
  if (read(settings, bytes, dtype, &r, &why)) return std::unique_ptr<Compressor>(new ServerSide(r, tensor));
  std::fprintf(stderr, "byteps_gc: server: %s: %s\n", tensor.c_str(), why.c_str());
  return std::unique_ptr<Compressor>(new Refusal(bytes, "invalid registration: " + why));
}

WorkerSide* partition_at(int tensor, int partition) {
  const auto one = tensor_at(tensor);
  std::lock_guard<std::mutex> lock(one->mutex);
  return one->partitions.at(partition);
}

void tell(const std::string& text, char* why) { std::snprintf(why, kWhy, "%s", text.c_str()); }

}  // namespace

int bgc_register(int server, char* why) {
  void* found = dlsym(RTLD_DEFAULT, byteps::common::compressor::kRegister);
  if (!found) {
    tell("unknown compressor registry in this BytePS; use BytePS 0.2.5", why);
    return 0;
  }
  process().keeps_sums = dlsym(RTLD_DEFAULT, "byteps_gc_compressor_keeps_sums") != nullptr;
  process().absent = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "byteps_gc_absent_workers"));
  // a worker's engine that passes the step state of an exchange to the tensor's compressors
  if (void* use_steps = dlsym(RTLD_DEFAULT, "byteps_gc_core_use_steps"))
    reinterpret_cast<void (*)(void (*)(int, float, int, float))>(use_steps)(bgc_step);
  char place[1];  // what registers has no members
  reinterpret_cast<byteps::common::compressor::RegisterFunction>(found)(
      place, "byteps_gc_compressor", Constructor(server ? on_server : on_worker));
  return 1;
}

void bgc_start(int workers, int worker) {
  std::lock_guard<std::mutex> lock(process().mutex);
  process().workers = workers;
  process().worker = worker;
  process().numbers.clear();
  process().tensors.clear();
}

int bgc_tensor(const char* name) {
  std::lock_guard<std::mutex> lock(process().mutex);
  return number_of(name);
}

void bgc_step(int tensor, float eta, int before, float factor) {
  const auto one = tensor_at(tensor);
  one->eta = eta;
  one->before = bgc::Before(before);
  one->factor = factor;
}

int bgc_outcome(int tensor, char* why) {
  const auto one = tensor_at(tensor);
  const bool finite = one->not_finite.exchange(0) == 0;
  std::lock_guard<std::mutex> lock(one->mutex);
  if (one->failure.empty()) return finite ? 0 : 1;
  tell(one->failure, why);
  one->failure.clear();
  return 2;
}

uint32_t bgc_steps(int tensor) { return tensor_at(tensor)->steps; }

void bgc_pass_over(int tensor, uint32_t steps) {
  const auto one = tensor_at(tensor);
  one->missed += steps - one->steps;
  one->steps = steps;
}

int bgc_partitions(int tensor) {
  const auto one = tensor_at(tensor);
  std::lock_guard<std::mutex> lock(one->mutex);
  return int(one->partitions.size());
}

size_t bgc_partition_elements(int tensor, int partition) { return partition_at(tensor, partition)->elements(); }

void bgc_partition_save(int tensor, int partition, int before, float* momentum, float* residual, float* eta,
                        uint32_t* step) {
  bgc::PlainArithmetic plain;
  partition_at(tensor, partition)->save(bgc::Before(before), momentum, residual, eta, step);
}

void bgc_partition_load(int tensor, int partition, size_t d, const float* momentum, const float* residual, float eta,
                        uint32_t step) {
  auto saved = std::make_unique<Saved>();
  if (momentum) saved->momentum.assign(momentum, momentum + d);
  if (residual) saved->residual.assign(residual, residual + d);
  saved->elements = d, saved->eta = eta, saved->step = step;
  partition_at(tensor, partition)->load(std::move(saved));
}

int bgc_registered(void) { return process().registered.exchange(0); }

uint32_t bgc_checksum(const void* data, size_t size) { return bgc::crc32c(static_cast<const uint8_t*>(data), size); }
