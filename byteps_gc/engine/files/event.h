// Something that happens, and threads that wait for it without missing it.
//
// Who waits takes the count, looks, and waits only if the count is still the same: what happens in between
// is not lost. The wait is bounded, as a safety net.
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

  // Raises at the end of a scope, when the locks that are taken after it have been released.
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
