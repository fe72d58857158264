// A compiled graph: waves of kernel launches over inputs, outputs, constants and one arena.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/common.h"
#include "engine/device.h"
#include "engine/pool.h"

namespace tigon {

using Kernel = int32_t (*)(void* const* buffers, const int64_t* slots, void* scratch, int64_t begin,
                           int64_t end);

enum class Space : uint8_t { Input, Output, Arena, Constant };

struct BufferPlace {
  Space space;
  int64_t index;  // a byte offset for Space::Arena
};

class Control;
class Executor;

struct Launch {
  Kernel kernel;  // null where `control` says what is run
  std::vector<BufferPlace> buffers;
  std::vector<int64_t> slots;
  int64_t points;
  int64_t grain;
  size_t scratch_bytes;
  std::string operator_name;
  Chunking chunks;
  std::shared_ptr<const Control> control;  // alone in its wave
};

// Launches that run together.
struct Wave {
  std::vector<Launch> launches;
  std::vector<size_t> buffer_begins;  // of each launch in the program's resolved buffers
  struct Chunk {
    uint32_t launch;
    uint32_t number;
  };
  // Such that any part of the list has about that part of every launch: the pool gives each thread
  // a part, and launches differ in the length of their chunks.
  std::vector<Chunk> chunks;

  void order_chunks();
};

// What kernels report that leave details in their scratch memory.
inline constexpr int32_t kIndexOutOfRange = 5;  // index, count, least, axis
// Of a batch of matrices, which one, and what the routine counted.
inline constexpr int32_t kNotPositiveDefinite = 6;  // the leading minor
inline constexpr int32_t kSingular = 7;             // the pivot
inline constexpr int32_t kNoConvergence = 8;
inline constexpr int32_t kRoutineRefused = 9;  // the argument

// What a kernel reports from here on is no failure: the program goes on, and the listener is told
// the number that follows this one, once in a process. A listener that answers no is told again.
inline constexpr int32_t kFirstNotice = 64;
inline constexpr int32_t kNoticeCount = 64;
void set_notice_listener(bool (*listener)(int32_t number));
void forget_notices();

struct KernelFailure {
  static constexpr size_t kDetails = 4;

  // Made at every execution, and written where it fails: nothing is set before.
  const Launch* launch;
  int32_t status;
  int64_t details[kDetails];           // what the kernel left in its scratch memory
  std::unique_ptr<std::string> where;  // iterations and branches, from the outside in
  void within(const std::string& what) {
    where = std::make_unique<std::string>(what + (where ? *where : ""));
  }
  [[noreturn]] void raise() const;

 private:
  std::string who() const { return (where ? *where : "") + launch->operator_name; }
  std::string index_out_of_range() const;
  std::string matrix() const;
};

class ProgramCode : public AtomicCounted<ProgramCode> {
 public:
  size_t input_count = 0;
  size_t output_count = 0;
  size_t arena_bytes = 0;
  double cost = 0;
  std::vector<Wave> waves;
  std::atomic<int> in_flight{0};  // pushed executions that have not ended
  void* keep_alive = nullptr;     // whatever owns the kernels' code
  void (*drop_keep_alive)(void*) = nullptr;

  ProgramCode() = default;
  ProgramCode(const ProgramCode&) = delete;
  ProgramCode& operator=(const ProgramCode&) = delete;
  ~ProgramCode();
  static void destroy(ProgramCode* code) { delete code; }

  void add_constant(const void* data, size_t bytes);
  size_t constant_count() const { return constants_.size(); }
  // Of each launch in order, on a device of its own memory, where constants are sent at first use.
  std::vector<void*> buffers_on(Device& device, void* const* inputs, void* const* outputs,
                                void* arena) const;
  // Checks places and fixes the chunks; to be called once, when all is filled in.
  void finish();

  // Whether this output is written by what may fail when it has written some of it: a routine with
  // a matrix that it cannot factorize, an iteration of a loop.
  bool may_leave_half(size_t output) const { return any_half_ && half_[output]; }
  // Whether it may not be what it was: launches up to this failure had it among their buffers.
  bool may_have_written(size_t output, const KernelFailure& failure) const;

  // Throws UserError naming the operator when a kernel reports a status; the other says so.
  void execute(void* const* inputs, void* const* outputs, void* arena) const;
  bool try_execute(void* const* inputs, void* const* outputs, void* arena,
                   KernelFailure& failure) const;

  enum class Part { Wave, Launch, LaunchAlone };  // alone: all its chunks on the calling thread
  // Executes, launches of a wave one after another unless waves are asked for, and gives the
  // seconds that each part took.
  std::vector<double> execute_timed(void* const* inputs, void* const* outputs, void* arena,
                                    Part part) const;

  // Those of programs within, too. Returns the addresses of its own.
  void* const* constants_on(Device& device) const;

 private:
  bool run(std::span<const Wave> part, const uint32_t* chunk_counts, void** buffers, bool alone,
           KernelFailure& failure) const;
  bool run_around_control(void** buffers, bool alone, KernelFailure& failure) const;
  void resolve(void** buffers, void* const* inputs, void* const* outputs, char* arena,
               void* const* constants) const;

  std::vector<uint32_t> chunk_counts_;  // of each wave
  bool has_control_ = false;
  bool any_half_ = false;
  std::vector<bool> half_;
  size_t buffer_total_ = 0;
  std::vector<void*> constants_;
  std::vector<size_t> constant_bytes_;
  mutable std::mutex sending_;
  mutable std::map<uint8_t, std::vector<void*>> sent_;  // constants by device
};

}  // namespace tigon
