// The messages of workers and servers apart from gradients: announcements of tensors, and changes of membership.
#ifndef BYTEPS_GC_PROTOCOL_H
#define BYTEPS_GC_PROTOCOL_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <unordered_map>

namespace byteps {
namespace common {

// Types of requests: BytePS's and ours. A command is the Cantor pairing of a type and a detail: the dtype, or, for
// kMembership, the change of membership.
constexpr int kPushPullRequest = 0, kCompressorRequest = 2, kMembership = 3;
enum Membership { kJoin, kLeave };

inline int Command(int type, int dtype) { return (type + dtype) * (type + dtype + 1) / 2 + dtype; }

struct Request {
  int type, detail;
};

// The inverse of Command(); -1 for both if there is none.
inline Request ReadCommand(int command) {
  if (command < 0) return {-1, -1};
  const int64_t sum = static_cast<int64_t>((std::sqrt(8.0 * command + 1) - 1) / 2);
  const int64_t detail = command - sum * (sum + 1) / 2;
  return {static_cast<int>(sum - detail), static_cast<int>(detail)};
}

// A worker's description of one partition of a tensor, sent before its first value. As bytes: a line of numbers, and a
// line for each text.
struct Announcement {
  uint64_t bytes = 0, tensor_bytes = 0, partition_bytes = 0;  // of this partition, the tensor, and a partition at most
  uint32_t part = 0;
  uint32_t workers = 0;        // number of workers that exchange it, or 0 for all
  std::string worker, tensor;  // such as "worker-1 on 10.0.0.2"; the declared name of the tensor
  std::string label;           // additional name in messages, such as the parameter's; may be empty, and may differ
  std::string options;         // of its compressor, "key=value key=value..." in order; empty without one

  static constexpr size_t kMost = 4096, kText = 256;  // bytes of an announcement, and of a name
  static constexpr uint64_t kMostBytes = INT32_MAX;   // of a partition: lengths in messages are of type int

  std::string Write() const {
    std::ostringstream text;
    text << bytes << ' ' << tensor_bytes << ' ' << partition_bytes << ' ' << part << ' ' << workers << '\n'
         << Printable(worker, kText) << '\n' << Printable(tensor, kText) << '\n' << Printable(label, kText) << '\n'
         << Printable(options, kMost / 2);
    return text.str();
  }

  // Returns false if the bytes are not an announcement.
  bool Read(const char* data, size_t size) {
    if (size > kMost) return false;
    std::istringstream text(std::string(data, size));
    std::string numbers, more;
    if (!std::getline(text, numbers) || !std::getline(text, worker) || !std::getline(text, tensor)) return false;
    if (!std::getline(text, label)) return false;
    if (!std::getline(text, options)) options.clear();
    if (std::getline(text, more)) return false;
    for (const std::string* one : {&numbers, &worker, &tensor, &label, &options}) {
      if (Printable(*one, kMost) != *one) return false;
    }
    if (worker.empty() || tensor.empty()) return false;
    if (std::max({worker.size(), tensor.size(), label.size()}) > kText) return false;
    std::istringstream words(numbers);
    if (!(words >> bytes >> tensor_bytes >> partition_bytes >> part >> workers) || words >> more) return false;
    return bytes > 0 && bytes <= kMostBytes && bytes <= tensor_bytes && bytes <= partition_bytes &&
           part <= (tensor_bytes - 1) / partition_bytes;
  }

  static std::string Options(const std::unordered_map<std::string, std::string>& options) {
    std::string text;
    for (const auto& option : std::map<std::string, std::string>(options.begin(), options.end())) {
      text += (text.empty() ? "" : " ") + option.first + "=" + option.second;
    }
    return text;
  }

  // Truncates a text to `most` bytes, and replaces control characters.
  static std::string Printable(std::string text, size_t most) {
    if (text.size() > most) text.resize(most);
    for (char& one : text) {
      if ((one >= 0 && one < ' ') || one == 127) one = '?';
    }
    return text;
  }
};

// The message of a worker that joins or leaves, and the reply to a join: a line with a rank, a line with a name, and
// any text. The reply has those of the worker that joined last.
struct Member {
  int rank = 0;
  std::string name, text;

  static constexpr size_t kMost = 16 << 20;

  std::string Write() const {
    return std::to_string(rank) + "\n" + Announcement::Printable(name, Announcement::kText) + "\n" + text;
  }

  bool Read(const char* data, size_t size) {
    if (size > kMost) return false;
    const std::string whole(data, size);
    const size_t first = whole.find('\n'), second = first == std::string::npos ? first : whole.find('\n', first + 1);
    if (second == std::string::npos || first == 0 || first > 6) return false;
    for (size_t i = 0; i < first; ++i) {
      if (whole[i] < '0' || whole[i] > '9') return false;
    }
    rank = std::stoi(whole);
    name = whole.substr(first + 1, second - first - 1);
    text = whole.substr(second + 1);
    return !name.empty() && Announcement::Printable(name, Announcement::kText) == name;
  }
};

}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_GC_PROTOCOL_H
