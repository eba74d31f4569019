// The name and the address of a process in messages.
#ifndef BYTEPS_GC_NAME_H
#define BYTEPS_GC_NAME_H

#include <cstdlib>
#include <string>

#include "ps/internal/message.h"

namespace ps {

// The name of this process, which is `self` in its job: its launcher's name for it, and its host, such as
// "worker-1 on 10.0.0.2".
inline std::string ProcessName(const Node& self) {
  const char* role = getenv("BYTEPS_GC_ROLE");
  const char* worker = getenv("DMLC_WORKER_ID");
  const std::string name = role && *role                   ? role
                           : self.role == Node::SCHEDULER ? "scheduler"
                           : self.role == Node::SERVER    ? "server"
                                                          : "worker-" + std::to_string(worker ? atoi(worker) : 0);
  return name + " on " + self.hostname;
}

// The address of a node, such as "10.0.0.2:1234".
inline std::string AddressOf(const Node& node) { return node.hostname + ":" + std::to_string(node.port); }

}  // namespace ps

#endif  // BYTEPS_GC_NAME_H
