// Whether the other processes of a job live, so that none waits for one that does not.
//
// Every worker and server opens a door and tells the scheduler where; the scheduler calls, and on that line
// both say a few times in the limit that they live, and "bye" when the job is done. A line that ends without
// a "bye" is a process that died; one that is silent for longer than the limit has stopped, or its host is
// gone. The scheduler then tells all others who it was, and every process ends with that reason and status
// 69; a worker that cannot call a server, with 68. Time counts as this thread has lived through it: a machine
// that slept accuses nobody.
//
//   BYTEPS_GC_DEATH_TIMEOUT   seconds of silence that are a death (60)
//   BYTEPS_GC_START_TIMEOUT   seconds within which all have to arrive (300)
#ifndef BYTEPS_GC_LIVENESS_H
#define BYTEPS_GC_LIVENESS_H

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "./byteps_gc_line.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/internal/message.h"

namespace ps {

class Liveness {
 public:
  // self: this node, as others reach it; call: sends a word to the scheduler's Heard.
  void Start(const Node& self, const Node& scheduler, std::function<void(const std::string&)> call) {
    self_ = self;
    scheduler_ = scheduler;
    call_ = std::move(call);
    limit_ = Seconds("BYTEPS_GC_DEATH_TIMEOUT", 60);
    start_limit_ = Seconds("BYTEPS_GC_START_TIMEOUT", 300);
    beat_ = std::min(1.0, limit_ / 8);
    if (!schedules()) door_ = Line::Open(self.hostname, &door_port_);
    thread_ = std::thread(&Liveness::Run, this);
  }

  // What a node says of itself to the scheduler's Heard, first of all.
  std::string Hello() const {
    return std::to_string(door_port_) + " " + std::to_string(worker()) + " " + self_.hostname + " " + Name();
  }

  // Ends a worker that cannot call a server: it would wait for its answers for ever.
  void Reach(const Node& server) const {
    if (Line::Call(server.hostname, server.port, kReach)) return;
    const std::string where = server.hostname + ":" + std::to_string(server.port);
    Leave(Name() + " reaches the scheduler, but not the server at " + where +
              "; check the firewall: all ports must be open between the hosts of a job",
          kUnreached);
  }

  // All have arrived.
  void Begin() { started_ = true; }

  // The job is done: from now on others may go.
  void End() {
    ended_ = true;
    alarm_.Raise();
    if (thread_.joinable()) thread_.join();
    lines_.clear();
    door_.reset();
  }

  // On the scheduler: "PORT WORKER HOST NAME" of a node that has just started; false if it is something else.
  bool Heard(const std::string& text) {
    Caller caller;
    if (!Parse(text, &caller)) return false;
    std::lock_guard<std::mutex> guard(mu_);
    callers_.insert(text);
    alarm_.Raise();
    return true;
  }

 private:
  static constexpr double kFarewell = 1;  // seconds in which the others learn why the job ends
  static constexpr double kPatience = 5;  // seconds that a node waits longer than the scheduler, which knows more
  static constexpr double kLeft = 30;     // seconds that a node has to leave after the scheduler
  static constexpr int kCall = 2;         // seconds
  static constexpr size_t kWords = 512;   // bytes of what a node says of itself, at most
  static constexpr int kReach = 10;       // seconds
  static constexpr int kStatus = 69, kUnreached = 68;

  struct Peer {
    std::string name;  // "worker-1 on 10.0.0.2"
    std::unique_ptr<Line> line;
    double silent = 0;
    bool known = false, left = false;  // who it is, and that it has said "bye"
  };

  struct Caller {
    int port = 0, worker = -1;
    std::string host, name;
  };

  static bool Parse(const std::string& text, Caller* caller) {
    if (text.size() > kWords) return false;
    std::istringstream words(text);
    if (!(words >> caller->port >> caller->worker >> caller->host)) return false;
    std::getline(words >> std::ws, caller->name);
    for (char one : text) {
      if (one < ' ' || one > '~') return false;
    }
    return caller->port > 0 && caller->port < 65536 && caller->worker >= -1 &&
           caller->worker < Number("DMLC_NUM_WORKER") && !caller->name.empty();
  }

  static double Seconds(const char* name, double otherwise) {
    const char* text = getenv(name);
    const double seconds = text ? atof(text) : 0;
    return seconds > 0 ? seconds : otherwise;
  }

  static int Number(const char* name) {
    const char* text = getenv(name);
    return text ? atoi(text) : 0;
  }

  static std::string Text(double seconds) {
    char text[32];
    snprintf(text, sizeof text, "%g s", seconds);
    return text;
  }

  bool schedules() const { return self_.role == Node::SCHEDULER; }
  int worker() const { return self_.role == Node::WORKER ? Number("DMLC_WORKER_ID") : -1; }

  std::string Name() const {
    const char* name = getenv("BYTEPS_GC_ROLE");
    std::string here = name ? name : schedules() ? "scheduler" : worker() < 0 ? "server" : "worker";
    if (!name && worker() >= 0) here += "-" + std::to_string(worker());
    return here + " on " + self_.hostname;
  }

  void Run() {
    auto before = std::chrono::steady_clock::now();
    double since = beat_;
    while (!ended_) {
      const auto now = std::chrono::steady_clock::now();
      const double passed = std::min(2 * beat_, std::chrono::duration<double>(now - before).count());
      before = now;
      Meet();
      const std::string why = Judge(passed);
      if (ended_) break;
      if (!why.empty()) Finish(why);
      since += passed;
      if (since >= beat_) {
        since = 0;
        for (auto& peer : lines_) Say(peer, "alive");
        if (!schedules() && lines_.empty()) call_(Hello());
      }
      Wait();
    }
    for (auto& peer : lines_) Say(peer, "bye");
  }

  static void Say(const Peer& peer, const std::string& text) {
    if (peer.line) peer.line->Say(text);
  }

  // Until the next beat, or until something happens.
  void Wait() {
    std::vector<pollfd> news{pollfd{alarm_.fd(), POLLIN, 0}};
    if (door_) news.push_back(pollfd{door_->fd(), POLLIN, 0});
    for (auto& peer : lines_) {
      if (peer.line && !peer.line->closed()) news.push_back(pollfd{peer.line->fd(), POLLIN, 0});
    }
    Await(&news, static_cast<int>(beat_ * 1000));
    if (news[0].revents) alarm_.Reset();
  }

  // Lines to those that have come since.
  void Meet() {
    while (auto line = door_ ? door_->Accept() : nullptr) {
      lines_.emplace_back();
      lines_.back().line = std::move(line);
    }
    std::set<std::string> callers;
    {
      std::lock_guard<std::mutex> guard(mu_);
      callers.swap(callers_);
    }
    for (const std::string& caller : callers) {
      Caller one;
      Parse(caller, &one);
      if (!met_.insert(one.host + ":" + std::to_string(one.port)).second) continue;
      one.worker < 0 ? void(++servers_) : void(workers_.insert(one.worker));
      lines_.emplace_back();
      lines_.back().name = one.name;
      lines_.back().known = true;
      lines_.back().line = Line::Call(one.host, one.port, kCall);
      Say(lines_.back(), "scheduler " + Name());
    }
  }

  // Why this job has to end; empty if it need not.
  std::string Judge(double passed) {
    for (auto& peer : lines_) {
      std::string text, verdict;
      peer.silent += passed;
      while (peer.line && peer.line->Next(&text)) {
        peer.silent = 0;
        if (text == "bye") peer.left = true;
        if (text.compare(0, 4, "end ") == 0) verdict = text.substr(4);
        if (text.compare(0, 10, "scheduler ") == 0) {
          peer.known = true;
          peer.name = text.substr(10);
        }
      }
      if (!peer.known) continue;
      // the others leave when all are done; a node that is left behind has missed the word for it
      if (peer.left && (schedules() || peer.silent < kLeft)) continue;
      if (peer.left) return Lost(peer, "has left before this process had finished");
      if (!verdict.empty()) return verdict;
      if (peer.line && peer.line->closed()) return Lost(peer, "has died or lost its connection");
      if (peer.silent > limit_)
        return Lost(peer, "has been silent for " + Text(limit_) + ": it has stopped, or its host is unreachable");
    }
    // whoever else called at the door
    lines_.erase(std::remove_if(lines_.begin(), lines_.end(), [](const Peer& peer) {
      return !peer.known && peer.line->closed();
    }), lines_.end());
    if (started_) {
      alone_ = schedules() || !lines_.empty() ? 0 : alone_ + passed;
      Peer scheduler;
      scheduler.name = "scheduler on " + scheduler_.hostname;
      return alone_ > limit_ ? Lost(scheduler, "has been silent for " + Text(limit_)) : "";
    }
    waited_ += passed;
    if (schedules()) return waited_ > start_limit_ ? Missing() : "";
    return waited_ > start_limit_ + kPatience ? NoBegin() : "";
  }

  static std::string Lost(const Peer& peer, const std::string& how) {
    return peer.name + " " + how +
           ". This job stops; check that process's log and start the job again (run.sh JOB --resume continues from its "
           "last checkpoint)";
  }

  std::string NoBegin() const {
    return "the scheduler at " + scheduler_.hostname + ":" + std::to_string(scheduler_.port) +
           " did not start the job within " + Text(start_limit_) +
           "; start the scheduler and all servers and workers, or increase BYTEPS_GC_START_TIMEOUT";
  }

  std::string Missing() const {
    std::string who;
    auto name = [&who](const std::string& one) { who += (who.empty() ? "" : ", ") + one; };
    for (int i = 0; i < Number("DMLC_NUM_WORKER"); ++i) {
      if (!workers_.count(i)) name("worker " + std::to_string(i));
    }
    const int servers = Number("DMLC_NUM_SERVER");
    if (servers_ < servers) name(std::to_string(servers - servers_) + " of " + std::to_string(servers) + " servers");
    if (who.empty()) who = "a process";
    return who + " did not connect to the scheduler on " + self_.hostname + " within " + Text(start_limit_) +
           ". This job stops; check the log there and start the job again, or increase BYTEPS_GC_START_TIMEOUT";
  }

  // Lets all others know, and ends this process.
  void Finish(const std::string& why) {
    if (schedules()) {
      for (auto& peer : lines_) Say(peer, "end " + why);
      std::this_thread::sleep_for(std::chrono::duration<double>(kFarewell));
    }
    Leave(why, kStatus);
  }

  static void Leave(const std::string& why, int status) {
    fprintf(stderr, "byteps: %s\n", why.c_str());
    fflush(stderr);
    _exit(status);
  }

  Node self_, scheduler_;
  std::function<void(const std::string&)> call_;
  double limit_ = 0, start_limit_ = 0, beat_ = 0;
  std::thread thread_;
  Alarm alarm_;
  std::atomic<bool> started_{false}, ended_{false};

  std::mutex mu_;
  std::set<std::string> callers_;  // who has called, by mu_

  // the thread's
  std::unique_ptr<Line> door_;
  int door_port_ = 0;
  std::vector<Peer> lines_;
  std::set<std::string> met_;
  std::set<int> workers_;
  int servers_ = 0;
  double waited_ = 0, alone_ = 0;
};

}  // namespace ps

#endif  // BYTEPS_GC_LIVENESS_H
