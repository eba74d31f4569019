"""What we change in BytePS's source, and why: the table of fix-ups."""

from typing import Iterable, Tuple

from byteps_gc.engine.fixups import Edit, Fixup
from byteps_gc.errors import EngineError

COMMON = "byteps/common/"
COMPRESSOR = COMMON + "compressor/"
SERVER = "byteps/server/server.cc"
SERVER_HEADER = "byteps/server/server.h"
PS_LITE = "3rdparty/ps-lite/"
KV_APP = PS_LITE + "include/ps/kv_app.h"
CUSTOMER_HEADER = PS_LITE + "include/ps/internal/customer.h"
CUSTOMER = PS_LITE + "src/customer.cc"
ZMQ_VAN = PS_LITE + "src/zmq_van.h"
LIBZMQ = "3rdparty/libzmq/"


FIXUPS = (
    Fixup(
        "ready-count",
        "SetReadyCount has no return statement, so that every compressed run built with g++ 8 or later aborts at"
        " once; the fix-up returns the count",
        edits=(
            Edit(
                COMMON + "ready_table.cc",
                "  _ready_table[key] = cnt;\n",
                "  return _ready_table[key] = cnt;\n",
            ),
        ),
    ),
    Fixup(
        "shutdown-order",
        "a worker that shuts down while a reply is arriving deletes the queues that the reply's handler uses, and"
        " crashes or hangs; the fix-up deletes them after the connections to the servers",
        edits=(
            Edit(
                COMMON + "global.cc",
                "  for (size_t i = 0; i < QueueNum; i++) {\n    if (_queues[i]) {\n      delete _queues[i];\n"
                "      _queues[i] = NULL;\n    }\n  }\n\n  if (_ps) {\n",
                "  if (_ps) {\n",
            ),
            Edit(
                COMMON + "global.cc",
                "    delete _ps;\n    _ps = NULL;\n  }\n",
                "    delete _ps;\n    _ps = NULL;\n  }\n"
                "  for (auto& queue : _queues) {\n    delete queue;\n    queue = nullptr;\n  }\n",
            ),
        ),
    ),
    Fixup(
        "thread-pool",
        "the thread pool for compression exists only if BYTEPS_THREADPOOL_SIZE is set, and has no thread if that is"
        " 0; the fix-up always creates it, by default with a thread per core, at most 16",
        issue="bytedance/byteps#373",
        edits=(
            Edit(
                COMMON + "global.cc",
                '      pool_size = atoi(getenv("BYTEPS_THREADPOOL_SIZE"));\n'
                "      _thread_pool.reset(new ThreadPool(pool_size));\n    }\n",
                '      pool_size = std::max(1, atoi(getenv("BYTEPS_THREADPOOL_SIZE")));\n    } else {\n'
                "      pool_size = std::min(16u, std::max(1u, std::thread::hardware_concurrency()));\n    }\n"
                "    _thread_pool.reset(new ThreadPool(pool_size));\n",
            ),
        ),
    ),
    Fixup(
        "server",
        "the server trusts every request, overwrites a reply that a slow worker has not read yet, looks up compressors"
        " in a map that changes meanwhile, and sums every push as a dense array; the fix-up replaces it with our own"
        " server, which checks each request against the key's size, dtype, compressor and round",
        files=(
            (SERVER, "server.cc"),
            (SERVER_HEADER, "server.h"),
            (COMMON + "byteps_gc_protocol.h", "protocol.h"),
        ),
    ),
    Fixup(
        "event-driven-network",
        "a receive thread per socket busy-waits while it holds the lock that senders need, and the death of another"
        " process goes unnoticed; the fix-up receives in one thread that sleeps until a message arrives, reports a"
        " port in use in one line, and stops every process when one of the job has died or stalled",
        issue="bytedance/byteps#437",
        files=(
            (ZMQ_VAN, "zmq_van.h"),
            (PS_LITE + "src/byteps_gc_zmq_socket.h", "zmq_socket.h"),
            (PS_LITE + "src/byteps_gc_secret.h", "secret.h"),
            (PS_LITE + "src/byteps_gc_wire.h", "wire.h"),
            (PS_LITE + "include/ps/byteps_gc_name.h", "name.h"),
            (PS_LITE + "src/byteps_gc_liveness.h", "liveness.h"),
            (PS_LITE + "src/byteps_gc_slots.h", "slots.h"),
        ),
    ),
    Fixup(
        "bounded-messages",
        "libzmq bounds each part of a message, but not the number of parts, and whoever calls may send as much before"
        " it has shown who it is; the fix-up bounds the message, and the parts of a handshake to 4096 bytes",
        edits=(
            Edit(
                LIBZMQ + "src/session_base.hpp",
                "    bool _incomplete_in;\n",
                "    bool _incomplete_in;\n"
                "    int64_t _unfinished;  // bytes of the message whose parts are coming in\n",
            ),
            Edit(
                LIBZMQ + "src/session_base.cpp",
                "    _incomplete_in (false),\n",
                "    _incomplete_in (false),\n    _unfinished (0),\n",
            ),
            Edit(
                LIBZMQ + "src/session_base.cpp",
                "    if (_pipe && _pipe->write (msg_)) {\n",
                "    const int64_t overhead = 64; // of a part\n"
                "    const int64_t unfinished = _unfinished + static_cast<int64_t> (msg_->size ()) + overhead;\n"
                "    if (options.maxmsgsize >= 0 && unfinished > options.maxmsgsize + 32 * overhead) {\n"
                "        errno = EMSGSIZE;\n"
                "        return -1;\n"
                "    }\n"
                "    const bool more = msg_->flags () & msg_t::more;\n"
                "    if (_pipe && _pipe->write (msg_)) {\n"
                "        _unfinished = more ? unfinished : 0;\n",
            ),
            Edit(
                LIBZMQ + "src/session_base.cpp",
                "    //  Remove any half-read message from the in pipe.\n",
                "    _unfinished = 0;\n\n    //  Remove any half-read message from the in pipe.\n",
            ),
            Edit(
                LIBZMQ + "src/session_base.cpp",
                "    if (_pipe)\n        _pipe->rollback ();\n",
                "    _unfinished = 0;\n    if (_pipe)\n        _pipe->rollback ();\n",
            ),
            Edit(
                LIBZMQ + "src/i_decoder.hpp",
                "    virtual msg_t *msg () = 0;\n",
                "    virtual msg_t *msg () = 0;\n\n    virtual void set_max_msg_size (int64_t) {}\n",
            ),
            Edit(
                LIBZMQ + "src/v2_decoder.hpp",
                "    msg_t *msg () { return &_in_progress; }\n",
                "    msg_t *msg () { return &_in_progress; }\n"
                "    void set_max_msg_size (int64_t size_) { _max_msg_size = size_; }\n",
            ),
            Edit(LIBZMQ + "src/v2_decoder.hpp", "    const int64_t _max_msg_size;\n", "    int64_t _max_msg_size;\n"),
            Edit(
                LIBZMQ + "src/zmtp_engine.cpp",
                "_options.in_batch_size, _options.maxmsgsize, _options.zero_copy",
                "_options.in_batch_size, std::min<int64_t> (_options.maxmsgsize, 4096), _options.zero_copy",
                times=3,
            ),
            Edit(
                LIBZMQ + "src/stream_engine_base.cpp",
                "    bool flush_session = false;\n",
                "    _decoder->set_max_msg_size (_options.maxmsgsize);\n    bool flush_session = false;\n",
            ),
        ),
    ),
    Fixup(
        "old-protocols",
        "what does not speak ZeroMQ, such as HTTP or TLS, looks like ZMTP 1, which libzmq rejects without an event; the"
        " fix-up raises the one for a failed handshake, so that the connection is reported",
        edits=(
            Edit(
                LIBZMQ + "src/zmtp_engine.cpp",
                "        // reject ZMTP 1.0 connections if ZAP is enabled\n",
                "        // reject ZMTP 1.0 connections if ZAP is enabled\n"
                "        socket ()->event_handshake_failed_protocol (\n"
                "          session ()->get_endpoint (), ZMQ_PROTOCOL_ERROR_ZMTP_UNSPECIFIED);\n",
                times=2,
            ),
            Edit(
                LIBZMQ + "src/zmtp_engine.cpp",
                "        // reject ZMTP 2.0 connections if ZAP is enabled\n",
                "        // reject ZMTP 2.0 connections if ZAP is enabled\n"
                "        socket ()->event_handshake_failed_protocol (\n"
                "          session ()->get_endpoint (), ZMQ_PROTOCOL_ERROR_ZMTP_UNSPECIFIED);\n",
            ),
        ),
    ),
    Fixup(
        "event-driven-queues",
        "nine threads of a worker poll their queues a million times a second; the fix-up lets each sleep until"
        " something happens that concerns its queue",
        files=((COMMON + "byteps_gc_event.h", "event.h"),),
        edits=(
            Edit(
                COMMON + "scheduled_queue.h",
                '#include "common.h"\n',
                '#include "byteps_gc_event.h"\n#include "common.h"\n',
            ),
            Edit(
                COMMON + "scheduled_queue.h",
                "  void reset(uint64_t key, int cnt);\n",
                "  void reset(uint64_t key, int cnt);\n"
                "  // until something has happened since the last getTask()\n"
                "  void await() { _event->Await(_seen); }\n"
                "  void wake() { _event->Raise(); }\n",
            ),
            Edit(
                COMMON + "scheduled_queue.h",
                "  ReadyTable *_rt;\n",
                "  ReadyTable *_rt;\n  Event *_event;\n  uint64_t _seen = 0;  // the consumer's\n",
            ),
            Edit(
                COMMON + "scheduled_queue.cc",
                "  _qt = type;\n",
                "  _qt = type;\n"
                "  // who has added a task may still raise when the queue has gone: events stay\n"
                "  static Event *const events = new Event[QueueNum];\n"
                "  // one thread takes from these two\n"
                "  _event = &events[type == BROADCAST ? REDUCE : type];\n",
            ),
            Edit(
                COMMON + "scheduled_queue.cc",
                "entry) {\n  std::lock_guard<std::mutex> lock(_mutex);\n  _sq.push_back(entry);\n",
                "entry) {\n  Event::Raiser raise(*_event);\n"
                "  std::lock_guard<std::mutex> lock(_mutex);\n  _sq.push_back(entry);\n",
            ),
            Edit(
                COMMON + "scheduled_queue.cc",
                "BytePSScheduledQueue::getTask() {\n",
                "BytePSScheduledQueue::getTask() {\n  _seen = _event->Count();\n",
            ),
            Edit(
                COMMON + "scheduled_queue.cc",
                "    _credits += size;\n",
                "    _credits += size;\n    _event->Raise();\n",
            ),
            Edit(
                COMMON + "scheduled_queue.cc",
                "    _rt->SetReadyCount(key, cnt);\n",
                "    _rt->SetReadyCount(key, cnt);\n    _event->Raise();\n",
            ),
            Edit(
                COMMON + "communicator.cc",
                '        BPS_CHECK(0) << "unsupported signal: " << message.signal;\n    }\n',
                '        BPS_CHECK(0) << "unsupported signal: " << message.signal;\n    }\n'
                "    BytePSGlobal::WakeQueues();\n",
            ),
            Edit(
                COMMON + "core_loops.cc",
                "  BytePSGlobal::GetCopyTable()->AddReadyCount(msg.key);\n",
                "  BytePSGlobal::GetCopyTable()->AddReadyCount(msg.key);\n"
                "  BytePSGlobal::GetScheduledQueue(COPYH2D)->wake();\n",
            ),
            Edit(
                COMMON + "global.h",
                "  static bool ShouldShutdown() { return _should_shutdown; }\n",
                "  static bool ShouldShutdown() { return _should_shutdown; }\n  static void WakeQueues();\n",
            ),
            Edit(
                COMMON + "global.h",
                "  static volatile bool _should_shutdown;\n",
                "  static std::atomic<bool> _should_shutdown;\n",
            ),
            Edit(
                COMMON + "global.cc",
                "volatile bool BytePSGlobal::_should_shutdown = false;\n",
                "std::atomic<bool> BytePSGlobal::_should_shutdown{false};\n",
            ),
            Edit(
                COMMON + "global.cc",
                "void BytePSGlobal::Init() {\n",
                "void BytePSGlobal::WakeQueues() {\n"
                "  for (int i = 0; i < QueueNum; i++) {\n"
                "    if (auto q = GetScheduledQueue(static_cast<QueueType>(i))) q->wake();\n  }\n"
                "  if (_nccl_manager) _nccl_manager->Wake();\n}\n\n"
                "void BytePSGlobal::Init() {\n",
            ),
            Edit(
                COMMON + "global.cc",
                "  _should_shutdown = true;\n",
                "  _should_shutdown = true;\n  WakeQueues();\n",
            ),
            Edit(
                COMMON + "nccl_manager.h",
                "  std::shared_ptr<NcclGroupEntry> DequeueGroup();\n",
                "  std::shared_ptr<NcclGroupEntry> DequeueGroup();\n  void Wake() { _pipeline_event.Raise(); }\n",
            ),
            Edit(
                COMMON + "nccl_manager.h",
                "  std::mutex _nccl_mutex;\n",
                "  std::mutex _nccl_mutex;\n  Event _pipeline_event;\n",
            ),
            Edit(
                COMMON + "nccl_manager.cc",
                "  std::lock_guard<std::mutex> lock(_nccl_mutex);\n  _nccl_pipeline.push(e);\n",
                "  Event::Raiser raise(_pipeline_event);\n"
                "  std::lock_guard<std::mutex> lock(_nccl_mutex);\n  _nccl_pipeline.push(e);\n",
            ),
            Edit(
                COMMON + "nccl_manager.cc",
                "NcclManager::DequeueGroup() {\n  std::lock_guard<std::mutex> lock(_nccl_mutex);\n"
                "  if (!_nccl_pipeline.size()) {\n",
                "NcclManager::DequeueGroup() {\n  const uint64_t seen = _pipeline_event.Count();\n"
                "  std::unique_lock<std::mutex> lock(_nccl_mutex);\n"
                "  if (!_nccl_pipeline.size()) {\n    lock.unlock();\n    _pipeline_event.Await(seen);\n",
            ),
            Edit(
                COMMON + "core_loops.cc",
                "    NCCLCHECK(ncclGroupEnd());\n    std::this_thread::sleep_for(std::chrono::nanoseconds(1000));\n",
                "    NCCLCHECK(ncclGroupEnd());\n    BytePSGlobal::GetScheduledQueue(REDUCE)->await();\n",
            ),
            Edit(
                COMMON + "core_loops.cc",
                '                   << " rank=" << BytePSGlobal::GetLocalRank();\n  } else {\n'
                "    std::this_thread::sleep_for(std::chrono::nanoseconds(1000));\n  }\n",
                '                   << " rank=" << BytePSGlobal::GetLocalRank();\n  }\n',
            ),
            Edit(
                COMMON + "core_loops.cc",
                "    std::this_thread::sleep_for(std::chrono::nanoseconds(1000));\n",
                "    q->await();\n",
                times=9,
            ),
        ),
    ),
    Fixup(
        "one-message",
        "a worker pushes a partition, waits for the acknowledgement, requests the sum and waits again; the fix-up"
        " combines push and pull into one request and one reply",
        edits=(
            Edit(
                KV_APP,
                "  using SlicedKVs = std::vector<std::pair<bool, KVPairs<Val>>>;\n",
                "  using SlicedKVs = std::vector<std::pair<bool, KVPairs<Val>>>;\n\n"
                "  // Pushes `vals`; the answer is what a pull would bring, to `sum` and `lens`.\n"
                "  int ZPushPull(const SArray<Key>& keys, const SArray<Val>& vals, SArray<Val>* sum,\n"
                "                SArray<int>* lens, int cmd, const Callback& cb) {\n"
                "    return Pull_(keys, sum, lens, cmd, cb, &vals);\n  }\n",
            ),
            Edit(
                KV_APP,
                "            int cmd, const Callback& cb);\n",
                "            int cmd, const Callback& cb, const SArray<Val>* pushed = nullptr);\n",
            ),
            Edit(
                KV_APP,
                "  void Send(int timestamp, bool push, int cmd, KVPairs<Val>& kvs);\n",
                "  void Send(int timestamp, bool push, int cmd, KVPairs<Val>& kvs, bool pull = false);\n",
            ),
            Edit(
                KV_APP,
                "::Send(int timestamp, bool push, int cmd, KVPairs<Val>& kvs) {\n",
                "::Send(int timestamp, bool push, int cmd, KVPairs<Val>& kvs, bool pull) {\n",
            ),
            Edit(
                KV_APP,
                "    msg.meta.push        = push;\n",
                "    msg.meta.push        = push;\n    msg.meta.option      = pull;\n",
            ),
            Edit(
                KV_APP,
                "C* vals, D* lens, int cmd, const Callback& cb) {\n",
                "C* vals, D* lens, int cmd, const Callback& cb,\n    const SArray<Val>* pushed) {\n",
            ),
            Edit(
                KV_APP,
                "  Send(ts, false, cmd, kvs);\n",
                "  if (pushed) {\n    kvs.vals = *pushed;\n    kvs.lens = *lens;\n  }\n"
                "  Send(ts, pushed, cmd, kvs, pushed);\n",
            ),
            Edit(
                COMMON + "core_loops.cc",
                "      BytePSGlobal::GetPS()->ZPush(pskv.keys, vals, pskv.lens, cmd,\n"
                "                                   [task, q]() { FinishOrProceed(task); });\n",
                "      pskv.lens[0] = len;  // the last answer's was put there\n"
                "      auto *sum = new ps::SArray<char>(\n"
                "          const_cast<char *>(static_cast<const char *>(task->cpubuff)) + offset, task->len, false);\n"
                "      BytePSGlobal::GetPS()->ZPushPull(pskv.keys, vals, sum, &pskv.lens, cmd, [task, sum]() {\n"
                "        delete sum;\n        FinishOrProceed(task);\n      });\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "    it = std::find(queue_list->begin(), queue_list->end(), PULL);\n"
                "    queue_list->insert(it + 1, DECOMPRESS);  // after PULL\n",
                "    queue_list->insert(it + 2, DECOMPRESS);\n",
            ),
            Edit(COMMON + "operations.cc", "      queue_list->push_back(PULL);\n", ""),
            Edit(COMMON + "operations.cc", "      func.push_back(PullLoop);\n", ""),
        ),
    ),
    Fixup(
        "one-thread-receives",
        "the network's receive thread hands every message to another thread; the fix-up handles the message in the"
        " receive thread",
        edits=(
            Edit(CUSTOMER_HEADER, "    recv_queue_.Push(recved);\n", "    Handle(recved);\n"),
            Edit(CUSTOMER_HEADER, "  void Receiving();\n", "  void Handle(const Message& recv);\n"),
            Edit(
                CUSTOMER_HEADER,
                "  ThreadsafeQueue<Message> recv_queue_;\n  std::unique_ptr<std::thread> recv_thread_;\n",
                "",
            ),
            Edit(
                CUSTOMER,
                "  recv_thread_ = std::unique_ptr<std::thread>(new std::thread(&Customer::Receiving, this));\n",
                "",
            ),
            Edit(
                CUSTOMER,
                "  Message msg;\n  msg.meta.control.cmd = Control::TERMINATE;\n"
                "  recv_queue_.Push(msg);\n  recv_thread_->join();\n",
                "",
            ),
            Edit(
                CUSTOMER,
                "void Customer::Receiving() {\n  while (true) {\n    Message recv;\n"
                "    recv_queue_.WaitAndPop(&recv);\n"
                "    if (!recv.meta.control.empty() \n          && recv.meta.control.cmd == Control::TERMINATE) {\n"
                "      break;\n    }\n",
                "void Customer::Handle(const Message& recv) {\n  {\n",
            ),
        ),
    ),
    Fixup(
        "answered-requests",
        "a node keeps a record of every request that it has made, a gigabyte after a long training; the fix-up"
        " drops the record when the request has been answered",
        edits=(
            Edit(
                CUSTOMER_HEADER,
                "#include <vector>\n",
                "#include <unordered_map>\n#include <vector>\n",
            ),
            Edit(
                CUSTOMER_HEADER,
                "  std::vector<std::pair<int, int>> tracker_;\n",
                "  std::unordered_map<int, std::pair<int, int>> tracker_;  // answers due, and had\n"
                "  int requests_ = 0;\n",
            ),
            Edit(
                CUSTOMER,
                "  tracker_.push_back(std::make_pair(num, 0));\n  return tracker_.size() - 1;\n",
                "  tracker_[requests_] = std::make_pair(num, 0);\n  return requests_++;\n",
            ),
            Edit(
                CUSTOMER,
                "      return tracker_[timestamp].first == tracker_[timestamp].second;\n",
                "      return !tracker_.count(timestamp);\n",
            ),
            Edit(
                CUSTOMER,
                "      tracker_[recv.meta.timestamp].second++;\n",
                "      auto one = tracker_.find(recv.meta.timestamp);\n"
                "      if (one != tracker_.end() && ++one->second.second == one->second.first) tracker_.erase(one);\n",
            ),
        ),
    ),
    Fixup(
        "finished-early",
        "after the last part of a tensor has been queued, its size is read from an array that may already have been"
        " exchanged and freed; the fix-up reads the size before",
        edits=(
            Edit(
                COMMON + "operations.cc",
                "  unsigned int accumulated = 0;\n  for (size_t i = 0; i < partitions.size(); ++i) {\n",
                "  const size_t whole = (e->tensor ? e->tensor : e->output)->size();\n"
                "  unsigned int accumulated = 0;\n  for (size_t i = 0; i < partitions.size(); ++i) {\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "  auto tensor = (e->tensor ? e->tensor : e->output);\n  BPS_CHECK(tensor);\n"
                "  BPS_CHECK_EQ(accumulated, tensor->size())\n",
                "  BPS_CHECK_EQ(accumulated, whole)\n",
            ),
        ),
    ),
    Fixup(
        "last-word",
        "a finished exchange updates its tensor's profiling state after the next exchange may have begun, and a"
        " server reads the number of workers while it is set to 0; the fix-up calls the callback last and makes the"
        " numbers atomic",
        edits=(
            Edit(
                COMMON + "core_loops.cc",
                "      task->callback(Status::OK());\n      //* Add for profiling communication events\n",
                "      //* Add for profiling communication events\n",
            ),
            Edit(
                COMMON + "core_loops.cc",
                "      BytePSGlobal::SetProfileFlag(task->context);\n",
                "      BytePSGlobal::SetProfileFlag(task->context);\n      task->callback(Status::OK());\n",
            ),
            Edit(
                PS_LITE + "include/ps/internal/postoffice.h",
                "  int num_servers_, num_workers_;\n",
                "  std::atomic<int> num_servers_{0}, num_workers_{0};\n",
            ),
        ),
    ),
    Fixup(
        "told-hand-over",
        "ThreadSanitizer cannot see how MXNet's threads return an array, and reports a race at its destruction; the"
        " fix-up annotates the return, in builds with ThreadSanitizer only",
        edits=(
            Edit(
                "byteps/mxnet/ops.cc",
                "namespace {\n\nstd::atomic_int op_count;\n",
                "#ifdef __SANITIZE_THREAD__\n"
                'extern "C" void __tsan_acquire(void*);\nextern "C" void __tsan_release(void*);\n'
                "#define BYTEPS_GC_TAKE(what) __tsan_acquire(what)\n"
                "#define BYTEPS_GC_GIVE(what) __tsan_release(what)\n"
                "#else\n#define BYTEPS_GC_TAKE(what)\n#define BYTEPS_GC_GIVE(what)\n#endif\n\n"
                "namespace {\n\nstd::atomic_int op_count;\n",
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                "  delete push_pull_param;\n",
                "  BYTEPS_GC_TAKE(push_pull_param);\n  delete push_pull_param;\n",
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                "      [on_complete](const Status& status) {\n        InvokeCompleteCallback(on_complete, status);\n"
                "      },\n      queue_list);\n",
                "      [on_complete, push_pull_param](const Status& status) {\n"
                "        BYTEPS_GC_GIVE(push_pull_param);\n"
                "        InvokeCompleteCallback(on_complete, status);\n"
                "      },\n      queue_list);\n",
            ),
        ),
    ),
    Fixup(
        "in-place",
        "a gradient in host memory is copied to a buffer and back, and passes through four threads that do nothing"
        " for a worker of one process; the fix-up pushes and pulls it in place",
        edits=(
            Edit(
                COMMON + "operations.cc",
                "Status CheckInitialized() { return BytePSGlobal::CheckInit(); }\n",
                "Status CheckInitialized() { return BytePSGlobal::CheckInit(); }\n\n"
                "// Whether the network can take gradients from where they stand.\n"
                "static bool InPlace() {\n#ifdef BYTEPS_GC_HOST_MEMORY\n"
                "  return BytePSGlobal::GetLocalSize() == 1;\n#else\n  return false;\n#endif\n}\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "  e->cpubuff = context.cpubuff;\n",
                "  e->cpubuff = InPlace() ? context.gpu_ptr : context.cpubuff;\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "  // Per-PCIe-switch NCCL reduce\n  if (",
                "  // Per-PCIe-switch NCCL reduce\n  if (InPlace()) {\n  } else if (",
            ),
            *(
                Edit(
                    COMMON + "operations.cc",
                    "  if (BytePSGlobal::IsDistributed() || BytePSGlobal::IsCrossPcieSwitch()) {\n"
                    f"    queue_list->push_back({queue});\n",
                    "  if (!InPlace() && (BytePSGlobal::IsDistributed() || BytePSGlobal::IsCrossPcieSwitch())) {\n"
                    f"    queue_list->push_back({queue});\n",
                )
                for queue in ("COPYD2H", "COPYH2D")
            ),
            Edit(
                COMMON + "operations.cc",
                "  // Per-PCIe-switch NCCL broadcast\n  if (",
                "  // Per-PCIe-switch NCCL broadcast\n  if (InPlace()) {\n  } else if (",
            ),
        ),
    ),
    Fixup(
        "pinned-copy",
        "with CUDA, the memory of every array in host memory is pinned, and stays pinned after the framework has"
        ' freed it, so that the next array that overlaps it ends the process ("CUDA: invalid argument"); the fix-up'
        " exchanges a pinned copy, which lives as long as its name is declared",
        edits=(
            Edit(
                COMMON + "common.h",
                "  size_t buff_len;\n",
                "  size_t buff_len;\n  // the copy of an array in host memory that GPUs see\n"
                "  std::shared_ptr<void> pinned;\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "Status EnqueueTensor(",
                "// Where a GPU sees what stands in host memory.\n"
                "static void* Pinned(BPSContext& context, const Tensor& array) {\n"
                "#ifdef BYTEPS_GC_HOST_MEMORY\n  return const_cast<void*>(array.data());\n#else\n"
                "  if (!context.pinned) {\n"
                "    void* memory = nullptr;\n"
                "    CUDA_CALL(cudaSetDevice(BytePSGlobal::GetLocalRank()));\n"
                "    CUDA_CALL(cudaHostAlloc(&memory, array.size(), cudaHostAllocMapped));\n"
                "    context.pinned.reset(memory, [](void* unused) { cudaFreeHost(unused); });\n  }\n"
                "  memcpy(context.pinned.get(), array.data(), array.size());\n"
                "  return context.pinned.get();\n#endif\n}\n\n"
                "Status EnqueueTensor(",
            ),
            Edit(
                COMMON + "operations.cc",
                "    cudaError_t err = cudaHostRegister(const_cast<void *>(input->data()),\n"
                "                                       input->size(), cudaHostRegisterMapped);\n"
                "    if (err == cudaSuccess) {\n",
                "    void* pinned = Pinned(context, *input);\n    if (pinned != input->data()) {\n",
            ),
            Edit(
                COMMON + "operations.cc",
                '" cpu address has changed, so it is pinned again."',
                '" is exchanged from a copy."',
            ),
            Edit(
                COMMON + "operations.cc",
                "(&(context.gpu_ptr),\n                                       const_cast<void *>(input->data()), 0)",
                "(&(context.gpu_ptr), pinned, 0)",
            ),
            Edit(
                COMMON + "core_loops.cc",
                "      // Set the profile_flag first\n",
                "      const auto& pinned = task->context->pinned;\n"
                "      if (pinned && task->device == CPU_DEVICE_ID) {\n"
                "        memcpy(const_cast<void*>(task->output->data()), pinned.get(), task->output->size());\n"
                "      }\n      // Set the profile_flag first\n",
            ),
        ),
    ),
    Fixup(
        "announced-tensors",
        "before the first exchange of a tensor a worker sends as many unused bytes as the tensor has, to announce"
        " its size, which takes as long as an uncompressed step on a slow network; the fix-up sends a description"
        " instead, so that servers can compare what the workers have, and name it in messages",
        edits=(
            Edit(
                COMMON + "common.h",
                "  // using ps::Key = uint64_t\n",
                "  // what messages call the tensor besides its name\n  std::string label;\n"
                "  // using ps::Key = uint64_t\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "int byteps_local_rank() { return BytePSGlobal::GetLocalRank(); }\n",
                "int byteps_local_rank() { return BytePSGlobal::GetLocalRank(); }\n\n"
                "// what messages call a tensor besides its name\n"
                "void byteps_gc_label(const char* name, const char* label) {\n"
                '  BytePSGlobal::GetContextFromName(std::string("byteps.") + name).label = label;\n}\n',
            ),
            Edit(
                COMMON + "operations.cc",
                '#include "compressor/compressor.h"\n',
                '#include "byteps_gc_membership.h"\n#include "compressor/compressor.h"\n',
            ),
            Edit(
                COMMON + "operations.cc",
                "      // false means not to delete data when SArray is deleted\n"
                "      ps::SArray<char> vals(data + accumulated, len, false);\n",
                "      Announcement is;\n"
                "      is.bytes = len;\n"
                "      is.tensor_bytes = size;\n"
                "      is.partition_bytes = bound;\n"
                "      is.part = i;\n"
                "      is.worker = WorkerName();\n"
                "      is.tensor = name.substr(name.find('.') + 1);  // without \"byteps.\"\n"
                "      is.label = context.label;\n"
                "      is.options = Announcement::Options(context.kwargs);\n"
                "      const std::string text = is.Write();\n"
                "      ps::SArray<char> vals(const_cast<char *>(text.data()), text.size(), false);\n"
                "      ps::SArray<int> lens({static_cast<int>(text.size())});\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "      ps->Wait(ps->ZPush(pskv.keys, vals, pskv.lens, cmd));\n",
                "      ps->Wait(ps->ZPush(pskv.keys, vals, lens, cmd));\n",
            ),
        ),
    ),
    Fixup(
        "membership",
        "a worker that has fewer batches than others, or ends early, leaves the others waiting for ever; the fix-up"
        " adds byteps_gc_join(), after which a worker takes part with zeros until all have joined, and tells the"
        " servers when a worker leaves",
        files=((COMMON + "byteps_gc_membership.h", "membership.h"),),
        edits=(
            Edit(
                COMMON + "global.cc",
                "#include <malloc.h>\n",
                '#include <malloc.h>\n#include "byteps_gc_membership.h"\n',
            ),
            Edit(
                COMMON + "global.cc",
                "  if (_ps) {\n    // shutdown _ps and wait",
                '  if (_ps) {\n    TellServers(_ps, kLeave, GetRank(), "");\n    // shutdown _ps and wait',
            ),
            Edit(
                COMMON + "operations.cc",
                "int byteps_rank() { return BytePSGlobal::GetRank(); }\n",
                "// Takes part in all exchanges with zeros until all workers have joined. Returns the text of\n"
                "// the last one, its rank and the text's length; it stays until the next call.\n"
                "const char* byteps_gc_join(const char* text, uint64_t size, int* last, uint64_t* length) {\n"
                "  static std::string answer;\n"
                "  const std::string mine(text, size);\n"
                "  answer = mine;\n"
                "  *last = BytePSGlobal::GetRank();\n"
                "  if (BytePSGlobal::IsDistributed()) {\n"
                "    Member one;\n"
                "    const std::string found = TellServers(BytePSGlobal::GetOrInitPS(), kJoin, *last, mine);\n"
                '    BPS_CHECK(one.Read(found.data(), found.size())) << "the answer to a join is malformed";\n'
                "    *last = one.rank;\n"
                "    answer = one.text;\n  }\n"
                "  *length = answer.size();\n"
                "  return answer.data();\n}\n\n"
                "int byteps_rank() { return BytePSGlobal::GetRank(); }\n",
            ),
        ),
    ),
    Fixup(
        "registry-order",
        "the table of compressors is a static object of another source file, and with another link order does not"
        " exist yet when the first compressor registers; the fix-up creates it at first use",
        files=((COMPRESSOR + "compressor_registry.cc", "compressor_registry.cc"),),
        edits=(
            Edit(
                COMPRESSOR + "compressor_registry.h",
                "  static map_t _ctor_map;\n",
                "  static map_t& Table();\n",
            ),
        ),
    ),
    Fixup(
        "local-scope",
        "shared memory and sockets have one fixed name per tensor and local rank, so that two workers on a host"
        " share buffers; the fix-up gives every worker its own names, and lets those of a worker of one process end"
        " with it",
        issue="bytedance/byteps#430",
        files=((COMMON + "byteps_gc_local_scope.h", "local_scope.h"),),
        edits=(
            Edit(
                COMMON + "shared_memory.cc",
                '#include "global.h"\n',
                '#include "byteps_gc_local_scope.h"\n#include "global.h"\n',
            ),
            Edit(
                COMMON + "shared_memory.cc",
                "  std::string shm_name(prefix);\n",
                "  std::string shm_name = LocalScope() + prefix;\n",
            ),
            Edit(
                COMMON + "shared_memory.cc",
                "  int shm_fd = shm_open(shm_name.c_str(), O_CREAT | O_RDWR, 0666);\n",
                "  // nobody else opens the memory of a worker of one process: it has no name\n"
                "  int shm_fd = BytePSGlobal::GetLocalSize() == 1\n"
                "                   ? memfd_create(shm_name.c_str(), 0)\n"
                "                   : shm_open(shm_name.c_str(), O_CREAT | O_RDWR, 0600);\n",
            ),
            Edit(COMMON + "shared_memory.cc", "  // mlock(ptr, size);\n", "  close(shm_fd);\n"),
            Edit(
                COMMON + "communicator.cc",
                '#include <cstring>\n#include "global.h"\n',
                '#include <cstring>\n#include "byteps_gc_local_scope.h"\n#include "global.h"\n',
            ),
            *(
                Edit(COMMON + "communicator.cc", anchor + ";\n", f"{anchor} + LocalScope();\n")
                for anchor in (
                    'std::string("/socket_send_")',
                    'std::string("/socket_recv_")',
                    "std::string(DEFAULT_BASE_SOCKET_PATH_SEND)",
                    "std::string(DEFAULT_BASE_SOCKET_PATH_RECV)",
                )
            ),
            Edit(
                COMMON + "communicator.cc",
                "  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, (const char*)&tv, sizeof tv);\n",
                "  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, (const char*)&tv, sizeof tv);\n  ShowSenders(fd);\n",
            ),
            Edit(
                COMMON + "communicator.cc",
                "recv(_recv_fd, buffer, sizeof(buffer), MSG_WAITALL)",
                "ReceiveOwn(_recv_fd, buffer, sizeof(buffer))",
            ),
            Edit(
                COMMON + "communicator.cc",
                "recv(_recv_fd, data, MAX_LINE, MSG_WAITALL)",
                "ReceiveOwn(_recv_fd, data, max_len)",
            ),
            Edit(
                COMMON + "communicator.cc",
                "  strncpy(addr.sun_path, fd_path.c_str(), sizeof(addr.sun_path) - 1);\n",
                "  const socklen_t address_len = AbstractAddress(fd_path, &addr);\n",
            ),
            Edit(
                COMMON + "communicator.cc",
                "  // before bind, clear the path first\n  unlink(fd_path.c_str());\n\n",
                "",
            ),
            Edit(
                COMMON + "communicator.cc",
                "bind(fd, (struct sockaddr*)&addr, sizeof(addr))",
                "bind(fd, (struct sockaddr*)&addr, address_len)",
            ),
            Edit(
                COMMON + "communicator.cc",
                "  strncpy(destaddr.sun_path, fd_path.c_str(), sizeof(destaddr.sun_path) - 1);\n",
                "  const socklen_t destination_len = AbstractAddress(fd_path, &destaddr);\n",
            ),
            Edit(
                COMMON + "communicator.cc",
                "                 sizeof(struct sockaddr_un));\n",
                "                 destination_len);\n",
            ),
        ),
    ),
    Fixup(
        "prompt-end",
        "at shutdown a worker waits for threads that check every 3 seconds whether to end; the fix-up lets them"
        " check ten times a second",
        edits=(
            Edit(
                COMMON + "communicator.cc",
                "  tv.tv_sec = 3; // in seconds\n  tv.tv_usec = 0;\n",
                "  tv.tv_sec = 0;\n  tv.tv_usec = 100000;\n",
            ),
        ),
    ),
    Fixup(
        "key-hash",
        "the hash that chooses a key's server reads a string that has already been freed, so that two workers may"
        " send one key to two servers; the fix-up keeps the string",
        edits=tuple(
            Edit(
                COMMON + "global.cc",
                f"uint64_t BytePSGlobal::Hash_{name}(uint64_t key) {{\n  auto str = std::to_string(key).c_str();\n",
                f"uint64_t BytePSGlobal::Hash_{name}(uint64_t key) {{\n"
                "  const std::string digits = std::to_string(key);\n  auto str = digits.c_str();\n",
            )
            for name in ("BuiltIn", "DJB2", "SDBM")
        ),
    ),
    Fixup(
        "placement",
        "the hash spreads partitions unevenly, so that all workers wait for the server with the most bytes (with 8"
        " hosts three times its share of resnet18_v2, with 64 nearly four times its share of vgg16); the fix-up"
        " sends each part of a tensor declared with its size to the server with the fewest bytes, unless"
        " BYTEPS_KEY_HASH_FN is set",
        files=((COMMON + "placement.h", "placement.h"),),
        edits=(
            Edit(COMMON + "global.cc", '#include "global.h"\n', '#include "global.h"\n\n#include "placement.h"\n'),
            Edit(
                COMMON + "global.cc",
                "    int server = 0;\n    if (!_hash_knob",
                "    int server = 0;\n    if (Placement::Get().Find(key, &server)) {\n"
                "      CHECK_LT(server, num_servers);\n    } else if (!_hash_knob",
            ),
            Edit(
                COMMON + "global.cc",
                "  _server_accumulated_len.clear();\n",
                "  Placement::Get().Clear();\n  _server_accumulated_len.clear();\n",
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                '#include "../common/operations.h"\n',
                '#include "../common/global.h"\n#include "../common/operations.h"\n#include "../common/placement.h"\n',
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                "}  // namespace mxnet\n",
                "// how many bytes a tensor has that was declared just now\n"
                'extern "C" void byteps_gc_place(char* name, uint64_t bytes) {\n'
                '  auto& context = common::GetContextFromName(GetOpName("byteps", name));\n'
                "  common::Placement::Get().Add(static_cast<uint64_t>(context.declared_key) << 16, bytes,\n"
                "                               common::BytePSGlobal::GetPartitionBound());\n}\n\n"
                "}  // namespace mxnet\n",
            ),
        ),
    ),
    Fixup(
        "declare-returns",
        "Python checks the return value of byteps_mxnet_declare_tensor, which returns nothing, and so raises at"
        " random; the fix-up returns 0",
        edits=(
            Edit(
                "byteps/mxnet/ops.h",
                'extern "C" void byteps_mxnet_declare_tensor(',
                'extern "C" int byteps_mxnet_declare_tensor(',
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                'extern "C" void byteps_mxnet_declare_tensor(',
                'extern "C" int byteps_mxnet_declare_tensor(',
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                "    common::RegisterCompressor(tensor_name, kwargs);\n  }\n\n  return;\n",
                "    common::RegisterCompressor(tensor_name, kwargs);\n  }\n\n  return 0;\n",
            ),
        ),
    ),
    Fixup(
        "default-layout",
        "on a CPU MXNet keeps some weights in a blocked layout whose memory cannot be read as a plain array, so"
        " that pushing one aborts the worker; the fix-up reorders it to the default layout when its turn comes, and"
        " byteps_gc_plain() does so for an array that an operator reads and writes in place",
        edits=(
            Edit(
                "byteps/mxnet/ops.cc",
                "  void* cpubuff = (device == CPU_DEVICE_ID)\n"
                "                      ? const_cast<void*>(\n"
                "                            std::make_shared<MXTensor<NDArray>>(tensor_copy.get())->data())\n"
                "                      : nullptr;\n  common::InitTensor(context, size, dtype, cpubuff);\n",
                "  // the memory is looked at when the tensor's turn has come, not while an\n"
                "  // operator may still be writing to it\n"
                "  common::InitTensor(context, size, dtype, nullptr);\n"
                "  MakePlain(tensor);\n",
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                'extern "C" int byteps_mxnet_push_pull_async(NDArray* tensor, char* name,\n',
                "// in place, after what is queued for the tensor and before what will be\n"
                "static void MakePlain(NDArray* tensor) {\n"
                "#if MXNET_USE_MKLDNN == 1\n"
                "  if (TensorUtil::GetDevice(tensor) == CPU_DEVICE_ID) tensor->Reorder2DefaultAsync();\n"
                "#endif\n}\n\n"
                'extern "C" int byteps_gc_plain(NDArray* tensor) {\n'
                "  MX_API_BEGIN();\n  MakePlain(tensor);\n  MX_API_END();\n}\n\n"
                'extern "C" int byteps_mxnet_push_pull_async(NDArray* tensor, char* name,\n',
            ),
        ),
    ),
    Fixup(
        "one-at-a-time",
        "two arrays exchanged under one name at the same time share its buffers and requests, so that their sums"
        " are silently wrong or never arrive; the fix-up runs the exchanges of one name one after another, in the"
        " order of the calls",
        edits=(
            Edit(
                "byteps/mxnet/ops.cc",
                "inline void InvokeCompleteCallback(Callback",
                "// What the exchange of a name holds while it is under way.\n"
                "static Engine::VarHandle TurnOf(const std::string& name) {\n"
                "  static std::mutex mutex;\n"
                "  static auto* turns = new std::unordered_map<std::string, Engine::VarHandle>;\n"
                "  std::lock_guard<std::mutex> lock(mutex);\n"
                "  auto& turn = (*turns)[name];\n"
                "  if (!turn) turn = Engine::Get()->NewVariable();\n"
                "  return turn;\n}\n\n"
                "inline void InvokeCompleteCallback(Callback",
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                "  auto var = tensor->var();\n",
                "  Engine::VarHandle held[] = {tensor->var(), TurnOf(tensor_name)};\n",
            ),
            Edit(
                "byteps/mxnet/ops.cc",
                "&MX_EXEC_CTX, nullptr, 0, &var, 1, &MX_FUNC_PROP, 0,\n",
                "&MX_EXEC_CTX, nullptr, 0, held, 2, &MX_FUNC_PROP, 0,\n",
            ),
        ),
    ),
    Fixup(
        "scaled-in-place",
        "MXNet's operators that multiply an array wait for the end of backward, whose temporary space they share;"
        " the fix-up adds byteps_gc_scale(), which multiplies a gradient in host memory as soon as it has been"
        " computed",
        edits=(
            Edit(
                "byteps/mxnet/ops.cc",
                "void DoPushPull(void*, void* on_complete_ptr, void* param) {\n",
                "struct Scaling {\n  NDArray array;\n  double factor;\n};\n\n"
                "template <typename T>\n"
                "static void Multiply(NDArray* array, double factor) {\n"
                "  T* values = static_cast<T*>(const_cast<void*>(TensorUtil::GetData(array)));\n"
                "  const size_t count = TensorUtil::GetSize(array) / sizeof(T);\n"
                "  for (size_t i = 0; i < count; ++i) values[i] *= static_cast<T>(factor);\n}\n\n"
                "static void DoScale(void*, void* param) {\n"
                "  auto* scaling = static_cast<Scaling*>(param);\n"
                "  const bool wide = TensorUtil::GetDType(&scaling->array) == common::BYTEPS_FLOAT64;\n"
                "  (wide ? Multiply<double> : Multiply<float>)(&scaling->array, scaling->factor);\n}\n\n"
                "static void DeleteScaling(void* param) { delete static_cast<Scaling*>(param); }\n\n"
                "// a float32 or float64 array in host memory, when its turn comes; returns at once\n"
                'extern "C" int byteps_gc_scale(NDArray* tensor, double factor) {\n'
                "  MX_API_BEGIN();\n"
                "#if MXNET_USE_MKLDNN == 1\n  tensor->Reorder2DefaultAsync();\n#endif\n"
                "  auto var = tensor->var();\n"
                "  auto* param = new Scaling{*tensor, factor};\n"
                "  MXEnginePushSync(DoScale, param, DeleteScaling, &MX_EXEC_CTX, nullptr, 0, &var, 1,\n"
                '                   &MX_FUNC_PROP, 0, "BytePSGcScale");\n'
                "  MX_API_END();\n}\n\n"
                "void DoPushPull(void*, void* on_complete_ptr, void* param) {\n",
            ),
        ),
    ),
    Fixup(
        "sent-bytes",
        "there is no way to learn how many bytes a worker has sent; the fix-up adds byteps_gc_sent_bytes()",
        edits=(
            Edit(
                PS_LITE + "include/ps/internal/van.h",
                "  inline const Node &my_node() const {\n",
                "  size_t sent_bytes() const { return send_bytes_; }\n  inline const Node &my_node() const {\n",
            ),
            Edit(
                COMMON + "operations.cc",
                "int byteps_local_size() { return BytePSGlobal::GetLocalSize(); }\n",
                "int byteps_local_size() { return BytePSGlobal::GetLocalSize(); }\n\n"
                "// bytes that this process has handed to the network since it connected\n"
                "uint64_t byteps_gc_sent_bytes() {\n"
                "  auto* van = ps::Postoffice::Get()->van();\n"
                "  return van ? van->sent_bytes() : 0;\n}\n",
            ),
        ),
    ),
    Fixup(
        "any-processor",
        "the reducer and the 16-bit float type need AVX and F16C at compile time; the fix-up checks the processor"
        " at run time, so that a wheel runs on any x86-64 machine",
        files=tuple((COMMON + name, name) for name in ("cpu_reducer.h", "cpu_reducer.cc")),
        edits=(
            Edit(
                COMPRESSOR + "common.h",
                '#if __F16C__\n#include "../half.h"\nusing half_t = mshadow::half::half_t;\n#endif\n',
                '#include "../half.h"\nusing half_t = mshadow::half::half_t;\n',
            ),
        ),
    ),
    Fixup(
        "any-python",
        "one function returns a Python object, which ties the libraries to one Python version; the fix-up fills two"
        " numbers instead, so that one build serves every Python",
        edits=(
            Edit(COMMON + "common.h", "#include <Python.h>\n", ""),
            Edit(
                COMMON + "operations.h",
                'extern "C" PyObject* byteps_get_pushpull_speed();\n',
                'extern "C" void byteps_get_pushpull_speed(uint64_t* milliseconds, float* megabytes);\n',
            ),
            Edit(
                COMMON + "operations.cc",
                'extern "C" PyObject* byteps_get_pushpull_speed() {\n',
                'extern "C" void byteps_get_pushpull_speed(uint64_t* milliseconds, float* megabytes) {\n',
            ),
            Edit(
                COMMON + "operations.cc",
                '  PyObject* ret = Py_BuildValue("(Kf)", entry->ts, entry->speed);\n\n  return ret;\n',
                "  *milliseconds = entry->ts;\n  *megabytes = entry->speed;\n",
            ),
            Edit(
                COMMON + "__init__.py",
                "        pushpull_speed = self.C_LIB_CTYPES.byteps_get_pushpull_speed\n"
                "        pushpull_speed.restype = ctypes.py_object\n"
                "        entry = pushpull_speed()\n        return entry\n",
                "        milliseconds, megabytes = ctypes.c_uint64(), ctypes.c_float()\n"
                "        self.C_LIB_CTYPES.byteps_get_pushpull_speed(\n"
                "            ctypes.byref(milliseconds), ctypes.byref(megabytes))\n"
                "        return milliseconds.value, megabytes.value\n",
            ),
            Edit(
                COMMON + "__init__.py",
                "    ext_suffix = sysconfig.get_config_var('EXT_SUFFIX')\n",
                "    ext_suffix = '.so'\n",
            ),
        ),
    ),
)

NAMES = tuple(fixup.name for fixup in FIXUPS)


def select(without: Iterable[str] = ()) -> Tuple[Fixup, ...]:
    """All fix-ups but the named ones; :class:`EngineError` for a name that does not exist."""
    without = set(without)
    unknown = without.difference(NAMES)
    if unknown:
        raise EngineError(f"unknown fix-up {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    return tuple(fixup for fixup in FIXUPS if fixup.name not in without)
