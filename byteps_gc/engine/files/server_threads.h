// The engine threads of a server (BYTEPS_SERVER_ENGINE_THREAD). Each runs all tasks of its keys in order.
#ifndef BYTEPS_GC_SERVER_THREADS_H
#define BYTEPS_GC_SERVER_THREADS_H

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "server_state.h"

namespace byteps {
namespace server {

// A step of a round: the first push is copied to the sum, each later one is added, and then the sum is published.
struct Task {
  enum { kCopy, kAdd, kPublish, kStop } kind = kStop;
  Key* key = nullptr;
  char* sum = nullptr;
  Data data;       // a reference to the push
  int absent = 0;  // number of workers that did not push in this round, as they have joined
};

class EngineThread {
 public:
  using Run = std::function<void(Task*)>;

  explicit EngineThread(const Run& run) : run_(run), thread_(&EngineThread::Loop, this) {}
  ~EngineThread() {
    Add(Task());
    thread_.join();
  }

  void Add(Task task) {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      tasks_.push_back(std::move(task));
    }
    added_.notify_one();
  }

  size_t bytes = 0;  // of its keys

 private:
  void Loop() {
    while (true) {
      Task task;
      {
        Lock lock(mutex_);
        added_.wait(lock, [this] { return !tasks_.empty(); });
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      if (task.kind == Task::kStop) return;
      run_(&task);
    }
  }

  const Run run_;
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<Task> tasks_;
  std::thread thread_;
};

class EngineThreads {
 public:
  explicit EngineThreads(const EngineThread::Run& run) {
    const int count = std::max(1, Setting("BYTEPS_SERVER_ENGINE_THREAD", 4));
    for (int i = 0; i < count; ++i) threads_.emplace_back(new EngineThread(run));
  }

  // Runs all tasks that are queued, and ends.
  void Close() { threads_.clear(); }

  // Assigns a key to the thread that has the fewest bytes.
  void Assign(Key* key) {
    const auto least = std::min_element(threads_.begin(), threads_.end(), [](const std::unique_ptr<EngineThread>& a,
                                        const std::unique_ptr<EngineThread>& b) { return a->bytes < b->bytes; });
    key->engine_thread = static_cast<int>(least - threads_.begin());
    (*least)->bytes += key->size;
  }

  void Add(Task task) { threads_[task.key->engine_thread]->Add(std::move(task)); }

 private:
  std::vector<std::unique_ptr<EngineThread>> threads_;
};

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_THREADS_H
