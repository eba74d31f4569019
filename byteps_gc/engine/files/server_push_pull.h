// Pushes and pulls of a key that all its workers have announced.
#ifndef BYTEPS_GC_SERVER_PUSH_PULL_H
#define BYTEPS_GC_SERVER_PUSH_PULL_H

#include <string>
#include <utility>

#include "server_aggregator.h"
#include "server_phases.h"
#include "server_responder.h"
#include "server_state.h"
#include "server_threads.h"

namespace byteps {
namespace server {

// The functions unlock the key before they reply.
class PushPull {
 public:
  PushPull(const Job& job, Phases* phases, Aggregator* aggregator, Responder* responder, EngineThreads* threads)
      : job_(job), phases_(*phases), aggregator_(*aggregator), responder_(*responder), threads_(*threads) {}

  // A push of the current round. The reply is the sum, or an acknowledgement if the worker pulls the sum later.
  void Push(Key* key, int worker, const ps::KVMeta& meta, const Data& data, Lock* lock) {
    if (job_.asynchronous) return PushAsynchronously(key, worker, meta, data, lock);
    Member& member = key->members[worker];
    if (member.round != Member::kIdle)
      Fail(job_.workers[worker].name + " pushes " + key->Name() + " again before it has the sum of its last push");
    if (member.registered != key->IsCompressed() || (member.registered && !key->ready))
      return responder_.Drop(meta, "a push before the registration of its compressor");
    if (key->compressor ? data.vals.size() > key->size : data.vals.size() != key->size)
      Fail(job_.workers[worker].name + " pushes " + std::to_string(data.vals.size()) + " bytes of " + key->Name() +
           ", which has " + std::to_string(key->size));
    Task task;
    task.kind = key->pushes++ == 0 ? Task::kCopy : Task::kAdd;
    task.key = key;
    task.sum = key->sum->data();
    task.data = data;
    threads_.Add(std::move(task));
    ++member.rounds;
    member.round = Member::kPushed;
    member.Wait(meta);
    const bool pulls = !meta.option;
    if (pulls) member.SetReplied();
    phases_.Arrive(key, lock);
    if (pulls) responder_.Reply(meta, nullptr);
  }

  // A push that has arrived before. If there was a reply, it may have been lost with a connection.
  void Repeat(Key* key, int worker, const ps::KVMeta& meta, Lock* lock) {
    const bool replied = key->members[worker].replied == meta.timestamp;
    lock->unlock();
    if (replied) responder_.Reply(meta, meta.option ? key : nullptr);
  }

  void Pull(Key* key, int worker, const ps::KVMeta& meta, Lock* lock) {
    Member& member = key->members[worker];
    if (job_.asynchronous || meta.timestamp == member.replied) {
      lock->unlock();
      return key->reply ? responder_.Reply(meta, key) : responder_.Drop(meta, "a pull before the first push");
    }
    if (member.round == Member::kIdle) return responder_.Drop(meta, "a pull before a push");
    if (member.waits && meta.timestamp != member.request.timestamp)
      return responder_.Drop(meta, "a second request for one sum");
    member.waits = true;
    member.request = meta;
    if (member.round != Member::kSummed) return;
    member.round = Member::kIdle;
    member.SetReplied();
    lock->unlock();
    responder_.Reply(meta, key);
  }

 private:
  // Adds a push to the values of the key, and replies at once.
  void PushAsynchronously(Key* key, int worker, const ps::KVMeta& meta, const Data& data, Lock* lock) {
    if (key->compressor || data.vals.size() != key->size)
      Fail(job_.workers[worker].name + " pushes " + key->Name() + " in a way that asynchronous training cannot add");
    aggregator_.Add(key, key->sum->data(), data.vals.data());
    key->reply = key->sum->data();
    key->reply_size = key->size;
    key->members[worker].Wait(meta);
    key->members[worker].SetReplied();
    lock->unlock();
    responder_.Reply(meta, meta.option ? key : nullptr);
  }

  const Job& job_;
  Phases& phases_;
  Aggregator& aggregator_;
  Responder& responder_;
  EngineThreads& threads_;
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_PUSH_PULL_H
