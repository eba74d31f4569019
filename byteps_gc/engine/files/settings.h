// The settings that must be the same in all processes of a job.
#ifndef BYTEPS_GC_SETTINGS_H
#define BYTEPS_GC_SETTINGS_H

#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ps {

// The value of an environment variable in seconds; `unset` without a positive one.
inline double SecondsOf(const char* name, double unset) {
  const char* text = getenv(name);
  const double seconds = text ? atof(text) : 0;
  return seconds > 0 ? seconds : unset;
}

// The value of an environment variable, or 0 without one.
inline int NumberOf(const char* name) {
  const char* text = getenv(name);
  return text ? atoi(text) : 0;
}

class Settings {
 public:
  // This process's settings as a text, ";NAME=VALUE;NAME=VALUE...".
  static std::string Own(bool is_worker) {
    std::string text;
    for (const Setting& one : All()) {
      if (one.workers && !is_worker) continue;
      const char* value = getenv(one.name);
      if (!value || !*value) value = one.unset;
      if (value) text += std::string(";") + one.name + "=" + std::string(value).substr(0, 64);
    }
    return text;
  }

  // Returns the first difference between a process's settings and those of earlier processes; empty without one.
  std::string Compare(const std::string& name, const std::string& settings) {
    for (const Setting& one : All()) {
      const std::string begin = std::string(";") + one.name + "=";
      const size_t at = settings.find(begin);
      if (at == std::string::npos) continue;
      const size_t from = at + begin.size();
      const std::string value = settings.substr(from, settings.find(';', from) - from);
      auto& first = first_.emplace(one.name, std::make_pair(name, value)).first->second;
      if (first.second != value)
        return name + " has " + one.name + "=" + value + ", " + first.first + " has " + first.second +
               "; it must be the same in all processes of a job. This job stops";
    }
    return "";
  }

 private:
  struct Setting {
    const char* name;
    const char* unset;  // the value of a variable that is not set; if nullptr, it is then not compared
    bool workers;       // only workers use it
  };

  // cluster/rendezvous/equality.py compares the same ones between hosts.
  static const std::vector<Setting>& All() {
    static const std::vector<Setting> settings{
        {"BYTEPS_GC_BUILD", nullptr, false},
        {"DMLC_NUM_WORKER", "1", false},
        {"DMLC_NUM_SERVER", "1", false},
        {"BYTEPS_GC_ENCRYPT", "1", false},
        {"BYTEPS_PARTITION_BYTES", "(unset)", true},
        {"BYTEPS_MIN_COMPRESS_BYTES", "65536", true},
        {"BYTEPS_GC_CHECK_STEPS", "200", true},
        {"BYTEPS_KEY_HASH_FN", "(unset)", true},
        {"BYTEPS_ENABLE_ASYNC", "0", false},
    };
    return settings;
  }

  std::map<std::string, std::pair<std::string, std::string>> first_;  // the process that sent it first, and the value
};

}  // namespace ps

#endif  // BYTEPS_GC_SETTINGS_H
