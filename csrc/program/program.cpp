#include "program/program.h"

#include <algorithm>
#include <chrono>

#include "core/few.h"
#include "memory/storage.h"
#include "profile/profile.h"
#include "program/control.h"
#include "program/routines.h"

namespace tigon {
namespace {

// Each thread keeps its largest scratch block: kernels never nest.
struct Scratch {
  void* block = nullptr;
  size_t bytes = 0;
  ~Scratch() {
    if (block) memory::release(block, bytes);
  }
  void* get(size_t wanted) {
    if (wanted <= bytes) return block;
    void* fresh = memory::allocate(wanted);
    if (!fresh) return nullptr;
    if (block) memory::release(block, bytes);
    block = fresh;
    bytes = wanted;
    return block;
  }
};

thread_local Scratch scratch;

constexpr int32_t kNoScratch = -1;

const char* describe(int32_t status) {
  switch (status) {
  case 1:
    return "an index is out of range; check the indices against the shape of the data";
  case 2:
    return "integer division by zero; check the divisor";
  case 3:
    return "a value is outside the operator's domain; check the input";
  default:
    return nullptr;
  }
}

std::atomic<bool (*)(int32_t)> notice_listener{nullptr};
std::atomic<bool> noticed[kNoticeCount];

void give_notice(int32_t number) {
  auto listener = notice_listener.load();
  if (!listener || number >= kNoticeCount || noticed[number].exchange(true)) return;
  if (!listener(number)) noticed[number].store(false);
}

[[gnu::always_inline]] inline int32_t call(const Launch& launch, void* const* buffers,
                                           int64_t begin, int64_t end) {
  void* space = nullptr;
  if (launch.scratch_bytes) {
    space = scratch.get(launch.scratch_bytes);
    if (!space) return kNoScratch;
  }
  int32_t status = launch.kernel(buffers, launch.slots.data(), space, begin, end);
  if (status < kFirstNotice) return status;
  give_notice(status - kFirstNotice);
  return 0;
}

}  // namespace

void set_notice_listener(bool (*listener)(int32_t number)) { notice_listener.store(listener); }

void forget_notices() {
  for (auto& each : noticed) each.store(false);
}

std::string KernelFailure::index_out_of_range() const {
  auto [index, count, least, axis] = details;
  // What is no number, and what int64 cannot hold, comes as the greatest one.
  bool unknown = index == INT64_MAX;
  std::string given = unknown ? "nan, or 9223372036854775807 or more" : std::to_string(index);
  if (axis < 0)  // a number of elements, of as many as there are
    return "expected 0 to " + std::to_string(count - 1) + ", as many as there are; given " + given +
           "; clip it, or give more";
  if (unknown) given += ",";
  return "index " + given + " is out of bounds for axis " + std::to_string(axis) + " with size " +
         std::to_string(count) + "; " +
         (count ? "expected " + std::to_string(least) + " to " + std::to_string(count - 1)
                : "there is nothing to index");
}

std::string KernelFailure::matrix() const {
  std::string which = "matrix " + std::to_string(details[0]) + " of the batch ";
  std::string counted = std::to_string(details[1]);
  switch (status) {
  case kNotPositiveDefinite:
    return which + "is not positive definite: its leading minor of order " + counted +
           " is not positive; check that it is symmetric, or add to its diagonal";
  case kSingular:
    return which + "is singular: pivot " + counted + " is 0; check it, or add to its diagonal";
  case kNoConvergence:
    return which + "has eigenvalues that are not found; check it for nan and infinite elements";
  default:
    throw InternalError(who() + ": LAPACK refuses argument " + counted + " for " + which);
  }
}

void KernelFailure::raise() const {
  if (status == kNoScratch) memory::throw_out_of_memory(launch->scratch_bytes);
  if (status == kIndexOutOfRange) throw IndexOutOfRange(who() + ": " + index_out_of_range());
  if (status >= kNotPositiveDefinite && status <= kRoutineRefused)
    throw UserError(who() + ": " + matrix());
  const char* text = describe(status);
  throw UserError(
      who() + ": " +
      (text ? std::string(text) : "the kernel stopped with status " + std::to_string(status)));
}

ProgramCode::~ProgramCode() {
  if (drop_keep_alive) drop_keep_alive(keep_alive);
  for (size_t index = 0; index < constants_.size(); ++index)
    memory::release(constants_[index], constant_bytes_[index]);
  for (auto& [device, blocks] : sent_) {
    for (size_t index = 0; index < blocks.size(); ++index)
      device_at(device).release(blocks[index], constant_bytes_[index]);
  }
}

void* const* ProgramCode::constants_on(Device& device) const {
  std::lock_guard<std::mutex> guard(sending_);
  std::vector<void*>& blocks = sent_[device.index];
  while (blocks.size() < constants_.size()) {
    size_t bytes = constant_bytes_[blocks.size()];
    void* block = device.allocate(bytes);
    if (!block) memory::throw_out_of_memory(bytes);
    copy_now(device, block, constants_[blocks.size()], bytes, DeviceKind::Way::FromHost);
    blocks.push_back(block);
  }
  if (has_control_) {  // now: within a launch the device is busy
    for (const Wave& wave : waves) {
      for (const Launch& launch : wave.launches) {
        if (launch.control) launch.control->send_constants(device);
      }
    }
  }
  return blocks.data();
}

std::vector<void*> ProgramCode::buffers_on(Device& device, void* const* inputs,
                                           void* const* outputs, void* arena) const {
  std::vector<void*> buffers(buffer_total_);
  resolve(buffers.data(), inputs, outputs, static_cast<char*>(arena), constants_on(device));
  return buffers;
}

void ProgramCode::add_constant(const void* data, size_t bytes) {
  constants_.reserve(constants_.size() + 1);
  constant_bytes_.reserve(constants_.size() + 1);
  void* block = memory::allocate(bytes);
  if (!block) memory::throw_out_of_memory(bytes);
  if (bytes) std::memcpy(block, data, bytes);
  constants_.push_back(block);
  constant_bytes_.push_back(bytes);
}

void Wave::order_chunks() {
  for (size_t launch = 0; launch < launches.size(); ++launch) {
    for (int64_t number = 0; number < launches[launch].chunks.count; ++number)
      chunks.push_back({static_cast<uint32_t>(launch), static_cast<uint32_t>(number)});
  }
  if (launches.size() < 2) return;
  // By the middle of the chunk as a fraction of its launch.
  std::stable_sort(chunks.begin(), chunks.end(), [&](const Chunk& a, const Chunk& b) {
    return (2 * int64_t{a.number} + 1) * launches[b.launch].chunks.count <
           (2 * int64_t{b.number} + 1) * launches[a.launch].chunks.count;
  });
}

void ProgramCode::finish() {
  auto check = [](bool condition, const Launch& launch, const char* what) {
    if (!condition) throw InternalError("launch of " + launch.operator_name + ": " + what);
  };
  for (Wave& wave : waves) {
    for (Launch& launch : wave.launches) {
      if (launch.control) {
        has_control_ = true;
        check(wave.launches.size() == 1, launch, "it shares a wave");
        check(launch.buffers.size() == launch.control->buffer_count(), launch, "other buffers");
      } else {
        check(launch.kernel != nullptr, launch, "null kernel address");
      }
      bool may_fail_late = launch.control || is_of_library(launch.kernel);
      for (const BufferPlace& place : launch.buffers) {
        size_t bound = 0;
        switch (place.space) {
        case Space::Input:
          bound = input_count;
          break;
        case Space::Output:
          bound = output_count;
          break;
        case Space::Arena:
          bound = arena_bytes + 1;  // an empty buffer may sit at the very end
          break;
        case Space::Constant:
          bound = constants_.size();
          break;
        }
        check(place.index >= 0 && static_cast<size_t>(place.index) < bound, launch,
              "buffer out of range");
        if (may_fail_late && place.space == Space::Output) {
          any_half_ = true;
          half_.resize(output_count);
          half_[static_cast<size_t>(place.index)] = true;
        }
      }
      launch.chunks = Chunking::of(launch.points, launch.grain);
      wave.buffer_begins.push_back(buffer_total_);
      buffer_total_ += launch.buffers.size();
    }
    wave.order_chunks();
    chunk_counts_.push_back(static_cast<uint32_t>(wave.chunks.size()));
  }
}

void ProgramCode::resolve(void** buffers, void* const* inputs, void* const* outputs, char* arena,
                          void* const* constants) const {
  for (const Wave& wave : waves) {
    for (const Launch& launch : wave.launches) {
      for (const BufferPlace& place : launch.buffers) {
        switch (place.space) {
        case Space::Input:
          *buffers++ = inputs[place.index];
          break;
        case Space::Output:
          *buffers++ = outputs[place.index];
          break;
        case Space::Arena:
          *buffers++ = arena + place.index;
          break;
        case Space::Constant:
          *buffers++ = constants[place.index];
          break;
        }
      }
    }
  }
}

namespace {

// Work below this many microseconds is done before another thread has noticed it.
constexpr double kAlone = 2;
constexpr double kHeavy = 40;

// Others read it while its thread works on its stack: on cache lines of its own.
struct alignas(64) Running {
  std::span<const Wave> waves;
  void** buffers;
  std::atomic<int32_t> status{0};
  KernelFailure& failure;       // written by the thread that changed the status
  uint64_t work = 0;            // its number where a profile is taken
  const profile::Place* place;  // its caller's, who waits for the end

  Running(std::span<const Wave> part, void** where, KernelFailure& told)
      : waves(part), buffers(where), failure(told) {
    if (profile::watches(profile::SpanKind::Kernel)) [[unlikely]] {
      work = profile::next_work();
      place = &profile::place;
    }
  }

  [[gnu::noinline]] int32_t call_profiled(const Launch& launch, void* const* given, int64_t begin,
                                          int64_t end) {
    int64_t began = profile::now();
    int32_t result = call(launch, given, begin, end);
    profile::add_kernel(launch.operator_name, *place, began, work, &launch);
    return result;
  }

  void run_points(const Wave& wave, size_t number, int64_t begin, int64_t end) {
    const Launch& launch = wave.launches[number];
    void* const* given = buffers + wave.buffer_begins[number];
    if (int32_t result =
            work ? call_profiled(launch, given, begin, end) : call(launch, given, begin, end)) {
      int32_t none = 0;
      if (!status.compare_exchange_strong(none, result)) return;
      failure.launch = &launch;
      failure.status = result;
      if (launch.scratch_bytes >= sizeof(failure.details))
        std::memcpy(failure.details, scratch.block, sizeof(failure.details));
    }
  }

  void run_chunk(uint32_t stage, int64_t index) {
    if (status.load(std::memory_order_relaxed)) return;
    const Wave& wave = waves[stage];
    auto [place, number] = wave.chunks[static_cast<size_t>(index)];
    const Launch& launch = wave.launches[place];
    int64_t begin = number * launch.chunks.size;
    run_points(wave, place, begin, std::min(begin + launch.chunks.size, launch.points));
  }

  // Points do not depend on each other: without another thread there is no need of chunks.
  void run_alone() {
    for (const Wave& wave : waves) {
      for (size_t place = 0; place < wave.launches.size(); ++place) {
        int64_t points = wave.launches[place].points;
        if (points > 0 && !status.load(std::memory_order_relaxed))
          run_points(wave, place, 0, points);
      }
    }
  }
};

}  // namespace

bool ProgramCode::run(std::span<const Wave> part, const uint32_t* chunk_counts, void** buffers,
                      bool alone, KernelFailure& failure) const {
  Running running{part, buffers, failure};
  if (alone) {
    running.run_alone();
  } else {
    auto chunk = [](void* context, uint32_t stage, int64_t index) {
      static_cast<Running*>(context)->run_chunk(stage, index);
    };
    ThreadPool::instance().run({chunk, &running, chunk_counts, static_cast<uint32_t>(part.size())},
                               cost == 0 || cost > kHeavy);
  }
  return !running.status.load();
}

namespace {

class HostExecutor final : public Executor {
 public:
  void* allocate(size_t bytes) override {
    void* block = memory::allocate(bytes);
    if (!block) memory::throw_out_of_memory(bytes);
    memory::count(bytes);
    return block;
  }
  void release(void* block, size_t bytes) noexcept override {
    memory::discount(bytes);
    memory::release(block, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes) std::memcpy(to, from, bytes);
  }
  void clear(void* to, size_t bytes) override {
    if (bytes) std::memset(to, 0, bytes);
  }
  void send(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void read(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
};

bool is_control(const Wave& wave) { return !wave.launches.empty() && wave.launches[0].control; }

bool run_control(const Wave& wave, void* const* buffers, KernelFailure& failure) {
  HostExecutor host;
  const Launch& launch = wave.launches[0];
  profile::Span span(profile::SpanKind::Kernel, launch.operator_name);
  return launch.control->run(buffers + wave.buffer_begins[0], host, launch.operator_name, failure);
}

}  // namespace

bool ProgramCode::run_around_control(void** buffers, bool alone, KernelFailure& failure) const {
  std::span<const Wave> rest(waves);
  const uint32_t* counts = chunk_counts_.data();
  while (!rest.empty()) {
    auto found = std::find_if(rest.begin(), rest.end(), is_control);
    auto before = static_cast<size_t>(found - rest.begin());
    if (before && !run(rest.first(before), counts, buffers, alone, failure)) return false;
    if (before == rest.size()) break;
    if (!run_control(*found, buffers, failure)) return false;
    rest = rest.subspan(before + 1);
    counts += before + 1;
  }
  return true;
}

bool ProgramCode::try_execute(void* const* inputs, void* const* outputs, void* arena,
                              KernelFailure& failure) const {
  alignas(64) Few<void*, 64> buffers(buffer_total_);
  resolve(buffers.data(), inputs, outputs, static_cast<char*>(arena), constants_.data());
  bool alone = (cost != 0 && cost < kAlone) || ThreadPool::instance().threads() == 1;
  if (has_control_) return run_around_control(buffers.data(), alone, failure);
  return run(waves, chunk_counts_.data(), buffers.data(), alone, failure);
}

bool ProgramCode::may_have_written(size_t output, const KernelFailure& failure) const {
  auto touches = [&](const Launch& launch) {
    return std::any_of(launch.buffers.begin(), launch.buffers.end(), [&](const BufferPlace& place) {
      return place.space == Space::Output && static_cast<size_t>(place.index) == output;
    });
  };
  for (const Wave& wave : waves) {
    bool last = false;
    for (const Launch& launch : wave.launches) {
      if (touches(launch)) return true;
      last |= &launch == failure.launch;
    }
    if (last) return false;
  }
  return true;
}

void ProgramCode::execute(void* const* inputs, void* const* outputs, void* arena) const {
  KernelFailure failure;
  if (!try_execute(inputs, outputs, arena, failure)) failure.raise();
}

std::vector<double> ProgramCode::execute_timed(void* const* inputs, void* const* outputs,
                                               void* arena, Part part) const {
  using Clock = std::chrono::steady_clock;
  Few<void*, 64> buffers(buffer_total_);
  resolve(buffers.data(), inputs, outputs, static_cast<char*>(arena), constants_.data());
  std::vector<double> seconds;
  auto timed = [&](const Wave& wave) {
    auto chunks = static_cast<uint32_t>(wave.chunks.size());
    auto began = Clock::now();
    KernelFailure failure;
    bool well = is_control(wave)
                    ? run_control(wave, buffers.data(), failure)
                    : run({&wave, 1}, &chunks, buffers.data(), part == Part::LaunchAlone, failure);
    if (!well) failure.raise();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - began).count());
  };
  for (const Wave& wave : waves) {
    if (part == Part::Wave) {
      timed(wave);
      continue;
    }
    for (size_t place = 0; place < wave.launches.size(); ++place) {
      Wave one{{wave.launches[place]}, {wave.buffer_begins[place]}, {}};
      one.order_chunks();
      timed(one);
    }
  }
  return seconds;
}

}  // namespace tigon
