// A session of a worker: its declared tensors, and the registrations and exchanges that are under way.
#ifndef BYTEPS_GC_CORE_SESSION_H
#define BYTEPS_GC_CORE_SESSION_H

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "byteps_gc_core_api.h"
#include "common.h"

namespace byteps {
namespace common {
namespace core {

using StepFunction = void (*)(int compressor, float rate, int before, float factor);

// The function that hands an exchange's step state to its compressors, or nullptr.
StepFunction& HandStep();

// A declared tensor. bytes is 0 until it is registered; busy: its registration or an exchange is under way.
struct Declared {
  BPSContext* context;
  std::string name;
  uint64_t bytes = 0;
  int dtype = 0;
  bool busy = false;
};

// Registrations or exchanges that are begun together and waited for together.
struct Ticket {
  size_t left;        // number of those that are under way
  bool queued;        // whether Next() returns it
  std::string first;  // name of its first tensor
  std::string failure;
};

// A task that waits for other processes, and so has its own thread: the registration of a tensor, or, without one, the
// connection to the cluster.
struct Errand {
  Declared* tensor;
  uint64_t ticket;
};

// The functions of core_api.h, between open() and close(). Engine threads hold it until all exchanges have ended, so it
// outlives close().
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
  bool has_runner_ = false;  // whether the thread of errands has been started
  bool closed_ = false, stopping_ = false, stopped_ = false;
  uint64_t last_ = 0;
};

}  // namespace core
}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_GC_CORE_SESSION_H
