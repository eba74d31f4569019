// The barrier at the end of each phase of a key: which workers have completed the phase, and which ones it waits for.
//
// A worker that has joined (bps.join()) is not waited for until all have joined. A worker that has left never completes
// another phase, so the job ends if a phase needs it.
#ifndef BYTEPS_GC_SERVER_BARRIER_H
#define BYTEPS_GC_SERVER_BARRIER_H

#include <algorithm>
#include <string>

#include "server_state.h"

namespace byteps {
namespace server {

class Barrier {
 public:
  explicit Barrier(const Job& job) : job_(job) {}

  // Whether only some of the workers exchange a key.
  bool IsPartial(const Key& key) const {
    return key.announcement.workers && key.announcement.workers != job_.workers.size();
  }

  // Whether the current phase of a key is complete: every worker that exchanges the key has completed the phase, or has
  // joined.
  bool IsComplete(const Key& key) const {
    size_t known = 0;
    for (int worker = 0; worker < job_.size(); ++worker) {
      if (!Exchanges(key, worker)) continue;
      if (!job_.workers[worker].joined && !HasCompleted(key, key.members[worker])) return false;
      ++known;
    }
    return !IsPartial(key) || known == key.announcement.workers;
  }

  // Whether some worker waits for others in the current phase of a key.
  bool HasBegun(const Key& key) const {
    if (key.open && (key.ready || !key.IsCompressed())) return key.pushes > 0;
    return std::any_of(key.members.begin(), key.members.end(),
                       [this, &key](const Member& one) { return HasCompleted(key, one); });
  }

  // Ends the job if some worker waits in the current phase of a key for one that has left.
  void CheckLeft(const Key& key) const {
    for (int worker = 0; worker < job_.size(); ++worker) {
      const Worker& gone = job_.workers[worker];
      if (!gone.left || !Exchanges(key, worker) || HasCompleted(key, key.members[worker])) continue;
      for (int other = 0; other < job_.size(); ++other) {
        if (job_.workers[other].left || !HasCompleted(key, key.members[other])) continue;
        const int rounds = key.members[worker].rounds;
        const std::string count = std::to_string(rounds) + (rounds > 1 ? " exchanges" : " exchange");
        const std::string had = rounds ? "after " + count : "without an exchange";
        Fail(gone.name + " has ended " + had + " of " + key.Name() + " while " + job_.workers[other].name +
             " waits for the next one; call bps.join() when workers have different numbers of batches");
      }
    }
  }

  // Ends the job if a worker has left while others wait for it in bps.join().
  void CheckJoined(const Worker& worker) const {
    if (!worker.left) return;
    for (const Worker& one : job_.workers) {
      if (one.joined)
        Fail(worker.name + " has ended without bps.join() while " + one.name +
             " waits in it; call bps.join() on all workers");
    }
  }

 private:
  // Whether a worker has completed the current phase of a key.
  bool HasCompleted(const Key& key, const Member& member) const {
    if (!key.open) return member.announced;
    if (!key.ready && key.IsCompressed()) return member.registered;
    return job_.asynchronous || member.round == Member::kPushed;
  }

  // Whether a worker is known to exchange a key.
  bool Exchanges(const Key& key, int worker) const { return !IsPartial(key) || key.members[worker].announced; }

  const Job& job_;
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_BARRIER_H
