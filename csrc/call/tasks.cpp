#include "call/tasks.h"

#include "call/dispatch.h"
#include "core/few.h"
#include "profile/profile.h"
#include "python/errors.h"

namespace tigon {

void move_bytes(const char* from, char* to, size_t bytes) {
  bool disjoint = from + bytes <= to || to + bytes <= from;
  if (disjoint) {
    parallel_copy(to, from, bytes);
  } else if (from != to) {
    std::memmove(to, from, bytes);
  }
}

std::shared_ptr<Failure> failure_of(const KernelFailure* failure) {
  if (!failure) return nullptr;
  try {
    failure->raise();
  } catch (...) {
    return Failure::from_current_exception();
  }
}

void push(Ref<Task> task) {
  task->file = caller_place(&task->line);
  if (profile::watches_any()) [[unlikely]]
    task->block = profile::place.block;
  ++counters.pushed;
  Engine::instance().push(std::move(task));
}

ExecutionTask::ExecutionTask(Ref<ProgramCode> code, std::string name)
    : code_(std::move(code)), name_(std::move(name)) {
  code_->in_flight.fetch_add(1, std::memory_order_relaxed);
}

// First what it held: whoever waits for fewer executions counts on its memory.
ExecutionTask::~ExecutionTask() {
  reads.clear();
  writes.clear();
  code_->in_flight.fetch_sub(1, std::memory_order_release);
}

namespace {

class HostTask final : public ExecutionTask {
 public:
  using ExecutionTask::ExecutionTask;

 protected:
  void reserve() override { arena_ = std::make_unique<Arena>(code_->arena_bytes); }

  bool execute() override {
    std::unique_ptr<Arena> arena = std::move(arena_);  // ends with the execution
    Few<void*, 64> in(inputs.size());
    Few<void*, 64> out(outputs.size());
    for (size_t index = 0; index < inputs.size(); ++index) {
      Place& place = inputs[index];
      if (place.storage) place.storage->materialize();
      in[index] = place.storage ? place.storage->data() + place.offset : place.immediate.bytes;
    }
    for (size_t index = 0; index < outputs.size(); ++index)
      out[index] = outputs[index].storage->data() + outputs[index].offset;
    code_->execute(in.data(), out.data(), arena->data());
    for (const AliasCopy& copy : copies)
      move_bytes(copy.from->data(), copy.to->data() + copy.offset, copy.bytes);
    return true;
  }

 private:
  std::unique_ptr<Arena> arena_;
};

// One execution on a device whose memory is its own. Numbers lie behind the arena.
class DeviceTask final : public ExecutionTask, private Completion {
 public:
  DeviceTask(Ref<ProgramCode> code, std::string name, Device& device)
      : ExecutionTask(std::move(code), std::move(name)), device_(device) {}

 protected:
  void reserve() override {
    arena_ =
        std::make_unique<Arena>(numbers_begin() + inputs.size() * sizeof(Immediate), device_.index);
  }

  bool execute() override {
    check_usable(device_);
    std::vector<void*> in(inputs.size());
    std::vector<void*> out(outputs.size());
    numbers_.resize(inputs.size());
    bool any = false;
    for (size_t index = 0; index < inputs.size(); ++index) {
      Place& place = inputs[index];
      if (place.storage) {
        place.storage->materialize();
        in[index] = address(place);
        continue;
      }
      any = true;
      numbers_[index] = place.immediate;
      in[index] = arena_->data() + numbers_begin() + index * sizeof(Immediate);
    }
    for (size_t index = 0; index < outputs.size(); ++index) out[index] = address(outputs[index]);
    if (any)
      device_.kind->copy(device_.number, arena_->data() + numbers_begin(), numbers_.data(),
                         numbers_.size() * sizeof(Immediate), DeviceKind::Way::FromHost, sent_);
    buffers_ = code_->buffers_on(device_, in.data(), out.data(), arena_->data());
    ++on_devices;
    device_.kind->run(device_.number, code_->waves, buffers_.data(), *this);
    return false;
  }

 private:
  struct Sent final : Completion {  // a copy that failed fails what comes after it
    void ended(const KernelFailure*) noexcept override {}
  };

  static void* address(const Place& place) {
    return place.storage->bytes() ? place.storage->data() + place.offset : nullptr;
  }

  size_t numbers_begin() const {
    return (code_->arena_bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  void ended(const KernelFailure* failure) noexcept override {
    arena_.reset();
    finish(failure_of(failure));
    --on_devices;
  }

  Device& device_;
  Sent sent_;
  std::vector<Immediate> numbers_;
  std::vector<void*> buffers_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace

Ref<ExecutionTask> execution_task(Ref<ProgramCode> code, std::string name, uint8_t device) {
  if (is_host(device)) return Ref<ExecutionTask>(new HostTask(std::move(code), std::move(name)));
  return Ref<ExecutionTask>(new DeviceTask(std::move(code), std::move(name), device_at(device)));
}

}  // namespace tigon
