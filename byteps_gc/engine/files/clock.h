// The time for which this process has run, and durations in messages.
#ifndef BYTEPS_GC_CLOCK_H
#define BYTEPS_GC_CLOCK_H

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

namespace ps {

// The time for which this process has run. A pause, as on a suspended machine, counts as `most` seconds at most.
class Clock {
 public:
  explicit Clock(double most) : most_(most) {}

  // Returns the seconds since the last call.
  double Passed() {
    const auto before = last_;
    last_ = std::chrono::steady_clock::now();
    return std::min(most_, std::chrono::duration<double>(last_ - before).count());
  }

 private:
  const double most_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// A duration in a message, such as "60 s".
inline std::string Duration(double seconds) {
  char text[32];
  snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

}  // namespace ps

#endif  // BYTEPS_GC_CLOCK_H
