#include "profile/profile.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <unordered_map>

#include "memory/storage.h"

#if defined(__linux__)
#include <sys/syscall.h>
#else
#include <pthread.h>
#endif

namespace tigon::profile {

std::atomic<Kinds> watched{0};
constinit thread_local Place place{};

namespace {

std::atomic<uint64_t> session{0};  // 0: never started
std::atomic<uint64_t> recorded{0};
std::atomic<uint64_t> works{0};
std::atomic<uint64_t> most_events{0};
std::atomic<Kinds> chosen{0};  // written under the registry's lock; 0: no session is under way

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

// Written by its thread and read by whoever takes the events.
struct Log {
  SpinLock lock;
  uint64_t session = 0;
  ThreadEvents all;
  std::unordered_map<std::string, uint32_t, TextHash, std::equal_to<>> numbers;
  uint64_t last_work = 0;  // of the kernel that was recorded last, if nothing has come since
  const void* last_launch = nullptr;
  bool ended = false;

  uint32_t number_of(std::string_view text) {
    auto found = numbers.find(text);
    if (found != numbers.end()) return found->second;
    auto number = static_cast<uint32_t>(all.names.size());
    all.names.emplace_back(text);
    numbers.emplace(text, number);
    return number;
  }

  void begin(uint64_t now_session) {
    session = now_session;
    all.names.assign(1, "");
    numbers.clear();
    all.events.clear();
    all.first = all.left_out = 0;
    last_work = 0;
    last_launch = nullptr;
  }

  void add(const Event& event, uint64_t work = 0, const void* launch = nullptr) {
    if (recorded.fetch_add(1, std::memory_order_relaxed) >=
        most_events.load(std::memory_order_relaxed)) {
      ++all.left_out;
      return;
    }
    all.events.push_back(event);
    last_work = work;
    last_launch = launch;
  }
};

struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<Log>> logs;
  std::vector<std::shared_ptr<Log>> abandoned;  // in a forked child
  uint64_t next_number = 0;
  std::set<std::string, std::less<>> texts;
};

Registry& registry() {
  static auto* instance = new Registry;  // never destroyed: workers outlive static destruction
  return *instance;
}

uint64_t system_thread_id() {
#if defined(__linux__)
  return static_cast<uint64_t>(syscall(SYS_gettid));
#else
  uint64_t id = 0;
  pthread_threadid_np(nullptr, &id);
  return id;
#endif
}

struct Open {
  SpanKind kind;
  std::string name;
  int64_t begin;
  Place where;
};

struct Mine {
  std::shared_ptr<Log> log;
  std::vector<Open> open;
  uint64_t session = 0;
  std::string title;
  ~Mine() {
    if (log) log->ended = true;
  }
};

thread_local Mine mine;

Log& log_of_thread() {
  if (!mine.log) {
    auto log = std::make_shared<Log>();
    log->all.system_id = system_thread_id();
    log->all.title = mine.title;
    Registry& all = registry();
    std::lock_guard<std::mutex> guard(all.mutex);
    log->all.number = all.next_number++;
    all.logs.push_back(log);
    mine.log = std::move(log);
  }
  return *mine.log;
}

Event event_at(Log& log, SpanKind kind, std::string_view name, const Place& where, int64_t begin,
               int64_t end, size_t depth) {
  return {begin,
          end,
          static_cast<int64_t>(memory::bytes_now()),
          log.number_of(name),
          where.file ? log.number_of(where.file) : 0,
          where.block ? log.number_of(*where.block) : 0,
          where.line,
          static_cast<uint32_t>(kind),
          static_cast<uint32_t>(depth)};
}

// What was open when another session was under way says nothing in this one.
void enter_session(uint64_t now_session) {
  if (mine.session == now_session) return;
  mine.session = now_session;
  mine.open.clear();
}

}  // namespace

const std::string* lasting(std::string_view text) {
  Registry& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  auto found = all.texts.find(text);
  if (found == all.texts.end()) found = all.texts.emplace(text).first;
  return &*found;
}

int64_t now() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

void start(Kinds kinds, uint64_t most) {
  Registry& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  session.fetch_add(1);
  recorded.store(0);
  most_events.store(most);
  std::erase_if(all.logs, [](const std::shared_ptr<Log>& log) { return log->ended; });
  chosen.store(kinds);
  watched.store(kinds);
}

void pause() { watched.store(0); }

void resume() {
  Registry& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  watched.store(chosen.load());
}

void stop() {
  end(0);
  Registry& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  chosen.store(0);
  watched.store(0);
}

bool is_running() { return chosen.load(std::memory_order_relaxed) != 0; }
uint64_t session_number() { return session.load(); }

std::vector<ThreadEvents> take() {
  Registry& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  uint64_t now_session = session.load();
  std::vector<ThreadEvents> found;
  for (const std::shared_ptr<Log>& log : all.logs) {
    std::lock_guard<SpinLock> held(log->lock);
    if (log->session != now_session) continue;
    found.push_back(log->all);
    log->last_work = 0;  // what somebody has seen grows no more
  }
  return found;
}

void forget(uint64_t thread, uint64_t until) {
  Registry& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  for (const std::shared_ptr<Log>& log : all.logs) {
    std::lock_guard<SpinLock> held(log->lock);
    if (log->all.number != thread || log->session != session.load()) continue;
    std::deque<Event>& events = log->all.events;
    auto gone = std::min<uint64_t>(until - std::min(until, log->all.first), events.size());
    events.erase(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(gone));
    log->all.first += gone;
  }
}

size_t begin(SpanKind kind, std::string_view name) {
  enter_session(session.load(std::memory_order_relaxed));
  mine.open.push_back({kind, std::string(name), now(), place});
  return mine.open.size() - 1;
}

void end(size_t span) {
  uint64_t now_session = session.load(std::memory_order_relaxed);
  if (mine.session != now_session || mine.open.size() <= span) return;
  int64_t ends = now();
  Log& log = log_of_thread();
  std::lock_guard<SpinLock> guard(log.lock);
  if (log.session != now_session) log.begin(now_session);
  while (mine.open.size() > span) {
    const Open& last = mine.open.back();
    log.add(
        event_at(log, last.kind, last.name, last.where, last.begin, ends, mine.open.size() - 1));
    mine.open.pop_back();
  }
}

void set_thread_title(const std::string& title) {
  mine.title = title;
  if (!mine.log) return;
  std::lock_guard<SpinLock> guard(mine.log->lock);
  mine.log->all.title = title;
}

uint64_t next_work() { return works.fetch_add(1, std::memory_order_relaxed) + 1; }

void add_kernel(const std::string& name, const Place& where, int64_t begin, uint64_t work,
                const void* launch) {
  uint64_t now_session = session.load(std::memory_order_relaxed);
  enter_session(now_session);
  int64_t ends = now();
  Log& log = log_of_thread();
  std::lock_guard<SpinLock> guard(log.lock);
  if (log.session != now_session) log.begin(now_session);
  Event event = event_at(log, SpanKind::Kernel, name, where, begin, ends, mine.open.size());
  if (log.last_work == work && log.last_launch == launch && !log.all.events.empty()) {
    Event& before = log.all.events.back();
    if (before.depth == event.depth) {
      before.end = ends;
      before.bytes = event.bytes;
      return;
    }
  }
  log.add(event, work, launch);
}

void Span::open(SpanKind kind, std::string_view name) {
  before_ = place;
  number_ = static_cast<int64_t>(begin(kind, name));
}

void Span::open_at(SpanKind kind, std::string_view name, const Place& where) {
  before_ = place;
  place = where;
  number_ = watches(kind) ? static_cast<int64_t>(begin(kind, name)) : INT64_MAX;
}

void Span::close() {
  end(static_cast<size_t>(number_));
  place = before_;
}

void before_fork() { registry().mutex.lock(); }
void after_fork_parent() { registry().mutex.unlock(); }

// A child profiles when it is told to. Logs of threads that it does not have may be half written:
// they are kept, and nobody reads them.
void after_fork_child() {
  Registry& all = registry();
  new (&all.mutex) std::mutex;
  chosen.store(0);
  watched.store(0);
  session.fetch_add(1);
  all.abandoned.insert(all.abandoned.end(), all.logs.begin(), all.logs.end());
  all.logs.clear();
  mine.log.reset();
  mine.open.clear();
}

}  // namespace tigon::profile
