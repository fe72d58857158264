#include "call/sequence.h"

#include "call/random_key.h"
#include "python/errors.h"

namespace tigon {

PyObject* sequence_type = nullptr;

PyObject* packed(std::vector<ArrayRef>& arrays, PyObject* (*make)(Py_ssize_t)) {
  PyObject* made = make(static_cast<Py_ssize_t>(arrays.size()));
  if (!made) throw PythonError{};
  bool list = PyList_CheckExact(made);
  for (size_t index = 0; index < arrays.size(); ++index) {
    PyObject* array = as_object(arrays[index].release());
    auto place = static_cast<Py_ssize_t>(index);
    list ? (void)PyList_SET_ITEM(made, place, array) : (void)PyTuple_SET_ITEM(made, place, array);
  }
  return made;
}

void take_over(Array* array, Array* made) {
  if (!array->whole_storage()) return copy_array(made, array);
  array->storage = made->storage;
  array->offset = made->offset;
}

namespace {

// The same, from an array that nobody else sees.
void take_over_last(Array* array, Array* made) {
  if (!array->whole_storage()) return copy_array(made, array);
  array->storage.swap(made->storage);
  array->offset = made->offset;
}

}  // namespace

void Frame::add(std::vector<ArrayRef>&& made) {
  for (const ArrayRef& array : made) arrays_[size_++] = array.get();
  if (made_.empty()) {
    made_ = std::move(made);
  } else {
    for (ArrayRef& array : made) made_.push_back(std::move(array));
  }
}

ArrayRef Frame::take(uint32_t slot) {
  if (slot < given_) return ArrayRef::borrow(arrays_[slot]);
  return std::move(made_[slot - given_]);
}

void RunStep::run(Frame& frame) const {
  size_t count = inputs.size();
  Few<Array*, 48> operands(count);
  Few<Immediate, 48> immediates(count);
  for (size_t index = 0; index < count; ++index) {
    if (inputs[index] == kKeySlot) {
      operands[index] = nullptr;
      immediates[index].key = frame.key;
    } else {
      operands[index] = frame[inputs[index]];
    }
  }
  std::vector<ArrayRef> outputs;
  if (!over.empty()) outputs.resize(program->outputs.size());
  for (auto [output, slot] : over) outputs[output] = ArrayRef::borrow(frame[slot]);
  run_program(*program, owner.ptr(), operands.data(), immediates.data(), count, outputs,
              donated.empty() ? nullptr : &donated, true, !over.empty());
  outputs.resize(program->visible);
  frame.add(std::move(outputs));
}

void HostStep::run(Frame& frame) const {
  nb::object given = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(inputs.size())));
  if (!given) throw nb::python_error();
  for (size_t index = 0; index < inputs.size(); ++index)
    PyTuple_SET_ITEM(given.ptr(), static_cast<Py_ssize_t>(index),
                     Py_NewRef(as_object(frame[inputs[index]])));
  nb::object answer =
      nb::steal(in_python([&] { return PyObject_Call(function.ptr(), given.ptr(), nullptr); }));
  if (!answer) throw nb::python_error();
  nb::object fast = nb::steal(PySequence_Tuple(answer.ptr()));
  if (!fast) throw nb::python_error();
  auto count = static_cast<size_t>(PyTuple_GET_SIZE(fast.ptr()));
  if (count != outputs.size())
    throw UserError("host step: expected " + std::to_string(outputs.size()) + " arrays; given " +
                    std::to_string(count));
  std::vector<ArrayRef> made;
  for (size_t index = 0; index < count; ++index) {
    PyObject* item = PyTuple_GET_ITEM(fast.ptr(), static_cast<Py_ssize_t>(index));
    if (!is_array(item) || as_array(item)->type->plain != outputs[index].get())
      throw UserError("host step: result " + std::to_string(index) + ": " +
                      expectation(outputs[index].get(), item));
    check_not_donated(as_array(item));
    made.push_back(ArrayRef::borrow(as_array(item)));
  }
  frame.add(std::move(made));
}

void CommitStep::run(Frame& frame) const {
  for (auto [from, to] : states) take_over(frame[to], frame[from]);
}

std::vector<ArrayRef> Prepared::arrays(Array* const* given) {
  size_t count = program->inputs.size();
  std::vector<Seen> now;
  bool stays = true;
  for (size_t index = 0; index < count; ++index) {
    Storage& storage = *given[index]->storage;
    stays = stays && storage.counts_writes();
    now.push_back({storage.id(), storage.version, given[index]->offset});
  }
  Made& here = made_[given[0]->storage->device()];  // where it is stays valid
  for (const ArrayRef& array : here.arrays) stays = stays && !array->storage->failed.load();
  if (!stays || here.arrays.empty() || now != here.of) {
    std::vector<ArrayRef> made;
    run_program(*program, owner.ptr(), given, nullptr, count, made, nullptr, false);
    ++runs;
    here = {std::move(now), std::move(made)};
  }
  std::vector<ArrayRef> shared;
  for (const ArrayRef& array : here.arrays) shared.push_back(ArrayRef::borrow(array.get()));
  return shared;
}

void PrepareStep::run(Frame& frame) const {
  Few<Array*, 48> given(inputs.size());
  for (size_t index = 0; index < inputs.size(); ++index) given[index] = frame[inputs[index]];
  frame.add(prepared->arrays(given.data()));
}

void Sequence::run(Array* const* given, std::vector<ArrayRef>& made, bool record,
                   const Immediate* immediates) const {
  if (only_)
    return run_program(*only_->program, only_->owner.ptr(), given, immediates, inputs.size(), made,
                       nullptr, record);
  auto run = [&](RandomKey key) {
    if (direct_) return run_directly(given, immediates, key, made);
    if (immediates || !made.empty()) throw InternalError("sequence: it runs on arrays alone");
    run_steps(given, key, made);
  };
  if (!draws) return run({});
  RandomKey key = take_key(draws);
  try {
    run(key);
  } catch (...) {
    give_back_key(key, draws);
    throw;
  }
}

void Sequence::run_steps(Array* const* given, RandomKey key, std::vector<ArrayRef>& made) const {
  Frame frame(given, inputs.size(), frame_size_, key);
  for (const Step& step : steps) std::visit([&](const auto& own) { own.run(frame); }, step);
  made.reserve(results.size());
  for (uint32_t slot : results) made.push_back(frame.take(slot));
}

void Sequence::run_directly(Array* const* given, const Immediate* immediates, RandomKey key,
                            std::vector<ArrayRef>& made) const {
  const auto& step = std::get<RunStep>(steps[0]);
  const std::vector<uint32_t>* donated = step.donated.empty() ? nullptr : &step.donated;
  size_t count = inputs.size();
  if (made.size() > results.size())
    throw UserError(step.program->name + ": out= has more arrays than there are outputs");
  if (!step.over.empty()) made.resize(step.program->outputs.size());
  for (auto [output, place] : step.over) made[output] = ArrayRef::borrow(given[place]);
  const auto* states = steps.size() > 1 ? &std::get<CommitStep>(steps[1]).states : nullptr;
  if (draws) {
    Few<Array*, 48> operands(count + 1);
    Few<Immediate, 49> values(count + 1);
    for (size_t index = 0; index < count; ++index) {
      operands[index] = given[index];
      if (!given[index]) values[index] = immediates[index];
    }
    operands[count] = nullptr;
    values[count].key = key;
    run_program(*step.program, step.owner.ptr(), operands.data(), values.data(), count + 1, made,
                donated, true, !step.over.empty(), {states, count});
  } else {
    run_program(*step.program, step.owner.ptr(), given, immediates, count, made, donated, true,
                !step.over.empty(), {states, count});
  }
  if (states) {
    for (auto [from, to] : *states) {
      Array* state = made[from - count].get();
      bool own = from - count >= results.size() && Py_REFCNT(as_object(state)) == 1;
      own ? take_over_last(given[to], state) : take_over(given[to], state);
    }
  }
  made.resize(results.size());
}

bool Sequence::is_direct() const {
  auto* step = steps.empty() ? nullptr : std::get_if<RunStep>(&steps[0]);
  if (!step || steps.size() > 2) return false;
  size_t count = inputs.size();
  for (auto [output, place] : step->over) {
    if (place >= count) return false;
  }
  if (step->inputs.size() != count + (draws ? 1 : 0)) return false;
  for (size_t index = 0; index < step->inputs.size(); ++index) {
    if (step->inputs[index] != (index < count ? index : kKeySlot)) return false;
  }
  for (size_t index = 0; index < results.size(); ++index) {
    if (results[index] != count + index) return false;
  }
  if (steps.size() == 1) return true;
  auto* commit = std::get_if<CommitStep>(&steps[1]);
  if (!commit) return false;
  for (size_t index = 0; index < commit->states.size(); ++index) {
    auto [from, to] = commit->states[index];
    if (from < count || to >= count) return false;
    for (size_t earlier = 0; earlier < index; ++earlier)
      if (commit->states[earlier].first == from) return false;
  }
  return true;
}

namespace {

// The types in a frame, as far as steps have filled it.
class FrameTypes {
 public:
  explicit FrameTypes(const std::vector<TypeRef>& given) : types_(given) {}

  void expect(uint32_t slot, const ArrayType* type) const {
    if (slot == kKeySlot ? type != key_type().get() : at(slot) != type)
      throw InternalError("sequence: a step is given what does not fit");
  }
  const ArrayType* at(uint32_t slot) const {
    if (slot >= types_.size()) throw InternalError("sequence: a step reads what is not there");
    return types_[slot].get();
  }
  void add(const TypeRef& type) { types_.push_back(type); }
  size_t size() const { return types_.size(); }

 private:
  std::vector<TypeRef> types_;
};

void check_step(const RunStep& step, FrameTypes& types) {
  const Program& program = *step.program;
  if (step.inputs.size() != program.inputs.size())
    throw InternalError("sequence: " + program.name + " takes another number of inputs");
  for (size_t index = 0; index < step.inputs.size(); ++index)
    types.expect(step.inputs[index], program.inputs[index].get());
  for (uint32_t index : step.donated) {
    if (index >= step.inputs.size() || step.inputs[index] == kKeySlot)
      throw InternalError("sequence: what is donated is no input");
  }
  for (auto [output, slot] : step.over) {
    if (output >= program.outputs.size()) throw InternalError("sequence: there is no such output");
    types.expect(slot, program.outputs[output].get());
  }
  for (size_t index = 0; index < program.visible; ++index) types.add(program.outputs[index]);
}

void check_step(const HostStep& step, FrameTypes& types) {
  for (uint32_t slot : step.inputs) types.at(slot);
  for (const TypeRef& type : step.outputs) types.add(type);
}

void check_step(const PrepareStep& step, FrameTypes& types) {
  const Program& program = *step.prepared->program;
  if (step.inputs.size() != program.inputs.size())
    throw InternalError("sequence: " + program.name + " takes another number of inputs");
  for (size_t index = 0; index < step.inputs.size(); ++index)
    types.expect(step.inputs[index], program.inputs[index].get());
  for (const TypeRef& type : program.outputs) types.add(type);
}

void check_step(const CommitStep& step, FrameTypes& types) {
  for (auto [from, to] : step.states) types.expect(to, types.at(from));
}

}  // namespace

void Sequence::finish() {
  FrameTypes types(inputs);
  for (const Step& step : steps) std::visit([&](const auto& own) { check_step(own, types); }, step);
  std::vector<uint32_t> seen = results;
  std::sort(seen.begin(), seen.end());
  if (std::adjacent_find(seen.begin(), seen.end()) != seen.end())
    throw InternalError("sequence: a result is given twice");
  for (uint32_t slot : results) types.at(slot);
  frame_size_ = types.size();
  direct_ = is_direct();
  auto* first = direct_ ? &std::get<RunStep>(steps[0]) : nullptr;
  bool only = first && !draws && steps.size() == 1 && first->donated.empty() &&
              first->over.empty() && results.size() == first->program->outputs.size();
  if (only) only_ = first;
}

std::string Sequence::name() const {
  for (const Step& step : steps) {
    if (auto* run = std::get_if<RunStep>(&step)) return run->program->name;
  }
  return "sequence";
}

int Sequence::traverse(visitproc visit, void* arg) const {
  Py_VISIT(tag.ptr());
  for (const Step& step : steps) {
    if (auto* run = std::get_if<RunStep>(&step)) Py_VISIT(run->owner.ptr());
    if (auto* host = std::get_if<HostStep>(&step)) Py_VISIT(host->function.ptr());
    if (auto* prepare = std::get_if<PrepareStep>(&step)) Py_VISIT(prepare->owner.ptr());
  }
  return 0;
}

// Its steps stay: a call may be under way.
void Sequence::clear() { nb::object gone = std::exchange(tag, nb::none()); }

std::vector<uint64_t> wanted_gradients(Array* const* arrays, size_t count) {
  std::vector<uint64_t> wanted;
  if (!is_recording()) return wanted;
  for (size_t index = 0; index < count; ++index) {
    if (!wants_gradient(arrays[index])) continue;
    if (wanted.empty()) wanted.resize(count / 64 + 1);
    wanted[index / 64] |= uint64_t{1} << (index % 64);
  }
  return wanted;
}

bool wants_gradients(Array* const* arrays, size_t count, const std::vector<uint64_t>& wanted) {
  for (size_t first = 0; first < count; first += 64) {
    uint64_t word = 0;
    for (size_t index = first; index < std::min(first + 64, count); ++index)
      word |= uint64_t{wants_gradient(arrays[index])} << (index - first);
    if (word != (wanted.empty() ? 0 : wanted[first / 64])) return false;
  }
  return true;
}

namespace {

nb::object flags_of(const std::vector<uint64_t>& wanted, size_t count) {
  if (wanted.empty()) return nb::none();
  nb::object flags = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  if (!flags) throw nb::python_error();
  for (size_t index = 0; index < count; ++index) {
    bool is_wanted = (wanted[index / 64] >> (index % 64)) & 1;
    PyTuple_SET_ITEM(flags.ptr(), static_cast<Py_ssize_t>(index),
                     Py_NewRef(is_wanted ? Py_True : Py_False));
  }
  return flags;
}

}  // namespace

std::shared_ptr<KeyedSequence> SequenceCache::find(PyObject* arrays, bool training,
                                                   PyObject* donated) {
  auto count = static_cast<size_t>(PyTuple_GET_SIZE(arrays));
  Few<Array*, 48> given(count);
  for (size_t index = 0; index < count; ++index) {
    PyObject* item = PyTuple_GET_ITEM(arrays, static_cast<Py_ssize_t>(index));
    if (!is_array(item))
      throw UserError("a compiled graph runs on NDArrays; given " +
                      std::string(Py_TYPE(item)->tp_name));
    given[index] = as_array(item);
  }
  std::vector<uint64_t> places(static_cast<size_t>(PyTuple_GET_SIZE(donated)));
  for (size_t index = 0; index < places.size(); ++index) {
    long place = PyLong_AsLong(PyTuple_GET_ITEM(donated, static_cast<Py_ssize_t>(index)));
    if (place == -1 && PyErr_Occurred()) throw nb::python_error();
    places[index] = static_cast<uint64_t>(place);
  }
  return find(given.data(), count, training, places);
}

std::shared_ptr<KeyedSequence> SequenceCache::find(Array* const* given, size_t count, bool training,
                                                   const std::vector<uint64_t>& donated) {
  std::vector<uint64_t> wanted = wanted_gradients(given, count);
  size_t given_up = donated.size();
  size_t words = 1 + wanted.size() + given_up + count;
  Few<uint64_t, 64> key(words);
  size_t next = 0;
  key[next++] = count << 34 | given_up << 2 | (wanted.empty() ? 0 : 2) | (training ? 1 : 0);
  for (uint64_t word : wanted) key[next++] = word;
  for (uint64_t place : donated) key[next++] = place;
  for (size_t index = 0; index < count; ++index)
    key[next++] = reinterpret_cast<uint64_t>(given[index]->type.get());
  uint64_t hash = hash_of(key.data(), words);
  if (const auto* found = kept_.find(key.data(), words, hash)) return *found;
  auto made = std::make_shared<KeyedSequence>();
  made->set_key(key.data(), words, hash);
  nb::object flags = flags_of(wanted, count);
  nb::object make = make_;
  nb::list arrays, places;
  for (size_t index = 0; index < count; ++index) arrays.append(nb::borrow(as_object(given[index])));
  for (uint64_t place : donated) places.append(place);
  nb::object all = nb::steal(PyList_AsTuple(arrays.ptr()));
  nb::object given_places = nb::steal(PyList_AsTuple(places.ptr()));
  if (!all.is_valid() || !given_places.is_valid()) throw nb::python_error();
  made->owner = nb::steal(in_python([&] {
    return PyObject_CallFunctionObjArgs(make.ptr(), all.ptr(), training ? Py_True : Py_False,
                                        flags.ptr(), given_places.ptr(), nullptr);
  }));
  if (!made->owner.is_valid()) throw nb::python_error();
  if (Py_TYPE(made->owner.ptr()) != reinterpret_cast<PyTypeObject*>(sequence_type))
    throw InternalError("what makes sequences must return a Sequence");
  made->sequence = nb::inst_ptr<Sequence>(made->owner);
  if (made->sequence->inputs.size() != count)
    throw InternalError("a sequence was made for another number of arrays");
  for (size_t index = 0; index < count; ++index) {
    if (made->sequence->inputs[index].get() != given[index]->type->plain)
      throw InternalError("a sequence was made for other types");
    made->types.push_back(given[index]->type);
  }
  // Another thread may have been here meanwhile.
  if (const auto* found = kept_.find(key.data(), words, hash)) return *found;
  kept_.insert(made);
  return made;
}

int SequenceCache::traverse(visitproc visit, void* arg) const {
  Py_VISIT(make_.ptr());
  return kept_.each([&](const KeyedSequence& held) {
    Py_VISIT(held.owner.ptr());
    return 0;
  });
}

void SequenceCache::clear() {
  nb::object gone = std::exchange(make_, nb::none());
  kept_.clear();
}

}  // namespace tigon
