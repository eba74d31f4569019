// Fuzzing of the messages that a scheduler, a server or a worker receives.
//
// An input is a sequence of good messages of a job and of changed ones. Whatever comes: nothing is read that did not
// arrive, a message is dropped or is one that its sender may send, with data as long as they say, and a good message
// that comes after all others is still accepted. A scheduler that strangers talk to begins the same job as without
// them.
#include "process.h"

namespace fuzz {
namespace {

const char* const kStrangers[] = {"stran", "ps13", "ps1", "ps8", "ps", "", "ps99999999999999999999", "ps9\n"};

std::string connection(int member) { return std::string("\0con", 4) + char('0' + member); }

struct Field {
  uint8_t at, bytes;
};
constexpr Field kHeaderFields[] = {{4, 1}, {5, 1}, {6, 2}, {12, 4}, {16, 4}, {20, 4}, {24, 4}, {28, 4}, {8, 4}, {0, 4}};
constexpr Field kNodeFields[] = {{0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 1}, {17, 1}, {18, 2}, {20, 1}, {83, 1}, {84, 1}};

// Members: two servers, then two workers, as they introduce themselves to the scheduler.
Node member_node(int member) {
  Node node = Node();
  node.role = member < kPeers ? Node::SERVER : Node::WORKER;
  node.port = 9001 + member;
  node.customer_id = 0;
  node.hostname = "10.0.0.2";
  node.aux_id = 1000;
  return node;
}

std::string hello(int member) {
  const int worker = member < kPeers ? -1 : member - kPeers;
  std::string text = "hello " + std::to_string(worker) + (worker < 0 ? " server-" : " worker-") +
                     std::to_string(member % kPeers) + " on 10.0.0.2";
  text += ";BYTEPS_GC_BUILD=unknown;DMLC_NUM_WORKER=2;DMLC_NUM_SERVER=2";
  return worker < 0 ? text : text + ";BYTEPS_PARTITION_BYTES=4096000";
}

Parts for_scheduler(int number) {
  const int member = number % 4;
  Meta meta = DataMeta(false, false, 0, number, false);
  switch (number / 4) {
    case 0:
      return {connection(member), "", hello(member)};
    case 1:
      meta.control.cmd = Control::ADD_NODE;
      meta.control.node.push_back(member_node(member));
      return {connection(member), Packed(meta)};
    case 2:
      meta.request = true;
      meta.control.cmd = Control::BARRIER;
      meta.control.barrier_group = ps::kScheduler + ps::kServerGroup + ps::kWorkerGroup;
      return {connection(member), Packed(meta)};
    case 3:
      return {connection(member), "", "alive"};
    default:
      return {connection(member), "", "bye"};
  }
}

Parts data(int sender, const Meta& meta, uint64_t key, const std::string& values) {
  return {Name(sender), Packed(meta), Bytes(key), values, Bytes(int(values.size()))};
}

Parts placed(int sender, const Meta& meta, uint64_t key, uint64_t offset, uint64_t size) {
  const uint64_t place[] = {0, offset, size};
  return {Name(sender), Packed(meta), Bytes(key), "", Bytes(int(size)), Bytes(place)};
}

constexpr int kAsked = 5;  // requests of a worker to each server

// Requests of workers to server 8, or answers of servers to worker 9. Slots and values of both sizes.
Arrival good_data(Node::Role role, int number) {
  const bool to_server = role == Node::SERVER;
  const int peer = number % kPeers, sender = to_server ? kWorkerIds[peer] : kServerIds[peer];
  const int from = !to_server ? sender : number % 3 ? Arrival::kListener : Arrival::kInside;
  const bool push = to_server && number % 5 != 4;
  const Meta meta = DataMeta(to_server, push, 0, 1 + number % kAsked, push);
  const uint64_t key = number % 7;
  if (to_server && !push) return {from, {Name(sender), Packed(meta), Bytes(key), ""}};
  if (!to_server && number % 5 == 4) return {from, {Name(sender), Packed(meta)}};
  if (number % 4 == 3) return {from, placed(sender, meta, key, 512 * key, 100 + number)};
  return {from, data(sender, meta, key, std::string(size_t(4 + 8 * (number % 4)), 'v'))};
}

constexpr int kGood = 20;  // messages of a script

Arrival good(Node::Role role, int number) {
  if (role == Node::SCHEDULER) return {Arrival::kListener, for_scheduler(number)};
  if (number == 0) return Process::List(role);
  if (number > 1) return good_data(role, number);
  Meta meta = DataMeta(false, false, 0, 1, false);
  meta.control.cmd = Control::BARRIER;
  return {ps::kScheduler, {Name(ps::kScheduler), Packed(meta)}};
}

void set(std::string* bytes, size_t at, size_t count, uint64_t value) {
  if (at + count <= bytes->size()) memcpy(&(*bytes)[at], &value, count);
}

uint64_t get(const std::string& bytes, size_t at, size_t count) {
  uint64_t value = 0;
  if (at + count <= bytes.size()) memcpy(&value, &bytes[at], count);
  return value;
}

void change_field(std::string* bytes, size_t at, size_t count, Input* in) {
  const uint8_t how = in->byte();
  const uint64_t before = get(*bytes, at, count);
  set(bytes, at, count,
      how < 96    ? extreme(in)
      : how < 192 ? before + uint64_t(int64_t(int8_t(in->byte())))
      : how < 240 ? before ^ 1ull << in->byte() % 64
                  : in->eight());
}

void change_parts(Parts* parts, Input* in) {
  const uint8_t what = in->byte();
  const size_t at = in->byte() % parts->size(), other = what / 8 % parts->size();
  switch (what % 8) {
    case 0:
      return void(parts->erase(parts->begin() + long(at)));
    case 1:
      return void(parts->insert(parts->begin() + long(at), std::string()));
    case 2:
      return void(parts->insert(parts->begin() + long(at), std::string((*parts)[other])));
    case 3:
      return std::swap((*parts)[at], (*parts)[other]);
    case 4:
      return parts->push_back(std::string(what / 8 % 40, char(what)));
    case 5:
      return parts->resize(1 + what / 8 % 8);
    default:
      return (*parts)[at].clear();
  }
}

void change_message(Arrival* arrival, Input* in) {
  Parts& parts = arrival->parts;
  if (parts.empty()) return;
  const uint8_t what = in->byte();
  const size_t header = std::min<size_t>(1, parts.size() - 1), last = parts.size() - 1;
  const Field field = kHeaderFields[what / 16 % (sizeof kHeaderFields / sizeof(Field))];
  const Field in_node = kNodeFields[what / 16 % (sizeof kNodeFields / sizeof(Field))];
  switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
      return change_field(&parts[header], field.at, field.bytes, in);
    case 4:
    case 5:
    case 6:
      return change_field(&parts[header],
                          sizeof(ps::wire::Header) + in->byte() % 6 * sizeof(ps::wire::NodeEntry) + in_node.at,
                          in_node.bytes, in);
    case 7:
    case 8:
      return change_field(&parts[last - what / 16 % std::min<size_t>(3, parts.size())], 8 * (in->byte() % 3),
                          what & 128 ? 8 : 4, in);
    case 9:
    case 10:
      return change(&parts[in->byte() % parts.size()], in);
    case 11:
    case 12:
      return change_parts(&parts, in);
    case 13:
      parts[0] = what / 16 < 8 ? kStrangers[what / 16] : Name(8 + what / 16 % 4);
      return;
    case 14:
      arrival->from = int(in->byte() % 14) - 2;
      return;
    default:
      parts[0] = connection(what / 16);
  }
}

// What is promised of a message that a van hands on; all of its bytes can be read.
void check(const Process& process, const Message& message) {
  const Meta& meta = message.meta;
  const bool worker = process.role == Node::WORKER;
  const int* const members = worker ? kServerIds : kWorkerIds;
  require(meta.sender == members[0] || meta.sender == members[1], "data of a node that is not a member");
  require(meta.request != worker && meta.app_id == 0 && meta.customer_id == 0, "data for nobody");
  const auto& data = message.data;
  if (worker && data.empty()) return;
  require(data.size() == 2 || data.size() == 3, "data in the wrong number of parts");
  require(data[0].size() == sizeof(uint64_t), "another number of keys");
  const bool pull = !worker && !meta.push;
  if (data.size() == 2) return require(pull && data[1].empty(), "values without a length");
  int length;
  require(data[2].size() == sizeof length, "values without a length");
  memcpy(&length, data[2].data(), sizeof length);
  require(data[1].size() == (pull ? 0 : size_t(length)), "values of another length");
  unsigned sum = 0;
  for (const char one : data[1]) sum += uint8_t(one);
  static volatile unsigned read;
  read = sum;
}

// Answers a request as long as what was pushed, so that the answer goes to the same slot.
void answer(Process* process, const Message& request) {
  static std::string values(2 * kRegion, 's');
  Message reply;
  reply.meta = DataMeta(false, false, 0, request.meta.timestamp, false);
  reply.meta.recver = request.meta.sender;
  const size_t size = request.data.size() > 2 && request.meta.push ? request.data[1].size() : 4;
  int length = int(size);
  reply.AddData(request.data[0]);
  reply.AddData(ps::SArray<char>(&values[0], std::min(size, values.size())));
  reply.AddData(ps::SArray<int>(&length, 1));
  process->Answer(&reply);
}

class Script {
 public:
  Script(Process* process, Input* in) : process_(process), in_(in), head_(in->byte()) {
    if (process->role == Node::SCHEDULER || head_ >= 224) return;
    process->Join();
    at_ = 1;
  }

  // The next message, good or changed.
  bool Next() {
    const bool dropped = process_->Dropped();
    if (changed_) {
      count(!dropped);
      disturbed_ = disturbed_ || (!dropped && process_->role == Node::SCHEDULER);
    }
    changed_ = false;
    if (process_->role == Node::WORKER) process_->Expect(kAsked);
    while (in_->left()) {
      const uint8_t what = in_->byte();
      if (what < 80 && Go()) return true;
      if (what >= 250) Disturb(what);
      if (what >= 80 && what < 250 && Changed(what)) return true;
    }
    return End();
  }

  // Whether a scheduler's script was whole, and only strangers have said something else, which was dropped.
  bool calm() const { return head_ % 4 == 1 && at_ == kGood && !disturbed_; }
  int received = 0;

 private:
  // Good messages in order.
  bool Go() { return at_ < kGood && process_->Deliver(good(process_->role, at_++)); }

  bool Changed(uint8_t what) {
    Arrival arrival = good(process_->role, what % kGood);
    const int times = 1 + what % 3;
    for (int i = 0; i < times; ++i) change_message(&arrival, in_);
    const bool stranger = head_ & 64 && process_->role == Node::SCHEDULER && !arrival.parts.empty();
    if (stranger) arrival.parts[0] = kStrangers[what % 8];
    disturbed_ = disturbed_ || (process_->role == Node::SCHEDULER ? !stranger : arrival.from == ps::kScheduler);
    changed_ = process_->Deliver(arrival);
    return changed_;
  }

  void Disturb(uint8_t what) {
    disturbed_ = true;
    if (what < 252) return process_->Judge(what == 250 ? 0 : in_->byte() / 2);
    static constexpr int events[] = {ZMQ_EVENT_HANDSHAKE_SUCCEEDED, ZMQ_EVENT_DISCONNECTED,
                                     ZMQ_EVENT_HANDSHAKE_SUCCEEDED, ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL};
    process_->Happen(what == 252 ? ps::kScheduler : kServerIds[what & 1], events[in_->byte() % 4]);
  }

  // A good message that comes last, or, for a scheduler, the rest of the script.
  bool End() {
    if (process_->role == Node::SCHEDULER) {
      if (head_ % 4 != 1) return false;
      if (own_) return Go();
      own_ = true;  // the scheduler waits for the others as well
      process_->SendToSelf(Control::BARRIER);
      return true;
    }
    if (at_ == 0) {
      at_ = 1;
      return process_->Deliver(Process::List(process_->role));
    }
    if (final_ < 0) {
      before_ = received;
      final_ = 2 + head_ % (kGood - 2);
      return process_->Deliver(good_data(process_->role, final_));
    }
    require(received > before_ || disturbed_, "a good message is dropped");
    return false;
  }

  Process* const process_;
  Input* const in_;
  const uint8_t head_;
  int at_ = 0, final_ = -1, before_ = 0;
  bool changed_ = false, disturbed_ = false, own_ = false;
};

// What the scheduler sends to members, by connection.
std::map<std::string, std::vector<Parts>> sent_to_members(const Process& process) {
  std::map<std::string, std::vector<Parts>> all;
  for (const Parts& parts : process.Sent()) {
    for (int member = 0; member < 4; ++member)
      if (parts[0] == connection(member)) all[parts[0]].push_back(parts);
  }
  return all;
}

// How a job begins that nobody disturbs.
std::map<std::string, std::vector<Parts>> begin() {
  const uint8_t calm[] = {1};
  Input in(calm, sizeof calm);
  Process process(Node::SCHEDULER);
  Script script(&process, &in);
  process.Run([&script](Process*) { return script.Next(); });
  const auto all = sent_to_members(process);
  require(script.calm() && all.size() == 4, "the job does not begin");
  for (const auto& one : all)
    require(one.second.size() == 2, "a member does not get the list of nodes and the end of the barrier");
  return all;
}

}  // namespace

void attack_message(int role, Input* in) {
  static const std::map<std::string, std::vector<Parts>> undisturbed = begin();
  Process process(static_cast<Node::Role>(role));
  Script script(&process, in);
  process.Handle([&](const Message& message) {
    ++script.received;
    check(process, message);
    if (role == Node::SERVER) answer(&process, message);
  });
  const bool finished = process.Run([&script](Process*) { return script.Next(); });
  if (role != Node::SCHEDULER || !finished || !script.calm()) return;
  require(sent_to_members(process) == undisturbed, "strangers have changed how the job begins");
}

}  // namespace fuzz
