// BytePS's server (byteps_gc's own implementation): it sums the pushes of all workers, key by key, and replies with the
// sums.
//
// A key goes through phases (server_phases.h), and all workers go through them together. In a round every worker pushes
// once and gets the sum once, as the reply to its push or to a pull. A worker pushes again only when it has the sum, so
// at most two rounds of a key are under way: one whose sum workers still read, and one that they push to. Each has its
// own buffer.
//
// Some keys are exchanged by a given number of workers only: the first ones that announce them. The others count as
// zeros, and are not waited for.
//
// A worker that has joined (bps.join()) adds zeros to every sum, and is not waited for until all workers have joined.
// When it comes back, it goes through the phases that it has missed. If a phase needs a worker that has left, the job
// ends.
//
// A request that is repeated after a lost connection has the same timestamp: it gets its reply again, and is not added
// twice. A push or pull outside its phase, and a push of an earlier round, are dropped and reported. If workers
// disagree about a key, or one pushes it twice in a round, the job ends.
//
// One thread receives all requests. Engine threads compress, decompress and sum.
#include "server.h"

#include <cstdlib>
#include <memory>
#include <string>

#include "../common/compressor/compressor_registry.h"
#include "../common/compressor/utils.h"
#include "server_aggregator.h"
#include "server_barrier.h"
#include "server_membership.h"
#include "server_mismatch.h"
#include "server_phases.h"
#include "server_push_pull.h"
#include "server_responder.h"
#include "server_state.h"
#include "server_threads.h"

namespace byteps {
namespace server {

class Server {
 public:
  Server()
      : responder_(job_),
        aggregator_(job_, &responder_),
        threads_([this](Task* task) { aggregator_.Run(task); }),
        barrier_(job_),
        phases_(job_, barrier_, &responder_, &threads_),
        push_pull_(job_, &phases_, &aggregator_, &responder_, &threads_),
        membership_(&job_, barrier_, &phases_, &responder_) {
    responder_.Receive([this](const ps::KVMeta& meta, const Data& data) { Handle(meta, data); });
  }

  // No more requests arrive.
  void Close() {
    threads_.Close();
    responder_.Close();
  }

 private:
  // The van has checked that the sender is a worker of this job, and that a message has one key, one length and that
  // number of bytes.
  void Handle(const ps::KVMeta& meta, const Data& data) {
    const common::Request request = common::ReadCommand(meta.cmd);
    const int worker = ps::Postoffice::IDtoRank(meta.sender);
    if (worker >= job_.size()) return Drop(meta, "an unknown command");
    if (request.type == common::kMembership && meta.push) return membership_.Change(worker, request.detail, meta, data);
    const bool of_key = request.type == common::kPushPullRequest || request.type == common::kCompressorRequest;
    if (!of_key || !IsDtype(request.detail)) return Drop(meta, "an unknown command");
    const auto found = job_.keys.find(data.keys[0]);
    Key* key = found == job_.keys.end() ? nullptr : found->second.get();
    if (!key || !key->members[worker].announced) {
      if (!meta.push || request.type != common::kPushPullRequest)
        return Drop(meta, "a request for a key that was not announced");
      return Announce(key, worker, meta, data, request.detail);
    }
    Lock lock(key->mutex);
    if (meta.push && meta.timestamp == key->members[worker].pushed) return push_pull_.Repeat(key, worker, meta, &lock);
    if (meta.push && IsEarlier(meta.timestamp, key->members[worker].pushed))
      return Drop(meta, "a repeated push of an earlier round");
    if (!key->open) return Drop(meta, "a request for a key that not all workers have announced");
    if (!meta.push) return push_pull_.Pull(key, worker, meta, &lock);
    if (request.type == common::kCompressorRequest) return Register(key, worker, meta, data, &lock);
    if (request.detail != key->dtype)
      Fail(job_.workers[worker].name + " pushes " + key->Name() + " as " + DtypeName(request.detail) +
           " after it was announced as " + DtypeName(key->dtype));
    push_pull_.Push(key, worker, meta, data, &lock);
  }

  // The first push of a key announces it. The reply comes when all workers have announced the key, with the same
  // description.
  void Announce(Key* key, int worker, const ps::KVMeta& meta, const Data& data, int dtype) {
    Announcement is;
    if (!is.Read(data.vals.data(), data.vals.size())) return Drop(meta, "data of a key that was not announced");
    if (is.workers > job_.workers.size()) return Drop(meta, "a key for more workers than there are");
    job_.workers[worker].name = is.worker;
    if (!key) {
      const uint64_t number = data.keys[0];
      key = (job_.keys[number] = std::unique_ptr<Key>(new Key(number, is, dtype, job_.workers.size()))).get();
    }
    CheckAnnouncement(*key, is, dtype);
    Lock lock(key->mutex);
    if (key->open && barrier_.IsPartial(*key))
      Fail(is.worker + " announces " + key->Name() + ", which " + std::to_string(is.workers) +
           " other workers exchange");
    Member& member = key->members[worker];
    member.Wait(meta);
    member.announced = true;
    if (key->open) return responder_.Acknowledge(&member, &lock);  // it had joined when the others announced the key
    phases_.Arrive(key, &lock);
  }

  // Every worker registers the same compressor. The reply comes when all have.
  void Register(Key* key, int worker, const ps::KVMeta& meta, const Data& data, Lock* lock) {
    const std::string text(data.vals.data(), data.vals.size());
    // Deserialize() trusts the number of options that the text begins with
    if (strtoull(text.c_str(), nullptr, 10) > text.size()) return Drop(meta, "options that cannot be read");
    const auto options = common::compressor::Deserialize(text);
    const std::string name = job_.workers[worker].name;
    if (!key->IsCompressed() || (key->compressor && options != key->options))
      Fail(name + " registers another compressor of " + key->Name() + " than it announced");
    if (!key->compressor) {
      key->options = options;
      const size_t size = common::Align(key->size, key->dtype);
      const auto dtype = static_cast<common::DataType>(key->dtype);
      key->compressor = common::compressor::CompressorRegistry::Create(options, size, dtype);
      if (!key->compressor) Fail(name + " registers " + key->Name() + " without a compressor");
      key->compressed.reset(new Buffer(size));
    }
    Member& member = key->members[worker];
    member.Wait(meta);
    member.registered = true;
    if (key->ready) return responder_.Acknowledge(&member, lock);
    phases_.Arrive(key, lock);
  }

  void Drop(const ps::KVMeta& meta, const std::string& what) { responder_.Drop(meta, what); }

  Job job_;
  Responder responder_;
  Aggregator aggregator_;
  EngineThreads threads_;
  Barrier barrier_;
  Phases phases_;
  PushPull push_pull_;
  Membership membership_;
};

// Exists to tell compressors that they may keep the sum themselves, and return no values from Decompress().
extern "C" void byteps_gc_compressor_keeps_sums() {}

// Returns the number of workers that take part with zeros in the sum that this thread's compressor compresses.
extern "C" int byteps_gc_absent_workers() { return AbsentWorkers(); }

extern "C" void byteps_server() {
  Server server;
  ps::StartAsync(0, "byteps_server\0");
  auto* office = ps::Postoffice::Get();
  if (!office->is_recovery()) office->Barrier(0, ps::kWorkerGroup + ps::kServerGroup + ps::kScheduler);
  ps::Finalize(0, true);
  server.Close();
}

}  // namespace server
}  // namespace byteps
