// Whether the other processes of a job live, so that none waits for one that does not.
//
// Every worker and server introduces itself to the scheduler. Both then send "alive" a few times in the limit, and "bye"
// when the job is done, all on the connection that the member has made. If a connection ends without a "bye", its
// process has died; if it is silent for longer than the limit, its process has stopped, or its host is gone. The
// scheduler then sends the reason to all others, and every process ends with that reason and status 69; a worker that
// cannot call a server, with 68; a process whose scheduler does not let it in, with 67. A member that finds a reason to
// end the job sends it to the scheduler. Time counts as the process has lived through it: a machine that slept accuses
// nobody.
//
// An introduction also holds the settings that must be the same in all processes: the first two that differ end the
// job before anything is exchanged.
//
//   BYTEPS_GC_DEATH_TIMEOUT   seconds of silence that are a death (60)
//   BYTEPS_GC_START_TIMEOUT   seconds within which all have to arrive (300)
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

// Where others reach a node: "10.0.0.2:1234".
inline std::string AddressOf(const Node& node) { return node.hostname + ":" + std::to_string(node.port); }

// Time that this process has lived through: a time in which it did not run, as on a machine that slept, counts as no
// more than `most` seconds.
class Clock {
 public:
  explicit Clock(double most) : most_(most) {}

  // Seconds since the last call.
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
  // Sends a text by a connection: on the scheduler a member's, on a member the scheduler's, whose name is empty.
  using Say = std::function<void(const std::string& connection, const std::string& text)>;

  static constexpr size_t kText = 2048;  // bytes of a text, at most

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

  // What a member says of itself, before anything else.
  std::string Hello() const {
    return "hello " + std::to_string(worker()) + " " + Name() + Settings::Own(worker() >= 0);
  }

  // Ends the job of a worker that cannot call a server: it would wait for its answers for ever. If the server has left
  // because the job ends already, the scheduler knows why; so its word is awaited for a moment.
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

  // Seconds of silence that are a death.
  double limit() const { return limit_; }

  // Ends the job of a worker that has lost its connection to a server, and gets no other.
  [[noreturn]] void Cut(const std::string& server) {
    Abort(Name() + " lost its connection to the server at " + server + " and could not connect again within " + Text(limit_) +
              ". This job stops; check the network between them",
          kUnreached);
  }

  // All have arrived.
  void Begin() { started_ = true; }

  // The job is done: from now on others may go.
  void End() {
    ended_ = true;
    alarm_.Raise();
    if (thread_.joinable()) thread_.join();
  }

  // Ends the job, on all hosts, for a reason that this process has found. Returns never.
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

  // A text that has come by a connection; returns what is wrong with it. The first one of a member is its "hello":
  // who is not let in gets the reason.
  const char* Heard(const std::string& connection, const std::string& text) {
    // an empty one stands for the end of a connection
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

  // A connection has ended.
  void Closed(const std::string& connection) {
    std::lock_guard<std::mutex> guard(mu_);
    refused_.erase(connection);
    if (schedules() && !members_.count(connection)) return;
    heard_.emplace_back(connection, "");
    alarm_.Raise();
  }

  // On the scheduler: whether processes have met whose settings differ.
  bool Doomed() {
    std::lock_guard<std::mutex> guard(mu_);
    return doomed_;
  }

  // On the scheduler: whether a connection is that of a member of a role.
  bool Member(const std::string& connection, bool worker) {
    std::lock_guard<std::mutex> guard(mu_);
    auto found = members_.find(connection);
    return found != members_.end() && (found->second >= 0) == worker;
  }

  // On a member: what answers at the scheduler's address does not let it in.
  [[noreturn]] void Refused() const {
    Leave("what answers at " + AddressOf(scheduler_) + " does not accept " + Name() +
              ": it is another program or version, or its secret differs (BYTEPS_GC_SECRET_FILE)",
          kTurnedAway);
  }

 private:
  static constexpr double kFarewell = 1;  // seconds in which the others learn why the job ends
  static constexpr double kPatience = 5;  // seconds that a node waits longer than the scheduler, which knows more
  static constexpr double kLeft = 30;     // seconds that a node has to leave after the scheduler
  static constexpr int kReach = 10;       // seconds
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

  // Whether a connection to a port can be made.
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

  // Makes a member of who says "WORKER NAME;SETTINGS"; returns why not, if not. By mu_.
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

  // Why this worker cannot call a server; empty if it can.
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

  // To all members, or to the scheduler, that are still there.
  void SayAll(const std::string& text) {
    if (!schedules() && peers_.empty()) return say_("", text);
    for (auto& peer : peers_) {
      if (!peer.second.closed && !peer.second.left) say_(peer.first, text);
    }
  }

  // Why this job has to end; empty if it need not.
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
      // the others leave when all are done; a node that is left behind has missed the word for it
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

  // Takes in a text, empty at the end of a connection; returns why the job has to end, if it says so.
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

  // Lets all others know, and ends this process.
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
