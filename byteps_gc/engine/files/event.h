// An event that several threads can wait for without missing it.
//
// A waiting thread reads the count, checks its condition, and waits only while the count is unchanged, so it does not
// miss an event in between. The wait is bounded, as a safety net.
#ifndef BYTEPS_GC_EVENT_H
#define BYTEPS_GC_EVENT_H

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace byteps {
namespace common {

class Event {
 public:
  uint64_t Count() const { return count_.load(); }

  void Raise() {
    {
      std::lock_guard<std::mutex> guard(mu_);
      ++count_;
    }
    changed_.notify_all();
  }

  void Await(uint64_t seen) {
    std::unique_lock<std::mutex> guard(mu_);
    changed_.wait_for(guard, std::chrono::milliseconds(500), [this, seen] { return count_.load() != seen; });
  }

  // Raises the event at the end of a scope, after the locks that were taken later in the scope have been released.
  class Raiser {
   public:
    explicit Raiser(Event& event) : event_(event) {}
    ~Raiser() { event_.Raise(); }

   private:
    Event& event_;
  };

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  std::atomic<uint64_t> count_{0};
};

}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_GC_EVENT_H
