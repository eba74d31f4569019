// ps-lite's transport over ZeroMQ (byteps_gc's own implementation of the interface that the released one has).
//
// Workers and servers call the scheduler, and workers call servers: by TCP, or, if both are of one user on one host, by a
// local socket. What is sent the other way goes back on the connection that the other has made. Whoever sends does so
// itself; one thread, that of Van::Receiving, receives from all sockets and sleeps when nothing is there. Connections
// are authenticated and encrypted if the job has a secret (secret.h).
//
// A message is [sender's name] [header] [data...] (wire.h). Of [keys] [values] [lengths] the values may be in a slot,
// and their [place] comes last (slots.h). With an empty header it is a text for liveness (liveness.h).
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
#include "./byteps_gc_secret.h"
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
    Running() = this;
    if (!standalone) Van::Start(customer_id, false);
  }

  void Stop() override {
    Running() = nullptr;
    liveness_.End();
    Van::Stop();
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      listeners_.clear();
      senders_.clear();
      calls_.clear();
      ways_.clear();
      asked_.clear();
      ++version_;
    }
    sources_.clear();
    made_.clear();
    connections_.clear();
    members_.clear();
    joined_ = false;
    authenticator_.reset();
    if (port_fd_ >= 0) close(port_fd_);
    port_fd_ = -1;
    zmq_ctx_destroy(context_);  // waits until what was sent is delivered
    context_ = nullptr;
  }

  int Bind(const Node& node, int max_retry) override {
    is_worker_ = node.role == Node::WORKER;
    my_node_.aux_id = static_cast<int>(geteuid());
    const int port = is_worker_ ? Reserve(node, max_retry) : Listen(node, max_retry);
    Publish();
    Node here = node;
    here.port = port;
    liveness_.Start(here, scheduler_, [this](const std::string& to, const std::string& text) { Say(to, text); });
    return port;
  }

  void Connect(const Node& node) override {
    CHECK_NE(node.id, node.kEmpty);
    CHECK_NE(node.port, node.kEmpty);
    CHECK(node.hostname.size());
    if (node.role != Node::SCHEDULER) liveness_.Begin();  // the nodes hear of each other when all have arrived
    if (my_node_.role == Node::SCHEDULER) return Connected(node);
    addresses_[node.id] = AddressOf(node);
    if (node.role == Node::SCHEDULER ? Sender(kScheduler) != nullptr : !is_worker_ || node.role == Node::WORKER) return;
    auto sender = std::make_shared<Socket>(context_, ZMQ_DEALER);
    std::string address = "tcp://" + AddressOf(node);
    if (node.role == Node::SCHEDULER) {
      Secret::Get().Identify(sender.get());
      sender->SetPatience(kFarewell);
    } else {
      sender->Set(ZMQ_ROUTING_ID, Name(my_node_.id));
      if (node.hostname == my_node_.hostname && node.aux_id == my_node_.aux_id) {
        const std::string inside = Inside(node);
        address = "ipc://@" + inside;
        sender->Set(ZMQ_SNDBUF, kInside);
        slots_.Meet(node.id, inside + "-regions", my_node_.id);
      } else {
        liveness_.Reach(node);
        Secret::Get().Identify(sender.get(), wire::Token(node));
        ExpectAnswers(sender.get());
      }
    }
    Bound(sender.get());
    auto events = std::make_shared<Events>(context_, sender.get(), kCallEvents);
    CHECK_EQ(zmq_connect(sender->handle(), address.c_str()), 0) << "cannot connect to " << address << ": " << zmq_strerror(errno);
    if (node.role == Node::SCHEDULER) {  // before others find the sender: the scheduler takes no text before this one
      std::vector<Part> hello(1);
      hello.emplace_back(liveness_.Hello());
      sender->Send(&hello, &alarm_);
    }
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      senders_[node.id] = sender;
      calls_[node.id] = events;
    }
    Publish();
  }

  int SendMsg(Message& msg) override {
    const int id = msg.meta.recver;
    CHECK_NE(id, Meta::kEmpty);
    if (id == my_node_.id || msg.meta.control.cmd == Control::TERMINATE) return SendToSelf(msg);
    if (!is_worker_ && id != kScheduler) return Answer(msg);
    if (is_worker_ && msg.meta.control.empty()) {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      asked_[id][msg.meta.timestamp] = msg;
    }
    return Transmit(msg, Sender(id), "", kCopied);
  }

  // Ends the job for a reason that this process has found.
  [[noreturn]] static void Abort(const std::string& why, int status) {
    if (ZMQVan* van = Running()) van->liveness_.Abort(why, status);
    std::cerr << "byteps: " << why << std::endl;
    _exit(status);
  }

  int RecvMsg(Message* msg) override {
    std::vector<Part> parts;
    while (true) {
      *msg = Message();
      if (TakeOwn(msg)) return 1;
      const Source* source = Receive(&parts);
      if (!source) continue;
      bool text = false;
      const char* wrong = Open(&parts, source->node, msg, &text);
      if (wrong) {
        Report(&parts, wrong);
      } else if (!text) {
        if (source->node == Meta::kEmpty) Note(*msg, source->socket);
        int size = static_cast<int>(wire::Size(msg->meta));
        for (auto& data : msg->data) size += static_cast<int>(data.size());
        return size;
      }
    }
  }

 private:
  static constexpr size_t kCopied = 512;   // bytes up to which a copy is cheaper than keeping count of owners
  static constexpr size_t kKeys = 0, kValues = 1, kLengths = 2, kWithLengths = 3;  // of the data of a message
  // a server's second answer, after a connection was lost: no news
  static constexpr const char* kUnasked = "an answer that nobody waits for";
  static constexpr size_t kSources = 100;  // of which it is reported that messages of theirs are dropped
  static constexpr int kSafetyNet = 1000;  // milliseconds after which a waiting thread looks without being called
  static constexpr int kInside = 4 << 20;  // bytes that a local connection holds, if the system allows it that many
  static constexpr int kWaiting = 1000;    // messages of a caller that have come in; it has to wait with more
  static constexpr int kAtOnce = 64;       // messages of one socket before the others are looked at
  static constexpr int kFailures = 3;      // handshakes that the scheduler ends before this process gives up
  static constexpr int kFarewell = 200;    // milliseconds in which the last "bye" is delivered to the scheduler
  static constexpr int64_t kLargest = 16 << 20;  // bytes
  static constexpr int kCallEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                                     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

  // Where messages for a node go that has called this one.
  struct Way {
    std::shared_ptr<Socket> listener;
    std::string name;
  };

  // A socket that messages come from.
  struct Source {
    std::shared_ptr<Socket> socket;
    int node;                        // that it has called, if it has
    std::shared_ptr<Events> events;  // of that call
  };

  // The state of a call.
  struct Call {
    bool open, lost;  // now, and since the last one
    int failures;
    double cut;  // seconds since it was lost
  };

  // The one of this process, while it runs.
  static std::atomic<ZMQVan*>& Running() {
    static std::atomic<ZMQVan*> van{nullptr};
    return van;
  }

  // Buffers of messages come and go with every step: given back to the system, they would be cleared again page by
  // page whenever data comes. Who sets MALLOC_TRIM_THRESHOLD_ decides otherwise.
  static void KeepBuffers() {
    if (getenv("MALLOC_TRIM_THRESHOLD_")) return;
    mallopt(M_MMAP_THRESHOLD, 32 << 20);  // more than any partition, and the most that glibc takes
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
  }

  // Where processes of the same host call a node: a local socket without a file, which takes less than TCP does.
  static std::string Inside(const Node& node) { return "byteps_gc-" + node.hostname + "-" + std::to_string(node.port); }

  // A message longer than any that a member sends ends its connection, instead of filling the memory.
  static void Bound(Socket* socket) {
    const int64_t most = std::max<int64_t>(kLargest, 2 * static_cast<int64_t>(GetEnv("BYTEPS_PARTITION_BYTES", 0)));
    CHECK_EQ(zmq_setsockopt(socket->handle(), ZMQ_MAXMSGSIZE, &most, sizeof most), 0) << zmq_strerror(errno);
  }

  // Lets the system end a connection whose other side has not answered for as long as a death takes.
  void ExpectAnswers(Socket* socket) const {
    const int limit = std::max(2, static_cast<int>(liveness_.limit()));
    socket->Set(ZMQ_TCP_MAXRT, limit * 1000);
    socket->Set(ZMQ_TCP_KEEPALIVE_IDLE, limit / 2);
    socket->Set(ZMQ_TCP_KEEPALIVE_INTVL, std::max(1, limit / 8));
    socket->Set(ZMQ_TCP_KEEPALIVE_CNT, 4);
  }

  // Calls `take` with one port after the other until it says that it has taken one.
  template <typename Take>
  static int FindPort(const Node& node, int max_retry, Take take) {
    unsigned seed = static_cast<unsigned>(getpid() + time(nullptr));
    int port = node.port;
    for (int tries = 0; !take(port); ++tries) {
      if (tries >= max_retry) {
        std::cerr << "byteps: cannot listen on tcp://" << node.hostname << ":" << port << ": " << zmq_strerror(errno) << std::endl;
        _exit(98);
      }
      port = 10000 + rand_r(&seed) % 40000;
    }
    return port;
  }

  // A worker's port is a part of its name; nobody can call there.
  int Reserve(const Node& node, int max_retry) {
    port_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return FindPort(node, max_retry, [this](int port) {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<uint16_t>(port));
      return bind(port_fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    });
  }

  // A scheduler's or server's listener, and a server's for processes of the same host and user.
  int Listen(const Node& node, int max_retry) {
    const bool token = node.role == Node::SERVER && Secret::Get().exists() && !Secret::Get().encrypts();
    if (token) wire::SetToken(Secret::Token(), &my_node_);
    authenticator_.reset(new Authenticator(context_, token ? wire::Token(my_node_) : ""));
    auto listener = NewListener();
    Secret::Get().Guard(listener.get(), token ? wire::Token(my_node_) : "");
    if (node.role == Node::SCHEDULER) listener->Set(ZMQ_ROUTER_NOTIFY, ZMQ_NOTIFY_DISCONNECT);
    std::string host = node.hostname.empty() ? "*" : node.hostname;
    if (node.role == Node::SCHEDULER && GetEnv("DMLC_USE_KUBERNETES", 0) > 0) host = "0.0.0.0";
    Node here = node;
    here.port = FindPort(node, max_retry, [&](int port) {
      return zmq_bind(listener->handle(), ("tcp://" + host + ":" + std::to_string(port)).c_str()) == 0;
    });
    listeners_.push_back(listener);
    if (node.role == Node::SERVER) {
      auto inside = NewListener();
      inside->Set(ZMQ_IPC_FILTER_UID, my_node_.aux_id);
      inside->Set(ZMQ_SNDBUF, kInside);
      CHECK_EQ(zmq_bind(inside->handle(), ("ipc://@" + Inside(here)).c_str()), 0) << zmq_strerror(errno);
      listeners_.push_back(inside);
      given_.Listen(Inside(here) + "-regions");
    }
    authenticator_->Start();
    return here.port;
  }

  std::shared_ptr<Socket> NewListener() {
    auto listener = std::make_shared<Socket>(context_, ZMQ_ROUTER);
    listener->Set(ZMQ_ROUTER_MANDATORY, 1);
    listener->Set(ZMQ_ROUTER_HANDOVER, 1);  // a node that calls again is where its last call comes from
    listener->Set(ZMQ_RCVHWM, kWaiting);
    Bound(listener.get());
    authenticator_->Watch(listener.get());
    return listener;
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

  // Sends back on the connection that a node has made.
  int Answer(Message& msg) {
    Way way;
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      way = ways_[msg.meta.recver];
    }
    return Transmit(msg, way.listener, way.name, kCopied);
  }

  // to: the name of the connection, if the socket has several; copied: bytes up to which data are copied; longer data
  // must stay until they are sent.
  int Transmit(Message& msg, const std::shared_ptr<Socket>& socket, const std::string& to, size_t copied) {
    CHECK(socket) << "no connection to node " << msg.meta.recver;
    const bool reply = !to.empty();
    std::vector<Part> parts;
    parts.reserve(msg.data.size() + 4);
    if (reply) {
      parts.emplace_back(to);
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
    socket->Send(&parts, &alarm_);
    return size;
  }

  static std::string Name(int id) { return "ps" + std::to_string(id); }

  static int IdOf(const std::string& name) {
    const int id = name.compare(0, 2, "ps") == 0 ? atoi(name.c_str() + 2) : Meta::kEmpty;
    return name == Name(id) ? id : Meta::kEmpty;
  }

  static Part Pack(SArray<char>& data, size_t copied) {
    if (data.size() <= copied) return Part(data.data(), data.size());
    auto* owner = new SArray<char>(data);
    return Part(owner->data(), owner->size(), [](void*, void* hint) { delete static_cast<SArray<char>*>(hint); }, owner);
  }

  // Reads a message; returns what is wrong with it. `from` is the node that its connection was made to, if this node
  // has made it; text: it was for liveness, or comes too late, and is done with.
  const char* Open(std::vector<Part>* parts, int from, Message* msg, bool* text) {
    if (parts->size() < 2) return "a message without a header";
    const std::string name = (*parts)[0].text();
    if ((*parts)[1].size() == 0) {
      *text = true;
      return OpenText(parts, from, name);
    }
    Meta& meta = msg->meta;
    if (!wire::Read((*parts)[1].data(), (*parts)[1].size(), &meta)) return "a message of another program or version";
    meta.sender = from == Meta::kEmpty ? SenderOf(name) : from;
    meta.recver = my_node_.id;
    *text = my_node_.role == Node::SCHEDULER && liveness_.Doomed();  // nothing begins any more
    if (!meta.control.empty()) return parts->size() == 2 ? OpenControl(name, from, &meta) : "a control message with data";
    OpenData(parts, msg);
    return CheckData(msg);
  }

  const char* OpenText(std::vector<Part>* parts, int from, const std::string& name) {
    const bool scheduler = my_node_.role == Node::SCHEDULER;
    if (!scheduler && from != kScheduler) return "a text that is not for this process";
    if (parts->size() == 3) return liveness_.Heard(scheduler ? name : "", (*parts)[2].text());
    if (!scheduler || parts->size() != 2) return "a text that is none";
    liveness_.Closed(name);  // so says ZeroMQ
    return nullptr;
  }

  const char* OpenControl(const std::string& name, int from, Meta* meta) {
    if (my_node_.role == Node::SCHEDULER) {
      if (meta->control.cmd == Control::ADD_NODE) return Join(name, meta);
      const int group = IsWorker(meta->sender) ? kWorkerGroup : IsServer(meta->sender) ? kServerGroup : 0;
      const bool member = (meta->control.barrier_group & group) && meta->request && meta->app_id == 0;
      return member ? nullptr : "a barrier of a node that is not a member";
    }
    if (from != kScheduler) return "a control message that is not the scheduler's";
    if (meta->control.cmd == Control::BARRIER) return meta->request ? "a request for a barrier" : nullptr;
    if (joined_ || !Whole(*meta)) return "a list of nodes that is not this job's";
    joined_ = true;
    return nullptr;
  }

  // A node introduces itself to the scheduler, whose liveness it has said who it is.
  const char* Join(const std::string& name, Meta* meta) {
    auto& nodes = meta->control.node;
    if (meta->sender != Meta::kEmpty || meta->request || nodes.size() != 1) return "an introduction that is none";
    const Node& node = nodes[0];
    if (node.role == Node::SCHEDULER || node.id != Node::kEmpty || !liveness_.Member(name, node.role == Node::WORKER))
      return "an introduction of a process that this job has no place for";
    for (auto& other : connections_) {
      if (other.first == name || other.second == AddressOf(node)) return "a second introduction";
    }
    connections_[name] = AddressOf(node);
    return nullptr;
  }

  // On the scheduler: a node has an id from now on.
  void Connected(const Node& node) {
    for (auto& connection : connections_) {
      if (node.role == Node::SCHEDULER || connection.second != AddressOf(node)) continue;
      members_[connection.first] = node.id;
      std::lock_guard<std::mutex> guard(sockets_mu_);
      ways_[node.id] = Way{listeners_[0], connection.first};
    }
  }

  // The node whose messages come by a connection of a name.
  int SenderOf(const std::string& name) {
    if (my_node_.role != Node::SCHEDULER) return IdOf(name);
    auto found = members_.find(name);
    return found == members_.end() ? Meta::kEmpty : found->second;
  }

  // Whether a list has this job's nodes, each once, and this one.
  bool Whole(const Meta& meta) const {
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
      here = here || (node.role == my_node_.role && AddressOf(node) == AddressOf(my_node_));
    }
    return here && static_cast<int>(ids.size()) == workers + servers + 1;
  }

  // Takes over a message's data.
  void OpenData(std::vector<Part>* parts, Message* msg) {
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

  // Whether a message's data are what its sender may send, and as long as they say; fetches values from their slot.
  const char* CheckData(Message* msg) {
    auto& data = msg->data;
    const Meta& meta = msg->meta;
    if (!joined_ || meta.app_id != 0 || meta.customer_id != 0) return "data that nobody asked for";
    if (meta.request == is_worker_) return "data that nobody asked for";
    const bool member = is_worker_ ? IsServer(meta.sender) : IsWorker(meta.sender);
    if (!member) return "data of a node that is not a member";
    if (is_worker_ && !Asked(meta, false)) return kUnasked;
    if (is_worker_ && data.empty()) return Asked(meta, true) ? nullptr : kUnasked;  // it has arrived
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
    if (length < 0 || data[kValues].size() != (pull ? 0 : static_cast<size_t>(length))) return "values of another length";
    return !is_worker_ || Asked(meta, true) ? nullptr : kUnasked;
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

  // Whether a worker waits for this answer; with `taken` it does so no longer.
  bool Asked(const Meta& meta, bool taken) {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    auto& asked = asked_[meta.sender];
    return taken ? asked.erase(meta.timestamp) > 0 : asked.count(meta.timestamp) > 0;
  }

  // Says once for each source that its messages are dropped.
  void Report(std::vector<Part>* parts, const char* what) {
    if (what == kUnasked) return;
    // libzmq 4.3.4 may leave the address out of the first part of a message
    const char* address = parts->empty() ? nullptr : zmq_msg_gets(parts->back().get(), "Peer-Address");
    const std::string source = address ? address : "a local socket";
    if (reported_.size() < kSources && reported_.insert(source + what).second)
      std::cerr << "byteps: dropped " << what << " from " << source << std::endl;
  }

  std::shared_ptr<Socket> Sender(int id) {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    auto found = senders_.find(id);
    return found == senders_.end() ? nullptr : found->second;
  }

  // Sends a text of liveness: to the scheduler, or, from there, to whom a connection leads.
  void Say(const std::string& to, const std::string& text) {
    std::shared_ptr<Socket> socket;
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      auto found = senders_.find(kScheduler);
      if (found != senders_.end()) socket = found->second;
      if (my_node_.role == Node::SCHEDULER && !listeners_.empty()) socket = listeners_[0];
    }
    if (!socket) return;
    std::vector<Part> parts;
    if (my_node_.role == Node::SCHEDULER) {
      parts.emplace_back(to);
      parts.emplace_back(Name(kScheduler));
    }
    parts.emplace_back();
    parts.emplace_back(text);
    socket->Send(&parts, &alarm_);
  }

  // Lets the receiving thread know that there are other sockets now.
  void Publish() {
    ++version_;
    alarm_.Raise();
  }

  void Adopt() {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    seen_ = version_;
    sources_.clear();
    for (auto& listener : listeners_) sources_.push_back(Source{listener, Meta::kEmpty, nullptr});
    for (auto& sender : senders_) sources_.push_back(Source{sender.second, sender.first, calls_[sender.first]});
    news_.assign(1, pollfd{alarm_.fd(), POLLIN, 0});
    for (auto& source : sources_) {
      news_.push_back(pollfd{source.socket->fd(), POLLIN, 0});
      if (source.events) news_.push_back(pollfd{source.events->fd(), POLLIN, 0});
    }
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
    for (auto& request : asked) Transmit(request.second, socket, "", SIZE_MAX);
  }

  // What has happened to a connection that this node has made.
  void Look(Source* source) {
    int event;
    std::string remote;
    while (source->events->Next(&event, &remote)) {
      const bool scheduler = source->node == kScheduler;
      if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        Call& call = made_[source->node];
        if (call.lost && !scheduler) AskAgain(source->node);
        call = Call{true, false, 0, 0};
      } else if (event == ZMQ_EVENT_DISCONNECTED) {
        Call& call = made_[source->node];
        closed_ = closed_ || (call.open && scheduler);
        call.lost = call.lost || call.open;
        call.open = false;
      } else if (scheduler && (event != ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL || ++made_[source->node].failures >= kFailures)) {
        liveness_.Refused();
      }
    }
  }

  // Gives up on a server that this worker has been cut off from for too long.
  void CheckCalls() {
    const double passed = clock_.Passed();
    for (auto& call : made_) {
      if (!call.second.lost || call.first == kScheduler) continue;
      call.second.cut += passed;
      if (call.second.cut > liveness_.limit()) liveness_.Cut(addresses_[call.first]);
    }
  }

  // The next message, and where it came from; null if there may be one to this node from itself.
  const Source* Receive(std::vector<Part>* parts) {
    while (true) {
      if (seen_ != version_) Adopt();
      for (size_t tried = 0; tried <= sources_.size() && !sources_.empty(); ++tried) {  // the first twice, if its turn was over
        Source& source = sources_[turn_ % sources_.size()];
        if (taken_ < kAtOnce && source.socket->Receive(parts)) {
          ++taken_;
          return &source;
        }
        taken_ = 0;
        ++turn_;
      }
      // every socket has been looked at since its last news: who has gone has said all that it had to say
      if (closed_) liveness_.Closed("");
      closed_ = false;
      Await(&news_, kSafetyNet);
      CheckCalls();
      if (news_.back().revents) given_.Take();
      for (auto& source : sources_) {
        if (source.events) Look(&source);
      }
      if (closed_ || !news_[0].revents) continue;
      alarm_.Reset();
      return nullptr;
    }
  }

  // On a server: a worker is answered where it has called.
  void Note(const Message& msg, const std::shared_ptr<Socket>& listener) {
    if (my_node_.role != Node::SERVER) return;
    std::lock_guard<std::mutex> guard(sockets_mu_);
    auto& way = ways_[msg.meta.sender];
    if (way.listener != listener) way = Way{listener, Name(msg.meta.sender)};
  }

  void* context_ = nullptr;
  bool is_worker_ = false;
  Liveness liveness_;
  Alarm alarm_;
  const size_t placed_ = GetEnv("BYTEPS_GC_SLOT_BYTES", 32 << 10);  // from which a slot is cheaper than a socket
  Slots slots_;                                                    // a worker's
  GivenRegions given_;                                             // a server's

  std::mutex own_mu_;  // of own_
  std::deque<Message> own_;

  std::mutex sockets_mu_;  // of the next five
  std::vector<std::shared_ptr<Socket>> listeners_;
  std::unordered_map<int, std::shared_ptr<Socket>> senders_;  // by the node that this one has called
  std::unordered_map<int, std::shared_ptr<Events>> calls_;    // of senders_
  std::unordered_map<int, Way> ways_;                         // by node
  std::unordered_map<int, std::map<int, Message>> asked_;     // a worker's requests, by server and timestamp
  std::atomic<int> version_{0};
  std::unique_ptr<Authenticator> authenticator_;
  int port_fd_ = -1;

  // the receiving thread's
  int seen_ = -1;
  std::vector<Source> sources_;
  std::vector<pollfd> news_;
  std::unordered_map<int, Call> made_;                             // by the node that was called
  std::unordered_map<int, std::string> addresses_;                // of nodes
  Clock clock_{2e-3 * kSafetyNet};  // of CheckCalls()
  std::map<std::string, std::string> connections_;                // on the scheduler: addresses, by the names of connections
  std::map<std::string, int> members_;                            // and ids
  bool joined_ = false, closed_ = false;  // on a member: it has the list of nodes; the scheduler has gone
  std::set<std::string> reported_;
  size_t turn_ = 0;
  int taken_ = 0;
};

// For those who do not know the van.
[[noreturn]] void EndJob(const std::string& why, int status) { ZMQVan::Abort(why, status); }

}  // namespace ps

#endif  // PS_ZMQ_VAN_H_
