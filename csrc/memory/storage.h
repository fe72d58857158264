// Pooled, aligned memory, and the storages that arrays and programs share.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/common.h"
#include "engine/device.h"

namespace tigon {

class Task;
class Failure;

// Blocks by size class. Freed blocks are kept, because freshly mapped memory costs a page fault per
// page: 3-10 times the arithmetic on it. Two bounds hold (docs/adr/0011-pool.md):
// * time: a block that nobody took for a whole turn of the clock goes back to the system;
// * amount: kept and used blocks together are at most twice what was lately in use at once.
namespace memory {

// 64-byte aligned; null when the system has none left even after trimming the cache.
void* allocate(size_t bytes);
// The same filled with zeros. A large block that is fresh holds them already: the system makes its
// pages when they are touched, which those of a gradient that nobody wants never are.
void* allocate_zeroed(size_t bytes);
void release(void* block, size_t bytes);
void trim();  // everything not in use goes back to the system

// Ends a turn: what nobody needed since it began goes back. An idle worker, which says so, makes
// malloc do the same. `turn_if_due` looks at the clock and gives the nanoseconds until the next
// turn.
void turn(bool idle);
int64_t turn_if_due(bool idle);

struct PoolFigures {
  size_t mapped;        // from the system, in use or kept
  size_t peak;          // the most that was mapped
  size_t free;          // kept, not in use
  size_t largest_free;  // one block of it
  size_t rounding;      // in use beyond what was asked for: size classes
  uint64_t fresh;       // blocks asked of the system so far
};
PoolFigures pool_figures();

// Logical bytes: what the program asked for, without the rounding of size classes.
void count(size_t bytes);
void discount(size_t bytes);
size_t bytes_now();
size_t bytes_peak();
void reset_peak();

void before_fork();
void after_fork();

[[noreturn]] void throw_out_of_memory(size_t bytes);

}  // namespace memory

// Counted memory of a device for the length of one execution.
class Arena {
 public:
  explicit Arena(size_t bytes, uint8_t device = kFirstCpu);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  char* data() const { return data_; }

 private:
  size_t bytes_;
  char* data_;
  uint8_t device_;
};

// Memory of one or more arrays. Engine order, version and failure belong to it.
class Storage : public AtomicCounted<Storage> {
 public:
  // Memory comes with `materialize`, when the first task that writes it runs: pending work holds
  // no memory.
  static Ref<Storage> create(size_t bytes, uint8_t device = kFirstCpu);
  // Memory owned by someone else; `free_foreign(context)` gives it back.
  static Ref<Storage> wrap(void* data, size_t bytes, void (*free_foreign)(void*), void* context);
  static void destroy(Storage* storage);

  void materialize() {
    if (!data_) allocate();
  }
  void materialize_zeroed();  // of a storage without memory
  void dematerialize();       // whoever alone writes it, and has not begun to
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  uint64_t id() const { return id_; }
  uint8_t device() const { return device_; }
  bool foreign() const { return free_foreign_ != nullptr; }

  // A storage on the memory of another, which has it: with an engine order and a version of its
  // own, until `keep` gives it a copy.
  static Ref<Storage> lend(Ref<Storage> owner);
  void keep();
  // Whose memory this is: of a lent one its owner's.
  Storage* owner();
  // Both are their own, of one size and device; nobody touches either.
  void exchange_memory(Storage& other) { std::swap(data_, other.data_); }

  bool ready_to_read() const {
    return pending_writes.load(std::memory_order_acquire) == 0 &&
           !failed.load(std::memory_order_relaxed);
  }
  bool ready_to_write() const {
    return ready_to_read() && pending_reads.load(std::memory_order_acquire) == 0;
  }
  // Only one array (or tape entry) holds it; tasks do not count. Tasks end meanwhile, first their
  // count, then their reference: read in this order, sharing is never missed.
  bool exclusive() const {
    uint32_t held = references();
    uint32_t tasks = pending_reads.load(std::memory_order_acquire) +
                     pending_writes.load(std::memory_order_acquire);
    return held == 1 + tasks;
  }

  // Only while no task touches it: its bytes are about to be replaced.
  void forget_failure() {
    if (!failed.load(std::memory_order_relaxed)) return;
    failure.reset();
    failed.store(false, std::memory_order_relaxed);
  }

  uint64_t version = 0;  // guarded by the caller's lock (Python's GIL)
  bool shown = false;    // others were given its address; guarded likewise
  // Whether whoever writes it counts that in `version`.
  bool counts_writes() { return !shown && !foreign() && owner() == this; }

  // Written by the engine only.
  std::atomic<uint32_t> pending_writes{0};
  std::atomic<uint32_t> pending_reads{0};
  std::atomic<bool> failed{false};
  Task* last_writer = nullptr;
  std::vector<Task*> readers;
  // Why it has none of its values; where it has not `failed`, why it has an older one: a task that
  // failed left it alone.
  std::shared_ptr<Failure> failure;

 private:
  Storage(size_t bytes, uint8_t device) : bytes_(bytes), device_(device) {}
  ~Storage() = default;
  void allocate();

  size_t bytes_;
  uint64_t id_ = 0;
  uint8_t device_;
  char* data_ = nullptr;
  void (*free_foreign_)(void*) = nullptr;
  void* foreign_context_ = nullptr;
};

}  // namespace tigon
