// ps-lite's transport over ZeroMQ (byteps_gc's own implementation of the interface that the released one has).
//
// A node has one socket that it is called at, and one to each node that it calls. Whoever sends does so
// itself; one thread, that of Van::Receiving, receives from all sockets and sleeps when nothing is there.
// A message is [sender's name] [header] [data...] (wire.h). Of [keys] [values] [lengths] the values may be in a slot,
// and their [place] comes last (slots.h). A node that joins adds a word for the scheduler's liveness (liveness.h).
//
// A message is handed on only if its sender may send it, and if every length in it is what has arrived. All else is
// dropped, and reported once for each source. What a worker has asked for is kept until it is answered, and asked for
// again when a connection was lost: servers answer a request that comes twice, and count it once.
#ifndef PS_ZMQ_VAN_H_
#define PS_ZMQ_VAN_H_

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <map>
#include <set>
#include <unordered_map>

#include "./byteps_gc_liveness.h"
#include "./byteps_gc_slots.h"
#include "./byteps_gc_wire.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/internal/postoffice.h"
#include "ps/internal/van.h"

namespace ps {

class ZMQVan : public Van {
 public:
  ZMQVan() {}
  ~ZMQVan() override {}

  std::string GetType() const override { return "zeromq"; }

  void Start(int customer_id, bool standalone) override {
    {
      std::lock_guard<std::mutex> guard(start_mu_);
      if (!context_) {
        KeepBuffers();
        context_ = CHECK_NOTNULL(zmq_ctx_new());
        zmq_ctx_set(context_, ZMQ_MAX_SOCKETS, GetEnv("BYTEPS_ZMQ_MAX_SOCKET", 1024));
        zmq_ctx_set(context_, ZMQ_IO_THREADS, GetEnv("BYTEPS_ZMQ_NTHREADS", 4));
      }
    }
    if (!standalone) Van::Start(customer_id, false);
  }

  void Stop() override {
    liveness_.End();
    Van::Stop();
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      receiver_.reset();
      monitors_.clear();
      senders_.clear();
      asked_.clear();
      ++version_;
    }
    readable_.clear();
    watched_.clear();
    members_.clear();
    joined_ = false;
    zmq_ctx_destroy(context_);  // waits until what was sent is delivered
    context_ = nullptr;
  }

  int Bind(const Node& node, int max_retry) override {
    const bool local = GetEnv("DMLC_LOCAL", 0);
    is_worker_ = node.role == Node::WORKER;
    receiver_ = std::make_shared<Socket>(context_, ZMQ_ROUTER);
    receiver_->Set(ZMQ_ROUTER_MANDATORY, 1);
    receiver_->Set(ZMQ_ROUTER_HANDOVER, 1);  // a node that calls again is where its last call comes from
    std::string host = node.hostname.empty() ? "*" : node.hostname;
    if (node.role == Node::SCHEDULER && GetEnv("DMLC_USE_KUBERNETES", 0) > 0) host = "0.0.0.0";
    const std::string prefix = local ? "ipc:///tmp/" : "tcp://" + host + ":";
    unsigned seed = static_cast<unsigned>(getpid() + time(nullptr));
    int port = node.port;
    for (int tries = 0; zmq_bind(receiver_->handle(), (prefix + std::to_string(port)).c_str()) != 0; ++tries) {
      if (tries >= max_retry) {
        std::cerr << "byteps: cannot listen on " << prefix << port << ": " << zmq_strerror(errno) << std::endl;
        _exit(98);
      }
      port = 10000 + rand_r(&seed) % 40000;
    }
    if (!local) {
      receiver_->Set(ZMQ_SNDBUF, kInside);
      const std::string inside = Inside(node.hostname, port);
      CHECK_EQ(zmq_bind(receiver_->handle(), ("ipc://@" + inside).c_str()), 0) << zmq_strerror(errno);
      if (node.role == Node::SERVER) given_.Listen(inside + "-regions");
    }
    Publish();
    Node here = node;
    here.port = port;
    liveness_.Start(here, scheduler_, [this](const std::string& text) { CallScheduler(text); });
    return port;
  }

  void Connect(const Node& node) override {
    CHECK_NE(node.id, node.kEmpty);
    CHECK_NE(node.port, node.kEmpty);
    CHECK(node.hostname.size());
    if (node.role != Node::SCHEDULER) liveness_.Begin();  // the nodes hear of each other when all have arrived
    // workers do not talk to workers, nor servers to servers, and what a node sends to itself goes to own_
    if (node.role == my_node_.role) return;
    auto sender = std::make_shared<Socket>(context_, ZMQ_DEALER);
    if (my_node_.id != Node::kEmpty) sender->SetName(Name(my_node_.id));
    std::string address = "tcp://" + node.hostname + ":" + std::to_string(node.port);
    if (node.hostname == my_node_.hostname) {
      const std::string inside = Inside(node.hostname, node.port);
      address = "ipc://@" + inside;
      sender->Set(ZMQ_SNDBUF, kInside);
      if (is_worker_ && node.role == Node::SERVER) slots_.Meet(node.id, inside + "-regions", my_node_.id);
    }
    if (GetEnv("DMLC_LOCAL", 0)) address = "ipc:///tmp/" + std::to_string(node.port);
    if (is_worker_ && node.role == Node::SERVER && address.compare(0, 4, "tcp:") == 0) liveness_.Reach(node);
    std::shared_ptr<Monitor> monitor;
    if (is_worker_ && node.role == Node::SERVER) monitor = std::make_shared<Monitor>(context_, sender.get());
    CHECK_EQ(zmq_connect(sender->handle(), address.c_str()), 0) << "cannot connect to " << address << ": " << zmq_strerror(errno);
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      senders_[node.id] = sender;
      if (monitor) monitors_[node.id] = monitor;
    }
    Publish();
    if (node.role == Node::SCHEDULER) CallScheduler(liveness_.Hello());
  }

  int SendMsg(Message& msg) override {
    const int id = msg.meta.recver;
    CHECK_NE(id, Meta::kEmpty);
    if (id == my_node_.id || msg.meta.control.cmd == Control::TERMINATE) return SendToSelf(msg);
    // a worker's request is answered on the connection that it came by
    const bool reply = !is_worker_ && msg.meta.control.empty() && id >= 8 && id % 2;
    if (is_worker_ && msg.meta.control.empty()) {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      asked_[id][msg.meta.timestamp] = msg;
    }
    return Transmit(msg, reply ? receiver_ : Sender(id), reply, kCopied);
  }

  int RecvMsg(Message* msg) override {
    std::vector<Part> parts;
    while (true) {
      *msg = Message();
      int from = Meta::kEmpty;
      if (TakeOwn(msg)) return 1;
      if (!Receive(&parts, &from)) continue;
      bool word = false;
      const char* wrong = Open(&parts, from, msg, &word);
      if (wrong) {
        Report(&parts, wrong);
      } else if (!word) {
        int size = static_cast<int>(wire::Size(msg->meta));
        for (auto& data : msg->data) size += static_cast<int>(data.size());
        return size;
      }
    }
  }

 private:
  static constexpr size_t kCopied = 512;   // bytes up to which a copy is cheaper than keeping count of owners
  static constexpr size_t kKeys = 0, kValues = 1, kLengths = 2, kWithLengths = 3;  // of the data of a message
  static constexpr size_t kSources = 100;  // of which it is reported that messages of theirs are dropped
  static constexpr int kSafetyNet = 1000;  // milliseconds after which a waiting thread looks without being called
  static constexpr int kInside = 4 << 20;  // bytes that a local connection holds, if the system allows it that many
  static constexpr int kAtOnce = 64;       // messages of one socket before the others are looked at

  // Buffers of messages come and go with every step: given back to the system, they would be cleared again page by
  // page whenever data comes. Who sets MALLOC_TRIM_THRESHOLD_ decides otherwise.
  static void KeepBuffers() {
    if (getenv("MALLOC_TRIM_THRESHOLD_")) return;
    mallopt(M_MMAP_THRESHOLD, 32 << 20);  // more than any partition, and the most that glibc takes
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
  }

  // Where processes of the same host call a node: a local socket without a file, which takes less than TCP does.
  static std::string Inside(const std::string& host, int port) {
    return "byteps_gc-" + host + "-" + std::to_string(port);
  }

  static uint64_t KeyOf(SArray<char>& keys) {
    uint64_t key = 0;
    memcpy(&key, keys.data(), std::min(keys.size(), sizeof key));
    return key;
  }

  // Puts a message's values to a slot, if there is one for them.
  bool ToSlot(Message& msg, bool reply, Place* place) {
    if (msg.data.size() != kWithLengths || msg.data[kValues].size() < placed_) return false;
    auto& values = msg.data[kValues];
    const uint64_t key = KeyOf(msg.data[kKeys]);
    if (reply) return given_.Answer(msg.meta.recver, key, values.data(), values.size(), place);
    return is_worker_ && slots_.Put(msg.meta.recver, key, values.data(), values.size(), place);
  }

  int SendToSelf(const Message& msg) {
    {
      std::lock_guard<std::mutex> guard(own_mu_);
      own_.push_back(msg);
      own_.back().meta.sender = my_node_.id;
    }
    alarm_.Raise();
    return 1;
  }

  bool TakeOwn(Message* msg) {
    std::lock_guard<std::mutex> guard(own_mu_);
    if (own_.empty()) return false;
    *msg = own_.front();
    own_.pop_front();
    return true;
  }

  // copied: bytes up to which data are copied; longer data must stay until they are sent.
  int Transmit(Message& msg, std::shared_ptr<Socket> socket, bool reply, size_t copied) {
    const int id = msg.meta.recver;
    CHECK(socket) << "no connection to node " << id;
    std::vector<Part> parts;
    parts.reserve(msg.data.size() + 3);
    if (reply) {
      parts.emplace_back(Name(id));
      parts.emplace_back(Name(my_node_.id));
    }
    int size = static_cast<int>(wire::Size(msg.meta));
    parts.emplace_back(nullptr, size);
    wire::Write(msg.meta, parts.back().data());
    Place place;
    const bool placed = ToSlot(msg, reply, &place);
    for (auto& data : msg.data) {
      size += static_cast<int>(data.size());
      parts.push_back(placed && &data == &msg.data[kValues] ? Part() : Pack(data, copied));
    }
    if (placed) parts.emplace_back(&place, sizeof place);
    // a peer that is not there any more is liveness's to report
    socket->Send(&parts, socket == receiver_ || is_worker_ ? &alarm_ : nullptr);
    return size;
  }

  static std::string Name(int id) { return "ps" + std::to_string(id); }

  static int IdOf(const std::string& name) {
    if (name.size() < 3 || name.compare(0, 2, "ps") != 0) return Meta::kEmpty;
    for (size_t i = 2; i < name.size(); ++i) {
      if (name[i] < '0' || name[i] > '9') return Meta::kEmpty;
    }
    return atoi(name.c_str() + 2);
  }

  static Part Pack(SArray<char>& data, size_t copied) {
    if (data.size() <= copied) return Part(data.data(), data.size());
    auto* owner = new SArray<char>(data);
    return Part(owner->data(), owner->size(), [](void*, void* hint) { delete static_cast<SArray<char>*>(hint); }, owner);
  }

  // Reads a message; returns what is wrong with it. `from` is the node whose connection it came by, if this node has
  // called there; word: it was for liveness, and is done with.
  const char* Open(std::vector<Part>* parts, int from, Message* msg, bool* word) {
    if (parts->size() < 2) return "a message without a header";
    const std::string name = (*parts)[0].text();
    if ((*parts)[1].size() == 0) {
      *word = true;
      if (my_node_.role != Node::SCHEDULER || parts->size() != 3) return "a message with an empty header";
      return liveness_.Heard((*parts)[2].text()) ? nullptr : "an introduction that is none";
    }
    Meta& meta = msg->meta;
    if (!wire::Read((*parts)[1].data(), (*parts)[1].size(), &meta)) return "a message of another program or version";
    meta.sender = from == Meta::kEmpty ? IdOf(name) : from;
    meta.recver = my_node_.id;
    if (!meta.control.empty()) return parts->size() == 2 ? OpenControl(name, &meta) : "a control message with data";
    const char* wrong = OpenData(parts, msg);
    return wrong ? wrong : CheckData(msg);
  }

  const char* OpenControl(const std::string& name, Meta* meta) {
    if (my_node_.role == Node::SCHEDULER) {
      if (meta->control.cmd == Control::ADD_NODE) return Join(name, meta);
      const int group = IsWorker(meta->sender) ? kWorkerGroup : IsServer(meta->sender) ? kServerGroup : 0;
      const bool member = (meta->control.barrier_group & group) && meta->request && meta->app_id == 0;
      return member ? nullptr : "a barrier of a node that is not a member";
    }
    if (meta->sender != kScheduler) return "a control message that is not the scheduler's";
    if (meta->control.cmd == Control::BARRIER) return meta->request ? "a request for a barrier" : nullptr;
    if (joined_ || !Whole(*meta)) return "a list of nodes that is not this job's";
    joined_ = true;
    return nullptr;
  }

  // A node introduces itself to the scheduler, by a connection without a name.
  const char* Join(const std::string& name, Meta* meta) {
    auto& nodes = meta->control.node;
    if (meta->sender != Meta::kEmpty || meta->request || nodes.size() != 1) return "an introduction that is none";
    const Node::Role role = nodes[0].role;
    if (role == Node::SCHEDULER || nodes[0].id != Node::kEmpty) return "an introduction that is none";
    int there = 0;
    for (auto& member : members_) there += member.second == role;
    auto* office = Postoffice::Get();
    if (members_.count(name) || there >= (role == Node::WORKER ? office->num_workers() : office->num_servers()))
      return role == Node::WORKER ? "a worker that this job has no place for" : "a server that this job has no place for";
    members_[name] = role;
    return nullptr;
  }

  // Whether a list has this job's nodes, each once.
  static bool Whole(const Meta& meta) {
    auto* office = Postoffice::Get();
    const int workers = office->num_workers(), servers = office->num_servers();
    std::set<int> ids;
    for (const Node& node : meta.control.node) {
      const bool fits = node.role == Node::SCHEDULER ? node.id == kScheduler
                        : node.role == Node::WORKER  ? IsWorker(node.id)
                                                     : IsServer(node.id);
      if (!fits || !ids.insert(node.id).second) return false;
    }
    return static_cast<int>(ids.size()) == workers + servers + 1;
  }

  // Takes over a message's data.
  const char* OpenData(std::vector<Part>* parts, Message* msg) {
    for (size_t i = 2; i < parts->size(); ++i) {
      char* data = (*parts)[i].data();
      const size_t bytes = (*parts)[i].size();
      zmq_msg_t* whole = (*parts)[i].release();
      SArray<char> array;
      array.reset(data, bytes, [whole](void*) { Part::Close(whole); });
      msg->data.push_back(array);
    }
    parts->resize(2);
    return nullptr;
  }

  // Whether a message's data are what its sender may send, and as long as they say; fetches values from their slot.
  const char* CheckData(Message* msg) {
    auto& data = msg->data;
    const Meta& meta = msg->meta;
    if (my_node_.role == Node::SCHEDULER || meta.app_id != 0 || meta.customer_id != 0) return "data that nobody asked for";
    if (meta.request == is_worker_) return "data that nobody asked for";
    const bool member = is_worker_ ? IsServer(meta.sender) : IsWorker(meta.sender);
    if (!member) return "data of a node that is not a member";
    if (is_worker_ && !Asked(meta)) return "an answer that nobody waits for";
    if (is_worker_ && data.empty()) return nullptr;  // it has arrived
    if (data.size() < 2 || data.size() > kWithLengths + 1) return "data in the wrong number of parts";
    if (data[kKeys].size() != sizeof(uint64_t) || !Mine(KeyOf(data[kKeys]))) return "data without a key of this server";
    if (data.size() == 2) return !is_worker_ && !meta.push && data[kValues].empty() ? nullptr : "values without a length";
    if (data.size() > kWithLengths) {
      Place place;
      if (data.back().size() != sizeof place || !data[kValues].empty()) return "a place that is none";
      memcpy(&place, data.back().data(), sizeof place);
      data.pop_back();
      char* there = is_worker_ ? slots_.At(meta.sender, place) : given_.Pushed(meta.sender, KeyOf(data[kKeys]), place);
      if (!there) return "a reference to unknown shared memory";
      data[kValues] = SArray<char>(there, place.size, false);
    }
    int length;
    if (data[kLengths].size() != sizeof length) return "values without a length";
    memcpy(&length, data[kLengths].data(), sizeof length);
    const bool pull = !is_worker_ && !meta.push;
    return length >= 0 && data[kValues].size() == (pull ? 0 : static_cast<size_t>(length)) ? nullptr : "values of another length";
  }

  static bool IsWorker(int id) { return id >= 9 && id % 2 == 1 && (id - 9) / 2 < Postoffice::Get()->num_workers(); }

  static bool IsServer(int id) { return id >= 8 && id % 2 == 0 && (id - 8) / 2 < Postoffice::Get()->num_servers(); }

  // Whether a key is in this server's range; a worker's answer has the key that it asked for.
  bool Mine(uint64_t key) {
    if (is_worker_) return true;
    const auto& ranges = Postoffice::Get()->GetServerKeyRanges();
    const auto& range = ranges[Postoffice::IDtoRank(my_node_.id)];
    return key >= range.begin() && key < range.end();
  }

  // Whether a worker waits for this answer; it does so no longer.
  bool Asked(const Meta& meta) {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    return asked_[meta.sender].erase(meta.timestamp) > 0;
  }

  // Says once for each source that its messages are dropped.
  void Report(std::vector<Part>* parts, const char* what) {
    const char* address = parts->empty() ? nullptr : zmq_msg_gets((*parts)[0].get(), "Peer-Address");
    const std::string source = address ? address : "a local socket";
    if (reported_.size() < kSources && reported_.insert(source + what).second)
      std::cerr << "byteps: dropped " << what << " from " << source << std::endl;
  }

  std::shared_ptr<Socket> Sender(int id) {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    auto found = senders_.find(id);
    return found == senders_.end() ? nullptr : found->second;
  }

  // A word to the scheduler's van.
  void CallScheduler(const std::string& text) {
    auto socket = Sender(scheduler_.id);
    if (!socket) return;
    std::vector<Part> parts(1);
    parts.emplace_back(text);
    socket->Send(&parts, is_worker_ ? &alarm_ : nullptr);
  }

  // Lets the receiving thread know that there are other sockets now.
  void Publish() {
    ++version_;
    alarm_.Raise();
  }

  void Adopt() {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    seen_ = version_;
    readable_.assign(1, receiver_);
    callees_.assign(1, Meta::kEmpty);
    // only a worker gets answers from those that it calls
    for (auto& sender : senders_) {
      if (!is_worker_) continue;
      readable_.push_back(sender.second);
      callees_.push_back(sender.first);
    }
    news_.assign(1, pollfd{alarm_.fd(), POLLIN, 0});
    for (auto& socket : readable_) news_.push_back(pollfd{socket->fd(), POLLIN, 0});
    watched_.assign(monitors_.begin(), monitors_.end());
    for (auto& monitor : watched_) news_.push_back(pollfd{monitor.second->fd(), POLLIN, 0});
    news_.push_back(pollfd{given_.fd(), POLLIN, 0});  // of a worker -1, which poll() leaves out
  }

  // Sends once more what a server has not answered: a connection to it was lost, perhaps with messages in it.
  void AskAgain(int server) {
    std::map<int, Message> asked;
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      asked = asked_[server];
    }
    auto socket = Sender(server);
    for (auto& request : asked) Transmit(request.second, socket, false, SIZE_MAX);
  }

  // The next message, and by whose connection it came; false if there may be one to this node from itself.
  bool Receive(std::vector<Part>* parts, int* from) {
    while (true) {
      if (seen_ != version_) Adopt();
      for (size_t tried = 0; tried <= readable_.size(); ++tried) {  // the first one twice, if its turn was over
        const size_t at = turn_ % readable_.size();
        if (taken_ < kAtOnce && readable_[at]->Receive(parts)) {
          ++taken_;
          *from = callees_[at];
          return true;
        }
        taken_ = 0;
        ++turn_;
      }
      // every socket has been looked at since its last news
      Await(&news_, kSafetyNet);
      if (news_.back().revents) given_.Take();
      for (auto& monitor : watched_) {
        if (monitor.second->Again()) AskAgain(monitor.first);
      }
      if (!news_[0].revents) continue;
      alarm_.Reset();
      return false;
    }
  }

  void* context_ = nullptr;
  bool is_worker_ = false;
  Liveness liveness_;
  Alarm alarm_;
  const size_t placed_ = GetEnv("BYTEPS_GC_SLOT_BYTES", 32 << 10);  // from which a slot is cheaper than a socket
  Slots slots_;                                                    // a worker's
  GivenRegions given_;                                             // a server's
  std::shared_ptr<Socket> receiver_;

  std::mutex own_mu_;  // of own_
  std::deque<Message> own_;

  std::mutex sockets_mu_;  // of senders_ and asked_
  std::unordered_map<int, std::shared_ptr<Socket>> senders_;
  std::unordered_map<int, std::shared_ptr<Monitor>> monitors_;  // of the servers that a worker calls
  std::unordered_map<int, std::map<int, Message>> asked_;  // a worker's requests, by server and timestamp
  std::atomic<int> version_{0};

  // the receiving thread's
  int seen_ = -1;
  std::vector<std::shared_ptr<Socket>> readable_;
  std::vector<std::pair<int, std::shared_ptr<Monitor>>> watched_;
  std::vector<int> callees_;  // the nodes at the other ends of readable_
  std::map<std::string, Node::Role> members_;  // on the scheduler, by the names of their connections
  bool joined_ = false;
  std::set<std::string> reported_;
  std::vector<pollfd> news_;
  size_t turn_ = 0;
  int taken_ = 0;
};

}  // namespace ps

#endif  // PS_ZMQ_VAN_H_
