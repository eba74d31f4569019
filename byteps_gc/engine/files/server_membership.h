// Workers that join (bps.join()) because they have no more data, or leave at their end.
#ifndef BYTEPS_GC_SERVER_MEMBERSHIP_H
#define BYTEPS_GC_SERVER_MEMBERSHIP_H

#include <algorithm>

#include "server_barrier.h"
#include "server_phases.h"
#include "server_responder.h"
#include "server_state.h"

namespace byteps {
namespace server {

class Membership {
 public:
  Membership(Job* job, const Barrier& barrier, Phases* phases, Responder* responder)
      : job_(*job), barrier_(barrier), phases_(*phases), responder_(*responder) {}

  // A worker's request to join or to leave.
  void Change(int worker, int change, const ps::KVMeta& meta, const Data& data) {
    common::Member said;
    if ((change != common::kJoin && change != common::kLeave) || !said.Read(data.vals.data(), data.vals.size()))
      return responder_.Drop(meta, "an unknown command");
    Worker& one = job_.workers[worker];
    const bool repeated = one.timestamp == meta.timestamp;
    if (one.timestamp >= 0 && IsEarlier(meta.timestamp, one.timestamp))
      return responder_.Drop(meta, "a repeated join or leave");
    one.request = meta;
    one.timestamp = meta.timestamp;
    one.key = data.keys[0];
    if (repeated) return one.replied ? responder_.Reply(&one) : void();
    one.name = said.name;
    one.replied = false;
    change == common::kJoin ? Join(&one, said) : Leave(&one);
  }

 private:
  void Join(Worker* worker, const common::Member& said) {
    worker->joined = true;
    for (const Worker& other : job_.workers) barrier_.CheckJoined(other);
    if (std::all_of(job_.workers.begin(), job_.workers.end(), [](const Worker& one) { return one.joined; }))
      return EndJoin(said);
    for (auto& key : job_.keys) {
      Lock lock(key.second->mutex);
      if (barrier_.HasBegun(*key.second)) phases_.Advance(key.second.get(), &lock);
    }
  }

  // All workers have joined, and get the text of the last one.
  void EndJoin(const common::Member& last) {
    for (Worker& one : job_.workers) one.joined = false;
    for (Worker& one : job_.workers) {
      one.reply = last.Write();
      responder_.Reply(&one);
    }
  }

  void Leave(Worker* worker) {
    worker->left = true;
    barrier_.CheckJoined(*worker);
    for (auto& key : job_.keys) {
      Lock lock(key.second->mutex);
      barrier_.CheckLeft(*key.second);
    }
    responder_.Reply(worker);
  }

  Job& job_;
  const Barrier& barrier_;
  Phases& phases_;
  Responder& responder_;
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_MEMBERSHIP_H
