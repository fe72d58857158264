#include "storage.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define TIGON_PLAIN_MEMORY 1  // let the sanitizer see every block
#endif

namespace tigon {

void SpinLock::lock_slow() {
  int spins = 0;
  while (held_.load(std::memory_order_relaxed) || held_.exchange(true, std::memory_order_acquire)) {
    if (++spins < 100) {
      pause_cpu();
    } else {
      sched_yield();  // the holder may have lost its processor
    }
  }
}

namespace memory {
namespace {

constexpr size_t kMapped = size_t{1} << 20;  // from here on blocks come from mmap
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLargest = size_t{1} << 47;

struct SizeClass {
  size_t index;
  size_t capacity;
};

// Multiples of 64 up to 1 KiB, then 8 steps per doubling (12 % waste), from 1 MiB on 32 (3 %).
SizeClass size_class(size_t bytes) {
  if (bytes <= 1024) {
    size_t blocks = bytes <= kAlignment ? 1 : (bytes + kAlignment - 1) / kAlignment;
    return {blocks, blocks * kAlignment};
  }
  size_t log = std::bit_width(bytes - 1) - 1;  // 2^log < bytes <= 2^(log + 1)
  size_t steps_log = bytes <= kMapped ? 3 : 5;
  size_t step = size_t{1} << (log - steps_log);
  size_t steps = (bytes - (size_t{1} << log) + step - 1) >> (log - steps_log);
  return {17 + log * 32 + (steps - 1), (size_t{1} << log) + steps * step};
}

struct FreeBlock {
  FreeBlock* next;
};

struct Pool {
  SpinLock lock;
  FreeBlock* free[17 + 48 * 32] = {};
  std::atomic<size_t> cached{0};
  std::atomic<size_t> mapped{0};
  size_t cache_limit;
  std::atomic<size_t> now{0};
  std::atomic<size_t> peak{0};

  Pool() {
    size_t pages = static_cast<size_t>(sysconf(_SC_PHYS_PAGES));
    cache_limit = pages * static_cast<size_t>(sysconf(_SC_PAGESIZE)) / 2;
    if (const char* text = std::getenv("TIGON_POOL_LIMIT"))
      cache_limit = std::strtoull(text, nullptr, 10);
  }
};

// Never destroyed: workers may still free blocks while the process exits.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

void* map_block(size_t capacity) {
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
  if (capacity >= kHugePage) {
    size_t length = capacity + kHugePage;
    void* raw = mmap(nullptr, length, kProtection, kFlags, -1, 0);
    if (raw != MAP_FAILED) {
      uintptr_t start = reinterpret_cast<uintptr_t>(raw);
      uintptr_t aligned = (start + kHugePage - 1) & ~(kHugePage - 1);
      if (aligned > start) munmap(raw, aligned - start);
      size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
      uintptr_t end = (aligned + capacity + page - 1) & ~(page - 1);
      if (start + length > end) munmap(reinterpret_cast<void*>(end), start + length - end);
#if defined(MADV_HUGEPAGE)
      madvise(reinterpret_cast<void*>(aligned), capacity, MADV_HUGEPAGE);
#endif
      return reinterpret_cast<void*>(aligned);
    }
  }
  void* raw = mmap(nullptr, capacity, kProtection, kFlags, -1, 0);
  return raw == MAP_FAILED ? nullptr : raw;
}

void* system_allocate(size_t capacity) {
  if (capacity > kMapped) return map_block(capacity);
  return std::aligned_alloc(kAlignment, capacity);
}

void system_free(void* block, size_t capacity) {
  if (capacity > kMapped) {
    munmap(block, capacity);
  } else {
    std::free(block);
  }
}

}  // namespace

void* allocate(size_t bytes) {
  if (bytes > kLargest) return nullptr;
  SizeClass wanted = size_class(bytes);
  Pool& p = pool();
#if !defined(TIGON_PLAIN_MEMORY)
  {
    std::lock_guard<SpinLock> guard(p.lock);
    if (FreeBlock* block = p.free[wanted.index]) {
      p.free[wanted.index] = block->next;
      p.cached.fetch_sub(wanted.capacity, std::memory_order_relaxed);
      return block;
    }
  }
#endif
  // The system promises more memory than it has: give up the cache before it runs out.
  if (wanted.capacity > kMapped && p.cached.load(std::memory_order_relaxed) > 0 &&
      p.mapped.load(std::memory_order_relaxed) + wanted.capacity > p.cache_limit / 2 * 3)
    trim();
  void* block = system_allocate(wanted.capacity);
  if (!block) {
    trim();
    block = system_allocate(wanted.capacity);
  }
  if (block) p.mapped.fetch_add(wanted.capacity, std::memory_order_relaxed);
  return block;
}

void release(void* block, size_t bytes) {
  SizeClass held = size_class(bytes);
  Pool& p = pool();
#if !defined(TIGON_PLAIN_MEMORY)
  {
    std::lock_guard<SpinLock> guard(p.lock);
    if (p.cached.load(std::memory_order_relaxed) + held.capacity <= p.cache_limit) {
      p.free[held.index] = ::new (block) FreeBlock{p.free[held.index]};
      p.cached.fetch_add(held.capacity, std::memory_order_relaxed);
      return;
    }
  }
#endif
  system_free(block, held.capacity);
  p.mapped.fetch_sub(held.capacity, std::memory_order_relaxed);
}

void trim() {
  Pool& p = pool();
  std::lock_guard<SpinLock> guard(p.lock);
  for (size_t index = 1; index < std::size(p.free); ++index) {
    size_t capacity = index * kAlignment;
    if (index >= 17) {
      size_t log = (index - 17) / 32;
      size_t steps = (index - 17) % 32 + 1;
      if (log < 10) continue;
      size_t steps_log = log < 20 ? 3 : 5;
      capacity = (size_t{1} << log) + (steps << (log - steps_log));
    }
    while (FreeBlock* block = p.free[index]) {
      p.free[index] = block->next;
      p.cached.fetch_sub(capacity, std::memory_order_relaxed);
      p.mapped.fetch_sub(capacity, std::memory_order_relaxed);
      system_free(block, capacity);
    }
  }
}

size_t pool_bytes() { return pool().mapped.load(std::memory_order_relaxed); }

void count(size_t bytes) {
  Pool& p = pool();
  size_t now = p.now.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  size_t peak = p.peak.load(std::memory_order_relaxed);
  while (now > peak && !p.peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

void discount(size_t bytes) { pool().now.fetch_sub(bytes, std::memory_order_relaxed); }
size_t bytes_now() { return pool().now.load(std::memory_order_relaxed); }
size_t bytes_peak() { return pool().peak.load(std::memory_order_relaxed); }
void reset_peak() { pool().peak.store(bytes_now(), std::memory_order_relaxed); }

void before_fork() { pool().lock.lock(); }
void after_fork() { pool().lock.unlock(); }

void throw_out_of_memory(size_t bytes) {
  throw OutOfMemory("out of memory: " + std::to_string(bytes) + " bytes wanted, " +
                    std::to_string(bytes_now()) +
                    " in use by live arrays; free arrays, use a smaller batch or donate inputs");
}

}  // namespace memory

namespace {
alignas(kAlignment) char empty_block[kAlignment];  // what zero-size arrays point to
std::atomic<uint64_t> next_id{1};
}  // namespace

Arena::Arena(size_t bytes) : bytes_(bytes), data_(empty_block) {
  if (bytes == 0) return;
  data_ = static_cast<char*>(memory::allocate(bytes));
  if (!data_) memory::throw_out_of_memory(bytes);
  memory::count(bytes);
}

Arena::~Arena() {
  if (bytes_ == 0) return;
  memory::discount(bytes_);
  memory::release(data_, bytes_);
}

Ref<Storage> Storage::create(size_t bytes) {
  void* place = memory::allocate(sizeof(Storage));
  if (!place) memory::throw_out_of_memory(bytes);
  auto* storage = ::new (place) Storage(bytes);
  storage->id_ = next_id.fetch_add(1, std::memory_order_relaxed);
  return Ref<Storage>(storage);
}

Ref<Storage> Storage::wrap(void* data, size_t bytes, void (*free_foreign)(void*), void* context) {
  Ref<Storage> storage = create(bytes);
  storage->data_ = bytes ? static_cast<char*>(data) : empty_block;
  storage->free_foreign_ = free_foreign;
  storage->foreign_context_ = context;
  return storage;
}

void Storage::allocate() {
  if (bytes_ == 0) {
    data_ = empty_block;
    return;
  }
  data_ = static_cast<char*>(memory::allocate(bytes_));
  if (!data_) memory::throw_out_of_memory(bytes_);
  memory::count(bytes_);
}

void Storage::destroy(Storage* storage) {
  if (storage->free_foreign_) {
    storage->free_foreign_(storage->foreign_context_);
  } else if (storage->data_ && storage->bytes_) {
    memory::discount(storage->bytes_);
    memory::release(storage->data_, storage->bytes_);
  }
  storage->~Storage();
  memory::release(storage, sizeof(Storage));
}

}  // namespace tigon
