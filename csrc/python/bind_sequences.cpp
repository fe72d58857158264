// Sequences and random keys, for Python.
#include "python/binding.h"

#include "call/random_key.h"
#include "call/sequence.h"
#include "program/control.h"

namespace tigon {
namespace {

using namespace nb::literals;

std::vector<uint32_t> slots_of(nb::handle given) {
  std::vector<uint32_t> slots;
  for (int64_t slot : nb::cast<std::vector<int64_t>>(given))
    slots.push_back(slot < 0 ? kKeySlot : static_cast<uint32_t>(slot));
  return slots;
}

Step read_step(nb::handle given) {
  auto parts = nb::cast<nb::tuple>(given);
  auto kind = nb::cast<std::string>(parts[0]);
  if (kind == "run") {
    RunStep step;
    step.owner = parts[1];
    if (Py_TYPE(step.owner.ptr()) != reinterpret_cast<PyTypeObject*>(program_type))
      throw InternalError("sequence: only programs run");
    step.program = nb::inst_ptr<Program>(step.owner);
    step.inputs = slots_of(parts[2]);
    step.over = nb::cast<std::vector<std::pair<uint32_t, uint32_t>>>(parts[3]);
    step.donated = slots_of(parts[4]);
    return step;
  }
  if (kind == "host") {
    HostStep step;
    step.function = parts[1];
    step.inputs = slots_of(parts[2]);
    for (const TypePair& pair : nb::cast<std::vector<TypePair>>(parts[3]))
      step.outputs.push_back(type_of(pair));
    return step;
  }
  if (kind == "prepare") {
    PrepareStep step;
    step.owner = parts[1];
    step.prepared = nb::cast<Prepared*>(parts[1]);
    step.inputs = slots_of(parts[2]);
    return step;
  }
  if (kind != "commit") throw InternalError("sequence: there is no step " + kind);
  return CommitStep{nb::cast<std::vector<std::pair<uint32_t, uint32_t>>>(parts[1])};
}

void init_sequence(Sequence* sequence, const std::vector<TypePair>& inputs,
                   const std::vector<nb::object>& steps, const std::vector<uint32_t>& results,
                   int64_t draws, nb::object tag) {
  translated([&] {
    auto made = std::make_unique<Sequence>();
    for (const TypePair& pair : inputs) made->inputs.push_back(type_of(pair));
    for (const nb::object& step : steps) made->steps.push_back(read_step(step));
    made->results = results;
    made->draws = draws;
    made->tag = std::move(tag);
    made->finish();
    ::new (sequence) Sequence(std::move(*made));
  });
}

PyObject* run_on(const Sequence& sequence, PyObject* arrays) {
  auto count = static_cast<size_t>(PyTuple_GET_SIZE(arrays));
  Few<Array*, 48> given(count);
  for (size_t index = 0; index < count; ++index)
    given[index] = as_array(PyTuple_GET_ITEM(arrays, static_cast<Py_ssize_t>(index)));
  std::vector<ArrayRef> made;
  sequence.run(given.data(), made);
  return packed(made, PyTuple_New);
}

void check_places(const Sequence& sequence, PyObject* arrays) {
  auto count = static_cast<size_t>(PyTuple_GET_SIZE(arrays));
  Few<Array*, 48> given(count);
  for (size_t index = 0; index < count; ++index)
    given[index] = as_array(PyTuple_GET_ITEM(arrays, static_cast<Py_ssize_t>(index)));
  check_one_place(sequence.name(), given.data(), count);
}

// A tuple: a list could change while the interpreter lock is given up.
nb::object as_tuple(PyObject* given) {
  nb::object made = nb::steal(PySequence_Tuple(given));
  if (!made) throw nb::python_error();
  return made;
}

PyObject* sequence_call(PyObject* self, PyObject* arguments, PyObject* keywords) {
  return guarded([&]() -> PyObject* {
    PyObject* given;
    if (keywords || !PyArg_UnpackTuple(arguments, "sequence", 1, 1, &given))
      throw nb::python_error();
    nb::object alive = nb::borrow(self);
    const Sequence& sequence = *nb::inst_ptr<Sequence>(self);
    nb::object arrays = as_tuple(given);
    size_t expected = sequence.inputs.size();
    if (static_cast<size_t>(PyTuple_GET_SIZE(arrays.ptr())) != expected)
      throw UserError("sequence: expected " + std::to_string(expected) + " arrays; given " +
                      std::to_string(PyTuple_GET_SIZE(arrays.ptr())));
    for (size_t index = 0; index < expected; ++index) {
      PyObject* item = PyTuple_GET_ITEM(arrays.ptr(), static_cast<Py_ssize_t>(index));
      const ArrayType* type = sequence.inputs[index].get();
      if (!is_array(item) || as_array(item)->type->plain != type)
        throw UserError("sequence: input " + std::to_string(index) + ": " +
                        expectation(type, item));
    }
    check_places(sequence, arrays.ptr());
    return run_on(sequence, arrays.ptr());
  });
}

// (arrays, training, donated)
std::shared_ptr<KeyedSequence> find_in(PyObject* self, PyObject* arguments, nb::object& arrays) {
  PyObject *given, *training, *donated;
  if (!PyArg_UnpackTuple(arguments, "sequences", 3, 3, &given, &training, &donated))
    throw nb::python_error();
  arrays = as_tuple(given);
  bool mode = training == Py_None ? is_training() : training == Py_True;
  nb::object given_up = as_tuple(donated);
  return nb::inst_ptr<SequenceCache>(self)->find(arrays.ptr(), mode, given_up.ptr());
}

PyObject* cache_call(PyObject* self, PyObject* arguments, PyObject*) {
  return guarded([&] {
    nb::object alive = nb::borrow(self), arrays;
    std::shared_ptr<KeyedSequence> found = find_in(self, arguments, arrays);
    return run_on(*found->sequence, arrays.ptr());
  });
}

int traverse_sequence(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<Sequence>(self)->traverse(visit, arg) : 0;
}
int clear_sequence(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<Sequence>(self)->clear();
  return 0;
}
int traverse_cache(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<SequenceCache>(self)->traverse(visit, arg) : 0;
}
int clear_cache(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<SequenceCache>(self)->clear();
  return 0;
}

PyType_Slot sequence_slots[] = {
    {Py_tp_call, reinterpret_cast<void*>(sequence_call)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_sequence)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_sequence)},
    {0, nullptr},
};
PyType_Slot cache_slots[] = {
    {Py_tp_call, reinterpret_cast<void*>(cache_call)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_cache)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_cache)},
    {0, nullptr},
};

void bind_random_keys(nb::module_& m) {
  if (!create_random_key_type(m.ptr())) throw nb::python_error();
  m.def(
      "take_key", [](int64_t calls) { return nb::steal(new_random_key(take_key(calls))); },
      "calls"_a = 1);
  m.def(
      "give_back_key",
      [](nb::object key, int64_t calls) {
        if (!is_random_key(key.ptr())) throw InternalError("give_back_key: it is no key");
        give_back_key(as_random_key(key.ptr()), calls);
      },
      "key"_a, "calls"_a);
  m.def("take_callback_key", [] {
    RandomKey key = take_callback_key();
    return std::make_pair(key.seed, key.counter);
  });
  m.def("inner_key", [](int64_t seed, int64_t counter) {
    RandomKey key = inner_key({seed, counter});
    return std::make_pair(key.seed, key.counter);
  });
  m.def("seed_keys", seed_keys);
  m.def("key_state", [] {
    RandomKey now = key_state();
    return std::make_pair(now.seed, now.counter);
  });
  m.def(
      "set_key_scope",
      [](nb::object begin) -> nb::object {
        std::optional<KeyStream> part;
        if (!begin.is_none()) {
          auto [seed, counter, callbacks] = nb::cast<std::tuple<int64_t, int64_t, int64_t>>(begin);
          part = KeyStream{{seed, counter}, callbacks};
        }
        std::optional<KeyStream> before = set_key_scope(part);
        if (!before) return nb::none();
        return nb::make_tuple(before->next.seed, before->next.counter, before->callbacks);
      },
      "begin"_a.none());
}

}  // namespace

void bind_sequences(nb::module_& m) {
  bind_random_keys(m);
  m.attr("KEY_SLOT") = -1;
  nb::class_<Prepared>(m, "Prepared", "What a program makes of arrays that mostly stay.")
      .def(
          "__init__",
          [](Prepared* prepared, nb::object owner) {
            translated([&] {
              if (Py_TYPE(owner.ptr()) != reinterpret_cast<PyTypeObject*>(program_type))
                throw InternalError("prepared: only programs run");
              ::new (prepared) Prepared();
              prepared->program = nb::inst_ptr<Program>(owner);
              prepared->owner = std::move(owner);
            });
          },
          "program"_a)
      .def_ro("runs", &Prepared::runs, "How often the program has run.");
  auto sequence = nb::class_<Sequence>(m, "Sequence", nb::type_slots(sequence_slots),
                                       "A call of compiled code, step by step.");
  sequence
      .def("__init__", init_sequence, "inputs"_a, "steps"_a, "results"_a, "draws"_a = 0,
           "tag"_a = nb::none())
      .def_ro("draws", &Sequence::draws)
      .def_ro("tag", &Sequence::tag)
      .def_prop_ro("programs", [](const Sequence& sequence) {
        nb::list programs;
        for (const Step& step : sequence.steps)
          if (auto* run = std::get_if<RunStep>(&step)) programs.append(run->owner);
        return programs;
      });
  sequence_type = sequence.ptr();
  auto cache = nb::class_<SequenceCache>(m, "SequenceCache", nb::type_slots(cache_slots),
                                         "Sequences by mode, wanted gradients, and types.");
  cache.def(nb::init<nb::object, size_t>(), "make"_a, "most"_a)
      .def("find",
           [](nb::object self, nb::object given, nb::object training, nb::object donated) {
             return translated([&] {
               nb::object arrays;
               nb::object arguments = nb::make_tuple(given, training, donated);
               return find_in(self.ptr(), arguments.ptr(), arrays)->owner;
             });
           })
      .def_prop_ro("sequences", [](const SequenceCache& cache) {
        nb::list all;
        for (const auto& held : cache.kept().by_age()) all.append(held->owner);
        return all;
      });
}

}  // namespace tigon
