// libzmq as the harness has it. A part of a message is memory of exactly its size, so that a byte read behind it is an
// error. A socket yields what the harness has put there, and keeps what is sent.
#ifndef BYTEPS_GC_FUZZ_NETWORK_H
#define BYTEPS_GC_FUZZ_NETWORK_H

#include <cstddef>
#include <string>
#include <vector>

namespace fuzz {

using Parts = std::vector<std::string>;  // a message

struct Line {
  std::vector<Parts> arriving;
  size_t received = 0, taken = 0;  // of those: messages, and parts of the next one
  std::vector<Parts> sent;
  bool open = false;  // the last one sent has more parts to come
};

inline Line& line(void* socket) { return *static_cast<Line*>(socket); }

}  // namespace fuzz

#endif  // BYTEPS_GC_FUZZ_NETWORK_H
