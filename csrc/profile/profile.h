// What each thread did, and when: spans, strictly nested, with the place in the program that they
// belong to. Nothing is recorded, and one number is read, while nobody profiles.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "core/common.h"

namespace tigon::profile {

enum class SpanKind : uint8_t {
  Python,    // a function of the user's, or one of ours that it calls
  Data,      // the same, of what reads data
  Block,     // the call of a block
  Operator,  // the call of one operator on arrays
  Program,   // an execution on the caller's thread
  Task,      // what the engine runs
  Kernel,    // a launch, or the part of it that one thread did without doing others between
  Wait,      // for the engine
  Backward,  // the walk along the tape
  Compile,
};
inline constexpr int kSpanKinds = 10;

using Kinds = uint32_t;  // a bit for each
extern std::atomic<Kinds> watched;

inline bool watches(SpanKind kind) {
  return (watched.load(std::memory_order_relaxed) >> static_cast<int>(kind)) & 1;
}
inline bool watches_any() { return watched.load(std::memory_order_relaxed) != 0; }

// Where in the user's program a thread is. Strings live for ever.
struct Place {
  const char* file;
  int line;
  const std::string* block;  // the innermost one that is called
  bool by_operator;          // one operator is called, and no block within
};
extern constinit thread_local Place place;

// A copy that lives for ever; each text once. Names of blocks are few.
const std::string* lasting(std::string_view text);

struct Event {
  int64_t begin;  // nanoseconds of the steady clock
  int64_t end;
  int64_t bytes;   // of live arrays and arenas, at the end
  uint32_t name;   // these three are numbers in the names of the thread
  uint32_t file;   // 0: none
  uint32_t block;  // 0: none
  int32_t line;
  uint32_t kind;
  uint32_t depth;  // how many spans of the thread were open around it
};

struct ThreadEvents {
  uint64_t number;     // of the thread, in the order in which threads began to record
  uint64_t system_id;  // as the operating system counts
  std::string title;   // where it has one
  std::vector<std::string> names;
  uint64_t first = 0;  // how many events of the session came before those that are here
  std::deque<Event> events;
  uint64_t left_out = 0;
};

int64_t now();

// A session of at most so many events; those of the one before are forgotten.
void start(Kinds kinds, uint64_t most);
void pause();
void resume();
// Spans that this thread has open end now.
void stop();
bool is_running();
uint64_t session_number();
// What there is of this session. It stays: whoever has put it down says so, event by event counted
// from the beginning of the session, and may be interrupted in between.
std::vector<ThreadEvents> take();
void forget(uint64_t thread, uint64_t until);

// Of this thread; gives what `end` takes. Ending a span ends those inside of it that are open.
size_t begin(SpanKind kind, std::string_view name);
void end(size_t span);
void set_thread_title(const std::string& title);

// A span that has ended, around no others. One that follows on the thread at once, of the same work
// and launch, is the same span.
void add_kernel(const std::string& name, const Place& where, int64_t begin, uint64_t work,
                const void* launch);
uint64_t next_work();

void before_fork();
void after_fork_parent();
void after_fork_child();

class Span {
 public:
  Span() {}
  Span(SpanKind kind, std::string_view name) {
    if (watches(kind)) [[unlikely]]
      open(kind, name);
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() {
    if (number_ >= 0) [[unlikely]]
      close();
  }
  void open(SpanKind kind, std::string_view name);
  // As long as it lasts the thread is at another place, also where this kind is not watched.
  void open_at(SpanKind kind, std::string_view name, const Place& where);

 private:
  void close();

  int64_t number_ = -1;
  Place before_;  // without a value until it is open
};

}  // namespace tigon::profile
