// A program or view on arrays: outputs, aliasing, donation, inline or pushed, recorded.
#include <algorithm>
#include <cmath>

#include "call/dispatch.h"
#include "core/few.h"
#include "engine/engine.h"
#include "python/errors.h"

namespace tigon {

double inline_threshold = 20;
Counters counters;

namespace {

bool overlap(const Array* a, const Array* b) {
  return a->storage.get() == b->storage.get() && a->type->nbytes && b->type->nbytes &&
         a->offset < b->offset + static_cast<int64_t>(b->type->nbytes) &&
         b->offset < a->offset + static_cast<int64_t>(a->type->nbytes);
}

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

class CopyTask final : public Task, private Completion {
 public:
  CopyTask(Array* from, Array* to)
      : source_(from->storage.get()), target_(to->storage.get()), from_(from->offset),
        to_(to->offset), bytes_(from->type->nbytes) {
    reads.push_back(from->storage);
    writes.push_back({to->storage, to->whole_storage()});
  }

 protected:
  bool execute() override {
    Device& source = device_at(source_->device());
    Device& target = device_at(target_->device());
    const char* from = source_->data() + from_;
    char* to = target_->data() + to_;
    if (source.is_host() && target.is_host()) {
      move_bytes(from, to, bytes_);
      return true;
    }
    if (!bytes_) return true;
    if (!source.is_host() && !target.is_host() && source.index != target.index) {
      std::vector<char> between(bytes_);
      copy_now(source, between.data(), from, bytes_, DeviceKind::Way::ToHost);
      copy_now(target, to, between.data(), bytes_, DeviceKind::Way::FromHost);
      return true;
    }
    auto way = source.is_host()   ? DeviceKind::Way::FromHost
               : target.is_host() ? DeviceKind::Way::ToHost
                                  : DeviceKind::Way::Within;
    Device& device = source.is_host() ? target : source;
    check_usable(device);
    ++on_devices;
    device.kind->copy(device.number, to, from, bytes_, way, *this);
    return false;
  }

 private:
  void ended(const KernelFailure* failure) noexcept override {
    finish(failure_of(failure));
    --on_devices;
  }

  Storage* source_;
  Storage* target_;
  int64_t from_;
  int64_t to_;
  size_t bytes_;
};

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

class ProgramTask final : public Task {
 public:
  ProgramTask(Ref<ProgramCode> code, std::string name)
      : code_(std::move(code)), name_(std::move(name)) {
    code_->in_flight.fetch_add(1, std::memory_order_relaxed);
  }
  ~ProgramTask() override { code_->in_flight.fetch_sub(1, std::memory_order_release); }

  std::vector<Place> inputs;
  std::vector<Place> outputs;
  std::vector<AliasCopy> copies;

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

  std::string title() const override { return name_; }

 private:
  Ref<ProgramCode> code_;
  std::string name_;
  std::unique_ptr<Arena> arena_;
};

// One execution on a device whose memory is its own. Numbers lie behind the arena.
class DeviceTask final : public Task, private Completion {
 public:
  DeviceTask(Ref<ProgramCode> code, std::string name, Device& device)
      : code_(std::move(code)), name_(std::move(name)), device_(device) {
    code_->in_flight.fetch_add(1, std::memory_order_relaxed);
  }
  ~DeviceTask() override { code_->in_flight.fetch_sub(1, std::memory_order_release); }

  std::vector<Place> inputs;
  std::vector<Place> outputs;

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

  std::string title() const override { return name_; }

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

  Ref<ProgramCode> code_;
  std::string name_;
  Device& device_;
  Sent sent_;
  std::vector<Immediate> numbers_;
  std::vector<void*> buffers_;
  std::unique_ptr<Arena> arena_;
};

void push(Ref<Task> task) {
  task->file = caller_place(&task->line);
  ++counters.pushed;
  Engine::instance().push(std::move(task));
}

}  // namespace

void copy_array(Array* from, Array* to) {
  if (from->storage.get() == to->storage.get() && from->offset == to->offset) return;
  constexpr size_t kInline = 65536;
  note_write(*to->storage);
  bool host = Task::current_host();
  if (host) {
    wait_to_read(from);
    wait_to_write(to);
  }
  bool ready = host || (from->storage->ready_to_read() && to->storage->ready_to_write());
  if (!is_on_host(from) || !is_on_host(to)) {
    push(Ref<Task>(new CopyTask(from, to)));
    if (Engine::instance().naive) wait_to_read(to);
    return;
  }
  if (ready && (host || from->type->nbytes < kInline || Engine::instance().naive)) {
    from->storage->materialize();
    to->storage->materialize();
    move_bytes(from->data(), to->data(), from->type->nbytes);
    return;
  }
  push(Ref<Task>(new CopyTask(from, to)));
}

void fill_array(Array* array, double value) {
  materialize_now(*array->storage);
  Immediate element = convert({Scalar::Float, value, 0}, array->type->dtype);
  size_t width = array->type->itemsize();
  bool here = is_on_host(array);
  std::vector<char> sent(here ? 0 : array->type->nbytes);
  char* to = here ? array->data() : sent.data();
  if (value == 0) {
    if (array->type->nbytes) std::memset(to, 0, array->type->nbytes);
  } else {
    for (int64_t index = 0; index < array->type->size; ++index, to += width)
      std::memcpy(to, element.bytes, width);
  }
  if (!here) write_bytes(array, sent.data());
}

ArrayRef placed_on(Array* array, uint8_t device) {
  TypeRef type = array->type->on(device);
  if (is_on_host(array) && device_at(device).is_host())
    return new_array(std::move(type), array->storage, array->offset);
  ArrayRef copy = new_array(std::move(type));
  copy_array(array, copy.get());
  return copy;
}

ArrayRef moved_to(Array* array, uint8_t device) {
  ArrayRef copy = new_array(array->type->on(device));
  copy_array(array, copy.get());
  return copy;
}

// ------------------------------------------------------------------------------------ recording

PyObject* Callee::gradient_for(const std::vector<uint64_t>& wanted) {
  auto found = gradients.find(wanted);
  if (found != gradients.end()) return found->second.ptr();
  // A View does not know its operands: it has one.
  size_t count = inputs.empty() ? 1 : inputs.size();
  nb::object mask = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; index < count; ++index) {
    PyObject* flag = (wanted[index / 64] >> (index % 64)) & 1 ? Py_True : Py_False;
    Py_INCREF(flag);
    PyTuple_SET_ITEM(mask.ptr(), static_cast<Py_ssize_t>(index), flag);
  }
  nb::object rule =
      nb::steal(in_python([&] { return PyObject_CallOneArg(gradient.ptr(), mask.ptr()); }));
  if (!rule) throw nb::python_error();
  if (!rule.is_none()) {
    if (Py_TYPE(rule.ptr()) != reinterpret_cast<PyTypeObject*>(gradient_type))
      throw InternalError("a gradient callback must return a Gradient or None");
    const GradientRule& r = *nb::inst_ptr<GradientRule>(rule);
    for (auto [is_output, index] : r.saved) {
      if (index >= (is_output ? outputs.size() : count))
        throw InternalError("Gradient.saved: index out of range");
    }
    for (uint32_t index : r.cotangents) {
      if (index >= outputs.size()) throw InternalError("Gradient.cotangents: index out of range");
    }
    for (uint32_t index : r.targets) {
      if (index >= count) throw InternalError("Gradient.targets: index out of range");
    }
  }
  return gradients.insert_or_assign(wanted, std::move(rule)).first->second.ptr();
}

namespace {

// `overwrites`: some of the outputs are the caller's arrays. Those from `visible` on nobody sees.
void record_call(Callee& callee, PyObject* self, Array* const* inputs, const Immediate* immediates,
                 size_t count, std::vector<ArrayRef>& outputs, size_t visible, bool overwrites) {
  if (callee.gradient.is_none()) return;
  static thread_local std::vector<uint64_t> wanted;
  wanted.assign(count / 64 + 1, 0);
  size_t on_tape = 0;
  for (size_t index = 0; index < count; ++index) {
    Array* input = inputs[index];
    if (!input) continue;
    if (wants_gradient(input)) {
      wanted[index / 64] |= uint64_t{1} << (index % 64);
      ++on_tape;
    }
  }
  if (!on_tape) return;
  PyObject* found = callee.gradient_for(wanted);
  if (found == Py_None) return;
  GradientRule& rule = *nb::inst_ptr<GradientRule>(found);
  Ref<Node> node =
      Node::create(static_cast<uint32_t>(count), static_cast<uint32_t>(rule.saved.size()),
                   static_cast<uint32_t>(outputs.size()));
  Py_INCREF(self);
  node->owner = self;
  Py_INCREF(found);
  node->gradient = found;
  node->others = rule.targets.size() != on_tape;
  for (size_t index = 0; index < count; ++index) {
    Edge* edge = node->edges() + index;
    if (Array* input = inputs[index]) {
      ::new (edge) Edge{input->node, input->leaf, input->type, {}, false, input->output};
    } else {
      ::new (edge) Edge{{}, {}, callee.inputs[index], immediates[index], true, 0};
    }
  }
  for (size_t index = 0; index < rule.saved.size(); ++index) {
    auto [is_output, source] = rule.saved[index];
    Array* array = is_output ? outputs[source].get() : inputs[source];
    auto* saved = ::new (node->saved() + index) Saved{{}, {}, 0, 0, is_output, source};
    if (!array) continue;
    saved->storage = array->storage;
    saved->type = array->type;
    saved->offset = array->offset;
    saved->version = array->storage->version;
    if (is_output || !overwrites) continue;
    // By this very call: backward has to say so.
    for (const ArrayRef& output : outputs) {
      if (output->storage == array->storage) --saved->version;
    }
  }
  for (size_t index = 0; index < outputs.size(); ++index) {
    ::new (node->outputs() + index) TypeRef(outputs[index]->type);
    if (index >= visible) continue;
    outputs[index]->node = node;
    outputs[index]->output = static_cast<uint32_t>(index);
    outputs[index]->leaf.reset();
  }
}

bool may_share(const Program& program, size_t output, size_t input) {
  if (output >= program.may_alias.size()) return false;
  for (uint32_t allowed : program.may_alias[output]) {
    if (allowed == input) return true;
  }
  return false;
}

// Whether kernels of the device may touch an array of this type.
void check_readable(const std::string& name, const ArrayType& type, const Device& device) {
  if (type.device == device.index) return;
  const Device& other = device_at(type.device);
  if (other.is_host() && device.is_host()) return;
  throw UserError(name + ": operands are on " + device.text() + " and on " + other.text() +
                  "; move one with as_in_context");
}

}  // namespace

void check_one_place(const std::string& name, Array* const* arrays, size_t count) {
  const Array* first = nullptr;
  for (size_t index = 0; index < count; ++index) {
    if (!arrays[index]) continue;
    if (!first) first = arrays[index];
    if (arrays[index]->type->device != first->type->device)
      check_readable(name, *arrays[index]->type, device_at(first->type->device));
  }
}

namespace {

void check_given_output(const Program& program, size_t output, Array* given, bool recording,
                        const Device& device) {
  check_not_donated(given);
  if (given->type->plain != program.outputs[output].get())
    throw UserError(program.name +
                    ": out=: " + expectation(program.outputs[output].get(), as_object(given)));
  check_readable(program.name, *given->type, device);
  if (recording && given->on_tape())
    throw UserError(program.name +
                    ": an array that takes part in a recording cannot be overwritten (+=, x[:] = "
                    "and out= are not differentiable); write y = x + ... or do it outside "
                    "autograd.record()");
}

// Arrays by storage: a training step has hundreds of inputs and of outputs given by the caller.
class ByStorage {
 public:
  void add(const Array* array, size_t index) {
    if (array && array->storage) places_.emplace_back(array->storage.get(), index);
  }
  void reserve(size_t count) { places_.reserve(count); }
  void sort() { std::sort(places_.begin(), places_.end()); }
  // Those on this array's storage.
  auto range(const Array* array) const {
    std::pair<Storage*, size_t> first{array->storage.get(), 0};
    std::pair<Storage*, size_t> last{array->storage.get(), SIZE_MAX};
    return std::pair{std::lower_bound(places_.begin(), places_.end(), first),
                     std::upper_bound(places_.begin(), places_.end(), last)};
  }

 private:
  std::vector<std::pair<Storage*, size_t>> places_;
};

void check_outputs_disjoint(const Program& program, const std::vector<ArrayRef>& outputs) {
  ByStorage places;
  for (size_t index = 0; index < outputs.size(); ++index) places.add(outputs[index].get(), index);
  places.sort();
  for (size_t index = 0; index < outputs.size(); ++index) {
    if (!outputs[index] || !outputs[index]->storage) continue;
    auto [first, last] = places.range(outputs[index].get());
    for (auto place = first; place != last; ++place) {
      if (place->second != index && overlap(outputs[index].get(), outputs[place->second].get()))
        throw UserError(program.name + ": out=: two outputs overlap; give each its own array");
    }
  }
}

// The caller's array cannot be written directly when an input that the kernels still read lies
// there, unless the compiler has said that this is harmless.
bool conflicts(const Program& program, size_t output, const Array* given, Array* const* inputs,
               const ByStorage& places) {
  auto [first, last] = places.range(given);
  for (auto place = first; place != last; ++place) {
    const Array* input = inputs[place->second];
    if (!overlap(given, input)) continue;
    bool same = given->offset == input->offset && given->type->nbytes == input->type->nbytes;
    if (!same || !may_share(program, output, place->second)) return true;
  }
  return false;
}

ArrayRef reuse_donated(const Program& program, size_t output, Array* const* inputs, size_t count,
                       const std::vector<uint32_t>& donate, std::vector<bool>& taken,
                       uint8_t device) {
  size_t bytes = program.outputs[output]->nbytes;
  for (uint32_t index : donate) {
    if (index >= count || taken[index] || !inputs[index] || !may_share(program, output, index))
      continue;
    Array* input = inputs[index];
    if (input->type->nbytes != bytes || !input->whole_storage() || input->storage->foreign() ||
        !input->storage->exclusive())
      continue;
    bool twice = false;
    for (size_t other = 0; other < count; ++other)
      twice |= other != index && inputs[other] == input && !may_share(program, output, other);
    if (twice) continue;
    taken[index] = true;
    note_write(*input->storage);
    return new_array(program.outputs[output]->on(device), input->storage, 0);
  }
  return {};
}

// Where a call computes: where its first array is, which it reads or is to write.
uint8_t place_of(Array* const* inputs, size_t count, const std::vector<ArrayRef>& outputs) {
  for (size_t index = 0; index < count; ++index) {
    if (inputs[index]) return inputs[index]->type->device;
  }
  for (const ArrayRef& output : outputs) {
    if (output) return output->type->device;
  }
  return current_device();
}

}  // namespace

std::string expectation(const ArrayType* expected, PyObject* given) {
  std::string text = "expected " + expected->text() + "; given ";
  if (is_array(given)) return text + as_array(given)->type->text();
  return text + Py_TYPE(given)->tp_name;
}

// ------------------------------------------------------------------------------------- programs

namespace {

constexpr double kNoticeable = 10'000;  // microseconds

// One call on its way.
class Call {
 public:
  Call(Program& program, Array* const* inputs, const Immediate* immediates, size_t count,
       std::vector<ArrayRef>& outputs, const std::vector<uint32_t>* donate, bool recording)
      : program_(program), code_(*program.code), inputs_(inputs), immediates_(immediates),
        count_(count), outputs_(outputs), donate_(donate),
        device_(place_of(inputs, count, outputs)), recording_(recording),
        synchronous_(Engine::instance().naive.load(std::memory_order_relaxed) ||
                     Task::current_host()),
        on_host_(is_host(device_)),
        small_(on_host_ && (synchronous_ || code_.cost < inline_threshold)) {}

  // May give up the GIL: nothing about the operands is looked at before.
  void wait_for_turn() const {
    if (!Engine::instance().has_room()) wait_for_room();
    // Two at a time, so that the queue cannot hold the inputs and outputs of many steps.
    if (!small_ && code_.arena_bytes && code_.in_flight.load(std::memory_order_relaxed) >= 2)
      wait_below(code_.in_flight, 2);
  }

  void look_at_inputs() {
    for (size_t index = 0; index < count_; ++index) {
      if (!inputs_[index]) continue;
      if (!inputs_[index]->storage) check_not_donated(inputs_[index]);
      if (!on_host_) check_readable(program_.name, *inputs_[index]->type, device_at(device_));
      if (synchronous_) {
        wait_to_read(inputs_[index]);
      } else {
        ready_ &= inputs_[index]->storage->ready_to_read();
      }
    }
  }

  void place_outputs() {
    outputs_.resize(program_.outputs.size());
    for (const ArrayRef& output : outputs_) any_given_ |= static_cast<bool>(output);
    if (any_given_) {
      if (outputs_.size() > 1) check_outputs_disjoint(program_, outputs_);
      input_places_.reserve(count_);
      for (size_t index = 0; index < count_; ++index) input_places_.add(inputs_[index], index);
      input_places_.sort();
    }
    std::vector<bool> taken(donate_ ? count_ : 0);
    for (size_t index = 0; index < outputs_.size(); ++index) {
      if (outputs_[index]) {
        place_given(index);
        continue;
      }
      if (donate_ && !recording_)
        outputs_[index] = reuse_donated(program_, index, inputs_, count_, *donate_, taken, device_);
      if (outputs_[index]) {
        await_writable(outputs_[index].get());
      } else {
        outputs_[index] = new_array(program_.outputs[index]->on(device_));
      }
    }
  }

  bool overwrites() const { return any_given_; }

  void run() {
    ++program_.calls;
    ++counters.native_calls;
    if (synchronous_ && (!on_host_ || (code_.cost > kNoticeable && !Task::current_host()))) {
      ++counters.inlined;
      run_and_wait();
    } else if (small_ && ready_) {
      ++counters.inlined;
      run_inline();
    } else {
      push(make_task());
    }
    for (auto& [index, given] : copies_) {
      if (!on_host_) copy_array(outputs_[index].get(), given.get());
      outputs_[index] = std::move(given);
    }
  }

 private:
  void await_writable(Array* array) {
    if (synchronous_) {
      wait_to_write(array);
    } else {
      ready_ &= array->storage->ready_to_write();
    }
  }

  void place_given(size_t index) {
    Array* given = outputs_[index].get();
    check_given_output(program_, index, given, recording_, device_at(device_));
    await_writable(given);
    if (synchronous_ && given->whole_storage()) given->storage->forget_failure();
    if (conflicts(program_, index, given, inputs_, input_places_)) {
      copies_.emplace_back(index, std::move(outputs_[index]));
      outputs_[index] = new_array(program_.outputs[index]->on(device_));
    } else {
      note_write(*given->storage);
    }
  }

  void run_inline() {
    Ref<ProgramCode> held;
    bool drained = Engine::instance().idle();
    for (;;) {
      try {
        execute();
        break;
      } catch (const OutOfMemory& error) {
        // What is in flight may hold the memory.
        // What had begun may have overwritten its inputs.
        if (drained || began_) throw OutOfMemory(program_.name + ": " + error.what());
        drained = true;
        held = Ref<ProgramCode>(&code_);  // the wait lets others have the GIL
        wait_for_pushed();
      }
    }
    for (auto& [index, given] : copies_) {
      note_write(*given->storage);
      given->storage->materialize();
      move_bytes(outputs_[index]->data(), given->data(), given->type->nbytes);
    }
  }

  void execute() {
    Few<void*, 32> in(count_);
    Few<void*, 32> out(outputs_.size());
    for (size_t index = 0; index < count_; ++index) {
      if (inputs_[index]) {
        inputs_[index]->storage->materialize();
        in[index] = inputs_[index]->data();
      } else {
        in[index] = const_cast<char*>(immediates_[index].bytes);
      }
    }
    for (size_t index = 0; index < outputs_.size(); ++index) {
      outputs_[index]->storage->materialize();
      out[index] = outputs_[index]->data();
    }
    if (code_.arena_bytes) {
      Arena arena(code_.arena_bytes);
      began_ = true;
      code_.execute(in.data(), out.data(), arena.data());
    } else {
      began_ = true;
      code_.execute(in.data(), out.data(), nullptr);
    }
  }

  // Long work of the naive engine: other Python threads and Ctrl-C have their turn meanwhile, and
  // the order of tasks is kept.
  void run_and_wait() {
    Engine::instance().push(make_task());
    for (const ArrayRef& output : outputs_) wait_to_read(output.get());
    if (on_host_) {
      for (auto& [index, given] : copies_) wait_to_read(given.get());
    }
  }

  Ref<Task> make_task() {
    if (on_host_) {
      Ref<Task> owned(new ProgramTask(program_.code, program_.name));
      auto* task = static_cast<ProgramTask*>(owned.get());
      fill(task);
      for (auto& [index, given] : copies_) {
        note_write(*given->storage);
        task->copies.push_back({outputs_[index]->storage.get(), given->storage.get(), given->offset,
                                given->type->nbytes});
        task->writes.push_back({given->storage, given->whole_storage()});
      }
      return owned;
    }
    Ref<Task> owned(new DeviceTask(program_.code, program_.name, device_at(device_)));
    fill(static_cast<DeviceTask*>(owned.get()));
    return owned;
  }

  template <class Filled>
  void fill(Filled* task) {
    task->inputs.reserve(count_);
    task->outputs.reserve(outputs_.size());
    for (size_t index = 0; index < count_; ++index) {
      Place place{};
      if (inputs_[index]) {
        place.storage = inputs_[index]->storage.get();
        place.offset = inputs_[index]->offset;
        task->reads.push_back(inputs_[index]->storage);
      } else {
        place.immediate = immediates_[index];
      }
      task->inputs.push_back(place);
    }
    for (const ArrayRef& output : outputs_) {
      task->outputs.push_back({output->storage.get(), output->offset, {}});
      task->writes.push_back({output->storage, output->whole_storage()});
    }
  }

  Program& program_;
  ProgramCode& code_;
  Array* const* inputs_;
  const Immediate* immediates_;
  size_t count_;
  std::vector<ArrayRef>& outputs_;
  const std::vector<uint32_t>* donate_;
  uint8_t device_;
  bool recording_;
  bool synchronous_;
  bool on_host_;
  bool small_;
  bool ready_ = true;
  bool began_ = false;
  bool any_given_ = false;  // of the outputs, by the caller
  ByStorage input_places_;
  std::vector<std::pair<size_t, ArrayRef>> copies_;  // output, the caller's array
};

}  // namespace

void run_program(Program& program, PyObject* self, Array* const* inputs,
                 const Immediate* immediates, size_t count, std::vector<ArrayRef>& outputs,
                 const std::vector<uint32_t>* donate, bool record) {
  bool recording = record && is_recording();
  Call call(program, inputs, immediates, count, outputs, donate, recording);
  call.wait_for_turn();
  call.look_at_inputs();
  call.place_outputs();
  call.run();
  if (recording)
    record_call(program, self, inputs, immediates, count, outputs, program.visible,
                call.overwrites());
  if (!donate) return;
  for (uint32_t index : *donate) {
    if (index >= count || !inputs[index]) continue;
    inputs[index]->storage.reset();
    inputs[index]->node.reset();
  }
}

void View::bind(int dtype) {
  TypeRef type = ArrayType::get(dtype, shape.data(), shape.size());
  if (!outputs.empty() && outputs[0].get() != type.get())
    throw InternalError("a View must not serve two signatures");
  outputs = {type};
}

ArrayRef run_view(View& view, PyObject* self, Array* operand, bool record) {
  check_not_donated(operand);
  TypeRef type = view.outputs[0]->on(operand->type->device);
  int64_t offset = operand->offset + view.offset * static_cast<int64_t>(type->itemsize());
  if (offset < 0 ||
      offset + static_cast<int64_t>(type->nbytes) > static_cast<int64_t>(operand->storage->bytes()))
    throw InternalError("a view reaches outside its storage");
  std::vector<ArrayRef> outputs;
  outputs.push_back(new_array(type, operand->storage, offset));
  if (record && is_recording()) record_call(view, self, &operand, nullptr, 1, outputs, 1, false);
  return std::move(outputs[0]);
}

}  // namespace tigon
