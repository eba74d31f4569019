// Replies to requests, and reports of requests that are dropped.
#ifndef BYTEPS_GC_SERVER_RESPONDER_H
#define BYTEPS_GC_SERVER_RESPONDER_H

#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server_state.h"

namespace byteps {
namespace server {

class Responder {
 public:
  explicit Responder(const Job& job) : job_(job), service_(new ps::KVServer<char>(0)) {}

  // Calls a function with each request.
  template <typename Handler>
  void Receive(Handler handler) {
    service_->set_request_handle(
        [handler](const ps::KVMeta& meta, const Data& data, ps::KVServer<char>*) { handler(meta, data); });
  }

  // Receives no more requests.
  void Close() { service_.reset(); }

  // Replies with the sum of a key, or only acknowledges the request (nullptr).
  void Reply(ps::KVMeta meta, const Key* key) {
    Data reply;
    if (key) {
      meta.push = false;
      reply.keys = {key->number};
      reply.lens = {static_cast<int>(key->reply_size)};
      reply.vals = ps::SArray<char>(const_cast<char*>(key->reply), key->reply_size, false);
    }
    service_->Response(meta, reply);
  }

  // Acknowledges the request of one worker, for a phase that is complete already. Unlocks the key.
  void Acknowledge(Member* member, Lock* lock) {
    member->SetReplied();
    const ps::KVMeta request = member->request;
    lock->unlock();
    Reply(request, nullptr);
  }

  // Acknowledges all requests that wait for the end of a phase. Unlocks the key.
  void AcknowledgeAll(Key* key, Lock* lock) {
    std::vector<ps::KVMeta> requests;
    for (Member& member : key->members) {
      if (!member.waits) continue;
      member.SetReplied();
      requests.push_back(member.request);
    }
    lock->unlock();
    for (const auto& meta : requests) Reply(meta, nullptr);
  }

  // Replies to a worker's last join or leave.
  void Reply(Worker* worker) {
    worker->replied = true;
    Data reply;
    reply.keys = {worker->key};
    reply.lens = {static_cast<int>(worker->reply.size())};
    reply.vals.CopyFrom(worker->reply.data(), worker->reply.size());
    ps::KVMeta meta = worker->request;
    meta.push = false;
    service_->Response(meta, reply);
  }

  // Drops a request, and reports it once for each sender and reason.
  void Drop(const ps::KVMeta& meta, const std::string& what) {
    if (!dropped_.emplace(meta.sender, what).second) return;
    const size_t worker = ps::Postoffice::IDtoRank(meta.sender);
    const bool known = worker < job_.workers.size();
    const std::string name = known ? job_.workers[worker].name : "node " + std::to_string(meta.sender);
    std::cerr << "byteps: dropped " << what << " from " << name << std::endl;
  }

 private:
  const Job& job_;
  std::unique_ptr<ps::KVServer<char>> service_;
  std::set<std::pair<int, std::string>> dropped_;
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_RESPONDER_H
