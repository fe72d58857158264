// The dependency engine: tasks run when the storages they read and write allow.
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/pool.h"
#include "memory/storage.h"

namespace tigon {

// An error on its way: it stays with the storages that could not be computed.
class Failure {
 public:
  enum class Type : uint8_t { User, Index, Memory, Internal };

  Failure(Type type_, std::string message_) : type(type_), message(std::move(message_)) {}
  Failure(const Failure&) = delete;
  Failure& operator=(const Failure&) = delete;
  ~Failure() {
    if (drop_cause) drop_cause(cause);
  }
  static std::shared_ptr<Failure> from_current_exception();
  [[noreturn]] void raise() const;

  Type type;
  std::string message;
  std::atomic<bool> seen{false};
  void* cause = nullptr;  // the exception of a host callback
  void (*drop_cause)(void*) = nullptr;
};

// What a failed task throws again where its data is waited for.
struct TravelledError {
  std::shared_ptr<Failure> failure;
};

class Task;

// A task that was pushed and has not ended, in the order of the pushes.
struct Outstanding {
  uint64_t sequence;
  Task* task;  // null: it was run, and what it held is given up now
};

class Task : public Runnable, public AtomicCounted<Task> {
 public:
  struct Write {
    Ref<Storage> storage;
    bool whole;  // every byte: an earlier failure of the storage is over
    bool reads = false;
    bool keeps = false;   // where the task cannot begin, it stays as it was
    Ref<Storage> before;  // of a state, which the task reads: its value where the task fails
    size_t before_offset = 0;
  };

  virtual ~Task() = default;
  static void destroy(Task* task) { delete task; }
  void run_now() noexcept final;

  // The host callback that this thread runs, or null. What runs inside it is synchronous, and its
  // own storages count as ready: waiting for them would be waiting for itself.
  static Task* current_host();
  bool writes_to(const Storage* storage) const;
  bool owns(const Storage* storage) const;

  std::vector<Ref<Storage>> reads;
  std::vector<Write> writes;
  const char* file = nullptr;  // the caller's place in Python; lives for ever
  int line = 0;
  const std::string* block = nullptr;  // the one that is called there, where a profile is taken

 protected:
  static Task* set_current_host(Task* task);  // returns the previous one
  virtual void reserve() {}                   // memory for the execution beyond the storages
  // False: it goes on elsewhere, and `finish` will be called, once, by any thread.
  virtual bool execute() = 0;
  void finish(std::shared_ptr<Failure> failure) noexcept;
  virtual std::string title() const { return {}; }  // names it when memory is lacking
  virtual double running_for() const { return 0; }  // seconds, of a host callback

 private:
  friend class Engine;
  bool obtain_memory();  // false: another task's end will start this one again
  std::shared_ptr<Failure> described(std::shared_ptr<Failure> failure) const;

  std::atomic<int> waits_{0};
  std::shared_ptr<Failure> lost_;  // it cannot run in this process
  std::list<Outstanding>::iterator place_;
  std::vector<Task*> successors_;  // guarded by the engine, as all above
};

// Calls that touch the same storages must be serialised by the caller (Python's GIL does).
class Engine {
 public:
  static constexpr size_t kMostPending = 512;

  static Engine& instance();

  void push(Ref<Task> task);

  // Each returns false when `most` has passed; they help with other work meanwhile, which `watch`
  // does not: a task that it had begun could take longer.
  bool wait_to_read(Storage& storage, std::chrono::microseconds most);
  bool wait_to_write(Storage& storage, std::chrono::microseconds most);
  bool wait_for_pushed(uint64_t last, std::chrono::microseconds most);  // up to this number
  bool watch_pushed(uint64_t last, std::chrono::microseconds most);
  bool wait_for_room(std::chrono::microseconds most);
  bool wait_until(const std::atomic<int>& count, int below, std::chrono::microseconds most);
  bool has_room() const { return pending_.load(std::memory_order_relaxed) < kMostPending; }
  bool idle() const { return pending_.load(std::memory_order_acquire) == 0; }
  // Tasks are numbered as they are pushed: whoever waits for the last one does not wait for those
  // that other threads push meanwhile.
  uint64_t last_pushed();
  bool ended(uint64_t last) const { return first_pending_.load(std::memory_order_acquire) > last; }

  // Whether a task of those that read or write the storage waits for `task`, which has not ended,
  // or is this one.
  bool is_behind(Task* task, const Storage& storage, bool readers);
  // Where the first host callback was pushed that has been running for longer than that, and that
  // the storage (null: any task up to number `last`) waits for; empty if there is none.
  std::string awaited_callback(const Storage* storage, uint64_t last, double seconds);

  // The first failure nobody has seen, or null; forgets all.
  std::shared_ptr<Failure> take_unseen();
  // Whether any storage was left alone by a failed task.
  bool has_undone() const { return any_undone_.load(std::memory_order_relaxed); }
  // Why this one was, unless somebody has seen it; forgets it.
  std::shared_ptr<Failure> take_undone(Storage& storage);

  std::atomic<bool> naive{false};

  void before_fork();
  void after_fork_parent();
  void after_fork_child();

 private:
  friend class Task;
  Engine() = default;
  static bool restore(const Task::Write& write) noexcept;
  void complete(Task* task, std::shared_ptr<Failure> failure, bool begun = true);
  // For a task that found no memory: whether it is to try again, now or when another has ended.
  // Nobody else who could end means that there is none.
  enum class Retry : uint8_t { Now, Later, Never };
  Retry postpone(Task* task, uint64_t completed_before);
  Task* retire(std::list<Outstanding>::iterator place, bool host);
  uint64_t completed() const { return completed_.load(std::memory_order_acquire); }
  bool leads_to(Task* task, const Storage& storage, bool readers) const;
  template <class Condition>
  bool wait(std::chrono::microseconds most, uint64_t last_sequence, const Condition& condition);
  uint64_t last_writer_sequence(Storage& storage);

  std::mutex mutex_;
  std::list<Outstanding> outstanding_;
  std::vector<Task*> starved_;  // of the ready ones, those that wait for memory
  size_t able_ = 0;             // ready, neither starved nor a host callback: sure to end
  std::atomic<uint64_t> completed_{0};
  std::vector<std::shared_ptr<Failure>> unseen_;
  std::atomic<bool> any_undone_{false};
  uint64_t next_sequence_ = 1;
  std::atomic<uint64_t> first_pending_{1};  // the least number of a task that has not ended
  std::atomic<size_t> pending_{0};
  std::atomic<int> waiting_{0};
};

// Prepares parent and child of every fork; called once.
void install_fork_handlers();

}  // namespace tigon
