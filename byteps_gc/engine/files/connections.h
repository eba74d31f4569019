// The sockets of a node, and the connections to other nodes.
#ifndef BYTEPS_GC_CONNECTIONS_H
#define BYTEPS_GC_CONNECTIONS_H

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "./byteps_gc_zmq_socket.h"
#include "ps/internal/message.h"

namespace ps {

// The name of a node's connections.
inline std::string ConnectionName(int id) { return "ps" + std::to_string(id); }

// Where messages to a node go.
struct Route {
  std::shared_ptr<Socket> socket;
  std::string name;  // of the connection that the node has made, if the socket is a listener
};

// A socket that messages come from.
struct Source {
  std::shared_ptr<Socket> socket;
  int node;                        // the node that it is connected to, or Meta::kEmpty for a listener
  std::shared_ptr<Events> events;  // of that connection
};

class Connections {
 public:
  // Raises the alarm when the sockets have changed.
  explicit Connections(Alarm* alarm) : alarm_(*alarm) {}

  void AddListener(const std::shared_ptr<Socket>& listener) {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      listeners_.push_back(listener);
    }
    Publish();
  }

  // Adds a connection that this node has made.
  void Add(int node, const std::shared_ptr<Socket>& socket, const std::shared_ptr<Events>& events) {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      senders_[node] = socket;
      events_[node] = events;
    }
    Publish();
  }

  // The connection that this node has made to another one, or nullptr.
  std::shared_ptr<Socket> To(int node) {
    std::lock_guard<std::mutex> guard(mutex_);
    auto found = senders_.find(node);
    return found == senders_.end() ? nullptr : found->second;
  }

  // The first listener, or nullptr.
  std::shared_ptr<Socket> Listener() {
    std::lock_guard<std::mutex> guard(mutex_);
    return listeners_.empty() ? nullptr : listeners_[0];
  }

  // Sets the connection that a node has made to this one.
  void SetBack(int node, const std::shared_ptr<Socket>& listener, const std::string& name) {
    std::lock_guard<std::mutex> guard(mutex_);
    auto& route = back_[node];
    if (route.socket != listener || route.name != name) route = Route{listener, name};
  }

  // The connection that a node has made to this one.
  Route Back(int node) {
    std::lock_guard<std::mutex> guard(mutex_);
    return back_[node];
  }

  // Changes whenever the sources do.
  int version() const { return version_; }

  std::vector<Source> Sources() {
    std::lock_guard<std::mutex> guard(mutex_);
    std::vector<Source> sources;
    for (auto& listener : listeners_) sources.push_back(Source{listener, Meta::kEmpty, nullptr});
    for (auto& sender : senders_) sources.push_back(Source{sender.second, sender.first, events_[sender.first]});
    return sources;
  }

  // Closes all.
  void Clear() {
    std::lock_guard<std::mutex> guard(mutex_);
    listeners_.clear();
    senders_.clear();
    events_.clear();
    back_.clear();
    ++version_;
  }

 private:
  void Publish() {
    ++version_;
    alarm_.Raise();
  }

  Alarm& alarm_;
  std::atomic<int> version_{0};
  std::mutex mutex_;  // of all below
  std::vector<std::shared_ptr<Socket>> listeners_;
  std::unordered_map<int, std::shared_ptr<Socket>> senders_;  // by the node that this one has connected to
  std::unordered_map<int, std::shared_ptr<Events>> events_;   // of senders_
  std::unordered_map<int, Route> back_;                       // by the node that has connected to this one
};

}  // namespace ps

#endif  // BYTEPS_GC_CONNECTIONS_H
