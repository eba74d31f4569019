// A worker's requests without a reply yet, which are sent again after a lost connection.
#ifndef BYTEPS_GC_PENDING_REQUESTS_H
#define BYTEPS_GC_PENDING_REQUESTS_H

#include <map>
#include <mutex>
#include <unordered_map>

#include "ps/internal/message.h"

namespace ps {

class PendingRequests {
 public:
  void Add(const Message& request) {
    std::lock_guard<std::mutex> guard(mutex_);
    requests_[request.meta.recver][request.meta.timestamp] = request;
  }

  // Whether a reply is for one of them.
  bool Has(const Meta& reply) {
    std::lock_guard<std::mutex> guard(mutex_);
    return requests_[reply.sender].count(reply.timestamp) > 0;
  }

  // Removes the request that a reply is for; false if there is none.
  bool Remove(const Meta& reply) {
    std::lock_guard<std::mutex> guard(mutex_);
    return requests_[reply.sender].erase(reply.timestamp) > 0;
  }

  // Those to one server, by timestamp.
  std::map<int, Message> Of(int server) {
    std::lock_guard<std::mutex> guard(mutex_);
    return requests_[server];
  }

  void Clear() {
    std::lock_guard<std::mutex> guard(mutex_);
    requests_.clear();
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int, std::map<int, Message>> requests_;  // by server and timestamp
};

}  // namespace ps

#endif  // BYTEPS_GC_PENDING_REQUESTS_H
