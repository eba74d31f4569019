// Decides which received messages the van passes on: those that their sender may send, with data of the right lengths.
// All others are dropped, and reported once for each source.
#ifndef BYTEPS_GC_MESSAGE_FILTER_H
#define BYTEPS_GC_MESSAGE_FILTER_H

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "./byteps_gc_connections.h"
#include "./byteps_gc_liveness.h"
#include "./byteps_gc_pending_requests.h"
#include "./byteps_gc_slots.h"
#include "./byteps_gc_wire.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/byteps_gc_name.h"
#include "ps/internal/postoffice.h"

namespace ps {

// Indices of a message's data: keys, values, lengths.
enum DataIndex : size_t { kKeys, kValues, kLengths, kWithLengths };

inline uint64_t KeyOf(SArray<char>& keys) {
  uint64_t key = 0;
  memcpy(&key, keys.data(), std::min(keys.size(), sizeof key));
  return key;
}

// The receiving thread's.
class MessageFilter {
 public:
  MessageFilter(const Node& self, Liveness* liveness, PendingRequests* pending, Slots* slots, GivenRegions* given)
      : self_(self), liveness_(*liveness), pending_(*pending), slots_(*slots), given_(*given) {}

  void Reset() {
    connections_.clear();
    members_.clear();
    joined_ = false;
  }

  // Reads a message; returns the reason to drop it, or nullptr. from: the node that this one has connected to, if the
  // message came on such a connection. done: whether nothing is left to pass on, as for a text for liveness.
  const char* Open(std::vector<Part>* parts, int from, Message* msg, bool* done) {
    if (parts->size() < 2) return "a message without a header";
    const std::string name = (*parts)[0].text();
    if ((*parts)[1].size() == 0) {
      *done = true;
      return OpenText(parts, from, name);
    }
    Meta& meta = msg->meta;
    if (!wire::Read((*parts)[1].data(), (*parts)[1].size(), &meta)) return "a message of another program or version";
    meta.sender = from == Meta::kEmpty ? SenderOf(name) : from;
    meta.recver = self_.id;
    *done = IsScheduler() && !liveness_.admission().Difference().empty();  // the job will not start
    if (!meta.control.empty())
      return parts->size() == 2 ? OpenControl(name, from, &meta) : "a control message with data";
    OpenData(parts, msg);
    return CheckData(msg);
  }

  // On the scheduler: gives an id to a node that has introduced itself. Returns the name of its connection, or nullptr.
  const std::string* SetId(const Node& node) {
    for (auto& connection : connections_) {
      if (node.role == Node::SCHEDULER || connection.second != AddressOf(node)) continue;
      members_[connection.first] = node.id;
      return &connection.first;
    }
    return nullptr;
  }

  // Reports that messages of a source are dropped.
  void Report(std::vector<Part>* parts, const char* reason) {
    if (reason == kUnasked) return;
    // libzmq 4.3.4 may omit the address from the first part of a message
    const char* address = parts->empty() ? nullptr : zmq_msg_gets(parts->back().get(), "Peer-Address");
    const std::string source = address ? address : "a local socket";
    if (reported_.size() < kSources && reported_.insert(source + reason).second)
      std::cerr << "byteps: dropped " << reason << " from " << source << std::endl;
  }

 private:
  // not reported: a server's second reply after a lost connection
  static constexpr const char* kUnasked = "an answer that nobody waits for";
  static constexpr size_t kSources = 100;  // maximum number of reports

  bool IsScheduler() const { return self_.role == Node::SCHEDULER; }

  bool IsSelfWorker() const { return self_.role == Node::WORKER; }

  static bool IsWorker(int id) { return id >= 9 && id % 2 == 1 && (id - 9) / 2 < Postoffice::Get()->num_workers(); }

  static bool IsServer(int id) { return id >= 8 && id % 2 == 0 && (id - 8) / 2 < Postoffice::Get()->num_servers(); }

  static int IdOf(const std::string& name) {
    const int id = name.compare(0, 2, "ps") == 0 ? atoi(name.c_str() + 2) : Meta::kEmpty;
    return name == ConnectionName(id) ? id : Meta::kEmpty;
  }

  // The node whose messages come on the connection with this name.
  int SenderOf(const std::string& name) {
    if (!IsScheduler()) return IdOf(name);
    auto found = members_.find(name);
    return found == members_.end() ? Meta::kEmpty : found->second;
  }

  const char* OpenText(std::vector<Part>* parts, int from, const std::string& name) {
    if (!IsScheduler() && from != kScheduler) return "a text that is not for this process";
    if (parts->size() == 3) return liveness_.Heard(IsScheduler() ? name : "", (*parts)[2].text());
    if (!IsScheduler() || parts->size() != 2) return "a text that is none";
    liveness_.Closed(name);  // ZeroMQ's notice of a disconnect
    return nullptr;
  }

  const char* OpenControl(const std::string& name, int from, Meta* meta) {
    if (IsScheduler()) {
      if (meta->control.cmd == Control::ADD_NODE) return Join(name, meta);
      const int group = IsWorker(meta->sender) ? kWorkerGroup : IsServer(meta->sender) ? kServerGroup : 0;
      const bool member = (meta->control.barrier_group & group) && meta->request && meta->app_id == 0;
      return member ? nullptr : "a barrier of a node that is not a member";
    }
    if (from != kScheduler) return "a control message that is not the scheduler's";
    if (meta->control.cmd == Control::BARRIER) return meta->request ? "a request for a barrier" : nullptr;
    if (joined_ || !IsNodeList(*meta)) return "a list of nodes that is not this job's";
    joined_ = true;
    return nullptr;
  }

  // A node introduces itself to the scheduler, after it has introduced itself to the scheduler's liveness.
  const char* Join(const std::string& name, Meta* meta) {
    auto& nodes = meta->control.node;
    if (meta->sender != Meta::kEmpty || meta->request || nodes.size() != 1) return "an introduction that is none";
    const Node& node = nodes[0];
    const bool fits = node.role != Node::SCHEDULER && node.id == Node::kEmpty;
    if (!fits || !liveness_.admission().Has(name, node.role == Node::WORKER))
      return "an introduction of a process that this job has no place for";
    for (auto& other : connections_) {
      if (other.first == name || other.second == AddressOf(node)) return "a second introduction";
    }
    connections_[name] = AddressOf(node);
    return nullptr;
  }

  // Whether a message lists all nodes of this job, each once, with this one among them.
  bool IsNodeList(const Meta& meta) const {
    auto* office = Postoffice::Get();
    const int workers = office->num_workers(), servers = office->num_servers();
    std::set<int> ids;
    std::set<std::string> addresses;
    bool here = false;
    for (const Node& node : meta.control.node) {
      const bool fits = node.role == Node::SCHEDULER ? node.id == kScheduler
                        : node.role == Node::WORKER  ? IsWorker(node.id)
                                                     : IsServer(node.id);
      if (!fits || !ids.insert(node.id).second || !addresses.insert(AddressOf(node)).second) return false;
      here = here || (node.role == self_.role && AddressOf(node) == AddressOf(self_));
    }
    return here && static_cast<int>(ids.size()) == workers + servers + 1;
  }

  // Moves the data of a message from its parts.
  static void OpenData(std::vector<Part>* parts, Message* msg) {
    for (size_t i = 2; i < parts->size(); ++i) {
      char* data = (*parts)[i].data();
      const size_t bytes = (*parts)[i].size();
      zmq_msg_t* whole = (*parts)[i].release();
      SArray<char> array;
      array.reset(data, bytes, [whole](void*) { Part::Close(whole); });
      msg->data.push_back(array);
    }
    parts->resize(2);
  }

  // Returns the reason to drop a message with data, or nullptr; reads values from their slot.
  const char* CheckData(Message* msg) {
    auto& data = msg->data;
    const Meta& meta = msg->meta;
    const bool worker = IsSelfWorker();
    if (!joined_ || meta.app_id != 0 || meta.customer_id != 0) return "data that nobody asked for";
    if (meta.request == worker) return "data that nobody asked for";
    const bool member = worker ? IsServer(meta.sender) : IsWorker(meta.sender);
    if (!member) return "data of a node that is not a member";
    if (worker && !pending_.Has(meta)) return kUnasked;
    if (worker && data.empty()) return pending_.Remove(meta) ? nullptr : kUnasked;  // an acknowledgement
    if (data.size() < 2 || data.size() > kWithLengths + 1) return "data in the wrong number of parts";
    if (data[kKeys].size() != sizeof(uint64_t) || !IsMine(KeyOf(data[kKeys])))
      return "data without a key of this server";
    if (data.size() == 2) return !worker && !meta.push && data[kValues].empty() ? nullptr : "values without a length";
    if (data.size() > kWithLengths) {
      Place place;
      if (data.back().size() != sizeof place || !data[kValues].empty()) return "a place that is none";
      memcpy(&place, data.back().data(), sizeof place);
      data.pop_back();
      char* there = worker ? slots_.At(meta.sender, place) : given_.Pushed(meta.sender, KeyOf(data[kKeys]), place);
      if (!there) return "a reference to unknown shared memory";
      data[kValues] = SArray<char>(there, place.size, false);
    }
    int length;
    if (data[kLengths].size() != sizeof length) return "values without a length";
    memcpy(&length, data[kLengths].data(), sizeof length);
    const bool pull = !worker && !meta.push;
    if (length < 0 || data[kValues].size() != (pull ? 0 : static_cast<size_t>(length)))
      return "values of another length";
    return !worker || pending_.Remove(meta) ? nullptr : kUnasked;
  }

  // Whether a key is in this server's range. A worker accepts any: a reply has the key of its request.
  bool IsMine(uint64_t key) const {
    if (IsSelfWorker()) return true;
    const auto& ranges = Postoffice::Get()->GetServerKeyRanges();
    const auto& range = ranges[Postoffice::IDtoRank(self_.id)];
    return key >= range.begin() && key < range.end();
  }

  const Node& self_;
  Liveness& liveness_;
  PendingRequests& pending_;
  Slots& slots_;
  GivenRegions& given_;

  bool joined_ = false;                             // on a worker or server: it has the list of nodes
  std::map<std::string, std::string> connections_;  // on the scheduler: addresses of nodes, by names of connections
  std::map<std::string, int> members_;              // on the scheduler: ids of nodes, by names of connections
  std::set<std::string> reported_;
};

}  // namespace ps

#endif  // BYTEPS_GC_MESSAGE_FILTER_H
