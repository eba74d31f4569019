// Failure detection: a job ends if one of its processes has died or stalled, instead of waiting for it.
//
// Every worker and server introduces itself to the scheduler. Both then send a heartbeat ("alive") several times within
// the timeout, and "bye" when the job is done, on the connection that the member has made. If a connection ends without
// a "bye", its process has died. If it is silent for longer than the timeout, its process has stalled, or its host is
// unreachable. The scheduler then sends the reason to all others, and every process ends with this reason and status
// 69. A worker that cannot connect to a server ends with 68, a process that the scheduler rejects with 67. A member
// that finds a reason to end the job sends it to the scheduler. The time for which a process did not run, as on a
// suspended machine, does not count.
//
// An introduction also contains the settings that must be the same in all processes (settings.h). If two processes
// differ, the job ends before the first exchange.
//
//   BYTEPS_GC_DEATH_TIMEOUT   timeout of silence in seconds (60)
//   BYTEPS_GC_START_TIMEOUT   seconds within which all processes have to connect (300)
#ifndef BYTEPS_GC_LIVENESS_H
#define BYTEPS_GC_LIVENESS_H

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "./byteps_gc_settings.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/byteps_gc_name.h"

namespace ps {

// The address of a node, such as "10.0.0.2:1234".
inline std::string AddressOf(const Node& node) { return node.hostname + ":" + std::to_string(node.port); }

// The time for which this process has run. A pause, as on a suspended machine, counts as `most` seconds at most.
class Clock {
 public:
  explicit Clock(double most) : most_(most) {}

  // Returns the seconds since the last call.
  double Passed() {
    const auto before = last_;
    last_ = std::chrono::steady_clock::now();
    return std::min(most_, std::chrono::duration<double>(last_ - before).count());
  }

 private:
  const double most_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

class Liveness {
 public:
  // Sends a text on a connection: of a member on the scheduler, and to the scheduler (with an empty name) on a member.
  using Say = std::function<void(const std::string& connection, const std::string& text)>;

  static constexpr size_t kText = 2048;  // maximum bytes of a text

  void Start(const Node& self, const Node& scheduler, Say say) {
    self_ = self;
    scheduler_ = scheduler;
    say_ = std::move(say);
    limit_ = SecondsOf("BYTEPS_GC_DEATH_TIMEOUT", 60);
    start_limit_ = SecondsOf("BYTEPS_GC_START_TIMEOUT", 300);
    beat_ = std::min(1.0, limit_ / 8);
    if (schedules()) settings_.Compare(Name(), Settings::Own(false));
    thread_ = std::thread(&Liveness::Run, this);
  }

  // The first text of a member, its introduction.
  std::string Hello() const {
    return "hello " + std::to_string(worker()) + " " + Name() + Settings::Own(worker() >= 0);
  }

  // Ends the job of a worker that cannot connect to a server, instead of waiting for replies forever. The server may
  // have left because the job is ending already: then the scheduler, which is asked first, gives that reason.
  void Reach(const Node& server) {
    if (!Unreached().empty() || Answers(server.hostname, server.port)) return;
    const std::string why = Name() + " reaches the scheduler, but not the server at " + AddressOf(server) +
                            "; check the firewall: all ports must be open between the hosts of a job";
    {
      std::lock_guard<std::mutex> guard(mu_);
      unreached_ = why;
    }
    say_("", "end " + why);
    alarm_.Raise();
  }

  // The timeout of silence in seconds.
  double limit() const { return limit_; }

  // Ends the job of a worker that has lost its connection to a server and cannot connect again.
  [[noreturn]] void Cut(const std::string& server) {
    Abort(Name() + " lost its connection to the server at " + server + " and could not connect again within " + Text(limit_) +
              ". This job stops; check the network between them",
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

  // Ends the job, on all hosts, for a reason that this process has found.
  [[noreturn]] void Abort(const std::string& why, int status) {
    if (!schedules()) {
      say_("", "end " + why);
      Leave(why, status, kFarewell);  // the scheduler's verdict would end this process with another status
    }
    {
      std::lock_guard<std::mutex> guard(mu_);
      verdict_ = why;
    }
    alarm_.Raise();
    while (true) pause();
  }

  // Handles a text from a connection; returns the reason to drop it, or nullptr. The first text of a member is its
  // "hello". A member that is rejected gets the reason.
  const char* Heard(const std::string& connection, const std::string& text) {
    // the empty text represents the end of a connection
    if (text.empty() || text.size() > kText || !Printable(text)) return "a text that is none";
    std::lock_guard<std::mutex> guard(mu_);
    const bool hello = text.compare(0, 6, "hello ") == 0;
    if (schedules() != (hello || members_.count(connection) > 0)) return "a text of a process that is not a member";
    if (hello) {
      const std::string refusal = Admit(connection, text.substr(6));
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
    if (schedules() && !members_.count(connection)) return;
    heard_.emplace_back(connection, "");
    alarm_.Raise();
  }

  // On the scheduler: whether settings of processes differ.
  bool Doomed() {
    std::lock_guard<std::mutex> guard(mu_);
    return doomed_;
  }

  // On the scheduler: whether a connection belongs to a worker or, with `worker` false, to a server.
  bool Member(const std::string& connection, bool worker) {
    std::lock_guard<std::mutex> guard(mu_);
    auto found = members_.find(connection);
    return found != members_.end() && (found->second >= 0) == worker;
  }

  // On a member: the process at the scheduler's address has rejected the connection.
  [[noreturn]] void Refused() const {
    Leave("what answers at " + AddressOf(scheduler_) + " does not accept " + Name() +
              ": it is another program or version, or its secret differs (BYTEPS_GC_SECRET_FILE)",
          kTurnedAway);
  }

 private:
  static constexpr double kFarewell = 1;  // seconds for sending the reason before this process ends
  static constexpr double kPatience = 5;  // additional seconds that a node waits, as the scheduler knows more
  static constexpr double kLeft = 30;     // seconds in which a node has to end after the scheduler
  static constexpr int kReach = 10;       // seconds for a test connection to a server
  static constexpr int kStatus = 69, kUnreached = 68, kTurnedAway = 67;

  struct Peer {
    std::string name;  // "worker-1 on 10.0.0.2"
    double silent = 0;
    bool left = false, closed = false;  // it has sent "bye"; its connection has ended
  };

  static bool Printable(const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](char one) { return one >= ' ' && one <= '~'; });
  }

  static std::string Text(double seconds) {
    char text[32];
    snprintf(text, sizeof text, "%g s", seconds);
    return text;
  }

  // Whether a process accepts connections at a port.
  static bool Answers(const std::string& host, int port) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval patience{kReach, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const bool connected = connect(fd, found->ai_addr, found->ai_addrlen) == 0;
    freeaddrinfo(found);
    close(fd);
    return connected;
  }

  bool schedules() const { return self_.role == Node::SCHEDULER; }
  int worker() const { return self_.role == Node::WORKER ? NumberOf("DMLC_WORKER_ID") : -1; }

  std::string Name() const { return ProcessName(self_); }

  // Accepts a member with the introduction "WORKER NAME;SETTINGS", or returns the reason to reject it. mu_ is held.
  std::string Admit(const std::string& connection, const std::string& text) {
    std::istringstream words(text);
    int worker = -2;
    std::string name;
    if (!(words >> worker) || !std::getline(words >> std::ws, name, ';') || name.empty() || worker < -1)
      return "an introduction cannot be read: versions of byteps_gc differ";
    std::string settings;
    std::getline(words, settings);
    if (started_) return "the job at this address runs already: " + Size();
    if (members_.count(connection)) return name + " has joined already";
    int servers = 0;
    for (auto& member : members_) {
      servers += member.second < 0;
      if (worker >= 0 && member.second == worker)
        return "worker " + std::to_string(worker) +
               " of the job at this address has joined already; every worker needs a DMLC_WORKER_ID of its own";
    }
    const std::string differs = settings_.Compare(name, ";" + settings);
    if (!differs.empty()) {
      verdict_ = differs;
      doomed_ = true;
    } else if (worker >= NumberOf("DMLC_NUM_WORKER") || (worker < 0 && servers >= NumberOf("DMLC_NUM_SERVER"))) {
      return "the job at this address has " + Size();
    }
    members_[connection] = worker;
    return "";
  }

  std::string Size() const {
    return std::to_string(NumberOf("DMLC_NUM_WORKER")) + " workers and " + std::to_string(NumberOf("DMLC_NUM_SERVER")) +
           " servers";
  }

  // Why this worker cannot connect to a server; empty if it can.
  std::string Unreached() {
    std::lock_guard<std::mutex> guard(mu_);
    return unreached_;
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
    if (!schedules() && peers_.empty()) return say_("", text);
    for (auto& peer : peers_) {
      if (!peer.second.closed && !peer.second.left) say_(peer.first, text);
    }
  }

  // Returns the reason to end this job, or an empty text.
  std::string Judge(double passed) {
    std::deque<std::pair<std::string, std::string>> heard;
    std::string why;
    {
      std::lock_guard<std::mutex> guard(mu_);
      heard.swap(heard_);
      why.swap(verdict_);
    }
    for (auto& peer : peers_) peer.second.silent += passed;
    for (auto& one : heard) {
      const std::string verdict = Take(one.first, one.second);
      if (why.empty()) why = verdict;
    }
    for (auto& one : peers_) {
      Peer& peer = one.second;
      if (!why.empty()) break;
      // the others leave when all are done; a node that remains has missed the notice
      if (peer.left && (schedules() || peer.silent < kLeft)) continue;
      if (peer.left) why = Lost(peer.name, "has left before this process had finished");
      else if (peer.closed) why = Lost(peer.name, "has died or lost its connection");
      else if (peer.silent > limit_)
        why = Lost(peer.name, "has been silent for " + Text(limit_) + ": it has stopped, or its host is unreachable");
    }
    if (!why.empty()) return why;
    if (!Unreached().empty() && (unanswered_ += passed) > kFarewell) return Unreached();
    if (started_) {
      alone_ = schedules() || !peers_.empty() ? 0 : alone_ + passed;
      return alone_ > limit_ ? Lost("scheduler on " + scheduler_.hostname, "has been silent for " + Text(limit_)) : "";
    }
    waited_ += passed;
    if (schedules()) return waited_ > start_limit_ ? Missing() : "";
    return waited_ > start_limit_ + kPatience ? NoBegin() : "";
  }

  // Handles a text, or, if it is empty, the end of a connection; returns a reason to end the job, or an empty text.
  std::string Take(const std::string& connection, const std::string& text) {
    if (text.compare(0, 6, "hello ") == 0) {
      const size_t begin = text.find(' ', 6) + 1;
      peers_[connection].name = text.substr(begin, text.find(';') - begin);
      say_(connection, "scheduler " + Name());
      return "";
    }
    if (text.compare(0, 10, "scheduler ") == 0) peers_[connection].name = text.substr(10);
    if (!schedules() && text.empty() && peers_.empty()) peers_[connection].name = "scheduler on " + scheduler_.hostname;
    if (text.compare(0, 3, "no ") == 0)
      Leave("the scheduler at " + AddressOf(scheduler_) + " does not accept " + Name() +
                ": " + text.substr(3),
            kTurnedAway);
    auto found = peers_.find(connection);
    if (found == peers_.end()) return "";
    found->second.silent = 0;
    found->second.closed = text.empty();
    found->second.left = found->second.left || text == "bye";
    return text.compare(0, 4, "end ") == 0 ? text.substr(4) : "";
  }

  static std::string Lost(const std::string& name, const std::string& how) {
    return name + " " + how +
           ". This job stops; check that process's log and start the job again (run.sh JOB --resume continues from its "
           "last checkpoint)";
  }

  std::string NoBegin() const {
    return "the scheduler at " + AddressOf(scheduler_) +
           " did not start the job within " + Text(start_limit_) +
           "; start the scheduler and all servers and workers, or increase BYTEPS_GC_START_TIMEOUT";
  }

  std::string Missing() {
    std::string who;
    auto name = [&who](const std::string& one) { who += (who.empty() ? "" : ", ") + one; };
    std::set<int> workers;
    int servers = NumberOf("DMLC_NUM_SERVER");
    const std::string all = std::to_string(servers);
    {
      std::lock_guard<std::mutex> guard(mu_);
      for (auto& member : members_) member.second < 0 ? void(--servers) : void(workers.insert(member.second));
    }
    for (int i = 0; i < NumberOf("DMLC_NUM_WORKER"); ++i) {
      if (!workers.count(i)) name("worker " + std::to_string(i));
    }
    if (servers > 0) name(std::to_string(servers) + " of " + all + " servers");
    if (who.empty()) who = "a process";
    return who + " did not connect to the scheduler on " + self_.hostname + " within " + Text(start_limit_) +
           ". This job stops; check the log there and start the job again, or increase BYTEPS_GC_START_TIMEOUT";
  }

  // Sends the reason to all other processes, and ends this one.
  [[noreturn]] void Finish(const std::string& why) {
    if (schedules()) SayAll("end " + why);
    Leave(why, why == Unreached() ? kUnreached : kStatus, schedules() ? kFarewell : 0);
  }

  [[noreturn]] static void Leave(const std::string& why, int status, double seconds = 0) {
    fprintf(stderr, "byteps: %s\n", why.c_str());
    fflush(stderr);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    _exit(status);
  }

  Node self_, scheduler_;
  Say say_;
  double limit_ = 0, start_limit_ = 0, beat_ = 0;
  std::thread thread_;
  Alarm alarm_;
  std::atomic<bool> started_{false}, ended_{false};

  std::mutex mu_;                                                        // of the next seven
  std::deque<std::pair<std::string, std::string>> heard_;                // texts, by the connections they came by
  std::map<std::string, int> members_;                                   // on the scheduler, by connection: worker, or -1
  std::set<std::string> refused_;                                        // connections that have got the reason
  Settings settings_;                                                    // of the first processes that sent them
  std::string verdict_, unreached_;
  bool doomed_ = false;

  std::map<std::string, Peer> peers_;  // the thread's, by connection
  double waited_ = 0, alone_ = 0, unanswered_ = 0;
};

}  // namespace ps

#endif  // BYTEPS_GC_LIVENESS_H
