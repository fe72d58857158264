#include "engine/pool.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "memory/storage.h"
#include "profile/profile.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace tigon {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kJoinSpins = 4000;
constexpr uint32_t kMostLanes = 16;

thread_local uint32_t worker_rank = 0;  // from 1; 0: not a worker
thread_local bool hosts = false;        // it runs Python code

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

// Whether the condition came true before it was time to park.
template <class Condition>
bool spin_until(const Condition& condition) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point deadline{};
  for (;;) {
    for (int turn = 0; turn < 64; ++turn) {
      if (condition()) return true;
      pause_cpu();
    }
    auto now = Clock::now();
    if (deadline == Clock::time_point{}) deadline = now + kSpin;
    if (now >= deadline) return false;
  }
}

}  // namespace

// Each chunk belongs to a lane, and a thread begins with its own: so in call after call a thread
// gets the same chunks, whose data lies in its own cache. Then it takes from the other lanes what
// their threads have not begun.
struct alignas(64) ThreadPool::Job {
  // Both numbers are `stage << 32 | n`, stages counted from 1: a thread that is behind sees it.
  struct alignas(64) Lane {
    std::atomic<uint64_t> next{0};  // n: the next chunk; of an earlier stage: none was taken yet
  };

  const StagedWork work;
  uint32_t lane_count;
  uint32_t most_helpers;
  bool heavy;
  std::atomic<uint32_t> helpers{0};
  Job* link = nullptr;
  alignas(64) std::atomic<uint64_t> state{0};  // n: chunks that are not done; past the last: over
  Lane lanes[kMostLanes];

  Job(const StagedWork& given, bool is_heavy, uint32_t threads) : work(given), heavy(is_heavy) {
    uint32_t widest = 0;
    for (uint32_t stage = 0; stage < work.stages; ++stage)
      widest = std::max(widest, work.counts[stage]);
    // More threads than gain by it would only get into each other's way.
    uint32_t wanted = std::min(threads, heavy ? widest : std::max(2u, widest / 4));
    lane_count = std::min(wanted, kMostLanes);
    most_helpers = wanted - 1;
    state.store(first_from(1), std::memory_order_relaxed);
  }

  uint64_t first_from(uint64_t stage) const {
    while (stage <= work.stages && work.counts[stage - 1] == 0) ++stage;
    return stage << 32 | (stage <= work.stages ? work.counts[stage - 1] : 0);
  }

  bool over(uint64_t seen) const { return seen >> 32 > work.stages; }

  // The next chunk of a lane that nobody has taken, or -1.
  int64_t next_in(uint32_t lane, uint32_t stage, uint64_t seen) const {
    uint32_t count = work.counts[stage - 1];
    uint32_t size = (count + lane_count - 1) / lane_count;
    uint32_t begin = std::min(count, lane * size);
    if (seen >> 32 > stage) return -1;
    uint32_t next = seen >> 32 == stage ? static_cast<uint32_t>(seen) : begin;
    return next < std::min(count, begin + size) ? int64_t{next} : -1;
  }

  int64_t take(uint32_t lane, uint32_t stage) {
    std::atomic<uint64_t>& place = lanes[lane].next;
    uint64_t seen = place.load(std::memory_order_relaxed);
    for (;;) {
      int64_t index = next_in(lane, stage, seen);
      if (index < 0) return -1;
      uint64_t taken = uint64_t{stage} << 32 | static_cast<uint64_t>(index + 1);
      if (place.compare_exchange_weak(seen, taken, std::memory_order_relaxed)) return index;
    }
  }

  bool has_chunks() const {
    uint64_t now = state.load(std::memory_order_relaxed);
    if (over(now)) return false;
    for (uint32_t turn = 0; turn < lane_count; ++turn) {
      uint32_t lane = (worker_rank + turn) % lane_count;
      uint64_t seen = lanes[lane].next.load(std::memory_order_relaxed);
      if (next_in(lane, static_cast<uint32_t>(now >> 32), seen) >= 0) return true;
    }
    return false;
  }
};

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

bool ThreadPool::on_worker() { return worker_rank != 0; }

// One worker even for one thread: pushed tasks need someone to run them. The caller of a parallel
// loop is a participant, hence one worker less than threads.
void ThreadPool::start() {
  uint64_t generation = generation_.load();
  auto* workers = new std::vector<std::thread>;
  int count = std::max(1, threads() - 1);
  for (int index = 0; index < count; ++index) {
    try {
      add_worker(*workers, generation, index);
    } catch (const std::system_error&) {
      if (index == 0) throw;
      break;
    }
  }
  workers_ = workers;
}

// A worker that runs Python code may not come back for long, or ever: another does its work.
void ThreadPool::begin_host() {
  constexpr int kMostSpare = 16;
  hosts = true;
  if (hosting_.fetch_add(1) < spare_.load() || spare_.load() >= kMostSpare) return;
  std::unique_lock<std::mutex> guard(control_mutex_, std::try_to_lock);
  if (!guard || !workers_) return;  // the pool stops or starts
  try {
    add_worker(*workers_, generation_.load(), static_cast<int>(workers_->size()));
    spare_.fetch_add(1);
  } catch (const std::system_error&) {  // it does without
  }
}

void ThreadPool::end_host() {
  hosts = false;
  hosting_.fetch_sub(1);
}

void ThreadPool::add_worker(std::vector<std::thread>& workers, uint64_t generation, int index) {
  workers.emplace_back([this, generation, index] {
    work(generation, static_cast<uint32_t>(index) + 1, index == 0);
  });
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
  spare_.store(0);
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
  return spin_until([&] { return epoch_.load(std::memory_order_acquire) != seen; });
}

void ThreadPool::park(uint32_t seen, std::chrono::microseconds most) {
  if (spin(seen)) return;
  std::unique_lock<std::mutex> lock(park_mutex_);
  parked_.fetch_add(1);
  park_.wait_for(lock, most, [&] { return epoch_.load() != seen; });
  parked_.fetch_sub(1);
}

// One of the workers looks after the memory that nobody uses, now and then, when it is idle.
void ThreadPool::work(uint64_t generation, uint32_t rank, bool caretaker) {
  worker_rank = rank;
  profile::set_thread_title("worker " + std::to_string(rank));
  bool rested = false;
  while (generation_.load(std::memory_order_relaxed) == generation) {
    uint32_t seen = epoch_.load();
    if (do_something(true, UINT64_MAX) || spin(seen)) continue;
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
}

ThreadPool::Job* ThreadPool::join_job() {
  if (job_count_.load(std::memory_order_acquire) == 0) return nullptr;
  std::lock_guard<SpinLock> guard(lock_);
  for (Job* job = jobs_; job; job = job->link) {
    if (job->helpers.load(std::memory_order_relaxed) < job->most_helpers && job->has_chunks()) {
      job->helpers.fetch_add(1);
      joins_.store(joins_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return job;
    }
  }
  return nullptr;
}

void ThreadPool::wake_joining() {
  if (joining_.load() == 0) return;
  std::lock_guard<std::mutex> guard(join_mutex_);
  join_.notify_all();
}

// After the decrement the job, which lies on its caller's stack, may be gone.
void ThreadPool::leave_job(Job* job) {
  if (job->helpers.fetch_sub(1) == 1) wake_joining();
}

void ThreadPool::take_part(Job& job, Role role) {
  uint32_t seen = epoch_.load(std::memory_order_relaxed);
  uint64_t state = job.state.load(std::memory_order_acquire);
  while (!job.over(state)) {
    auto stage = static_cast<uint32_t>(state >> 32);
    uint32_t done = 0;
    for (uint32_t turn = 0; turn < job.lane_count; ++turn) {
      uint32_t lane = (worker_rank + turn) % job.lane_count;
      for (int64_t index; (index = job.take(lane, stage)) >= 0;) {
        job.work.chunk(job.work.context, stage - 1, index);
        ++done;
        if (role == Role::Visitor) {  // it looks up after each: Ctrl-C may have come
          finish(job, stage, done, role);
          return;
        }
      }
    }
    if (role == Role::Visitor) return;
    state = done ? finish(job, stage, done, role) : job.state.load(std::memory_order_acquire);
    if (state >> 32 != stage) continue;
    if (role == Role::Caller) {
      await_stage(job, stage);
    } else if (!spin_until([&] {
                 return job.state.load(std::memory_order_acquire) >> 32 != stage ||
                        epoch_.load(std::memory_order_relaxed) != seen;
               })) {
      return;
    }
    state = job.state.load(std::memory_order_acquire);
    if (state >> 32 == stage) return;  // other work has come
  }
}

// Says that chunks are done; the last of a stage begins the next. The state after that.
uint64_t ThreadPool::finish(Job& job, uint32_t stage, uint32_t chunks, Role role) {
  uint64_t left = job.state.fetch_sub(chunks, std::memory_order_acq_rel) - chunks;
  if (static_cast<uint32_t>(left) != 0) return left;
  uint64_t next = job.first_from(uint64_t{stage} + 1);
  job.state.store(next);
  wake_joining();
  // Helpers that found nothing to do have left. A visitor will not be there for the next stage.
  bool alone = job.helpers.load(std::memory_order_relaxed) < job.most_helpers;
  if (static_cast<uint32_t>(next) > 1 && (alone || role == Role::Visitor)) announce_job(job);
  return next;
}

// Chunks of this stage that others have begun.
void ThreadPool::await_stage(Job& job, uint32_t stage) {
  auto passed = [&] { return job.state.load() >> 32 != stage; };
  for (int turn = 0; turn < kJoinSpins; ++turn) {
    if (passed()) return;
    pause_cpu();
  }
  std::unique_lock<std::mutex> lock(join_mutex_);
  joining_.fetch_add(1);
  join_.wait(lock, passed);
  joining_.fetch_sub(1);
}

// Small work in quick succession is worth a worker that spins from one to the next; a single piece
// is done before a parked worker is awake. Where others use the processors, the worker may only get
// the caller's own: it then spins in vain while the caller waits. So whoever was woken and did not
// come often enough is woken again after twice as many pieces.
bool ThreadPool::in_succession() {
  using Clock = std::chrono::steady_clock;
  constexpr uint32_t kTimes = 8, kMostTimes = 4096;
  static thread_local Clock::time_point last;
  static thread_local uint32_t times = 0;
  auto now = Clock::now();
  times = now - last < kSpin ? times + 1 : 0;
  last = now;
  uint32_t patience = patience_.load(std::memory_order_relaxed);
  if (times < patience) return false;
  times = 0;
  uint32_t joins = joins_.load(std::memory_order_relaxed);
  bool came = joins - joins_at_wake_.exchange(joins, std::memory_order_relaxed) >= kTimes;
  patience_.store(came ? kTimes : std::min(2 * patience, kMostTimes), std::memory_order_relaxed);
  return true;
}

void ThreadPool::announce_job(const Job& job) {
  bool wake = job.heavy;
  if (!wake) {
    int parked = parked_.load(std::memory_order_relaxed);
    int awake = std::max(1, threads() - 1) + spare_.load(std::memory_order_relaxed) - parked;
    wake = parked > 0 && awake < static_cast<int>(job.most_helpers) && in_succession();
  }
  announce(wake);
}

bool ThreadPool::do_something(bool as_worker, uint64_t last_sequence) {
  if (Job* job = join_job()) {
    take_part(*job, as_worker ? Role::Helper : Role::Visitor);
    leave_job(job);
    return true;
  }
  if (task_count_.load(std::memory_order_acquire) == 0) return false;
  Runnable* task = nullptr;
  bool host = false;
  {
    std::lock_guard<SpinLock> guard(lock_);
    if (holds_) return false;
    for (auto place = tasks_.begin(); place != tasks_.end(); ++place) {
      if (!as_worker && ((*place)->needs_worker() || (*place)->sequence > last_sequence)) continue;
      task = *place;
      tasks_.erase(place);
      task_count_.fetch_sub(1, std::memory_order_relaxed);
      host = task->needs_worker();
      if (!host) running_.fetch_add(1, std::memory_order_relaxed);
      break;
    }
  }
  if (!task) return false;
  if (host) begin_host();
  task->run_now();
  if (host) end_host();
  if (!host && running_.fetch_sub(1) == 1) wake_joining();
  return true;
}

bool ThreadPool::help(uint64_t last_sequence) {
  if (threads() == 1 && !on_worker()) return false;  // the one worker is the one thread
  // Python code that waits takes up no other: that could wait for what this one does afterwards.
  return do_something(on_worker() && !hosts, last_sequence);
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

void ThreadPool::run(const StagedWork& work, bool heavy) {
  bool shared = false;
  for (uint32_t stage = 0; stage < work.stages; ++stage) shared |= work.counts[stage] > 1;
  if (!shared || threads() == 1) {
    for (uint32_t stage = 0; stage < work.stages; ++stage) {
      for (uint32_t index = 0; index < work.counts[stage]; ++index)
        work.chunk(work.context, stage, index);
    }
    return;
  }
  ensure_started();
  Job job(work, heavy, static_cast<uint32_t>(threads()));
  {
    std::lock_guard<SpinLock> guard(lock_);
    Job** end = &jobs_;
    while (*end) end = &(*end)->link;
    *end = &job;
    job_count_.fetch_add(1, std::memory_order_release);
  }
  announce_job(job);
  take_part(job, Role::Caller);
  {
    std::lock_guard<SpinLock> guard(lock_);
    Job** place = &jobs_;
    while (*place != &job) place = &(*place)->link;
    *place = job.link;
    job_count_.fetch_sub(1, std::memory_order_relaxed);
  }
  // Helpers are on their way out.
  auto alone = [&] { return job.helpers.load() == 0; };
  for (int turn = 0; turn < kJoinSpins; ++turn) {
    if (alone()) return;
    pause_cpu();
  }
  std::unique_lock<std::mutex> lock(join_mutex_);
  joining_.fetch_add(1);
  join_.wait(lock, alone);
  joining_.fetch_sub(1);
}

void ThreadPool::hold() {
  {
    std::lock_guard<SpinLock> guard(lock_);
    ++holds_;
  }
  std::unique_lock<std::mutex> lock(join_mutex_);
  joining_.fetch_add(1);
  join_.wait(lock, [&] { return running_.load() == 0; });
  joining_.fetch_sub(1);
}

void ThreadPool::go_on() {
  {
    std::lock_guard<SpinLock> guard(lock_);
    --holds_;
  }
  announce(true);
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

// The child has one thread: workers are started anew by the first who pushes or waits.
void ThreadPool::after_fork_child(std::deque<Runnable*> ready) {
  worker_rank = 0;
  new (&park_mutex_) std::mutex;
  new (&join_mutex_) std::mutex;
  new (&control_mutex_) std::mutex;
  new (&park_) std::condition_variable;
  new (&join_) std::condition_variable;
  parked_.store(0);
  joining_.store(0);
  jobs_ = nullptr;
  job_count_.store(0);
  tasks_ = std::move(ready);
  task_count_.store(static_cast<int>(tasks_.size()));
  holds_ = 0;
  running_.store(0);
  lock_.unlock();
  workers_ = nullptr;
  hosting_.store(0);
  spare_.store(0);
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
