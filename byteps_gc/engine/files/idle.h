// A bounded, growing pause for a thread that polls.
#ifndef BYTEPS_GC_IDLE_H
#define BYTEPS_GC_IDLE_H

#include <algorithm>
#include <chrono>
#include <thread>

namespace ps {

class Idle {
 public:
  void Reset() { empty_ = 0; }

  // the first pauses are short, so that a reply that is on its way is found at
  // once; a quiet connection is looked at two thousand times a second
  void Pause() {
    const int microseconds = std::min(500, 20 + 2 * empty_++);
    std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
  }

 private:
  int empty_ = 0;
};

}  // namespace ps

#endif  // BYTEPS_GC_IDLE_H
