#include "memory/storage.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <span>
#include <utility>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

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
constexpr size_t kSlack = size_t{64} << 20;  // kept whatever was in use
constexpr size_t kTiny = 1024;               // up to here only the lengths of lists are counted
constexpr size_t kTinyLists = kTiny / kAlignment + 1;
constexpr uint32_t kBlocksPerLook = 256;  // at the clock, for blocks below kMapped
constexpr uint32_t kBatch = 64;           // blocks given back per hold of the lock

struct SizeClass {
  size_t index;
  size_t capacity;
};

// Multiples of 64 up to 1 KiB, then 8 steps per doubling (12 % waste), from 1 MiB on 32 (3 %).
SizeClass size_class(size_t bytes) {
  if (bytes <= kTiny) {
    size_t blocks = bytes <= kAlignment ? 1 : (bytes + kAlignment - 1) / kAlignment;
    return {blocks, blocks * kAlignment};
  }
  size_t log = std::bit_width(bytes - 1) - 1;  // 2^log < bytes <= 2^(log + 1)
  size_t steps_log = bytes <= kMapped ? 3 : 5;
  size_t step = size_t{1} << (log - steps_log);
  size_t steps = (bytes - (size_t{1} << log) + step - 1) >> (log - steps_log);
  return {kTinyLists + log * 32 + (steps - 1), (size_t{1} << log) + steps * step};
}

struct FreeBlock {
  FreeBlock* next;
  size_t capacity;
};

// Every store costs: the next lock waits until all are done. An addition of ten elements takes and
// frees four tiny blocks in 120 ns.
struct FreeList {
  FreeBlock* first = nullptr;
  uint32_t length = 0;
  uint32_t least = 0;     // its shortest length since the turn began: what nobody needed
  uint64_t last_use = 0;  // by the pool's count of fresh blocks

  FreeBlock* pop() {
    FreeBlock* block = first;
    first = block->next;
    if (--length < least) least = length;
    return block;
  }
};

int64_t now_in_nanoseconds() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

size_t bytes_of_machine() {
  size_t bytes =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
#if defined(__linux__)
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/memory.max", "r")) {  // a container's share
    unsigned long long share;
    if (std::fscanf(file, "%llu", &share) == 1) bytes = std::min<size_t>(bytes, share);
    std::fclose(file);
  }
#endif
  return bytes;
}

struct Pool {
  SpinLock lock;
  FreeList lists[kTinyLists + 48 * 32];
  size_t mapped = 0;       // bytes from the system
  size_t kept = 0;         // of these in free blocks, tiny ones apart; the others are in use
  size_t least_kept = 0;   // since `mapped` changed
  size_t asked = 0;        // what was asked for of the bytes in use
  size_t most = 0;         // in use at once since the turn began, up to the last change of `mapped`
  size_t most_before = 0;  // in the turn before
  size_t peak = 0;         // of `mapped`
  uint64_t fresh = 0;      // blocks asked of the system
  size_t limit;
  int64_t turn_length;
  std::atomic<int64_t> turn_ends;
  std::atomic<size_t> now{0};
  std::atomic<size_t> now_peak{0};

  Pool() {
    limit = bytes_of_machine() / 2;
    if (const char* text = std::getenv("TIGON_POOL_LIMIT"))
      limit = std::strtoull(text, nullptr, 10);
    double seconds = 10;
    if (const char* text = std::getenv("TIGON_POOL_SECONDS")) seconds = std::strtod(text, nullptr);
    turn_length = static_cast<int64_t>(std::clamp(seconds, 1e-3, 1e9) * 1e9);
    turn_ends.store(now_in_nanoseconds() + turn_length);
  }

  // All that follows is called with the lock held.

  void map(size_t capacity) {
    most = most_in_use();
    mapped += capacity;
    peak = std::max(peak, mapped);
    least_kept = kept;
  }

  // Of a block that counts as in use, as one taken from its list does.
  void unmap(size_t capacity) {
    most = most_in_use();
    mapped -= capacity;
    least_kept = kept;
  }

  size_t most_in_use() const { return std::max(most, mapped - least_kept); }

  FreeBlock* pop_to_give_back(FreeList& list, FreeBlock* chain) {
    FreeBlock* block = list.pop();
    (block->capacity > kTiny ? kept : asked) -= block->capacity;
    block->next = chain;
    unmap(block->capacity);
    return block;
  }

  size_t tiny_kept() const {
    size_t bytes = 0;
    for (size_t index = 0; index < kTinyLists; ++index)
      bytes += lists[index].length * index * kAlignment;
    return bytes;
  }

  // Free blocks that exceed the bound once `capacity` more is mapped, those of the sizes that have
  // been out of use for longest: a chain to give back.
  FreeBlock* surplus(size_t capacity) {
    size_t lately = std::max({most_in_use(), most_before, mapped - kept + capacity});
    size_t bound = std::min(2 * lately + kSlack, limit / 2 * 3);
    FreeBlock* chain = nullptr;
    while (kept && mapped + capacity > bound) {
      FreeList* coldest = nullptr;
      for (FreeList& list : std::span(lists).subspan(kTinyLists)) {
        if (list.first && (!coldest || list.last_use < coldest->last_use)) coldest = &list;
      }
      while (coldest->first && mapped + capacity > bound) chain = pop_to_give_back(*coldest, chain);
    }
    return chain;
  }
};

// Never destroyed: workers may still free blocks while the process exits.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

// Blocks of 2 MiB and more begin on a huge page and ask for such: a 500th of the page faults.
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

// Without the lock: for a large block it takes the system milliseconds. Gives the bytes that went
// to malloc.
size_t give_back(FreeBlock* chain) {
  size_t small = 0;
  while (chain) {
    FreeBlock* block = std::exchange(chain, chain->next);
    if (block->capacity <= kMapped) small += block->capacity;
    system_free(block, block->capacity);
  }
  return small;
}

// Of every list what `choose` says at first, in small batches.
template <class Choose>
size_t give_back_of_each(const Choose& choose) {
  Pool& p = pool();
  size_t small = 0;
  for (FreeList& list : p.lists) {
    uint32_t wanted = UINT32_MAX;
    while (wanted) {
      FreeBlock* chain = nullptr;
      {
        std::lock_guard<SpinLock> guard(p.lock);
        if (wanted == UINT32_MAX) wanted = choose(list);
        wanted = std::min(wanted, list.length);
        uint32_t batch = std::min(wanted, kBatch);
        wanted -= batch;
        for (; batch; --batch) chain = p.pop_to_give_back(list, chain);
      }
      small += give_back(chain);
    }
  }
  return small;
}

}  // namespace

namespace {

[[gnu::noinline]] void* allocate_fresh(Pool& p, size_t capacity, size_t bytes) {
  FreeBlock* surplus;
  {
    std::lock_guard<SpinLock> guard(p.lock);
    surplus = p.surplus(capacity);
  }
  give_back(surplus);
  void* block = system_allocate(capacity);
  if (!block) {
    trim();
    block = system_allocate(capacity);
  }
  if (block) {
    std::lock_guard<SpinLock> guard(p.lock);
    p.map(capacity);
    p.asked += bytes;
    ++p.fresh;
  }
  return block;
}

// As tiny blocks are by far the most, every store counts: the next lock waits until it is done. An
// addition of ten elements takes and frees four of them in 120 ns.
void* allocate_tiny(size_t bytes) {
  Pool& p = pool();
  size_t index = (bytes + kAlignment - 1) / kAlignment;
  {
    std::lock_guard<SpinLock> guard(p.lock);
    FreeList& list = p.lists[index];
    if (list.first) return list.pop();
  }
  return allocate_fresh(p, index * kAlignment, index * kAlignment);
}

void release_tiny(void* block, size_t bytes) {
  Pool& p = pool();
  size_t index = (bytes + kAlignment - 1) / kAlignment;
  bool look;
  {
    std::lock_guard<SpinLock> guard(p.lock);
    FreeList& list = p.lists[index];
    list.first = ::new (block) FreeBlock{list.first, index * kAlignment};
    look = ++list.length % kBlocksPerLook == 0;
  }
  if (look) turn_if_due(false);
}

}  // namespace

namespace {

// A block, and whether it comes from the system just now.
std::pair<void*, bool> allocate_large(size_t bytes) {
  if (bytes > kLargest) return {nullptr, false};
  SizeClass wanted = size_class(bytes);
  Pool& p = pool();
  {
    std::lock_guard<SpinLock> guard(p.lock);
    FreeList& list = p.lists[wanted.index];
    list.last_use = p.fresh;
    if (list.first) {
      p.asked += bytes;
      p.kept -= wanted.capacity;
      p.least_kept = std::min(p.least_kept, p.kept);
      return {list.pop(), false};
    }
  }
  return {allocate_fresh(p, wanted.capacity, bytes), wanted.capacity > kMapped};
}

}  // namespace

void* allocate(size_t bytes) {
  if (bytes - 1 < kTiny) return allocate_tiny(bytes);
  return allocate_large(bytes).first;
}

void* allocate_zeroed(size_t bytes) {
  auto [block, zeros] =
      bytes - 1 < kTiny ? std::pair{allocate(bytes), false} : allocate_large(bytes);
  if (block && !zeros) std::memset(block, 0, bytes);
  return block;
}

void release(void* block, size_t bytes) {
  if (bytes - 1 < kTiny) return release_tiny(block, bytes);
  SizeClass held = size_class(bytes);
  Pool& p = pool();
  bool look = held.capacity > kMapped;
  bool keep;
  {
    std::lock_guard<SpinLock> guard(p.lock);
    p.asked -= bytes;
    keep = p.kept + held.capacity <= p.limit;
    if (keep) {
      p.kept += held.capacity;
      FreeList& list = p.lists[held.index];
      list.first = ::new (block) FreeBlock{list.first, held.capacity};
      look |= ++list.length % kBlocksPerLook == 0;
    } else {
      p.unmap(held.capacity);
    }
  }
  if (!keep) system_free(block, held.capacity);
  if (look) turn_if_due(false);
}

void trim() {
  give_back_of_each([](const FreeList& list) { return list.length; });
}

void turn(bool idle) {
  Pool& p = pool();
  size_t small = give_back_of_each([](FreeList& list) {
    uint32_t unused = list.least;
    list.least = list.length - unused;
    return unused;
  });
  {
    std::lock_guard<SpinLock> guard(p.lock);
    p.most_before = p.most_in_use();
    p.most = p.mapped - p.kept;
    p.least_kept = p.kept;
  }
#if defined(__GLIBC__)
  if (idle && small > kMapped) malloc_trim(0);  // takes milliseconds, and stops other threads
#else
  (void)idle;
  (void)small;
#endif
}

int64_t turn_if_due(bool idle) {
  Pool& p = pool();
  int64_t now = now_in_nanoseconds();
  int64_t ends = p.turn_ends.load(std::memory_order_relaxed);
  if (now < ends) return ends - now;
  if (!p.turn_ends.compare_exchange_strong(ends, now + p.turn_length)) return p.turn_length;
  turn(idle);
  return p.turn_length;
}

PoolFigures pool_figures() {
  Pool& p = pool();
  std::lock_guard<SpinLock> guard(p.lock);
  size_t largest = 0;
  for (const FreeList& list : p.lists) {
    if (list.first) largest = list.first->capacity;
  }
  size_t in_use = p.mapped - p.kept;  // tiny blocks always, also when free: so are they in `asked`
  return {p.mapped, p.peak, p.kept + p.tiny_kept(), largest, in_use - p.asked, p.fresh};
}

void count(size_t bytes) {
  Pool& p = pool();
  size_t now = p.now.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  size_t peak = p.now_peak.load(std::memory_order_relaxed);
  while (now > peak && !p.now_peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

void discount(size_t bytes) { pool().now.fetch_sub(bytes, std::memory_order_relaxed); }
size_t bytes_now() { return pool().now.load(std::memory_order_relaxed); }
size_t bytes_peak() { return pool().now_peak.load(std::memory_order_relaxed); }

void reset_peak() {
  Pool& p = pool();
  p.now_peak.store(bytes_now(), std::memory_order_relaxed);
  std::lock_guard<SpinLock> guard(p.lock);
  p.peak = p.mapped;
}

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

namespace {

char* allocate_on(uint8_t device, size_t bytes) {
  void* block = device == kFirstCpu ? memory::allocate(bytes) : device_at(device).allocate(bytes);
  if (!block) memory::throw_out_of_memory(bytes);
  memory::count(bytes);
  return static_cast<char*>(block);
}

void release_on(uint8_t device, void* block, size_t bytes) {
  memory::discount(bytes);
  device == kFirstCpu ? memory::release(block, bytes) : device_at(device).release(block, bytes);
}

}  // namespace

Arena::Arena(size_t bytes, uint8_t device) : bytes_(bytes), data_(empty_block), device_(device) {
  if (bytes) data_ = allocate_on(device, bytes);
}

Arena::~Arena() {
  if (bytes_) release_on(device_, data_, bytes_);
}

Ref<Storage> Storage::create(size_t bytes, uint8_t device) {
  void* place = memory::allocate(sizeof(Storage));
  if (!place) memory::throw_out_of_memory(bytes);
  auto* storage = ::new (place) Storage(bytes, device);
  storage->id_ = next_id.fetch_add(1, std::memory_order_relaxed);
  storage->references_.store(1, std::memory_order_relaxed);
  return Ref<Storage>::adopt(storage);
}

Ref<Storage> Storage::wrap(void* data, size_t bytes, void (*free_foreign)(void*), void* context) {
  Ref<Storage> storage = create(bytes);
  storage->data_ = bytes ? static_cast<char*>(data) : empty_block;
  storage->free_foreign_ = free_foreign;
  storage->foreign_context_ = context;
  return storage;
}

namespace {
void release_owner(void* owner) { static_cast<Storage*>(owner)->release(); }
}  // namespace

Ref<Storage> Storage::lend(Ref<Storage> owner) {
  Storage* held = owner.get();
  held->retain();  // until it is kept or destroyed
  Ref<Storage> storage = wrap(held->data(), held->bytes(), release_owner, held);
  storage->device_ = held->device_;
  return storage;
}

void Storage::keep() {
  Storage* lender = owner();
  if (lender == this) return;
  char* own = bytes_ ? allocate_on(device_, bytes_) : empty_block;
  std::memcpy(own, data_, bytes_);
  data_ = own;
  free_foreign_ = nullptr;
  lender->release();
}

Storage* Storage::owner() {
  return free_foreign_ == release_owner ? static_cast<Storage*>(foreign_context_) : this;
}

void Storage::allocate() {
  if (bytes_ == 0) {
    data_ = empty_block;
    return;
  }
  data_ = allocate_on(device_, bytes_);
}

void Storage::materialize_zeroed() {
  if (bytes_ == 0 || device_ != kFirstCpu) {
    allocate();
    if (bytes_ == 0) return;
    if (is_host(device_)) {
      std::memset(data_, 0, bytes_);
    } else {
      std::vector<char> zeros(bytes_);
      copy_now(device_at(device_), data_, zeros.data(), bytes_, DeviceKind::Way::FromHost);
    }
    return;
  }
  void* block = memory::allocate_zeroed(bytes_);
  if (!block) memory::throw_out_of_memory(bytes_);
  memory::count(bytes_);
  data_ = static_cast<char*>(block);
}

void Storage::dematerialize() {
  if (bytes_) release_on(device_, data_, bytes_);
  data_ = nullptr;
}

void Storage::destroy(Storage* storage) {
  if (storage->free_foreign_) {
    storage->free_foreign_(storage->foreign_context_);
  } else if (storage->data_ && storage->bytes_) {
    release_on(storage->device_, storage->data_, storage->bytes_);
  }
  storage->~Storage();
  memory::release(storage, sizeof(Storage));
}

}  // namespace tigon
