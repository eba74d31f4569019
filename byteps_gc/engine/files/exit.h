// The end of a process that cannot continue its job.
#ifndef BYTEPS_GC_EXIT_H
#define BYTEPS_GC_EXIT_H

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

namespace ps {

// Exit statuses: the scheduler has rejected this process, it cannot connect to a server, another process has failed or
// found a reason, it cannot listen on its port.
constexpr int kTurnedAway = 67, kUnreached = 68, kPeerLost = 69, kNoPort = 98;

// Prints why this process ends, and ends it after `seconds`.
[[noreturn]] inline void Exit(const std::string& why, int status, double seconds = 0) {
  fprintf(stderr, "byteps: %s\n", why.c_str());
  fflush(stderr);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  _exit(status);
}

}  // namespace ps

#endif  // BYTEPS_GC_EXIT_H
