// Failure detection: a job ends if one of its processes has died or stalled, instead of waiting for it.
//
// Every worker and server introduces itself to the scheduler, which decides whether it takes part (admission.h). Both
// then send a heartbeat ("alive") several times within the timeout, and "bye" when the job is done, on the connection
// that the member has made. If a connection ends without a "bye", its process has died. If it is silent for longer than
// the timeout, its process has stalled, or its host is unreachable (failure_detector.h). The scheduler then sends the
// reason to all others, and every process ends with this reason and status 69. A worker that cannot connect to a server
// ends with 68, a process that the scheduler rejects with 67. A member that finds a reason to end the job sends it to
// the scheduler. The time for which a process did not run, as on a suspended machine, does not count.
#ifndef BYTEPS_GC_LIVENESS_H
#define BYTEPS_GC_LIVENESS_H

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "./byteps_gc_admission.h"
#include "./byteps_gc_clock.h"
#include "./byteps_gc_exit.h"
#include "./byteps_gc_failure_detector.h"
#include "./byteps_gc_zmq_endpoint.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/byteps_gc_name.h"

namespace ps {

class Liveness {
 public:
  // Sends a text on a connection: of a member on the scheduler, and to the scheduler (with an empty name) on a member.
  using Say = std::function<void(const std::string& connection, const std::string& text)>;

  static constexpr size_t kText = 2048;  // maximum bytes of a text

  void Start(const Node& self, const Node& scheduler, Say say) {
    Prepare(self, scheduler, std::move(say));
    thread_ = std::thread(&Liveness::Run, this);
  }

  // The first text of a member, its introduction.
  std::string Hello() const { return "hello " + Admission::Introduction(worker(), Name()); }

  // Ends the job of a worker that cannot connect to a server, instead of waiting for replies forever.
  void Reach(const Node& server) {
    if (!Own().why.empty() || AcceptsConnections(server, kReach)) return;
    Report(Name() + " reaches the scheduler, but not the server at " + AddressOf(server) +
               "; check the firewall: all ports must be open between the hosts of a job",
           kUnreached);
  }

  // The timeout of silence in seconds.
  double limit() const { return detector_.limit(); }

  // Ends the job of a worker that has lost its connection to a server and cannot connect again.
  void Cut(const std::string& server) {
    Report(Name() + " lost its connection to the server at " + server + " and could not connect again within " +
               Duration(limit()) + ". This job stops; check the network between them",
           kUnreached);
  }

  // All processes have connected.
  void Begin() { started_ = true; }

  // The job is done: other processes may end.
  void End() {
    ended_ = true;
    alarm_.Raise();
    if (thread_.joinable()) thread_.join();
  }

  // Ends the job, on all hosts, for a reason that this member has found.
  [[noreturn]] void Abort(const std::string& why, int status) {
    Report(why, status);
    std::this_thread::sleep_for(std::chrono::duration<double>(5 * kAnswer));
    Exit(why, status);  // the job had ended, so nobody answers
  }

  // Handles a text from a connection; returns the reason to drop it, or nullptr. The first text of a member is its
  // "hello". A member that is rejected gets the reason.
  const char* Heard(const std::string& connection, const std::string& text) {
    // the empty text represents the end of a connection
    if (text.empty() || text.size() > kText || !Printable(text)) return "a text that is none";
    std::lock_guard<std::mutex> guard(mu_);
    const bool hello = text.compare(0, 6, "hello ") == 0;
    if (schedules() != (hello || admission_.Has(connection))) return "a text of a process that is not a member";
    if (hello) {
      const std::string refusal = admission_.Admit(connection, text.substr(6), started_);
      if (!refusal.empty() && refused_.insert(connection).second) say_(connection, "no " + refusal);
      if (!refusal.empty()) return "an introduction of a process that this job has no place for";
    }
    heard_.emplace_back(connection, text);
    alarm_.Raise();
    return nullptr;
  }

  // Handles the end of a connection.
  void Closed(const std::string& connection) {
    std::lock_guard<std::mutex> guard(mu_);
    refused_.erase(connection);
    if (schedules() && !admission_.Has(connection)) return;
    heard_.emplace_back(connection, "");
    alarm_.Raise();
  }

  // The scheduler's.
  const Admission& admission() const { return admission_; }

  // On a member: the process at the scheduler's address has rejected the connection.
  [[noreturn]] void Refused() const {
    Exit("what answers at " + AddressOf(scheduler_) + " does not accept " + Name() +
             ": it is another program or version, or its secret differs (BYTEPS_GC_SECRET_FILE)",
         kTurnedAway);
  }

 private:
  static constexpr const char* kEnd = "end ";  // before a reason to end the job
  static constexpr double kFarewell = 1;  // seconds for sending the reason before the scheduler ends
  static constexpr double kAnswer = 1;    // seconds for the scheduler's answer to a reason
  static constexpr int kReach = 10;       // seconds for a test connection to a server

  struct Reason {
    std::string why;
    int status;
  };

  static bool Printable(char one) { return one >= ' ' && one <= '~'; }
  static bool Printable(const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](char one) { return Printable(one); });
  }

  // A reason as it can be sent: names of tensors may have any bytes and any length.
  static std::string Sendable(std::string why) {
    std::replace_if(why.begin(), why.end(), [](char one) { return !Printable(one); }, '?');
    return why.substr(0, kText - strlen(kEnd));
  }

  bool schedules() const { return self_.role == Node::SCHEDULER; }
  int worker() const { return self_.role == Node::WORKER ? NumberOf("DMLC_WORKER_ID") : -1; }

  std::string Name() const { return ProcessName(self_); }

  void Prepare(const Node& self, const Node& scheduler, Say say) {
    self_ = self;
    scheduler_ = scheduler;
    say_ = std::move(say);
    detector_.Start(self, scheduler);
    beat_ = std::min(1.0, limit() / 8);
    if (schedules()) admission_.Open(Name());
  }

  // Sends a reason to end the job to the scheduler, and ends this process when the scheduler answers. The answer is
  // another reason if the job was ending already, as when a server cannot be reached because it has left.
  void Report(const std::string& found, int status) {
    const std::string why = Sendable(found);
    {
      std::lock_guard<std::mutex> guard(mu_);
      if (!own_.why.empty()) return;
      own_ = Reason{why, status};
    }
    say_("", kEnd + why);
    alarm_.Raise();
  }

  // The reason that this process has found; empty without one.
  Reason Own() {
    std::lock_guard<std::mutex> guard(mu_);
    return own_;
  }

  void Run() {
    Clock clock(2 * beat_);
    double since = beat_;
    while (!ended_) {
      const double passed = clock.Passed();
      const std::string why = Judge(passed);
      if (ended_) break;
      if (!why.empty()) Finish(why);
      since += passed;
      if (since >= beat_) {
        since = 0;
        SayAll("alive");
      }
      std::vector<pollfd> news{pollfd{alarm_.fd(), POLLIN, 0}};
      Await(&news, static_cast<int>(beat_ * 1000));
      if (news[0].revents) alarm_.Reset();
    }
    SayAll("bye");
  }

  // Sends a text to all members that have not left, or to the scheduler.
  void SayAll(const std::string& text) {
    if (!schedules() && detector_.empty()) return say_("", text);
    for (auto& connection : detector_.Connections()) say_(connection, text);
  }

  // Returns the reason to end this job, or an empty text.
  std::string Judge(double passed) {
    std::deque<std::pair<std::string, std::string>> heard;
    std::string why;
    {
      std::lock_guard<std::mutex> guard(mu_);
      heard.swap(heard_);
      why = admission_.Difference();
    }
    detector_.Pass(passed);
    for (auto& one : heard) {
      const std::string verdict = Take(one.first, one.second);
      if (why.empty()) why = verdict;
    }
    if (why.empty()) why = detector_.Judge(started_);
    const std::string own = Own().why;
    if (!own.empty()) unanswered_ = unanswered_ < 0 ? 0 : unanswered_ + passed;
    return why.empty() && unanswered_ > kAnswer ? own : why;
  }

  // Handles a text, or, if it is empty, the end of a connection; returns a reason to end the job, or an empty text.
  std::string Take(const std::string& connection, const std::string& text) {
    if (text.compare(0, 6, "hello ") == 0) {
      const size_t begin = text.find(' ', 6) + 1;
      detector_.Add(connection, text.substr(begin, text.find(';') - begin));
      say_(connection, "scheduler " + Name());
      return "";
    }
    if (text.compare(0, 10, "scheduler ") == 0) detector_.Add(connection, text.substr(10));
    if (text.compare(0, 3, "no ") == 0)
      Exit("the scheduler at " + AddressOf(scheduler_) + " does not accept " + Name() + ": " + text.substr(3),
           kTurnedAway);
    const bool known = detector_.Hear(connection, text);
    return known && text.compare(0, strlen(kEnd), kEnd) == 0 ? text.substr(strlen(kEnd)) : "";
  }

  // Sends the reason to all other processes, and ends this one.
  [[noreturn]] void Finish(const std::string& why) {
    if (schedules()) SayAll(kEnd + Sendable(why));
    const Reason own = Own();
    Exit(why, why == own.why ? own.status : kPeerLost, schedules() ? kFarewell : 0);
  }

  Node self_, scheduler_;
  Say say_;
  double beat_ = 0;  // seconds between two heartbeats
  std::thread thread_;
  Alarm alarm_;
  std::atomic<bool> started_{false}, ended_{false};

  std::mutex mu_;                                          // of the next three
  std::deque<std::pair<std::string, std::string>> heard_;  // texts, by the connections they came by
  std::set<std::string> refused_;                          // connections that have got the reason
  Reason own_{"", 0};

  Admission admission_;  // the scheduler's
  FailureDetector detector_{&admission_};
  double unanswered_ = -1;  // seconds since the scheduler was sent this process's own reason, or -1
};

}  // namespace ps

#endif  // BYTEPS_GC_LIVENESS_H
