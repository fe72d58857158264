#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <unordered_set>

#include "profile/profile.h"

namespace tigon {

std::shared_ptr<Failure> Failure::from_current_exception() {
  try {
    throw;
  } catch (const TravelledError& error) {
    return error.failure;
  } catch (const OutOfMemory& error) {
    return std::make_shared<Failure>(Type::Memory, error.what());
  } catch (const std::bad_alloc&) {
    return std::make_shared<Failure>(Type::Memory, "out of memory");
  } catch (const IndexOutOfRange& error) {
    return std::make_shared<Failure>(Type::Index, error.what());
  } catch (const UserError& error) {
    return std::make_shared<Failure>(Type::User, error.what());
  } catch (const std::exception& error) {
    return std::make_shared<Failure>(Type::Internal, error.what());
  } catch (...) {
    return std::make_shared<Failure>(Type::Internal, "unknown exception in a task");
  }
}

namespace {
thread_local Task* host_task = nullptr;
}

Task* Task::current_host() { return host_task; }
Task* Task::set_current_host(Task* task) { return std::exchange(host_task, task); }

bool Task::writes_to(const Storage* storage) const {
  for (const Write& write : writes) {
    if (write.storage.get() == storage) return true;
  }
  return false;
}

bool Task::owns(const Storage* storage) const {
  for (const Ref<Storage>& read : reads) {
    if (read.get() == storage) return true;
  }
  return writes_to(storage);
}

// All memory, or none: tasks that wait for it must not hold what others wait for.
bool Task::obtain_memory() {
  Engine& engine = Engine::instance();
  for (;;) {
    uint64_t completed = engine.completed();
    std::vector<Storage*> obtained;
    try {
      obtained.reserve(writes.size());
      for (const Write& write : writes) {
        if (write.storage->data()) continue;
        write.storage->materialize();
        obtained.push_back(write.storage.get());
      }
      reserve();
      return true;
    } catch (const OutOfMemory&) {
      for (Storage* storage : obtained) storage->dematerialize();
      switch (engine.postpone(this, completed)) {
      case Engine::Retry::Now:
        continue;
      case Engine::Retry::Later:
        return false;
      case Engine::Retry::Never:
        throw;
      }
    }
  }
}

void Task::run_now() noexcept {
  profile::Span span;
  if (profile::watches_any()) [[unlikely]]
    span.open_at(profile::SpanKind::Task, title(), {file, line, block, false});
  std::shared_ptr<Failure> failure = lost_;
  for (const Ref<Storage>& storage : reads) {
    if (!failure && storage->failed.load(std::memory_order_acquire)) failure = storage->failure;
  }
  for (const Write& write : writes) {
    if (!failure && write.reads && write.storage->failed.load(std::memory_order_acquire))
      failure = write.storage->failure;
  }
  bool begun = !failure;
  if (!failure) {
    try {
      if (!obtain_memory()) return;
      if (!execute()) return;
    } catch (...) {
      failure = described(Failure::from_current_exception());
    }
  }
  Engine::instance().complete(this, std::move(failure), begun);
}

void Task::finish(std::shared_ptr<Failure> failure) noexcept {
  Engine::instance().complete(this, failure ? described(std::move(failure)) : nullptr);
}

// Names the task where memory is lacking, and the caller's place.
std::shared_ptr<Failure> Task::described(std::shared_ptr<Failure> failure) const {
  if (failure->type == Failure::Type::Memory && !title().empty())
    failure->message = title() + ": " + failure->message;
  if (file)
    failure->message += " (called at " + std::string(file) + ":" + std::to_string(line) + ")";
  return failure;
}

Engine& Engine::instance() {
  static Engine* engine = new Engine;  // never destroyed: workers outlive static destruction
  return *engine;
}

void Engine::push(Ref<Task> task) {
  Task* t = task.get();
  t->retain();  // the engine's own reference, given up in `complete`
  bool ready;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    t->sequence = next_sequence_++;
    t->place_ = outstanding_.insert(outstanding_.end(), {t->sequence, t});
    int waits = 0;
    auto depend = [&](Task* earlier) {
      if (!earlier || earlier == t) return;
      earlier->successors_.push_back(t);
      ++waits;
    };
    // Each storage counts once, as written if it is both: two lists without duplicates remain.
    size_t kept = 0;
    for (size_t index = 0; index < t->writes.size(); ++index) {
      Storage& storage = *t->writes[index].storage;
      if (storage.last_writer == t) {
        for (size_t earlier = 0; earlier < kept; ++earlier) {
          if (t->writes[earlier].storage.get() == &storage)
            t->writes[earlier].reads |= t->writes[index].reads;
        }
        continue;
      }
      depend(storage.last_writer);
      for (Task* reader : storage.readers) depend(reader);
      storage.last_writer = t;
      storage.readers.clear();  // ordered before `t` now
      storage.pending_writes.fetch_add(1, std::memory_order_relaxed);
      if (kept != index) t->writes[kept] = std::move(t->writes[index]);
      ++kept;
    }
    t->writes.erase(t->writes.begin() + static_cast<ptrdiff_t>(kept), t->writes.end());
    kept = 0;
    for (size_t index = 0; index < t->reads.size(); ++index) {
      Storage& storage = *t->reads[index];
      if (storage.last_writer == t) {
        for (Task::Write& write : t->writes) {
          if (write.storage.get() == &storage) write.reads = true;
        }
        continue;
      }
      if (!storage.readers.empty() && storage.readers.back() == t) continue;
      depend(storage.last_writer);
      storage.readers.push_back(t);
      storage.pending_reads.fetch_add(1, std::memory_order_relaxed);
      if (kept != index) t->reads[kept] = std::move(t->reads[index]);
      ++kept;
    }
    t->reads.erase(t->reads.begin() + static_cast<ptrdiff_t>(kept), t->reads.end());
    t->waits_.store(waits, std::memory_order_relaxed);
    pending_.fetch_add(1, std::memory_order_relaxed);
    ready = waits == 0;
    if (ready && !t->needs_worker()) ++able_;
  }
  if (ready) ThreadPool::instance().submit(t);
}

Engine::Retry Engine::postpone(Task* task, uint64_t completed_before) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (completed_.load(std::memory_order_relaxed) != completed_before) return Retry::Now;
  // Host callbacks do not count: one of them may be waiting for this very task.
  size_t own = task->needs_worker() ? 0 : 1;
  if (able_ == own) return Retry::Never;
  able_ -= own;
  starved_.push_back(task);
  return Retry::Later;
}

// When all that a task held has been given up; the oldest task that waits for memory may go on.
Task* Engine::retire(std::list<Outstanding>::iterator place, bool host) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (!host) --able_;
  completed_.fetch_add(1, std::memory_order_release);
  outstanding_.erase(place);
  first_pending_.store(outstanding_.empty() ? next_sequence_ : outstanding_.front().sequence,
                       std::memory_order_release);
  pending_.fetch_sub(1, std::memory_order_release);
  if (starved_.empty()) return nullptr;
  auto oldest = std::min_element(starved_.begin(), starved_.end(), [](Task* one, Task* other) {
    return one->sequence < other->sequence;
  });
  Task* next = *oldest;
  starved_.erase(oldest);
  if (!next->needs_worker()) ++able_;
  return next;
}

// A state whose new value could not be computed has its old one.
bool Engine::restore(const Task::Write& write) noexcept {
  const Storage* before = write.before.get();
  if (!before || before->failed.load(std::memory_order_acquire) || !before->data()) return false;
  struct Restored final : Completion {
    Ref<Storage> from, to;
    void ended(const KernelFailure*) noexcept override {
      delete this;
      --on_devices;
    }
  };
  Device& device = device_at(before->device());
  try {
    write.storage->materialize();
    size_t bytes = write.storage->bytes();
    const char* old = before->data() + write.before_offset;
    if (!bytes) return true;
    if (device.is_host()) {
      std::memcpy(write.storage->data(), old, bytes);
    } else {  // in the order of its number: before whatever reads it
      auto* restored = new Restored;
      restored->from = write.before;
      restored->to = write.storage;
      ++on_devices;
      device.kind->copy(device.number, write.storage->data(), old, bytes, DeviceKind::Way::Within,
                        *restored);
    }
    return true;
  } catch (...) {
    return false;
  }
}

void Engine::complete(Task* task, std::shared_ptr<Failure> failure, bool begun) {
  std::vector<Task*> ready;
  if (failure) {
    for (Task::Write& write : task->writes) {
      if (write.before && !restore(write)) write.before.reset();
    }
  }
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (failure && !failure->seen.load() && (unseen_.empty() || unseen_.back() != failure) &&
        unseen_.size() < 64)
      unseen_.push_back(failure);
    for (Task::Write& write : task->writes) {
      Storage& storage = *write.storage;
      bool kept = failure && ((!begun && write.keeps) || write.before);
      bool failed = storage.failed.load(std::memory_order_relaxed);
      if (kept) {
        if (!failed) storage.failure = failure;
        any_undone_.store(true, std::memory_order_relaxed);
      } else if (failure) {
        storage.failure = failure;
        storage.failed.store(true, std::memory_order_relaxed);
      } else if (write.whole && failed) {
        storage.failure.reset();
        storage.failed.store(false, std::memory_order_relaxed);
      }
      if (storage.last_writer == task) storage.last_writer = nullptr;
      storage.pending_writes.fetch_sub(1, std::memory_order_release);
    }
    for (Ref<Storage>& read : task->reads) {
      std::erase(read->readers, task);
      read->pending_reads.fetch_sub(1, std::memory_order_release);
    }
    for (Task* successor : task->successors_) {
      if (successor->waits_.fetch_sub(1, std::memory_order_relaxed) == 1)
        ready.push_back(successor);
    }
    task->place_->task = nullptr;
    for (Task* next : ready) able_ += !next->needs_worker();
  }
  ThreadPool& pool = ThreadPool::instance();
  // Before the successors run, or each link of a chain would hold one buffer too many.
  task->reads.clear();
  task->writes.clear();
  for (Task* next : ready) pool.submit(next);
  // Whoever waits for it must find the references gone: memory figures are exact then.
  std::list<Outstanding>::iterator place = task->place_;
  bool host = task->needs_worker();
  task->release();
  if (Task* next = retire(place, host)) pool.submit(next);
  if (waiting_.load() > 0) pool.announce(true);
}

template <class Condition>
bool Engine::wait(std::chrono::microseconds most, uint64_t last_sequence,
                  const Condition& condition) {
  if (condition()) return true;
  ThreadPool& pool = ThreadPool::instance();
  pool.ensure_started();  // a forked child has inherited work, but no workers
  auto deadline = std::chrono::steady_clock::now() + most;
  waiting_.fetch_add(1);
  bool met = false;
  for (;;) {
    uint32_t seen = pool.epoch();
    if ((met = condition())) break;
    auto now = std::chrono::steady_clock::now();
    if (now >= deadline) break;
    if (pool.help(last_sequence)) continue;
    pool.park(seen, std::chrono::duration_cast<std::chrono::microseconds>(deadline - now));
  }
  waiting_.fetch_sub(1);
  return met;
}

uint64_t Engine::last_writer_sequence(Storage& storage) {
  std::lock_guard<std::mutex> guard(mutex_);
  return storage.last_writer ? storage.last_writer->sequence : 0;
}

bool Engine::wait_to_read(Storage& storage, std::chrono::microseconds most) {
  auto ready = [&] { return storage.pending_writes.load(std::memory_order_acquire) == 0; };
  if (ready()) return true;
  return wait(most, last_writer_sequence(storage), ready);
}

bool Engine::wait_to_write(Storage& storage, std::chrono::microseconds most) {
  return wait(most, UINT64_MAX, [&] {
    return storage.pending_writes.load(std::memory_order_acquire) == 0 &&
           storage.pending_reads.load(std::memory_order_acquire) == 0;
  });
}

bool Engine::leads_to(Task* task, const Storage& storage, bool readers) const {
  std::vector<Task*> stack{task};
  std::unordered_set<Task*> seen{task};
  while (!stack.empty()) {
    Task* next = stack.back();
    stack.pop_back();
    if (storage.last_writer == next) return true;
    for (size_t index = 0; readers && index < storage.readers.size(); ++index) {
      if (storage.readers[index] == next) return true;
    }
    for (Task* successor : next->successors_) {
      if (seen.insert(successor).second) stack.push_back(successor);
    }
  }
  return false;
}

bool Engine::is_behind(Task* task, const Storage& storage, bool readers) {
  std::lock_guard<std::mutex> guard(mutex_);
  return leads_to(task, storage, readers);
}

std::string Engine::awaited_callback(const Storage* storage, uint64_t last, double seconds) {
  std::lock_guard<std::mutex> guard(mutex_);
  for (auto [sequence, task] : outstanding_) {
    if (!task || !task->needs_worker() || task->waits_.load(std::memory_order_relaxed)) continue;
    if (task->running_for() <= seconds) continue;
    if (storage ? !leads_to(task, *storage, true) : sequence > last) continue;
    std::string place = task->title();
    if (task->file)
      place += " (called at " + std::string(task->file) + ":" + std::to_string(task->line) + ")";
    return place;
  }
  return {};
}

uint64_t Engine::last_pushed() {
  std::lock_guard<std::mutex> guard(mutex_);
  return next_sequence_ - 1;
}

bool Engine::wait_for_pushed(uint64_t last, std::chrono::microseconds most) {
  return wait(most, last, [&] { return ended(last); });
}

bool Engine::watch_pushed(uint64_t last, std::chrono::microseconds most) {
  return wait(most, 0, [&] { return ended(last); });
}

bool Engine::wait_for_room(std::chrono::microseconds most) {
  return wait(most, UINT64_MAX, [&] { return has_room(); });
}

bool Engine::wait_until(const std::atomic<int>& count, int below, std::chrono::microseconds most) {
  return wait(most, UINT64_MAX, [&] { return count.load(std::memory_order_acquire) < below; });
}

std::shared_ptr<Failure> Engine::take_unseen() {
  std::lock_guard<std::mutex> guard(mutex_);
  std::shared_ptr<Failure> first;
  for (const std::shared_ptr<Failure>& failure : unseen_) {
    if (!failure->seen.exchange(true) && !first) first = failure;
  }
  unseen_.clear();
  return first;
}

std::shared_ptr<Failure> Engine::take_undone(Storage& storage) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (storage.failed.load(std::memory_order_relaxed)) return nullptr;
  std::shared_ptr<Failure> found = std::move(storage.failure);
  return found && !found->seen.load() ? found : nullptr;
}

void Engine::before_fork() { mutex_.lock(); }
void Engine::after_fork_parent() { mutex_.unlock(); }

// No native task was half done at the fork, so the child computes what was pending as its parent
// does. A callback may have been in the middle, and belongs to the parent: its results fail.
void Engine::after_fork_child() {
  ::new (&mutex_) std::mutex;
  waiting_.store(0);
  auto lost = std::make_shared<Failure>(
      Failure::Type::User,
      "the process was forked while this value was being computed; wait first");
  lost->seen.store(true);
  std::erase_if(outstanding_, [](const Outstanding& entry) { return !entry.task; });
  pending_.store(outstanding_.size());
  first_pending_.store(outstanding_.empty() ? next_sequence_ : outstanding_.front().sequence);
  starved_.clear();
  able_ = 0;
  std::deque<Runnable*> ready;
  for (auto [sequence, task] : outstanding_) {
    if (task->needs_worker()) task->lost_ = lost;
    if (task->waits_.load(std::memory_order_relaxed) != 0) continue;
    ready.push_back(task);
    able_ += !task->needs_worker();
  }
  ThreadPool::instance().after_fork_child(std::move(ready));
}

void install_fork_handlers() {
  pthread_atfork(
      [] {
        ThreadPool::instance().hold();
        while (on_devices.load()) std::this_thread::sleep_for(std::chrono::microseconds(20));
        Engine::instance().before_fork();
        ThreadPool::instance().before_fork();
        memory::before_fork();
        profile::before_fork();
      },
      [] {
        profile::after_fork_parent();
        memory::after_fork();
        ThreadPool::instance().after_fork_parent();
        Engine::instance().after_fork_parent();
        ThreadPool::instance().go_on();
      },
      [] {
        profile::after_fork_child();
        memory::after_fork();
        note_fork();
        Engine::instance().after_fork_child();
      });
}

}  // namespace tigon
