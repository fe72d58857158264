// Storage, pool, engine, programs, object code and images without Python, made to run under
// sanitizers.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "engine/engine.h"
#include "engine/pool.h"
#include "image/pixels.h"
#include "memory/storage.h"
#include "profile/profile.h"
#include "program/control.h"
#include "program/linked_code.h"
#include "program/object_code.h"
#include "program/program.h"
#include "program/routines.h"

using namespace tigon;

namespace {

void require(bool condition, const char* text, int line) {
  if (condition) return;
  std::fprintf(stderr, "core_tests.cpp:%d: failed: %s\n", line, text);
  std::exit(1);
}
#define REQUIRE(condition) require(condition, #condition, __LINE__)

constexpr auto kLong = std::chrono::seconds(60);

class FunctionTask final : public Task {
 public:
  explicit FunctionTask(std::function<void()> function) : function_(std::move(function)) {}

 protected:
  bool execute() override {
    function_();
    return true;
  }

 private:
  std::function<void()> function_;
};

Ref<Task> make_task(std::function<void()> function, const std::vector<Ref<Storage>>& reads,
                    const std::vector<Ref<Storage>>& writes) {
  auto* task = new FunctionTask(std::move(function));
  Ref<Task> owned(task);
  task->reads = reads;
  for (const Ref<Storage>& storage : writes)
    task->writes.push_back({storage, true, false, false, {}});
  return owned;
}

// What a device does: it ends later, elsewhere.
class LaterTask final : public Task {
 public:
  explicit LaterTask(std::function<void()> function, bool fails = false)
      : function_(std::move(function)), fails_(fails) {}

 protected:
  bool execute() override {
    std::thread([this] {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      if (function_) function_();
      finish(fails_ ? std::make_shared<Failure>(Failure::Type::User, "the device failed")
                    : nullptr);
    }).detach();
    return false;
  }

 private:
  std::function<void()> function_;
  bool fails_;
};

void wait_for_all() {
  Engine& engine = Engine::instance();
  REQUIRE(engine.wait_for_pushed(engine.last_pushed(), kLong));
}

void memory_is_counted_pooled_and_bounded() {
  size_t before = memory::bytes_now();
  {
    Ref<Storage> storage = Storage::create(1000);
    REQUIRE(memory::bytes_now() == before);  // no memory before the first write
    storage->materialize();
    REQUIRE(memory::bytes_now() == before + 1000);
    REQUIRE(reinterpret_cast<uintptr_t>(storage->data()) % kAlignment == 0);
    memory::reset_peak();
    {
      Arena arena(5000);
    }
    REQUIRE(memory::bytes_peak() == before + 6000);
  }
  REQUIRE(memory::bytes_now() == before);

  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    size_t bytes = size_t{1} << (random() % 23);
    bytes += random() % bytes;
    auto* block = static_cast<char*>(memory::allocate(bytes));
    REQUIRE(block && reinterpret_cast<uintptr_t>(block) % kAlignment == 0);
    block[0] = block[bytes - 1] = 1;
    memory::release(block, bytes);
  }
  memory::trim();

  Ref<Storage> empty = Storage::create(0);
  empty->materialize();
  REQUIRE(empty->data() != nullptr);

  Ref<Storage> huge = Storage::create(size_t{1} << 60);
  bool thrown = false;
  try {
    huge->materialize();
  } catch (const OutOfMemory&) {
    thrown = true;
  }
  REQUIRE(thrown && memory::bytes_now() == before);

  int freed = 0;
  static char foreign[16];
  Storage::wrap(foreign, 16, [](void* context) { ++*static_cast<int*>(context); }, &freed).reset();
  REQUIRE(freed == 1);
}

#if !defined(__SANITIZE_ADDRESS__)  // where every block goes back at once
void unused_memory_goes_back() {
  constexpr size_t kBlock = size_t{3} << 20;
  memory::trim();
  memory::turn(false);
  memory::turn(false);
  size_t before = memory::pool_figures().mapped;
  auto take_and_free = [](size_t bytes, int blocks) {
    std::vector<void*> held;
    for (int block = 0; block < blocks; ++block) held.push_back(memory::allocate(bytes));
    for (void* block : held) memory::release(block, bytes);
  };

  take_and_free(kBlock, 4);
  memory::PoolFigures kept = memory::pool_figures();
  REQUIRE(kept.mapped == before + 4 * kBlock && kept.free >= 4 * kBlock);
  REQUIRE(kept.largest_free >= kBlock && kept.peak >= kept.mapped);
  take_and_free(kBlock, 4);
  REQUIRE(memory::pool_figures().fresh == kept.fresh);  // all from the pool
  memory::turn(false);
  REQUIRE(memory::pool_figures().mapped == kept.mapped);  // needed in this turn
  take_and_free(kBlock, 1);
  memory::turn(true);
  REQUIRE(memory::pool_figures().mapped == before + kBlock);
  memory::turn(true);
  REQUIRE(memory::pool_figures().mapped == before);

  // Sizes that never come again: no more than twice what was in use at once, and the slack.
  for (size_t index = 0; index < 200; ++index) take_and_free(kBlock + (index << 20), 1);
  size_t largest = kBlock + (size_t{199} << 20);
  memory::PoolFigures after = memory::pool_figures();
  REQUIRE(after.mapped >= largest);
  REQUIRE(after.mapped <= before + 2 * (largest + largest / 32) + (size_t{64} << 20));
  memory::trim();
  REQUIRE(memory::pool_figures().free == 0);

  size_t rounding = memory::pool_figures().rounding;
  void* block = memory::allocate(kBlock + 1);
  REQUIRE(memory::pool_figures().rounding > rounding);
  memory::release(block, kBlock + 1);
  REQUIRE(memory::pool_figures().rounding == rounding);
  memory::reset_peak();
  REQUIRE(memory::pool_figures().peak == memory::pool_figures().mapped);
}
#endif

void memory_is_safe_among_threads() {
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([seed] {
      std::mt19937 random(seed);
      std::vector<std::pair<char*, size_t>> held;
      for (int round = 0; round < 5000; ++round) {
        if (held.size() > 20 || (!held.empty() && random() % 2)) {
          auto [block, bytes] = held.back();
          held.pop_back();
          memory::release(block, bytes);
        } else {
          if (round % 1000 == 0) memory::turn(true);
          size_t bytes = 1 + random() % 5000;
          auto* block = static_cast<char*>(memory::allocate(bytes));
          std::memset(block, static_cast<int>(seed), bytes);
          held.emplace_back(block, bytes);
        }
      }
      for (auto [block, bytes] : held) memory::release(block, bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Takes a share of what little there is while it runs.
class HungryTask final : public Task {
 public:
  explicit HungryTask(std::function<void()> function) : function_(std::move(function)) {}
  static inline std::atomic<int> left{0};
  static inline std::atomic<int> refused{0};

 protected:
  void reserve() override {
    if (left.fetch_sub(1) > 0) return;
    left.fetch_add(1);
    refused.fetch_add(1);
    throw OutOfMemory("out of memory");
  }
  bool execute() override {
    function_();
    left.fetch_add(1);
    return true;
  }

 private:
  std::function<void()> function_;
};

void zeroed_memory_is_zero() {
  for (size_t bytes : {size_t{1}, size_t{64}, size_t{5000}, size_t{3} << 20}) {
    for (int round = 0; round < 3; ++round) {
      char* block = static_cast<char*>(memory::allocate_zeroed(bytes));
      REQUIRE(std::all_of(block, block + bytes, [](char byte) { return !byte; }));
      std::memset(block, 7, bytes);
      memory::release(block, bytes);
    }
  }
  Ref<Storage> storage = Storage::create(1000);
  storage->materialize_zeroed();
  REQUIRE(storage->data()[0] == 0 && storage->data()[999] == 0);
}

void code_that_is_no_object_is_refused() {
  auto refused = [](std::string_view content) {
    try {
      LinkedCode code({content});
    } catch (const InternalError&) {
      return true;
    }
    return false;
  };
  REQUIRE(refused("") && refused("not an object") && refused(std::string(64, '\0')));
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    std::string header("\x7f"
                       "ELF\2\1\1",
                       7);
    header.resize(16 + random() % 600);
    for (size_t index = 7; index < header.size(); ++index)
      header[index] = static_cast<char>(random() % 4);
    header[16] = 1, header[17] = 0, header[18] = 62, header[19] = 0;
    refused(header);  // or not: nothing is read beyond it
  }
}

void tasks_wait_for_memory_that_others_hold() {
  size_t before = memory::bytes_now();
  ThreadPool::instance().set_threads(4);
  HungryTask::left = 1;
  HungryTask::refused = 0;
  std::vector<Ref<Storage>> results;
  std::atomic<int> done{0};
  for (int index = 0; index < 20; ++index) {
    results.push_back(Storage::create(1 << 12));
    Ref<Task> task(new HungryTask([&done, index] {
      auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(10);
      while (index == 0 && HungryTask::refused == 0 && std::chrono::steady_clock::now() < patience)
        std::this_thread::yield();
      ++done;
    }));
    task->writes.push_back({results.back(), true, false, false, {}});
    // Every other one has a successor, which must not be lost either.
    Engine::instance().push(std::move(task));
    if (index % 2) {
      Ref<Storage> next = Storage::create(1 << 12);
      Engine::instance().push(make_task([&done] { ++done; }, {results.back()}, {next}));
      results.push_back(std::move(next));
    }
  }
  wait_for_all();
  REQUIRE(HungryTask::refused > 0 && done == 30);
  for (const Ref<Storage>& storage : results) REQUIRE(storage->ready_to_read());

  // None for anybody: all fail, none hangs, none keeps what it had obtained.
  HungryTask::left = 0;
  results.clear();
  for (int index = 0; index < 20; ++index) {
    results.push_back(Storage::create(1 << 12));
    Ref<Task> task(new HungryTask([] {}));
    task->writes.push_back({results.back(), true, false, false, {}});
    Engine::instance().push(std::move(task));
  }
  wait_for_all();
  for (const Ref<Storage>& storage : results) {
    REQUIRE(storage->failed && storage->failure->type == Failure::Type::Memory);
    REQUIRE(storage->data() == nullptr);
  }
  Engine::instance().take_unseen();
  REQUIRE(memory::bytes_now() == before);
}

void every_point_is_visited_once() {
  for (int64_t points : {0, 1, 7, 1000, 100003}) {
    std::vector<int> visits(static_cast<size_t>(points));
    parallel_for(points, 10, true, [&](int64_t begin, int64_t end) {
      for (int64_t point = begin; point < end; ++point) ++visits[static_cast<size_t>(point)];
    });
    for (int count : visits) REQUIRE(count == 1);
  }
}

void loops_nest_and_overlap() {
  std::atomic<int64_t> total{0};
  std::vector<std::thread> threads;
  for (int caller = 0; caller < 4; ++caller) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        parallel_for(16, 1, true, [&](int64_t begin, int64_t end) {
          for (int64_t outer = begin; outer < end; ++outer) {
            parallel_for(8, 1, false, [&](int64_t b, int64_t e) { total.fetch_add(e - b); });
          }
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(total.load() == 4 * 200 * 16 * 8);
}

// Every chunk once, and no stage before the one ahead of it is done.
void stages_run_in_order() {
  struct Work {
    std::vector<uint32_t> counts;
    std::vector<std::atomic<uint32_t>> done;
    explicit Work(std::vector<uint32_t> given) : counts(std::move(given)), done(counts.size()) {}
  };
  std::vector<std::thread> callers;
  for (unsigned seed = 0; seed < 3; ++seed) {
    callers.emplace_back([seed] {
      std::mt19937 random(seed);
      for (int round = 0; round < 2000; ++round) {
        std::vector<uint32_t> counts(1 + random() % 6);
        for (uint32_t& count : counts)
          count = random() % 3 ? static_cast<uint32_t>(random() % 40) : 1;
        Work work(counts);
        std::atomic<bool> wrong{false};
        std::vector<std::atomic<int>> visits(6 * 40);
        struct Context {
          Work& work;
          std::atomic<bool>& wrong;
          std::vector<std::atomic<int>>& visits;
        } context{work, wrong, visits};
        auto chunk = [](void* opaque, uint32_t stage, int64_t index) {
          auto& c = *static_cast<Context*>(opaque);
          if (stage && c.work.done[stage - 1].load() != c.work.counts[stage - 1]) c.wrong = true;
          c.visits[stage * 40 + static_cast<size_t>(index)].fetch_add(1);
          c.work.done[stage].fetch_add(1);
        };
        ThreadPool::instance().run(
            {chunk, &context, counts.data(), static_cast<uint32_t>(counts.size())}, round % 2);
        REQUIRE(!wrong);
        for (size_t stage = 0; stage < counts.size(); ++stage) {
          for (size_t index = 0; index < 40; ++index)
            REQUIRE(visits[stage * 40 + index].load() == (index < counts[stage] ? 1 : 0));
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

void thread_count_changes_while_idle() {
  for (int count : {1, 3, 2, 4}) {
    ThreadPool::instance().set_threads(count);
    std::atomic<int64_t> total{0};
    parallel_for(1000, 1, true, [&](int64_t begin, int64_t end) { total.fetch_add(end - begin); });
    REQUIRE(total.load() == 1000);
  }
}

void a_failure_travels_with_the_data() {
  Ref<Storage> a = Storage::create(8), b = Storage::create(8), c = Storage::create(8);
  Engine& engine = Engine::instance();
  engine.push(make_task([] { throw UserError("take: index out of range"); }, {}, {a}));
  bool ran = false;
  engine.push(make_task([&] { ran = true; }, {a}, {b}));
  engine.push(make_task([] {}, {}, {c}));
  REQUIRE(engine.wait_to_read(*b, kLong));
  wait_for_all();
  REQUIRE(!ran && b->failed && b->failure == a->failure && !c->failed);
  REQUIRE(b->failure->message.starts_with("take: index out of range"));
  REQUIRE(engine.take_unseen() == a->failure && !engine.take_unseen());
  engine.push(make_task([] {}, {}, {a}));  // overwritten: well again
  wait_for_all();
  REQUIRE(!a->failed);
}

void pending_work_holds_no_memory() {
  size_t before = memory::bytes_now();
  std::atomic<bool> go{false};
  Ref<Storage> gate = Storage::create(8);
  Ref<Storage> result = Storage::create(1 << 20);
  Engine& engine = Engine::instance();
  engine.push(make_task(
      [&] {
        while (!go) std::this_thread::yield();
      },
      {}, {gate}));
  engine.push(make_task([] {}, {gate}, {result}));
  REQUIRE(memory::bytes_now() <= before + 8);
  REQUIRE(!result->exclusive() || result->references() == 2);
  go = true;
  wait_for_all();
  REQUIRE(memory::bytes_now() == before + 8 + (1 << 20));
  REQUIRE(result->exclusive());
}

void independent_tasks_run_at_the_same_time() {
  ThreadPool::instance().set_threads(3);
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  Ref<Storage> a = Storage::create(8), b = Storage::create(8);
  auto meet = [&] {
    inside.fetch_add(1);
    auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!met && std::chrono::steady_clock::now() < limit) {
      if (inside.load() == 2) met = true;
      std::this_thread::yield();
    }
  };
  Engine::instance().push(make_task(meet, {}, {a}));
  Engine::instance().push(make_task(meet, {}, {b}));
  wait_for_all();
  REQUIRE(met);
}

// Overlapping in-place updates of a few storages from several threads against the same updates in
// order. A lock stands for Python's, under which calls are made.
void stress(int updates, int callers, unsigned seed) {
  constexpr size_t kStorages = 5;
  constexpr size_t kWidth = 16;
  std::vector<Ref<Storage>> storages;
  std::vector<std::vector<uint64_t>> expected(kStorages, std::vector<uint64_t>(kWidth));
  for (size_t index = 0; index < kStorages; ++index) {
    storages.push_back(Storage::create(kWidth * sizeof(uint64_t)));
    storages.back()->materialize();
    auto* values = reinterpret_cast<uint64_t*>(storages.back()->data());
    for (size_t place = 0; place < kWidth; ++place)
      values[place] = expected[index][place] = index * 100 + place;
  }
  auto update = [](uint64_t* target, const uint64_t* x, const uint64_t* y, uint64_t factor) {
    for (size_t place = 0; place < kWidth; ++place)
      target[place] = (target[place] + x[place] * factor + y[(place + 1) % kWidth]) ^ factor;
  };

  std::mutex caller_lock;
  std::vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller) {
    threads.emplace_back([&, caller] {
      std::mt19937 random(seed + static_cast<unsigned>(caller));
      Engine& engine = Engine::instance();
      for (int round = 0; round < updates / callers; ++round) {
        while (!engine.has_room()) engine.wait_for_room(std::chrono::milliseconds(50));
        std::lock_guard<std::mutex> guard(caller_lock);
        size_t t = random() % kStorages, x = random() % kStorages, y = random() % kStorages;
        uint64_t factor = random();
        update(expected[t].data(), expected[x].data(), expected[y].data(), factor);
        auto values = [&](size_t index) { return storages[index]; };
        auto run = [update, target = storages[t].get(), first = storages[x].get(),
                    second = storages[y].get(), factor] {
          update(reinterpret_cast<uint64_t*>(target->data()),
                 reinterpret_cast<const uint64_t*>(first->data()),
                 reinterpret_cast<const uint64_t*>(second->data()), factor);
        };
        bool ready = storages[t]->ready_to_write() && storages[x]->ready_to_read() &&
                     storages[y]->ready_to_read();
        if (ready && random() % 2) {
          run();  // inline, as small ready work is
        } else {
          engine.push(make_task(run, {values(x), values(y), values(t)}, {values(t)}));
        }
        if (random() % 1000 == 0) REQUIRE(engine.wait_to_read(*storages[x], kLong));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  wait_for_all();
  for (size_t index = 0; index < kStorages; ++index) {
    auto* values = reinterpret_cast<uint64_t*>(storages[index]->data());
    for (size_t place = 0; place < kWidth; ++place)
      REQUIRE(values[place] == expected[index][place]);
    REQUIRE(storages[index]->exclusive());
  }
}

// Threads that push one task after the other, each of which adds one to a storage of their own.
class Pushers {
 public:
  static constexpr size_t kWidth = 4000;

  explicit Pushers(int count) {
    for (int number = 0; number < count; ++number) {
      storages.push_back(Storage::create(kWidth * sizeof(uint64_t)));
      storages.back()->materialize();
      std::memset(storages.back()->data(), 0, kWidth * sizeof(uint64_t));
    }
    for (const Ref<Storage>& storage : storages) {
      threads_.emplace_back([this, storage] {
        while (!stop_) {
          while (!Engine::instance().has_room())
            Engine::instance().wait_for_room(std::chrono::milliseconds(50));
          auto add = [values = values_of(storage)] {
            for (size_t place = 0; place < kWidth; ++place) ++values[place];
          };
          Engine::instance().push(make_task(add, {storage}, {storage}));
        }
      });
    }
  }

  ~Pushers() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  static uint64_t* values_of(const Ref<Storage>& storage) {
    return reinterpret_cast<uint64_t*>(storage->data());
  }

  // Every task was run as a whole or not at all.
  bool whole() const {
    for (const Ref<Storage>& storage : storages) {
      uint64_t* values = values_of(storage);
      if (storage->failed || std::count(values, values + kWidth, values[0]) != kWidth) return false;
    }
    return true;
  }

  std::vector<Ref<Storage>> storages;

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

void waiting_ends_though_others_push() {
  Engine& engine = Engine::instance();
  {
    Pushers pushers(2);
    Ref<Storage> own = Storage::create(8);
    for (int round = 0; round < 200; ++round) {
      std::atomic<bool> done{false};
      engine.push(make_task([&done] { done = true; }, {}, {own}));
      uint64_t last = engine.last_pushed();
      REQUIRE(engine.wait_for_pushed(last, kLong));
      REQUIRE(done && engine.ended(last));
    }
    uint64_t last = engine.last_pushed();
    while (!engine.watch_pushed(last, std::chrono::milliseconds(1))) {
    }
  }
  wait_for_all();
  REQUIRE(engine.idle() && engine.ended(engine.last_pushed()));
}

void what_ends_elsewhere_is_waited_for() {
  for (int round = 0; round < 200; ++round) {
    Ref<Storage> storage = Storage::create(sizeof(int));
    std::atomic<int> seen{0};
    for (int step = 0; step < 4; ++step) {
      auto advance = [&seen, step] {
        int expected = step;
        REQUIRE(seen.compare_exchange_strong(expected, step + 1));
      };
      if (step % 2) {
        Engine::instance().push(make_task(advance, {}, {storage}));
      } else {
        Ref<Task> task(new LaterTask(advance));
        task->writes.push_back({storage, true, false, false, {}});
        Engine::instance().push(task);
      }
    }
    REQUIRE(Engine::instance().wait_to_read(*storage, kLong));
    REQUIRE(seen == 4);
    Ref<Task> failing(new LaterTask(nullptr, true));
    failing->writes.push_back({storage, true, false, false, {}});
    Engine::instance().push(failing);
    REQUIRE(Engine::instance().wait_to_read(*storage, kLong));
    REQUIRE(storage->failed && storage->failure->message == "the device failed");
    storage->failure->seen = true;
  }
  wait_for_all();
}

void a_held_pool_begins_no_task() {
  ThreadPool& pool = ThreadPool::instance();
  {
    Pushers pushers(2);
    for (int round = 0; round < 100; ++round) {
      pool.hold();
      REQUIRE(pushers.whole());
      uint64_t before = *Pushers::values_of(pushers.storages[0]);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      REQUIRE(before == *Pushers::values_of(pushers.storages[0]));
      pool.go_on();
    }
  }
  wait_for_all();
}

// Thread sanitizer allows no threads in a forked child; the allocator of address sanitizer (GCC 12)
// may hold its own lock over a fork, and a child then waits for ever.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
void a_forked_child_finds_whole_results_and_goes_on() {
  install_fork_handlers();
  for (int round = 0; round < 20; ++round) {
    Pushers pushers(3);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pid_t child = fork();
    if (child == 0) {
      alarm(30);  // ends it if it hangs
      bool good = pushers.whole();
      wait_for_all();
      good = good && pushers.whole() && Engine::instance().idle();
      Ref<Storage> fresh = Storage::create(8);
      Engine::instance().push(make_task([&fresh] { *Pushers::values_of(fresh) = 5; }, {}, {fresh}));
      wait_for_all();
      _exit(good && *Pushers::values_of(fresh) == 5 ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
  }
  wait_for_all();
}
#endif

int32_t add_kernel(void* const* buffers, const int64_t* slots, void*, int64_t begin, int64_t end) {
  auto* x = static_cast<const double*>(buffers[0]);
  auto* z = static_cast<double*>(buffers[1]);
  for (int64_t point = begin; point < end; ++point)
    z[point] = x[point] + static_cast<double>(slots[0]);
  return 0;
}

int32_t scratch_kernel(void* const* buffers, const int64_t*, void* scratch, int64_t begin,
                       int64_t end) {
  auto* x = static_cast<const double*>(buffers[0]);
  auto* z = static_cast<double*>(buffers[1]);
  auto* space = static_cast<double*>(scratch);
  for (int64_t point = begin; point < end; ++point) {
    space[point % 128] = 2 * x[point];
    z[point] = space[point % 128];
  }
  return 0;
}

int32_t index_kernel(void* const*, const int64_t*, void* scratch, int64_t, int64_t) {
  const int64_t details[] = {7, 5, -5, 1};
  std::memcpy(scratch, details, sizeof(details));
  return 5;
}

int32_t failing_kernel(void* const*, const int64_t*, void*, int64_t begin, int64_t) {
  return begin > 500 ? 1 : 0;
}

// Writes what it is given, and notices what the slot says.
int32_t noticing_kernel(void* const* buffers, const int64_t* slots, void* scratch, int64_t begin,
                        int64_t end) {
  int64_t nothing = 0;
  add_kernel(buffers, &nothing, scratch, begin, end);
  return kFirstNotice + static_cast<int32_t>(slots[0]);
}

Launch launch(Kernel kernel, std::vector<BufferPlace> buffers, int64_t points, int64_t slot) {
  return {kernel, std::move(buffers), {slot}, points, 64, 1024, "test", {}, {}};
}

// out = (x + 1) * 2 through the arena, and out2 = x + 5 beside the first step.
void programs_run_their_waves() {
  constexpr int64_t kPoints = 10000;
  ProgramCode code;
  code.input_count = 1;
  code.output_count = 2;
  code.arena_bytes = kPoints * sizeof(double);
  code.waves.emplace_back().launches = {
      launch(add_kernel, {{Space::Input, 0}, {Space::Arena, 0}}, kPoints, 1),
      launch(add_kernel, {{Space::Input, 0}, {Space::Output, 1}}, kPoints, 5)};
  code.waves.emplace_back().launches = {
      launch(scratch_kernel, {{Space::Arena, 0}, {Space::Output, 0}}, kPoints, 0)};
  code.finish();
  std::vector<double> x(kPoints), first(kPoints), second(kPoints);
  for (int64_t point = 0; point < kPoints; ++point)
    x[static_cast<size_t>(point)] = static_cast<double>(point);
  for (int threads : {1, 2, 4}) {
    ThreadPool::instance().set_threads(threads);
    for (int round = 0; round < 50; ++round) {
      Arena arena(code.arena_bytes);
      void* inputs[] = {x.data()};
      void* outputs[] = {first.data(), second.data()};
      code.execute(inputs, outputs, arena.data());
      for (int64_t point = 0; point < kPoints; point += 17) {
        auto place = static_cast<size_t>(point);
        REQUIRE(first[place] == (x[place] + 1) * 2 && second[place] == x[place] + 5);
      }
    }
  }
  ThreadPool::instance().set_threads(2);

  ProgramCode failing;
  failing.waves.emplace_back().launches = {launch(failing_kernel, {}, kPoints, 0)};
  failing.finish();
  bool thrown = false;
  try {
    failing.execute(nullptr, nullptr, nullptr);
  } catch (const UserError& error) {
    thrown = std::string(error.what()).starts_with("test: an index is out of range");
  }
  REQUIRE(thrown);

  ProgramCode indexing;
  indexing.waves.emplace_back().launches = {launch(index_kernel, {}, kPoints, 0)};
  indexing.finish();
  thrown = false;
  try {
    indexing.execute(nullptr, nullptr, nullptr);
  } catch (const IndexOutOfRange& error) {
    thrown = std::string(error.what()) ==
             "test: index 7 is out of bounds for axis 1 with size 5; expected -5 to 4";
  }
  REQUIRE(thrown);
}

std::atomic<int> notices_heard{0};
std::atomic<bool> listener_takes{true};

bool hear_notice(int32_t number) {
  REQUIRE(number == 3);
  notices_heard.fetch_add(1);
  return listener_takes.load();
}

void notices_are_told_once_and_programs_go_on() {
  constexpr int64_t kPoints = 10000;
  set_notice_listener(hear_notice);
  std::vector<double> x(kPoints, 4), z(kPoints);
  auto run = [&](int64_t number) {
    ProgramCode code;
    code.input_count = 1;
    code.output_count = 1;
    code.waves.emplace_back().launches = {
        launch(noticing_kernel, {{Space::Input, 0}, {Space::Output, 0}}, kPoints, number)};
    code.finish();
    std::fill(z.begin(), z.end(), 0.0);
    void* inputs[] = {x.data()};
    void* outputs[] = {z.data()};
    code.execute(inputs, outputs, nullptr);
    for (double each : z) REQUIRE(each == 4);
  };
  run(3);
  run(3);
  REQUIRE(notices_heard.load() == 1);
  run(kNoticeCount);  // told to nobody
  listener_takes.store(false);
  forget_notices();
  run(3);
  int heard = notices_heard.load();
  REQUIRE(heard > 1);
  listener_takes.store(true);
  run(3);
  run(3);
  REQUIRE(notices_heard.load() == heard + 1);
  set_notice_listener(nullptr);
}

// row, state -> their sum, twice
int32_t running_sum_kernel(void* const* buffers, const int64_t*, void*, int64_t begin,
                           int64_t end) {
  for (int64_t point = begin; point < end; ++point) {
    double sum = static_cast<const double*>(buffers[0])[point] +
                 static_cast<const double*>(buffers[1])[point];
    if (sum > 1000) return 1;
    static_cast<double*>(buffers[2])[point] = sum;
    static_cast<double*>(buffers[3])[point] = sum;
  }
  return 0;
}

// state -> whether its first element is below 10
int32_t below_ten_kernel(void* const* buffers, const int64_t*, void*, int64_t, int64_t) {
  *static_cast<bool*>(buffers[1]) = *static_cast<const double*>(buffers[0]) < 10;
  return 0;
}

Ref<ProgramCode> one_launch(Launch launch, size_t inputs, size_t outputs) {
  Ref<ProgramCode> code(new ProgramCode);
  code->input_count = inputs;
  code->output_count = outputs;
  code->waves.emplace_back().launches = {std::move(launch)};
  code->finish();
  return code;
}

Ref<ProgramCode> control_code(std::shared_ptr<const Control> control, size_t inputs,
                              size_t outputs) {
  Launch launch{};
  for (size_t index = 0; index < inputs; ++index)
    launch.buffers.push_back({Space::Input, static_cast<int64_t>(index)});
  for (size_t index = 0; index < outputs; ++index)
    launch.buffers.push_back({Space::Output, static_cast<int64_t>(index)});
  launch.points = launch.grain = 1;
  launch.operator_name = "loop";
  launch.control = std::move(control);
  return one_launch(std::move(launch), inputs, outputs);
}

void loops_run_their_programs() {
  constexpr int64_t kRows = 5;
  constexpr int64_t kWidth = 1000;
  constexpr size_t kBytes = kWidth * sizeof(double);
  auto body = one_launch(
      launch(running_sum_kernel,
             {{Space::Input, 0}, {Space::Input, 1}, {Space::Output, 0}, {Space::Output, 1}}, kWidth,
             0),
      2, 2);
  auto sums = std::make_shared<Control>();
  sums->body = body;
  sums->data = sums->states = sums->outs = 1;
  sums->most = kRows;
  sums->row_bytes = {kBytes, kBytes};
  sums->state_bytes = {kBytes};
  sums->kept = {true};
  for (bool reverse : {false, true}) {
    sums->reverse = reverse;
    sums->check();
    auto code = control_code(std::make_shared<Control>(*sums), 2, 3);
    for (int threads : {1, 2, 4}) {
      ThreadPool::instance().set_threads(threads);
      std::vector<double> rows(kRows * kWidth), begin(kWidth, 100);
      std::vector<double> out(kRows * kWidth), last(kWidth), stack(kRows * kWidth);
      for (size_t place = 0; place < rows.size(); ++place)
        rows[place] = static_cast<double>(place / kWidth + 1);
      void* inputs[] = {rows.data(), begin.data()};
      void* outputs[] = {out.data(), last.data(), stack.data()};
      code->execute(inputs, outputs, nullptr);
      double state = 100;
      for (int64_t step = 0; step < kRows; ++step) {
        auto row = static_cast<size_t>((reverse ? kRows - 1 - step : step) * kWidth + 7);
        REQUIRE(stack[row] == state);
        state += rows[row];
        REQUIRE(out[row] == state);
      }
      REQUIRE(last[7] == state && last[kWidth - 1] == state);

      rows[2 * kWidth] = 5000;
      bool thrown = false;
      try {
        code->execute(inputs, outputs, nullptr);
      } catch (const UserError& error) {
        thrown = std::string(error.what()).starts_with("loop: iteration 2: test: ");
      }
      REQUIRE(thrown);
    }
  }
  ThreadPool::instance().set_threads(2);

  // While the state is below 10 it is doubled: what is added is the state itself.
  auto doubled = one_launch(
      launch(running_sum_kernel,
             {{Space::Input, 0}, {Space::Input, 0}, {Space::Output, 0}, {Space::Output, 1}}, kWidth,
             0),
      1, 2);
  auto again = std::make_shared<Control>();
  again->kind = Control::Kind::While;
  again->body = doubled;
  again->other =
      one_launch(launch(below_ten_kernel, {{Space::Input, 0}, {Space::Output, 0}}, 1, 0), 1, 1);
  again->states = again->outs = 1;
  again->most = 7;
  again->row_bytes = again->state_bytes = {kBytes};
  again->kept = {false};
  again->check();
  auto code = control_code(again, 1, 3);
  std::vector<double> begin(kWidth, 3), out(7 * kWidth, -1), last(kWidth);
  int64_t made = -1;
  void* inputs[] = {begin.data()};
  void* outputs[] = {out.data(), last.data(), &made};
  code->execute(inputs, outputs, nullptr);
  REQUIRE(made == 2 && last[0] == 12 && out[0] == 6 && out[kWidth] == 12);
  REQUIRE(out[2 * kWidth] == 0 && out[7 * kWidth - 1] == 0);
}

// A library that takes roots of diagonal matrices, and refuses what is not positive.
std::atomic<int> library_threads{3};

void fake_potrf(char*, int* n, double* a, int*, int* info) {
  REQUIRE(library_threads.load() == 1);
  for (int place = 0; place < *n; ++place) {
    double& element = a[place * (*n + 1)];
    if (!(element > 0)) {
      *info = place + 1;
      return;
    }
    element = std::sqrt(element);
  }
}

// One program on several threads, on batches of their own: what fails in one is told there, by the
// number that it has in it, and the others are computed. `given`: a batch, of which one fails.
void launches_at_once_have_a_status_each(const ProgramCode& code,
                                         const std::vector<double>& given) {
  constexpr size_t kThreads = 4, kStride = 9, kFailing = 321;
  std::vector<std::thread> threads;
  for (size_t number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      std::vector<double> own = given, found(given.size());
      own[kFailing * kStride + 4] = 4;
      size_t failing = 10 + 200 * number;
      if (number) own[failing * kStride] = -1;  // the first has none
      std::string expected = "test: matrix " + std::to_string(failing) +
                             " of the batch is not positive definite: its leading minor of order 1";
      for (int round = 0; round < 50; ++round) {
        void* inputs[] = {own.data()};
        void* outputs[] = {found.data()};
        std::string told;
        try {
          code.execute(inputs, outputs, nullptr);
        } catch (const UserError& error) {
          told = error.what();
        }
        REQUIRE(number ? told.starts_with(expected) : told.empty());
        if (!number) REQUIRE(found[kFailing * kStride + 4] == 2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Lines of a batch in chunks on several threads, all of each and the first few.
void lines_are_put_in_order() {
  constexpr int64_t kLines = 500, kExtent = 100;
  std::vector<float> given(kLines * kExtent);
  for (int64_t line = 0; line < kLines; ++line) {
    for (int64_t i = 0; i < kExtent; ++i)
      given[static_cast<size_t>(line * kExtent + i)] =
          static_cast<float>((i * 37 + line) % kExtent);
  }
  for (int64_t count : {kExtent, int64_t(5)}) {
    const std::vector<int64_t> numbers = {kExtent, count, 1};
    ProgramCode code;
    code.input_count = code.output_count = 1;
    code.waves.emplace_back().launches = {{routine_kernel("order", 0),
                                           {{Space::Input, 0}, {Space::Output, 0}},
                                           {kLines, kExtent, count, 1},
                                           kLines,
                                           1,
                                           routine_scratch_bytes("order", 0, numbers),
                                           "test",
                                           {}}};
    code.finish();
    REQUIRE(!code.may_leave_half(0));
    for (int threads : {1, 4}) {
      ThreadPool::instance().set_threads(threads);
      std::vector<int64_t> found(static_cast<size_t>(kLines * count), -1);
      void* inputs[] = {given.data()};
      void* outputs[] = {found.data()};
      for (int round = 0; round < 20; ++round) code.execute(inputs, outputs, nullptr);
      for (int64_t line = 0; line < kLines; ++line) {
        for (int64_t i = 0; i < count; ++i) {
          int64_t place = found[static_cast<size_t>(line * count + i)];
          REQUIRE(given[static_cast<size_t>(line * kExtent + place)] == static_cast<float>(i));
        }
      }
    }
  }
}

// Batches in chunks on several threads: matrices find their own memory, the library has one thread
// meanwhile, and a failure tells which matrix it was.
void routines_work_through_batches() {
  constexpr int64_t kMatrices = 999, kSize = 3;
  REQUIRE(set_library_function("dpotrf", reinterpret_cast<void*>(fake_potrf)));
  REQUIRE(!set_library_function("dnothing", reinterpret_cast<void*>(fake_potrf)));
  set_library_threads([] { return library_threads.load(); },
                      [](int count) { library_threads.store(count); });
  const std::vector<int64_t> numbers = {kSize, 1};
  ProgramCode code;
  code.input_count = code.output_count = 1;
  code.waves.emplace_back().launches = {{routine_kernel("potrf", 1),
                                         {{Space::Input, 0}, {Space::Output, 0}},
                                         {kMatrices, kSize, 1, 0},
                                         kMatrices,
                                         1,
                                         routine_scratch_bytes("potrf", 1, numbers),
                                         "test",
                                         {}}};
  code.finish();
  std::vector<double> given(kMatrices * kSize * kSize, 7), found(given.size());
  for (int64_t matrix = 0; matrix < kMatrices; ++matrix) {
    for (int64_t place = 0; place < kSize; ++place)
      given[static_cast<size_t>(matrix * kSize * kSize + place * (kSize + 1))] =
          static_cast<double>(matrix + 1);
  }
  void* inputs[] = {given.data()};
  void* outputs[] = {found.data()};
  for (int threads : {1, 2, 4}) {
    ThreadPool::instance().set_threads(threads);
    for (int round = 0; round < 20; ++round) code.execute(inputs, outputs, nullptr);
    for (int64_t matrix = 0; matrix < kMatrices; ++matrix) {
      const double* factor = found.data() + matrix * kSize * kSize;
      REQUIRE(factor[4] == std::sqrt(matrix + 1.0) && factor[3] == 7 && factor[1] == 0);
    }
    REQUIRE(library_threads.load() == 3);
  }
  given[321 * kSize * kSize + 4] = -1;
  bool thrown = false;
  try {
    code.execute(inputs, outputs, nullptr);
  } catch (const UserError& error) {
    thrown = std::string(error.what())
                 .starts_with("test: matrix 321 of the batch is not positive definite: its leading "
                              "minor of order 2 is not positive; ");
  }
  REQUIRE(thrown && library_threads.load() == 3);
  launches_at_once_have_a_status_each(code, given);
  REQUIRE(library_threads.load() == 3);
  set_library_threads(nullptr, nullptr);
  ThreadPool::instance().set_threads(2);
}

// A code generator whose object code is the text, backwards; it refuses what begins with '!'.
struct FakeModule {
  std::string text;
};
std::atomic<int> machines_in_use[3], fake_objects{0};

template <class T>
T* counted(T* object) {
  ++fake_objects;
  return object;
}

const CodeGenerator kBackwards = {
    []() -> void* { return counted(new int); },
    [](void* context) { --fake_objects, delete static_cast<int*>(context); },
    [](void*, const char* text, const char** error) -> void* {
      if (text[0] != '!') return counted(new FakeModule{text});
      *error = counted(strdup("refused"));
      return nullptr;
    },
    [](void*, const char** error) {
      *error = counted(strdup(""));
      return 0;
    },
    [](void* machine, void* module, int, const char**) -> void* {
      auto* users = static_cast<std::atomic<int>*>(machine);
      REQUIRE(users->fetch_add(1) == 0);  // a machine is one thread's at a time
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      const std::string& text = static_cast<FakeModule*>(module)->text;
      users->fetch_sub(1);
      return counted(new std::string(text.rbegin(), text.rend()));
    },
    [](void* module) { --fake_objects, delete static_cast<FakeModule*>(module); },
    [](void* buffer) -> const void* { return static_cast<std::string*>(buffer)->data(); },
    [](void* buffer) { return static_cast<std::string*>(buffer)->size(); },
    [](void* buffer) { --fake_objects, delete static_cast<std::string*>(buffer); },
    [](const char* text) { --fake_objects, std::free(const_cast<char*>(text)); },
};

void object_code_comes_in_order() {
  for (int machines : {1, 3}) {
    std::vector<void*> pointers;
    for (int machine = 0; machine < machines; ++machine)
      pointers.push_back(&machines_in_use[machine]);
    ObjectCompiler compiler(kBackwards, pointers);
    for (int number = 0; number < 50; ++number)
      compiler.add((number == 20 ? "!" : "") + std::to_string(100 + number));
    std::vector<ObjectCode> found = compiler.finish();
    REQUIRE(found.size() == 50);
    for (int number = 0; number < 50; ++number) {
      std::string text = std::to_string(100 + number);
      REQUIRE(found[number].refused == (number == 20));
      REQUIRE(found[number].content ==
              (number == 20 ? "refused" : std::string(text.rbegin(), text.rend())));
    }
    ObjectCompiler abandoned(kBackwards, pointers);
    for (int number = 0; number < 50; ++number) abandoned.add("text");
  }
  REQUIRE(fake_objects == 0);
}

void fork_join_time() {
  constexpr int kRounds = 20000;
  ThreadPool::instance().set_threads(2);
  auto begin = std::chrono::steady_clock::now();
  for (int round = 0; round < kRounds; ++round) parallel_for(2, 1, false, [](int64_t, int64_t) {});
  std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - begin;
  std::printf("fork and join of two threads: %.0f ns\n", spent.count() / kRounds);
}

std::vector<uint8_t> bytes_of(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> made(count);
  for (uint8_t& byte : made) byte = static_cast<uint8_t>(random());
  return made;
}

// Every buffer is as long as its content: what is written or read beyond is seen by a sanitizer.
void padding_is_dropped() {
  for (size_t pixels = 0; pixels < 40; ++pixels) {
    for (bool reversed : {false, true}) {
      const std::vector<uint8_t> from = bytes_of(4 * pixels, 1);
      std::vector<uint8_t> to(3 * pixels);
      drop_padding(from.data(), pixels, reversed, to.data());
      for (size_t place = 0; place < to.size(); ++place) {
        const size_t channel = place % 3;
        REQUIRE(to[place] == from[4 * (place / 3) + (reversed ? 2 - channel : channel)]);
      }
    }
  }
}

template <class Entry>
void bytes_are_looked_up_as() {
  for (int64_t channels : {1, 2, 3, 4}) {
    for (bool turned : {false, true}) {
      const int64_t height = 5, width = 7, row = width * channels;
      const std::vector<uint8_t> from = bytes_of(static_cast<size_t>(height * row), 2);
      std::vector<Entry> table(static_cast<size_t>(256 * channels));
      for (size_t place = 0; place < table.size(); ++place)
        table[place] = static_cast<Entry>(place * 7919);
      std::vector<Entry> to(from.size());
      const uint8_t* first = from.data() + (turned ? (height - 1) * row + row - channels : 0);
      look_up({first, height, width, channels, turned ? -row : row, turned ? -channels : channels},
              table.data(), sizeof(Entry), to.data());
      for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x) {
          for (int64_t channel = 0; channel < channels; ++channel) {
            const int64_t pixel = turned ? (height - 1 - y) * width + width - 1 - x : y * width + x;
            const uint8_t byte = from[static_cast<size_t>(pixel * channels + channel)];
            REQUIRE(to[static_cast<size_t>((channel * height + y) * width + x)] ==
                    table[static_cast<size_t>(256 * channel + byte)]);
          }
        }
      }
    }
  }
}

void bytes_are_looked_up() {
  bytes_are_looked_up_as<uint8_t>();
  bytes_are_looked_up_as<uint16_t>();
  bytes_are_looked_up_as<uint32_t>();
  bytes_are_looked_up_as<uint64_t>();
}

// Taps begin before the image, and end behind it.
void images_are_resampled() {
  for (int64_t channels : {1, 2, 3, 4}) {
    for (int64_t count : {1, 2, 3, 4, 5}) {
      const int64_t height = 4, width = 6, new_height = 5, new_width = 3;
      const std::vector<uint8_t> from = bytes_of(static_cast<size_t>(height * width * channels), 3);
      const std::vector<int64_t> rows{-2, 0, 1, 3, 3}, columns{-1, 2, 5};
      std::vector<float> down(static_cast<size_t>(new_height * count)), along;
      for (size_t place = 0; place < down.size(); ++place)
        down[place] = 0.3f + 0.01f * static_cast<float>(place % 7);
      along.assign(down.begin(), down.begin() + static_cast<std::ptrdiff_t>(new_width * count));
      const Taps vertical{new_height, count, rows.data(), down.data()};
      const Taps horizontal{new_width, count, columns.data(), along.data()};
      std::vector<uint8_t> to(static_cast<size_t>(new_height * new_width * channels));
      resample(from.data(), height, width, channels, width * channels, &vertical, &horizontal,
               to.data());
      auto inside = [](int64_t place, int64_t size) {
        return std::min(std::max<int64_t>(place, 0), size - 1);
      };
      for (int64_t place = 0; place < static_cast<int64_t>(to.size()); ++place) {
        const int64_t channel = place % channels, x = place / channels % new_width;
        const int64_t y = place / channels / new_width;
        double sum = 0;
        for (int64_t i = 0; i < count; ++i) {
          for (int64_t j = 0; j < count; ++j) {
            const int64_t old_y = inside(rows[static_cast<size_t>(y)] + i, height);
            const int64_t old_x = inside(columns[static_cast<size_t>(x)] + j, width);
            sum += static_cast<double>(down[static_cast<size_t>(i * new_height + y)]) *
                   static_cast<double>(along[static_cast<size_t>(j * new_width + x)]) *
                   from[static_cast<size_t>((old_y * width + old_x) * channels + channel)];
          }
        }
        REQUIRE(std::fabs(std::min(sum, 255.0) - to[static_cast<size_t>(place)]) < 0.51);
      }
    }
  }
}

void pixels_are_picked() {
  for (size_t size : {1, 2, 3, 4, 12, 16}) {
    const std::vector<uint8_t> from = bytes_of(4 * 5 * size, 4);
    const std::vector<int64_t> rows{3, 3, 0}, columns{4, 0, 2, 2};
    std::vector<uint8_t> to(rows.size() * columns.size() * size);
    pick(reinterpret_cast<const char*>(from.data()), static_cast<int64_t>(5 * size), size,
         rows.data(), 3, columns.data(), 4, reinterpret_cast<char*>(to.data()));
    for (size_t place = 0; place < to.size(); ++place) {
      const size_t pixel = place / size;
      const auto row = static_cast<size_t>(rows[pixel / 4]);
      const auto column = static_cast<size_t>(columns[pixel % 4]);
      REQUIRE(to[place] == from[(row * 5 + column) * size + place % size]);
    }
  }
}

}  // namespace

void check_nested(const profile::ThreadEvents& thread) {
  // In the order in which they ended: whatever ended inside of a span began inside of it.
  for (size_t index = 0; index < thread.events.size(); ++index) {
    const profile::Event& event = thread.events[index];
    REQUIRE(event.begin <= event.end);
    for (size_t earlier = index; earlier-- > 0;) {
      const profile::Event& before = thread.events[earlier];
      if (before.end <= event.begin) break;
      REQUIRE(before.begin >= event.begin && before.depth > event.depth);
    }
  }
}

void profiles_are_nested_and_taken_while_threads_record() {
  using profile::SpanKind;
  constexpr profile::Kinds kAll = (1u << profile::kSpanKinds) - 1;
  REQUIRE(profile::take().empty());
  {
    profile::Span before(SpanKind::Python, "before");
    profile::start(kAll, 1 << 20);
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int number = 0; number < 3; ++number) {
    threads.emplace_back([&stop, number] {
      profile::set_thread_title("thread " + std::to_string(number));
      do {
        profile::Span outer(SpanKind::Block, "outer");
        uint64_t work = profile::next_work();
        for (int part = 0; part < 3; ++part)
          profile::add_kernel("kernel", profile::place, profile::now(), work, &stop);
        size_t left_open = profile::begin(SpanKind::Python, "an error leaves it open");
        (void)left_open;
      } while (!stop.load());
    });
  }
  size_t outers = 0, kernels = 0;
  std::map<uint64_t, uint64_t> seen;  // of each thread, how many events
  auto look = [&] {
    for (const profile::ThreadEvents& thread : profile::take()) {
      check_nested(thread);
      REQUIRE(thread.title.rfind("thread ", 0) == 0);
      REQUIRE(thread.first == seen[thread.number]);
      for (const profile::Event& event : thread.events) {
        outers += thread.names[event.name] == "outer";
        kernels += thread.names[event.name] == "kernel";
        REQUIRE(thread.names[event.name] != "before");
      }
      seen[thread.number] += thread.events.size();
      profile::forget(thread.number, seen[thread.number]);
      profile::forget(thread.number, 0);  // once more, and nothing
    }
  };
  for (int round = 0; round < 50; ++round) look();
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  look();
  REQUIRE(outers >= 3 && kernels >= outers && kernels <= outers + 50 * 3);  // taken in between
  profile::stop();
  {
    profile::Span after(SpanKind::Python, "after");
  }
  for (const profile::ThreadEvents& thread : profile::take()) REQUIRE(thread.events.empty());
  profile::start(kAll, 2);
  for (int number = 0; number < 5; ++number) profile::Span span(SpanKind::Python, "few");
  profile::stop();
  const std::vector<profile::ThreadEvents> few = profile::take();
  REQUIRE(few.size() == 1 && few[0].events.size() == 2 && few[0].left_out == 3);
  ThreadPool::instance().set_threads(4);
}

int main() {
  memory_is_counted_pooled_and_bounded();
  zeroed_memory_is_zero();
  code_that_is_no_object_is_refused();
#if !defined(__SANITIZE_ADDRESS__)
  unused_memory_goes_back();
#endif
  memory_is_safe_among_threads();
  ThreadPool::instance().set_threads(4);
  tasks_wait_for_memory_that_others_hold();
  every_point_is_visited_once();
  loops_nest_and_overlap();
  stages_run_in_order();
  thread_count_changes_while_idle();
  a_failure_travels_with_the_data();
  pending_work_holds_no_memory();
  independent_tasks_run_at_the_same_time();
  waiting_ends_though_others_push();
  what_ends_elsewhere_is_waited_for();
  a_held_pool_begins_no_task();
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  a_forked_child_finds_whole_results_and_goes_on();
#endif
  programs_run_their_waves();
  notices_are_told_once_and_programs_go_on();
  loops_run_their_programs();
  routines_work_through_batches();
  lines_are_put_in_order();
  object_code_comes_in_order();
  profiles_are_nested_and_taken_while_threads_record();
  padding_is_dropped();
  bytes_are_looked_up();
  images_are_resampled();
  pixels_are_picked();
  fork_join_time();
  ThreadPool::instance().set_threads(4);
  stress(100000, 3, 7);
  std::puts("core tests: passed");
}
