// Fuzzing of the texts that a scheduler hears from whoever has called it, and a member from the scheduler.
//
// Whatever is said: every text is taken or refused with a reason, only members are listened to, no more of them than
// the job has, and the job ends only if a member or a member's settings are the reason.
#include "engine.h"

#include "byteps_gc_liveness.h"

namespace fuzz {
namespace {

using ps::Liveness;
using ps::Node;

const std::string kConnections[] = {"con0", "con1", "con2", "con3", "con4", "con5", "", std::string("\0\1\2\3\4", 5)};
const char* const kWords[] = {"hello ",
                              "-1 ",
                              "0 ",
                              "1 ",
                              "2 ",
                              "-2 ",
                              "server-0 on 10.0.0.2",
                              "worker-0 on 10.0.0.2",
                              "alive",
                              "bye",
                              "end ",
                              "no ",
                              ";",
                              "=",
                              "scheduler scheduler on 10.0.0.1",
                              "worker-1 on 10.0.0.3",
                              "4294967295 ",
                              " ",
                              "hello",
                              "end",
                              "1",
                              "2",
                              ";BYTEPS_GC_BUILD=unknown",
                              ";DMLC_NUM_WORKER=2",
                              ";DMLC_NUM_WORKER=3",
                              ";DMLC_NUM_SERVER=2",
                              ";BYTEPS_GC_ENCRYPT=1",
                              ";BYTEPS_GC_ENCRYPT=0",
                              ";BYTEPS_PARTITION_BYTES=4096000",
                              ";BYTEPS_PARTITION_BYTES=1024000",
                              ";BYTEPS_MIN_COMPRESS_BYTES=65536",
                              ";DMLC_NUM_SERVER="};
constexpr size_t kCount = sizeof kWords / sizeof *kWords;

// A text that is said in a job.
std::string common_text(uint8_t what) {
  static const char* const texts[] = {"hello -1 server-0 on 10.0.0.2;DMLC_NUM_WORKER=2",
                                      "hello -1 server-1 on 10.0.0.2;DMLC_NUM_WORKER=2;DMLC_NUM_SERVER=2",
                                      "hello 0 worker-0 on 10.0.0.2;BYTEPS_PARTITION_BYTES=4096000",
                                      "hello 1 worker-1 on 10.0.0.2;BYTEPS_PARTITION_BYTES=4096000",
                                      "alive",
                                      "bye",
                                      "end worker-1 on 10.0.0.2 has no memory left",
                                      "scheduler scheduler on 10.0.0.1"};
  return texts[what % 8];
}

std::string text_of(Input* in) {
  const uint8_t how = in->byte();
  std::string text = how < 160 ? common_text(how) : "";
  for (int words = how < 160 ? how / 48 : 1 + how % 8; words > 0; --words) text += kWords[in->byte() % kCount];
  for (int changes = how / 8 % 4 == 3 ? 1 + how % 3 : 0; changes > 0; --changes) change(&text, in);
  if (how == 255) text.resize(Liveness::kText - 8 + in->byte() % 16, 'x');
  return text;
}

bool printable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char one) { return one >= ' ' && one <= '~'; });
}

class Listener {
 public:
  explicit Listener(Node::Role role) : schedules_(role == Node::SCHEDULER) {
    Node self;
    self.role = Node::SCHEDULER;
    self.hostname = "10.0.0.1";
    self.port = 9000;
    const Node scheduler = self;
    self.role = role;
    liveness_.Prepare(self, scheduler, [](const std::string&, const std::string& text) {
      require(!text.empty() && printable(text), "a text that nobody reads");
    });
  }

  void Hear(const std::string& connection, const std::string& text) {
    const size_t before = liveness_.admission_.members_.size();
    const bool member = liveness_.admission_.members_.count(connection) > 0;
    const char* const refused = liveness_.Heard(connection, text);
    count(!refused);
    const bool joins = liveness_.admission_.members_.size() > before;
    require(!refused || *refused, "a refusal without a reason");
    require(!refused || (!joins && liveness_.admission_.members_.size() == before), "who is refused joins");
    require(!schedules_ || refused || member || joins, "a text of a stranger is taken");
    said_ = said_ || (!refused && (text.compare(0, 4, "end ") == 0 || text == "bye"));
    late_ = late_ || (joins && !liveness_.admission_.Difference().empty());
    CheckMembers();
  }

  void Close(const std::string& connection) {
    closed_ = closed_ || !schedules_ || liveness_.admission_.members_.count(connection);
    liveness_.Closed(connection);
  }

  // Lets time pass; false if the job ends.
  bool Judge(double passed) {
    silent_ += passed;
    const std::string why = liveness_.Judge(passed);
    require(printable(why), "a reason that cannot be printed");
    require(why.empty() || said_ || closed_ || late_ || silent_ > 50, "the job ends without a reason");
    return why.empty();
  }

  void Begin() { liveness_.Begin(); }

 private:
  // Members have places in the job; those who meet with other settings end it.
  void CheckMembers() {
    std::map<int, int> places;
    for (const auto& member : liveness_.admission_.members_) ++places[member.second];
    if (!liveness_.admission_.Difference().empty()) return;
    require(places[-1] <= 2 && places[0] <= 1 && places[1] <= 1, "two members in one place");
    require(liveness_.admission_.members_.size() <= 4, "more members than places");
  }

  const bool schedules_;
  Liveness liveness_;
  bool said_ = false, closed_ = false, late_ = false;  // reasons to end the job
  double silent_ = 0;
};

}  // namespace

void attack_liveness(Input* in) {
  Listener listener(in->byte() % 4 ? Node::SCHEDULER : in->byte() % 2 ? Node::WORKER : Node::SERVER);
  try {
    while (in->left()) {
      const uint8_t what = in->byte();
      const std::string connection = kConnections[what % 8];
      if (what < 200) {
        listener.Hear(connection, text_of(in));
      } else if (what < 216) {
        listener.Close(connection);
      } else if (what < 250) {
        if (!listener.Judge(what < 240 ? 0 : in->byte() / 4)) return;
      } else {
        listener.Begin();
      }
    }
    listener.Judge(0);
  } catch (const Exit& exit) {
    require(exit.status == 67, "another status than that of a process that is turned away");
  }
}

}  // namespace fuzz
