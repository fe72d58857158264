// A program or view on arrays: outputs, aliasing, donation, inline or pushed, recorded.
#include <algorithm>
#include <cmath>

#include "call/dispatch.h"
#include "call/tasks.h"
#include "core/few.h"
#include "engine/engine.h"
#include "profile/profile.h"
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

}  // namespace

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
  if (output < program.writes.size() && input < program.last_reads.size() &&
      program.last_reads[input] < program.writes[output])
    return true;
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

void check_given_output(const std::string& name, const ArrayType* expected, Array* given,
                        bool recording, const Device& device) {
  check_not_donated(given);
  if (given->type->plain != expected)
    throw UserError(name + ": out=: " + expectation(expected, as_object(given)));
  check_readable(name, *given->type, device);
  if (recording && given->on_tape())
    throw UserError(name +
                    ": an array that takes part in a recording cannot be overwritten (+=, x[:] = "
                    "and out= are not differentiable); write y = x + ... or do it outside "
                    "autograd.record()");
}

// Arrays by storage, where there are too many to look at all of them for each output: a training
// step has hundreds of inputs and of outputs given by the caller.
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

constexpr size_t kFewPairs = 64;  // each is looked at

void check_disjoint(const std::string& name, const Array* one, const Array* other) {
  if (one && one->storage && other && other->storage && overlap(one, other))
    throw UserError(name + ": out=: two outputs overlap; give each its own array");
}

void check_outputs_disjoint(const std::string& name, const std::vector<ArrayRef>& outputs) {
  if (outputs.size() * outputs.size() <= 2 * kFewPairs) {
    for (size_t index = 1; index < outputs.size(); ++index) {
      const Array* one = outputs[index].get();
      for (size_t other = 0; other < index; ++other)
        check_disjoint(name, one, outputs[other].get());
    }
    return;
  }
  ByStorage places;
  for (size_t index = 0; index < outputs.size(); ++index) places.add(outputs[index].get(), index);
  places.sort();
  for (size_t index = 0; index < outputs.size(); ++index) {
    if (!outputs[index] || !outputs[index]->storage) continue;
    auto [first, last] = places.range(outputs[index].get());
    for (auto place = first; place != last; ++place) {
      if (place->second != index)
        check_disjoint(name, outputs[index].get(), outputs[place->second].get());
    }
  }
}

// The caller's array cannot be written directly when an input that the kernels still read lies
// there, unless the compiler has said that this is harmless.
bool conflicts(const Program& program, size_t output, const Array* given, size_t index,
               const Array* input) {
  if (!overlap(given, input)) return false;
  bool same = given->offset == input->offset && given->type->nbytes == input->type->nbytes;
  return !same || !may_share(program, output, index);
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

void check_outputs(const std::string& name, const std::vector<TypeRef>& types,
                   const std::vector<ArrayRef>& outputs, uint8_t device) {
  if (outputs.size() > types.size())
    throw UserError(name + ": out= has more arrays than there are outputs");
  check_outputs_disjoint(name, outputs);
  for (size_t index = 0; index < outputs.size(); ++index) {
    if (outputs[index])
      check_given_output(name, types[index].get(), outputs[index].get(), is_recording(),
                         device_at(device));
  }
}

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
       std::vector<ArrayRef>& outputs, const std::vector<uint32_t>* donate, bool recording,
       bool keeps, NewStates states)
      : engine_(Engine::instance()), program_(program), code_(*program.code), inputs_(inputs),
        immediates_(immediates), count_(count), outputs_(outputs), donate_(donate),
        device_(place_of(inputs, count, outputs)), recording_(recording), keeps_(keeps),
        states_(states),
        synchronous_(engine_.naive.load(std::memory_order_relaxed) || Task::current_host()),
        on_host_(is_host(device_)),
        small_(on_host_ && (synchronous_ || code_.cost < inline_threshold)),
        targets_(program.outputs.size()) {}

  // May give up the GIL: nothing about the operands is looked at before.
  void wait_for_turn() const {
    if (!engine_.has_room()) wait_for_room();
    // Two at a time, so that the queue cannot hold the inputs and outputs of many steps.
    if (!small_ && code_.arena_bytes && code_.in_flight.load(std::memory_order_relaxed) >= 2)
      wait_below(code_.in_flight, 2);
  }

  void look_at_inputs() {
    for (size_t index = 0; index < count_; ++index) {
      if (!inputs_[index]) continue;
      if (!inputs_[index]->storage) check_not_donated(inputs_[index]);
      if (!on_host_) check_readable(program_.name, *inputs_[index]->type, device_at(device_));
      if (inputs_[index]->storage->ready_to_read()) continue;
      if (synchronous_) {
        wait_to_read(inputs_[index]);
      } else {
        ready_ = false;
      }
    }
  }

  void place_outputs() {
    outputs_.resize(program_.outputs.size());
    for (const ArrayRef& output : outputs_) any_given_ |= static_cast<bool>(output);
    if (any_given_) {
      std::fill_n(targets_.data(), outputs_.size(), Target::New);
      if (outputs_.size() > 1) check_outputs_disjoint(program_.name, outputs_);
      if (outputs_.size() * count_ > kFewPairs) {
        input_places_.reserve(count_);
        for (size_t index = 0; index < count_; ++index) input_places_.add(inputs_[index], index);
        input_places_.sort();
      }
    }
    std::vector<bool> taken;
    if (donate_) taken.assign(count_, false);
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
      note_writes();
      push(make_task());
    }
    for (auto& [index, given] : copies_) {
      if (!on_host_) copy_array(outputs_[index].get(), given.get());
      outputs_[index] = std::move(given);
    }
  }

 private:
  void await_writable(Array* array) {
    if (array->storage->ready_to_write()) return;
    if (synchronous_) {
      wait_to_write(array);
    } else {
      ready_ = false;
    }
  }

  void place_given(size_t index) {
    Array* given = outputs_[index].get();
    check_given_output(program_.name, program_.outputs[index].get(), given, recording_,
                       device_at(device_));
    await_writable(given);
    if (synchronous_ && given->whole_storage()) given->storage->forget_failure();
    if (code_.may_leave_half(index) || is_read(index, given)) {
      targets_[index] = Target::Copied;
      copies_.emplace_back(index, std::move(outputs_[index]));
      outputs_[index] = new_array(program_.outputs[index]->on(device_));
    } else {
      targets_[index] = Target::Overwritten;
    }
  }

  bool is_read(size_t output, const Array* given) const {
    if (outputs_.size() * count_ <= kFewPairs) {
      for (size_t index = 0; index < count_; ++index) {
        const Array* input = inputs_[index];
        if (input && conflicts(program_, output, given, index, input)) return true;
      }
      return false;
    }
    auto [first, last] = input_places_.range(given);
    for (auto place = first; place != last; ++place) {
      if (conflicts(program_, output, given, place->second, inputs_[place->second])) return true;
    }
    return false;
  }

  bool is_overwritten(size_t index) { return any_given_ && targets_[index] == Target::Overwritten; }
  bool is_kept(size_t index) { return keeps_ && any_given_ && targets_[index] != Target::New; }

  void note_writes() {
    if (!any_given_) return;
    for (size_t index = 0; index < outputs_.size(); ++index) {
      if (is_overwritten(index)) note_write(*outputs_[index]->storage);
    }
  }

  void run_inline() {
    profile::Span span;
    if (profile::watches(profile::SpanKind::Program) && !profile::place.by_operator) [[unlikely]]
      span.open(profile::SpanKind::Program, program_.name);
    Ref<ProgramCode> held;
    bool drained = engine_.idle();
    for (;;) {
      try {
        execute();
        break;
      } catch (const OutOfMemory& error) {
        // What is in flight may hold the memory.
        // What had begun may have overwritten its inputs.
        if (began_) note_writes();
        if (drained || began_) throw OutOfMemory(program_.name + ": " + error.what());
        drained = true;
        held = Ref<ProgramCode>(&code_);  // the wait lets others have the GIL
        wait_for_pushed();
      }
    }
    note_writes();
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
      execute(in.data(), out.data(), arena.data());
    } else {
      execute(in.data(), out.data(), nullptr);
    }
  }

  // What a failed kernel has left as it was still has the value that the tape may need.
  void execute(void* const* in, void* const* out, void* arena) {
    began_ = true;
    KernelFailure failure;
    if (code_.try_execute(in, out, arena, failure)) return;
    for (size_t index = 0; index < outputs_.size(); ++index) {
      if (is_overwritten(index) && code_.may_have_written(index, failure))
        note_write(*outputs_[index]->storage);
    }
    failure.raise();
  }

  // Long work of the naive engine: other Python threads and Ctrl-C have their turn meanwhile, and
  // the order of tasks is kept.
  void run_and_wait() {
    note_writes();
    engine_.push(make_task());
    for (const ArrayRef& output : outputs_) wait_to_read(output.get());
    if (on_host_) {
      for (auto& [index, given] : copies_) wait_to_read(given.get());
    }
  }

  Ref<Task> make_task() {
    Ref<ExecutionTask> task = execution_task(program_.code, program_.name, device_);
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
    for (size_t index = 0; index < outputs_.size(); ++index) {
      const ArrayRef& output = outputs_[index];
      task->outputs.push_back({output->storage.get(), output->offset, {}});
      task->writes.push_back({output->storage, output->whole_storage(), false, is_kept(index), {}});
    }
    for (size_t index = 0; states_.moves && index < states_.moves->size(); ++index) {
      auto [output, input] = (*states_.moves)[index];
      if (output < states_.first) continue;
      Task::Write& write = task->writes[output - states_.first];
      write.before = inputs_[input]->storage;
      write.before_offset = static_cast<size_t>(inputs_[input]->offset);
    }
    if (on_host_) {
      for (auto& [index, given] : copies_) {
        note_write(*given->storage);
        task->copies.push_back({outputs_[index]->storage.get(), given->storage.get(), given->offset,
                                given->type->nbytes});
        task->writes.push_back({given->storage, given->whole_storage(), false, is_kept(index), {}});
      }
    }
    return Ref<Task>(task.get());
  }

  Engine& engine_;
  Program& program_;
  ProgramCode& code_;
  Array* const* inputs_;
  const Immediate* immediates_;
  size_t count_;
  std::vector<ArrayRef>& outputs_;
  const std::vector<uint32_t>* donate_;
  uint8_t device_;
  bool recording_;
  bool keeps_;
  NewStates states_;
  bool synchronous_;
  bool on_host_;
  bool small_;
  bool ready_ = true;
  bool began_ = false;
  bool any_given_ = false;  // of the outputs, by the caller
  // What each output is, where any is given: made here, the caller's array, copied there at the
  // end.
  enum class Target : uint8_t { New, Overwritten, Copied };
  Few<Target, 32> targets_;
  ByStorage input_places_;
  std::vector<std::pair<size_t, ArrayRef>> copies_;  // output, the caller's array
};

}  // namespace

void run_program(Program& program, PyObject* self, Array* const* inputs,
                 const Immediate* immediates, size_t count, std::vector<ArrayRef>& outputs,
                 const std::vector<uint32_t>* donate, bool record, bool keeps, NewStates states) {
  bool recording = record && is_recording();
  Call call(program, inputs, immediates, count, outputs, donate, recording, keeps, states);
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
