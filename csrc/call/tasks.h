// What the engine runs: programs, on the pool or on a device with memory of its own, and copies.
#pragma once

#include <string>
#include <vector>

#include "array/immediate.h"
#include "engine/engine.h"
#include "program/program.h"

namespace tigon {

struct Place {
  Storage* storage;  // null: the immediate; kept alive by the task's lists
  int64_t offset;
  Immediate immediate;
};

struct AliasCopy {
  Storage* from;
  Storage* to;
  int64_t offset;
  size_t bytes;
};

// One execution of a program.
class ExecutionTask : public Task {
 public:
  ExecutionTask(Ref<ProgramCode> code, std::string name);
  ~ExecutionTask() override;

  std::vector<Place> inputs;
  std::vector<Place> outputs;
  std::vector<AliasCopy> copies;  // at the end; of the host only

 protected:
  std::string title() const override { return name_; }

  const Ref<ProgramCode> code_;

 private:
  const std::string name_;
};

Ref<ExecutionTask> execution_task(Ref<ProgramCode> code, std::string name, uint8_t device);

void move_bytes(const char* from, char* to, size_t bytes);
std::shared_ptr<Failure> failure_of(const KernelFailure* failure);  // null of null
void push(Ref<Task> task);                                          // with the caller's place

}  // namespace tigon
