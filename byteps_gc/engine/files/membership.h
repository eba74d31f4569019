// Notification of all servers that a worker has no more data, or leaves.
#ifndef BYTEPS_GC_MEMBERSHIP_H
#define BYTEPS_GC_MEMBERSHIP_H

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "byteps_gc_protocol.h"
#include "ps/byteps_gc_name.h"
#include "ps/ps.h"

namespace byteps {
namespace common {

// The name of this worker in messages.
inline std::string WorkerName() { return ps::ProcessName(ps::Postoffice::Get()->van()->my_node()); }

// Notifies every server, and sends a text to the first one. Waits for all replies, and returns that of the first
// server. The key is the last one of each server's range, which no tensor uses.
inline std::string TellServers(ps::KVWorker<char>* worker, Membership what, int rank, const std::string& text) {
  struct Request {
    ps::SArray<ps::Key> keys;
    ps::SArray<char> said, answer;
    ps::SArray<int> length;
    int timestamp;
  };
  std::vector<std::unique_ptr<Request>> requests;
  const int command = Command(kMembership, what);
  for (const auto& range : ps::Postoffice::Get()->GetServerKeyRanges()) {
    requests.emplace_back(new Request);
    Request& one = *requests.back();
    one.keys.push_back(range.end() - 1);
    const std::string said = Member{rank, WorkerName(), requests.size() == 1 ? text : ""}.Write();
    one.said.CopyFrom(said.data(), said.size());
    one.length.push_back(static_cast<int>(said.size()));
    one.timestamp = worker->ZPushPull(one.keys, one.said, &one.answer, &one.length, command, nullptr);
  }
  for (auto& one : requests) worker->Wait(one->timestamp);
  return std::string(requests[0]->answer.data(), requests[0]->answer.size());
}

}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_GC_MEMBERSHIP_H
