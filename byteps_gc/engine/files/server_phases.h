// The phases of a key, through which all workers go together: its announcement, the registration of its compressor if
// it has one, and then rounds.
#ifndef BYTEPS_GC_SERVER_PHASES_H
#define BYTEPS_GC_SERVER_PHASES_H

#include <cstring>
#include <utility>

#include "server_barrier.h"
#include "server_responder.h"
#include "server_state.h"
#include "server_threads.h"

namespace byteps {
namespace server {

class Phases {
 public:
  Phases(const Job& job, const Barrier& barrier, Responder* responder, EngineThreads* threads)
      : job_(job), barrier_(barrier), responder_(*responder), threads_(*threads) {}

  // A worker has completed the current phase of a key. Unlocks the key.
  void Arrive(Key* key, Lock* lock) {
    barrier_.CheckLeft(*key);
    Advance(key, lock);
  }

  // Begins the next phase of a key if the current one is complete. Unlocks the key.
  void Advance(Key* key, Lock* lock) {
    if (!barrier_.IsComplete(*key)) return lock->unlock();
    if (!key->open) {
      Open(key);
      responder_.AcknowledgeAll(key, lock);
    } else if (key->compressor && !key->ready) {
      key->ready = true;
      responder_.AcknowledgeAll(key, lock);
    } else {
      if (key->pushes) CompleteRound(key);
      lock->unlock();
    }
  }

 private:
  void Open(Key* key) {
    key->open = true;
    key->sum.reset(new Buffer(key->size));
    key->previous_sum.reset(new Buffer(key->size));
    if (job_.asynchronous) memset(key->sum->data(), 0, key->size);
    threads_.Assign(key);
  }

  // All workers have pushed.
  void CompleteRound(Key* key) {
    Task last;
    last.kind = Task::kPublish;
    last.key = key;
    last.sum = key->sum->data();
    last.absent = job_.size() - key->pushes;
    threads_.Add(std::move(last));
    key->pushes = 0;
    key->sum.swap(key->previous_sum);  // the next round is summed in the buffer that no worker reads any more
    for (Member& member : key->members) {
      if (member.round == Member::kPushed) member.round = Member::kComplete;
    }
  }

  const Job& job_;
  const Barrier& barrier_;
  Responder& responder_;
  EngineThreads& threads_;
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_PHASES_H
