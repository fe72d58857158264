// Loops and branches: launches that run other programs.
#pragma once

#include <string>
#include <vector>

#include "array/immediate.h"
#include "program/program.h"

namespace tigon {

// Runs the programs within a launch, and owns the memory between them: the host, or a device.
class Executor {
 public:
  virtual void* allocate(size_t bytes) = 0;  // throws OutOfMemory
  virtual void release(void* block, size_t bytes) noexcept = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void clear(void* to, size_t bytes) = 0;
  virtual void send(void* to, const void* from, size_t bytes) = 0;  // from the host
  virtual void read(void* to, const void* from, size_t bytes) = 0;  // to the host, at once
  // Of a device with memory of its own; the host's executions need no buffers.
  virtual const DeviceKind* kind() const { return nullptr; }
  virtual int number() const { return 0; }
  // False with a failure where a kernel reports a status.
  virtual bool run(const std::vector<Wave>&, void* const*, KernelFailure&) { return false; }

 protected:
  ~Executor() = default;
};

// The key that programs within draw from, given that of the launch: another stream. Iterations
// have one each, of that key with their number.
RandomKey inner_key(RandomKey key);

// Operands of a loop: data, of which each iteration sees a row; states; others; the number of
// iterations, where it is counted (int64); the random key, where something draws. Results: stacked
// rows; last states; of some states, stacked, what each iteration began with; of a loop with a
// condition, the number of iterations (int64). Rows of iterations that are not made are zero,
// except among what they would have begun with, and of the last `loose` stacked results.
//
// Operands of a choice: what decides (bool); others; the random key. Results are those of the
// branch.
class Control {
 public:
  virtual ~Control() = default;

  enum class Kind : uint8_t { Loop, While, Choice };

  Kind kind = Kind::Loop;
  Ref<ProgramCode> body;   // of a choice: where it holds
  Ref<ProgramCode> other;  // the condition of a loop; of a choice: where it does not hold
  uint32_t data = 0;
  uint32_t states = 0;
  uint32_t others = 0;
  uint32_t outs = 0;
  uint32_t loose = 0;  // of these
  bool reverse = false;
  bool counted = false;
  bool keyed = false;
  int64_t most = 0;               // iterations
  int64_t ordinal = 0;            // among the random operators of the program around
  std::vector<size_t> row_bytes;  // of data, then of stacked results
  std::vector<size_t> state_bytes;
  std::vector<bool> kept;  // the states whose entering values are a result

  void check() const;  // throws InternalError
  size_t buffer_count() const;
  virtual bool run(void* const* buffers, Executor& executor, const std::string& name,
                   KernelFailure& failure) const;  // for devices, which are linked apart
  void send_constants(Device& device) const;

 private:
  bool choose(void* const* buffers, Executor& executor, const std::string& name,
              KernelFailure& failure) const;
  bool loop(void* const* buffers, Executor& executor, const std::string& name,
            KernelFailure& failure) const;
  uint32_t inputs() const { return data + states + others + (keyed ? 1 : 0); }
};

}  // namespace tigon
