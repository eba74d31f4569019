// Admission to a job: the scheduler accepts or rejects every process that introduces itself.
//
// An introduction is "WORKER NAME;SETTINGS". WORKER is the number of a worker, or -1 for a server. SETTINGS must be the
// same in all processes (settings.h). If those of two processes differ, the job ends before the first exchange.
#ifndef BYTEPS_GC_ADMISSION_H
#define BYTEPS_GC_ADMISSION_H

#include <istream>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>

#include "./byteps_gc_settings.h"

namespace ps {

class Admission {
 public:
  // The introduction of this process.
  static std::string Introduction(int worker, const std::string& name) {
    return std::to_string(worker) + " " + name + Settings::Own(worker >= 0);
  }

  // The settings of all members must equal those of the scheduler, which has this name.
  void Open(const std::string& name) {
    std::lock_guard<std::mutex> guard(mu_);
    settings_.Compare(name, Settings::Own(false));
  }

  // Accepts the process that introduces itself on a connection, or returns the reason to reject it. A process whose
  // settings differ is accepted, so that it learns why the job ends. started: whether all members have connected.
  std::string Admit(const std::string& connection, const std::string& introduction, bool started) {
    std::istringstream words(introduction);
    int worker = -2;
    std::string name;
    if (!(words >> worker) || !std::getline(words >> std::ws, name, ';') || name.empty() || worker < -1)
      return "an introduction cannot be read: versions of byteps_gc differ";
    std::string settings;
    std::getline(words, settings);
    std::lock_guard<std::mutex> guard(mu_);
    if (started) return "the job at this address runs already: " + Size();
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
      difference_ = differs;
    } else if (worker >= NumberOf("DMLC_NUM_WORKER") || (worker < 0 && servers >= NumberOf("DMLC_NUM_SERVER"))) {
      return "the job at this address has " + Size();
    }
    members_[connection] = worker;
    return "";
  }

  // Whether a connection belongs to a member.
  bool Has(const std::string& connection) const {
    std::lock_guard<std::mutex> guard(mu_);
    return members_.count(connection) > 0;
  }

  // Whether a connection belongs to a worker or, with `worker` false, to a server.
  bool Has(const std::string& connection, bool worker) const {
    std::lock_guard<std::mutex> guard(mu_);
    auto found = members_.find(connection);
    return found != members_.end() && (found->second >= 0) == worker;
  }

  // The difference between the settings of two members, for which the job ends; empty without one.
  std::string Difference() const {
    std::lock_guard<std::mutex> guard(mu_);
    return difference_;
  }

  // The processes that have not introduced themselves, such as "worker 1, 1 of 2 servers".
  std::string Missing() const {
    std::lock_guard<std::mutex> guard(mu_);
    std::string who;
    auto name = [&who](const std::string& one) { who += (who.empty() ? "" : ", ") + one; };
    std::set<int> workers;
    int servers = NumberOf("DMLC_NUM_SERVER");
    const std::string all = std::to_string(servers);
    for (auto& member : members_) member.second < 0 ? void(--servers) : void(workers.insert(member.second));
    for (int i = 0; i < NumberOf("DMLC_NUM_WORKER"); ++i) {
      if (!workers.count(i)) name("worker " + std::to_string(i));
    }
    if (servers > 0) name(std::to_string(servers) + " of " + all + " servers");
    return who.empty() ? "a process" : who;
  }

 private:
  static std::string Size() {
    return std::to_string(NumberOf("DMLC_NUM_WORKER")) + " workers and " + std::to_string(NumberOf("DMLC_NUM_SERVER")) +
           " servers";
  }

  mutable std::mutex mu_;               // of the next three
  std::map<std::string, int> members_;  // by connection: the worker's number, or -1
  Settings settings_;                   // of the first processes that sent them
  std::string difference_;
};

}  // namespace ps

#endif  // BYTEPS_GC_ADMISSION_H
