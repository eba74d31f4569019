#include "process.h"

#include "van.cc"  // ps-lite's

namespace fuzz {
namespace {

using ps::Postoffice;

// The process whose van waits for news, and what it gets then.
struct Waiting {
  Process* process;
  const Process::Next* next;
  bool ended;
};
Waiting waiting{};

Node NodeOf(Node::Role role, int id, int port) {
  Node node;
  node.role = role;
  node.id = id;
  node.port = port;
  node.customer_id = 0;
  node.hostname = "10.0.0.1";
  node.aux_id = static_cast<int>(geteuid());
  ps::wire::SetToken("", &node);
  return node;
}

Node Self(Node::Role role) {
  return role == Node::SCHEDULER ? NodeOf(role, ps::kScheduler, 9000)
         : role == Node::SERVER  ? NodeOf(role, Node::kEmpty, 9001)
                                 : NodeOf(role, Node::kEmpty, 9003);
}

// Memory that stays: what points there may outlive a process.
ps::Region* Shared(int number) {
  static ps::Region* regions[] = {new ps::Region(kRegion), new ps::Region(kRegion)};
  require(regions[number]->At({}), "no shared memory");
  return regions[number];
}

void Settle(Postoffice* office, Node::Role role, ps::Van* van) {
  office->van_ = van;
  office->is_worker_ = role == Node::WORKER;
  office->is_server_ = role == Node::SERVER;
  office->is_scheduler_ = role == Node::SCHEDULER;
  if (!office->node_ids_.empty()) return;
  office->num_workers_ = kPeers;
  office->num_servers_ = kPeers;
  office->verbose_ = 0;
  for (int group = 1; group < 8; ++group) {
    if (group & ps::kScheduler) office->node_ids_[group].push_back(ps::kScheduler);
    for (int rank = 0; rank < kPeers; ++rank) {
      if (group & ps::kServerGroup) office->node_ids_[group].push_back(kServerIds[rank]);
      if (group & ps::kWorkerGroup) office->node_ids_[group].push_back(kWorkerIds[rank]);
    }
  }
  for (int rank = 0; rank < kPeers; ++rank) {
    office->node_ids_[kServerIds[rank]] = {kServerIds[rank]};
    office->node_ids_[kWorkerIds[rank]] = {kWorkerIds[rank]};
  }
}

}  // namespace

int wait_for_news(pollfd* news, nfds_t count, int) {
  for (nfds_t i = 0; i < count; ++i) news[i].revents = 0;
  if (!waiting.ended && !(*waiting.next)(waiting.process)) {
    waiting.ended = true;
    waiting.process->SendToSelf(Control::TERMINATE);
  }
  news[0].revents = POLLIN;
  return 1;
}

struct Process::Van : ps::ZMQVan {
  explicit Van(Node::Role role) {
    scheduler_ = Self(Node::SCHEDULER);
    my_node_ = Self(role);
    is_scheduler_ = role == Node::SCHEDULER;
    is_worker_ = role == Node::WORKER;
    liveness_.Prepare(my_node_, scheduler_, [this](const std::string& to, const std::string& text) { Say(to, text); });
    for (int i = 0; i < (is_scheduler_ ? 1 : is_worker_ ? 0 : 2); ++i)
      connections_.AddListener(std::make_shared<ps::Socket>(context_, ZMQ_ROUTER));
    if (role == Node::SERVER) {
      for (int rank = 0; rank < kPeers; ++rank) given_.givers_[kWorkerIds[rank]].regions = {Shared(rank)};
    }
    Connect(scheduler_);
  }

  ps::Socket* Source(int node) {
    const auto& listeners = connections_.listeners_;
    if (node < 0) return listeners.empty() ? nullptr : listeners[(node == Arrival::kInside) % listeners.size()].get();
    return connections_.To(node).get();
  }
};

Process::Process(Node::Role role) : role(role) {
  Settle(Postoffice::Get(), role, nullptr);
  van_.reset(new Van(role));
  Postoffice::Get()->van_ = van_.get();
}

Process::~Process() {
  customer_.reset();
  van_.reset();
  Postoffice::Get()->van_ = nullptr;
}

void Process::Handle(const Handler& handler) { customer_.reset(new ps::Customer(0, 0, handler)); }

Arrival Process::List(Node::Role role) {
  Meta meta = DataMeta(false, false, 0, 0, false);
  meta.control.cmd = Control::ADD_NODE;
  for (int rank = 0; rank < kPeers; ++rank) {
    meta.control.node.push_back(NodeOf(Node::SERVER, kServerIds[rank], 9001 + rank));
    meta.control.node.push_back(NodeOf(Node::WORKER, kWorkerIds[rank], 9003 + rank));
  }
  meta.control.node.push_back(Self(Node::SCHEDULER));
  return {ps::kScheduler, {Name(ps::kScheduler), Packed(meta)}};
}

void Process::Join() {
  van_->my_node_.id = role == Node::SERVER ? kServerIds[0] : kWorkerIds[0];
  van_->filter_.joined_ = true;
  for (int rank = 0; rank < kPeers; ++rank) van_->Connect(NodeOf(Node::SERVER, kServerIds[rank], 9001 + rank));
}

bool Process::Run(const Next& next) {
  waiting = {this, &next, false};
  try {
    van_->Receiving();
    return true;
  } catch (const Exit&) {
    return false;
  }
}

bool Process::Deliver(const Arrival& arrival) {
  ps::Socket* const socket = van_->Source(arrival.from);
  if (!socket || arrival.parts.empty()) return false;
  line(socket->handle()).arriving.push_back(arrival.parts);
  return true;
}

void Process::Happen(int node, int event) {
  const auto& events = van_->connections_.events_;
  const auto found = events.find(node);
  if (found == events.end()) return;
  line(found->second->socket_.handle()).arriving.push_back({Bytes(uint64_t(event)), Bytes(uint64_t(0)), "", ""});
}

void Process::Judge(double passed) {
  const std::string why = van_->liveness_.Judge(passed);
  if (!why.empty()) exit_process(69);
}

bool Process::Dropped() {
  auto& reported = van_->filter_.reported_;
  const bool dropped = !reported.empty();
  reported.clear();
  return dropped;
}

void Process::Expect(int last) {
  for (int rank = 0; rank < kPeers; ++rank) {
    const int server = kServerIds[rank];
    auto& asked = van_->pending_.requests_[server];
    for (int timestamp = 1; asked.size() < size_t(last) && timestamp <= last; ++timestamp) {
      Message& one = asked[timestamp];
      one.meta = DataMeta(true, true, 0, timestamp, true);
      one.meta.recver = server;
    }
    auto& peer = van_->slots_.peers_[server];
    if (peer.regions.empty()) peer.regions.push_back(Shared(rank));
  }
}

void Process::Answer(Message* message) { van_->Send(*message); }

const std::vector<Parts>& Process::Sent() const { return line(van_->connections_.Listener()->handle()).sent; }

void Process::SendToSelf(Control::Command command) {
  Message message;
  message.meta = DataMeta(true, false, 0, 0, false);
  message.meta.control.cmd = command;
  message.meta.control.barrier_group = ps::kScheduler + ps::kServerGroup + ps::kWorkerGroup;
  van_->SendToSelf(message);
}

Meta DataMeta(bool request, bool push, int command, int timestamp, bool wants_sum) {
  Meta meta;
  meta.control.barrier_group = 0;
  meta.request = request;
  meta.push = push;
  meta.head = command;
  meta.app_id = 0;
  meta.customer_id = 0;
  meta.timestamp = timestamp;
  meta.option = wants_sum;
  meta.key = 0;
  meta.val_len = 0;
  return meta;
}

std::string Packed(const Meta& meta) {
  std::string bytes(ps::wire::Size(meta), '\0');
  ps::wire::Write(meta, &bytes[0]);
  return bytes;
}

std::string Name(int id) { return ps::ConnectionName(id); }

}  // namespace fuzz
