#include "pool.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "storage.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace tigon {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);

thread_local bool worker_thread = false;

int default_threads() {
  if (const char* text = std::getenv("TIGON_NUM_THREADS")) {
    int count = std::atoi(text);
    if (count > 0) return count;
  }
  int count = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) count = CPU_COUNT(&allowed);
  // A container's quota, in microseconds of every period: "max 100000" or "150000 100000".
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    double quota, period;
    if (std::fscanf(file, "%lf %lf", &quota, &period) == 2 && period > 0)
      count = std::min(count, static_cast<int>(std::ceil(quota / period)));
    std::fclose(file);
  }
#endif
  return std::max(1, count);
}

}  // namespace

ThreadPool& ThreadPool::instance() {
  static ThreadPool* pool = new ThreadPool;  // never destroyed: workers outlive static destruction
  return *pool;
}

ThreadPool::ThreadPool() : threads_(default_threads()) {}

void ThreadPool::start_once() {
  std::lock_guard<std::mutex> guard(control_mutex_);
  if (started_.load(std::memory_order_relaxed)) return;
  start();
  started_.store(true, std::memory_order_release);
}

bool ThreadPool::on_worker() { return worker_thread; }

// One worker even for one thread: pushed tasks need someone to run them. The caller of a parallel
// loop is a participant, hence one worker less than threads.
void ThreadPool::start() {
  uint64_t generation = generation_.load();
  auto* workers = new std::vector<std::thread>;
  int count = std::max(1, threads() - 1);
  for (int index = 0; index < count; ++index) {
    try {
      workers->emplace_back([this, generation, index] { work(generation, index == 0); });
    } catch (const std::system_error&) {
      if (index == 0) throw;
      break;
    }
  }
  workers_ = workers;
}

void ThreadPool::stop() {
  generation_.fetch_add(1);
  {
    std::lock_guard<std::mutex> guard(park_mutex_);
    park_.notify_all();
  }
  for (std::thread& worker : *workers_) worker.join();
  delete workers_;
  workers_ = nullptr;
}

void ThreadPool::set_threads(int count) {
  std::lock_guard<std::mutex> guard(control_mutex_);
  if (count == threads()) return;
  bool started = started_.load(std::memory_order_relaxed);
  if (started) stop();
  threads_.store(count);
  if (started) start();
  announce(true);
}

// Sleepers count themselves before they look at the epoch, announcers advance it before they look
// for sleepers: one of the two sees the other.
void ThreadPool::announce(bool wake) {
  epoch_.fetch_add(1);
  if (wake && parked_.load() > 0) {
    std::lock_guard<std::mutex> guard(park_mutex_);
    park_.notify_all();
  }
}

bool ThreadPool::spin(uint32_t seen) const {
  auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int turn = 0; turn < 64; ++turn) {
      pause_cpu();
      if (epoch_.load(std::memory_order_acquire) != seen) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

void ThreadPool::park(uint32_t seen, std::chrono::microseconds most) {
  if (spin(seen)) return;
  std::unique_lock<std::mutex> lock(park_mutex_);
  parked_.fetch_add(1);
  park_.wait_for(lock, most, [&] { return epoch_.load() != seen; });
  parked_.fetch_sub(1);
}

// One of the workers looks after the memory that nobody uses, now and then, when it is idle.
void ThreadPool::work(uint64_t generation, bool caretaker) {
  worker_thread = true;
  bool rested = false;
  uint32_t seen = epoch_.load();
  while (generation_.load(std::memory_order_relaxed) == generation) {
    if (do_something(true, UINT64_MAX)) continue;
    if (!spin(seen)) {
      auto stirs = [&] { return epoch_.load() != seen || generation_.load() != generation; };
      std::chrono::nanoseconds most(caretaker ? memory::turn_if_due(rested) : 0);
      std::unique_lock<std::mutex> lock(park_mutex_);
      parked_.fetch_add(1);
      if (caretaker) {
        rested = !park_.wait_for(lock, most, stirs);
      } else {
        park_.wait(lock, stirs);
      }
      parked_.fetch_sub(1);
    }
    seen = epoch_.load();
  }
}

ThreadPool::Job* ThreadPool::join_job() {
  if (job_count_.load(std::memory_order_acquire) == 0) return nullptr;
  std::lock_guard<SpinLock> guard(lock_);
  int most = threads() - 1;
  for (Job* job = jobs_; job; job = job->link) {
    if (job->next.load(std::memory_order_relaxed) < job->count &&
        job->helpers.load(std::memory_order_relaxed) < most) {
      job->helpers.fetch_add(1);
      return job;
    }
  }
  return nullptr;
}

// After the decrement the job, which lies on its caller's stack, may be gone.
void ThreadPool::leave_job(Job* job) {
  if (job->helpers.fetch_sub(1) == 1 && joining_.load() > 0) {
    std::lock_guard<std::mutex> guard(join_mutex_);
    join_.notify_all();
  }
}

bool ThreadPool::do_something(bool as_worker, uint64_t last_sequence) {
  if (Job* job = join_job()) {
    for (;;) {
      int64_t index = job->next.fetch_add(1, std::memory_order_relaxed);
      if (index >= job->count) break;
      job->chunk(job->context, index);
      if (!as_worker) break;  // a waiting thread looks up after each: Ctrl-C may have come
    }
    leave_job(job);
    return true;
  }
  if (task_count_.load(std::memory_order_acquire) == 0) return false;
  Runnable* task = nullptr;
  {
    std::lock_guard<SpinLock> guard(lock_);
    for (auto place = tasks_.begin(); place != tasks_.end(); ++place) {
      if (!as_worker && ((*place)->needs_worker() || (*place)->sequence > last_sequence)) continue;
      task = *place;
      tasks_.erase(place);
      task_count_.fetch_sub(1, std::memory_order_relaxed);
      break;
    }
  }
  if (!task) return false;
  task->run_now();
  return true;
}

bool ThreadPool::help(uint64_t last_sequence) {
  if (threads() == 1 && !worker_thread) return false;  // the one worker is the one thread
  return do_something(worker_thread, last_sequence);
}

void ThreadPool::submit(Runnable* task) {
  ensure_started();
  {
    std::lock_guard<SpinLock> guard(lock_);
    tasks_.push_back(task);
    task_count_.fetch_add(1, std::memory_order_release);
  }
  announce(true);
}

void ThreadPool::run(int64_t count, Chunk chunk, void* context, bool wake) {
  if (count <= 1 || threads() == 1) {
    for (int64_t index = 0; index < count; ++index) chunk(context, index);
    return;
  }
  ensure_started();
  Job job{.chunk = chunk, .context = context, .count = count};
  {
    std::lock_guard<SpinLock> guard(lock_);
    Job** end = &jobs_;
    while (*end) end = &(*end)->link;
    *end = &job;
    job_count_.fetch_add(1, std::memory_order_release);
  }
  announce(wake);
  for (;;) {
    int64_t index = job.next.fetch_add(1, std::memory_order_relaxed);
    if (index >= count) break;
    chunk(context, index);
  }
  {
    std::lock_guard<SpinLock> guard(lock_);
    Job** place = &jobs_;
    while (*place != &job) place = &(*place)->link;
    *place = job.link;
    job_count_.fetch_sub(1, std::memory_order_relaxed);
  }
  // Each helper is in its last chunk.
  for (int spin = 0; job.helpers.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < 4000) {
      pause_cpu();
      continue;
    }
    std::unique_lock<std::mutex> lock(join_mutex_);
    joining_.fetch_add(1);
    join_.wait(lock, [&] { return job.helpers.load() == 0; });
    joining_.fetch_sub(1);
  }
}

void ThreadPool::before_fork() {
  control_mutex_.lock();
  lock_.lock();
  park_mutex_.lock();
  join_mutex_.lock();
}

void ThreadPool::after_fork_parent() {
  join_mutex_.unlock();
  park_mutex_.unlock();
  lock_.unlock();
  control_mutex_.unlock();
}

// The child has one thread: the workers are gone, and with them what they were running.
void ThreadPool::after_fork_child() {
  worker_thread = false;
  new (&park_mutex_) std::mutex;
  new (&join_mutex_) std::mutex;
  new (&control_mutex_) std::mutex;
  new (&park_) std::condition_variable;
  new (&join_) std::condition_variable;
  parked_.store(0);
  joining_.store(0);
  jobs_ = nullptr;
  job_count_.store(0);
  tasks_.clear();
  task_count_.store(0);
  lock_.unlock();
  workers_ = nullptr;
  generation_.fetch_add(1);
  started_.store(false);
}

void parallel_copy(void* to, const void* from, size_t bytes) {
  constexpr size_t kGrain = size_t{1} << 20;
  if (bytes < 2 * kGrain) {
    if (bytes) std::memcpy(to, from, bytes);
    return;
  }
  auto* target = static_cast<char*>(to);
  auto* source = static_cast<const char*>(from);
  parallel_for(static_cast<int64_t>(bytes), kGrain, true, [&](int64_t begin, int64_t end) {
    std::memcpy(target + begin, source + begin, static_cast<size_t>(end - begin));
  });
}

}  // namespace tigon
