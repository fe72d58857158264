// One thread pool: chunks of parallel loops and ready tasks share its workers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "core/common.h"

namespace tigon {

// Something a worker can run once. `run_now` must not throw.
class Runnable {
 public:
  virtual void run_now() noexcept = 0;
  virtual bool needs_worker() const { return false; }  // host callbacks never run inside a wait
  uint64_t sequence = 0;

 protected:
  ~Runnable() = default;
};

// Stages one after the other, each of so many chunks that do not depend on each other.
struct StagedWork {
  using Chunk = void (*)(void* context, uint32_t stage, int64_t index);  // must not throw

  Chunk chunk;
  void* context;
  const uint32_t* counts;  // chunks of each stage
  uint32_t stages;
};

class ThreadPool {
 public:
  static ThreadPool& instance();

  // The caller takes part and can finish alone; `heavy` says that the work is worth waking parked
  // workers (about 23 us). Helpers stay from stage to stage.
  void run(const StagedWork& work, bool heavy);

  void submit(Runnable* task);

  // Does a piece of someone else's work, tasks only up to `last_sequence`; false if none is there.
  bool help(uint64_t last_sequence);

  // Waiting threads park with the workers, so that they wake up for work they can help with.
  uint32_t epoch() const { return epoch_.load(); }
  void announce(bool wake);
  void park(uint32_t seen, std::chrono::microseconds most);

  void set_threads(int count);
  int threads() const { return threads_.load(std::memory_order_relaxed); }
  static bool on_worker();

  void ensure_started() {
    if (!started_.load(std::memory_order_acquire)) start_once();
  }

  // No task begins between the two; `hold` returns when those that have begun have ended, except
  // for host callbacks, which may be waiting for the caller.
  void hold();
  void go_on();

  void before_fork();
  void after_fork_parent();
  void after_fork_child(std::deque<Runnable*> ready);

 private:
  struct Job;

  ThreadPool();
  void start_once();
  void start();
  void stop();
  void begin_host();
  void end_host();
  void add_worker(std::vector<std::thread>& workers, uint64_t generation, int index);
  void work(uint64_t generation, uint32_t rank, bool caretaker);
  bool do_something(bool as_worker, uint64_t last_sequence);
  Job* join_job();
  void leave_job(Job* job);
  enum class Role { Caller, Helper, Visitor };
  void take_part(Job& job, Role role);
  uint64_t finish(Job& job, uint32_t stage, uint32_t chunks, Role role);
  void await_stage(Job& job, uint32_t stage);
  void announce_job(const Job& job);
  bool in_succession();
  void wake_joining();
  bool spin(uint32_t seen) const;

  std::atomic<int> threads_;

  // What is written often lies apart from what others spin on.
  alignas(64) SpinLock lock_;  // jobs_, tasks_, holds_
  Job* jobs_ = nullptr;
  std::atomic<int> job_count_{0};
  std::atomic<int> task_count_{0};
  std::atomic<uint32_t> joins_{0};  // how often a job was joined, written under the lock
  std::deque<Runnable*> tasks_;
  int holds_ = 0;
  std::atomic<int> running_{0};  // tasks that have begun, without host callbacks

  alignas(64) std::atomic<uint32_t> epoch_{0};  // advances when work appears

  alignas(64) std::atomic<int> parked_{0};
  std::atomic<int> joining_{0};
  std::atomic<uint32_t> patience_{8};  // pieces of small work before a worker is woken for them
  std::atomic<uint32_t> joins_at_wake_{0};
  std::mutex park_mutex_;
  std::condition_variable park_;
  std::mutex join_mutex_;
  std::condition_variable join_;

  std::mutex control_mutex_;
  std::atomic<bool> started_{false};  // by the first work: import and fork cost no threads
  std::atomic<uint64_t> generation_{0};
  std::vector<std::thread>* workers_ = nullptr;  // a forked child abandons it
  std::atomic<int> hosting_{0};                  // workers that run Python code
  std::atomic<int> spare_{0};                    // workers that were added for these
};

// Chunks depend on extents only, so that results do not depend on the number of threads.
struct Chunking {
  int64_t count;
  int64_t size;
  static Chunking of(int64_t points, int64_t grain) {
    constexpr int64_t kMost = 128;
    if (points <= 0) return {0, 1};
    int64_t count = grain > 0 ? points / grain : 1;
    count = count < 1 ? 1 : count > kMost ? kMost : count;
    int64_t size = (points + count - 1) / count;
    return {(points + size - 1) / size, size};
  }
};

// body(begin, end) over [0, points) in ranges of at least `grain`.
template <class Body>
void parallel_for(int64_t points, int64_t grain, bool heavy, const Body& body) {
  struct Context {
    const Body* body;
    int64_t points;
    int64_t size;
  };
  Chunking chunks = Chunking::of(points, grain);
  Context context{&body, points, chunks.size};
  auto chunk = [](void* opaque, uint32_t, int64_t index) {
    auto* c = static_cast<Context*>(opaque);
    int64_t begin = index * c->size;
    int64_t end = begin + c->size < c->points ? begin + c->size : c->points;
    (*c->body)(begin, end);
  };
  auto count = static_cast<uint32_t>(chunks.count);
  ThreadPool::instance().run({chunk, &context, &count, 1}, heavy);
}

void parallel_copy(void* to, const void* from, size_t bytes);

}  // namespace tigon
