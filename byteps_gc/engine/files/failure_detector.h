// Detection of failed processes by the texts that arrive, and by the time in which none does.
//
// The peers of the scheduler are all members of its job, and a member has one: the scheduler.
//
//   BYTEPS_GC_DEATH_TIMEOUT   timeout of silence in seconds (60)
//   BYTEPS_GC_START_TIMEOUT   seconds within which all processes have to connect (300)
#ifndef BYTEPS_GC_FAILURE_DETECTOR_H
#define BYTEPS_GC_FAILURE_DETECTOR_H

#include <map>
#include <string>
#include <vector>

#include "./byteps_gc_admission.h"
#include "./byteps_gc_clock.h"
#include "./byteps_gc_settings.h"
#include "ps/byteps_gc_name.h"

namespace ps {

class FailureDetector {
 public:
  explicit FailureDetector(Admission* admission) : admission_(*admission) {}

  void Start(const Node& self, const Node& scheduler) {
    self_ = self;
    scheduler_ = scheduler;
    limit_ = SecondsOf("BYTEPS_GC_DEATH_TIMEOUT", 60);
    start_limit_ = SecondsOf("BYTEPS_GC_START_TIMEOUT", 300);
  }

  // The timeout of silence in seconds.
  double limit() const { return limit_; }

  // Whether no peer has introduced itself.
  bool empty() const { return peers_.empty(); }

  // A peer has introduced itself on a connection.
  void Add(const std::string& connection, const std::string& name) { peers_[connection].name = name; }

  // Handles a text, or, if it is empty, the end of a connection; returns false if the connection belongs to no peer.
  bool Hear(const std::string& connection, const std::string& text) {
    if (!schedules() && text.empty() && peers_.empty()) Add(connection, Scheduler());
    auto found = peers_.find(connection);
    if (found == peers_.end()) return false;
    Peer& peer = found->second;
    peer.silent = 0;
    peer.closed = text.empty();
    peer.left = peer.left || text == "bye";
    return true;
  }

  // Counts seconds before the texts that arrived in them are handled.
  void Pass(double seconds) {
    passed_ = seconds;
    for (auto& peer : peers_) peer.second.silent += seconds;
  }

  // Returns the reason to end the job for a failed process, or an empty text. started: whether all processes have
  // connected.
  std::string Judge(bool started) {
    const std::string lost = LostPeer();
    if (!lost.empty()) return lost;
    if (started) {
      alone_ = schedules() || !peers_.empty() ? 0 : alone_ + passed_;
      return alone_ > limit_ ? Lost(Scheduler(), "has been silent for " + Duration(limit_)) : "";
    }
    waited_ += passed_;
    if (schedules()) return waited_ > start_limit_ ? Missing() : "";
    return waited_ > start_limit_ + kPatience ? NoBegin() : "";
  }

  // The connections of the peers that still listen.
  std::vector<std::string> Connections() const {
    std::vector<std::string> connections;
    for (auto& peer : peers_) {
      if (!peer.second.closed && !peer.second.left) connections.push_back(peer.first);
    }
    return connections;
  }

 private:
  static constexpr double kPatience = 5;  // additional seconds that a node waits, as the scheduler knows more
  static constexpr double kLeft = 30;     // seconds in which a node has to end after the scheduler

  struct Peer {
    std::string name;  // "worker-1 on 10.0.0.2"
    double silent = 0;
    bool left = false, closed = false;  // it has sent "bye"; its connection has ended
  };

  bool schedules() const { return self_.role == Node::SCHEDULER; }

  std::string Scheduler() const { return "scheduler on " + scheduler_.hostname; }

  // Returns how the first peer failed, as a reason to end the job, or an empty text.
  std::string LostPeer() const {
    for (auto& one : peers_) {
      const Peer& peer = one.second;
      // the others leave when all are done; a node that remains has missed the notice
      if (peer.left && (schedules() || peer.silent < kLeft)) continue;
      if (peer.left) return Lost(peer.name, "has left before this process had finished");
      if (peer.closed) return Lost(peer.name, "has died or lost its connection");
      if (peer.silent > limit_)
        return Lost(peer.name,
                    "has been silent for " + Duration(limit_) + ": it has stopped, or its host is unreachable");
    }
    return "";
  }

  static std::string Lost(const std::string& name, const std::string& how) {
    return name + " " + how +
           ". This job stops; check that process's log and start the job again (run.sh JOB --resume continues from its "
           "last checkpoint)";
  }

  std::string NoBegin() const {
    return "the scheduler at " + AddressOf(scheduler_) + " did not start the job within " + Duration(start_limit_) +
           "; start the scheduler and all servers and workers, or increase BYTEPS_GC_START_TIMEOUT";
  }

  std::string Missing() const {
    return admission_.Missing() + " did not connect to the scheduler on " + self_.hostname + " within " +
           Duration(start_limit_) +
           ". This job stops; check the log there and start the job again, or increase BYTEPS_GC_START_TIMEOUT";
  }

  const Admission& admission_;
  Node self_, scheduler_;
  double limit_ = 0, start_limit_ = 0;
  std::map<std::string, Peer> peers_;  // by connection
  double passed_ = 0, waited_ = 0, alone_ = 0;
};

}  // namespace ps

#endif  // BYTEPS_GC_FAILURE_DETECTOR_H
