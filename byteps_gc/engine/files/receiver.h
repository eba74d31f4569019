// Reception of messages from all sockets by one thread, which sleeps until something arrives.
#ifndef BYTEPS_GC_RECEIVER_H
#define BYTEPS_GC_RECEIVER_H

#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "./byteps_gc_clock.h"
#include "./byteps_gc_connections.h"
#include "./byteps_gc_liveness.h"
#include "./byteps_gc_slots.h"
#include "./byteps_gc_zmq_socket.h"

namespace ps {

class Receiver {
 public:
  // The events of a connection that are needed.
  static constexpr int kEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                                 ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

  // reconnected: called when the connection to a server is restored.
  Receiver(Connections* connections, Alarm* alarm, Liveness* liveness, GivenRegions* given,
           std::function<void(int server)> reconnected)
      : connections_(*connections),
        alarm_(*alarm),
        liveness_(*liveness),
        given_(*given),
        reconnected_(std::move(reconnected)) {}

  // The address of a node, for messages.
  void SetAddress(int node, const std::string& address) { addresses_[node] = address; }

  // Returns the source of the next message, or nullptr if the alarm was raised first.
  const Source* Receive(std::vector<Part>* parts) {
    while (true) {
      if (version_ != connections_.version()) Adopt();
      if (const Source* source = TakeTurns(parts)) return source;
      // every message that the scheduler sent before its connection ended has been received
      if (closed_) liveness_.Closed("");
      closed_ = false;
      Await(&news_, kSafetyNet);
      CheckCalls();
      if (news_.back().revents) given_.Take();
      for (auto& source : sources_) {
        if (source.events) HandleEvents(&source);
      }
      if (closed_ || !news_[0].revents) continue;
      alarm_.Reset();
      return nullptr;
    }
  }

  void Clear() {
    sources_.clear();
    calls_.clear();
  }

 private:
  static constexpr int kSafetyNet = 1000;  // milliseconds after which a waiting thread looks without being notified
  static constexpr int kAtOnce = 64;       // messages received from one socket before the next one's turn
  static constexpr int kFailures = 3;      // failed handshakes with the scheduler before this process ends

  // The state of a connection that this node has made.
  struct Call {
    bool open, lost;  // now, and since it was open last
    int failures;
    double cut;  // seconds since it was lost
  };

  void Adopt() {
    version_ = connections_.version();
    sources_ = connections_.Sources();
    news_.assign(1, pollfd{alarm_.fd(), POLLIN, 0});
    for (auto& source : sources_) {
      news_.push_back(pollfd{source.socket->fd(), POLLIN, 0});
      if (source.events) news_.push_back(pollfd{source.events->fd(), POLLIN, 0});
    }
    news_.push_back(pollfd{given_.fd(), POLLIN, 0});  // -1 on a worker, which poll() ignores
  }

  // Receives from the sockets in turn; nullptr if none has a message.
  const Source* TakeTurns(std::vector<Part>* parts) {
    // the first socket is tried twice, as its turn may have ended
    for (size_t tried = 0; tried <= sources_.size() && !sources_.empty(); ++tried) {
      Source& source = sources_[turn_ % sources_.size()];
      if (taken_ < kAtOnce && source.socket->Receive(parts)) {
        ++taken_;
        return &source;
      }
      taken_ = 0;
      ++turn_;
    }
    return nullptr;
  }

  void HandleEvents(Source* source) {
    int event;
    std::string remote;
    while (source->events->Next(&event, &remote)) {
      const bool scheduler = source->node == kScheduler;
      Call& call = calls_[source->node];
      if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        if (call.lost && !scheduler) reconnected_(source->node);
        call = Call{true, false, 0, 0};
      } else if (event == ZMQ_EVENT_DISCONNECTED) {
        closed_ = closed_ || (call.open && scheduler);
        call.lost = call.lost || call.open;
        call.open = false;
      } else if (scheduler && (event != ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL || ++call.failures >= kFailures)) {
        liveness_.Refused();
      }
    }
  }

  // Ends the job if the connection to a server has been lost for too long.
  void CheckCalls() {
    const double passed = clock_.Passed();
    for (auto& call : calls_) {
      if (!call.second.lost || call.first == kScheduler) continue;
      call.second.cut += passed;
      if (call.second.cut > liveness_.limit()) liveness_.Cut(addresses_[call.first]);
    }
  }

  Connections& connections_;
  Alarm& alarm_;
  Liveness& liveness_;
  GivenRegions& given_;
  const std::function<void(int)> reconnected_;

  int version_ = -1;  // of sources_
  std::vector<Source> sources_;
  std::vector<pollfd> news_;
  std::unordered_map<int, Call> calls_;             // by the node that this one has connected to
  std::unordered_map<int, std::string> addresses_;  // of nodes
  Clock clock_{2e-3 * kSafetyNet};                  // of CheckCalls()
  bool closed_ = false;                             // on a worker or server: the scheduler's connection has ended
  size_t turn_ = 0;
  int taken_ = 0;
};

}  // namespace ps

#endif  // BYTEPS_GC_RECEIVER_H
