#include "python/shortcut.h"

#include <algorithm>
#include <vector>

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "call/paths.h"
#include "call/sequence.h"
#include "core/few.h"
#include "profile/profile.h"
#include "python/arguments.h"
#include "python/errors.h"
#include "python/guards.h"

namespace tigon {
namespace {

using namespace nb::literals;

int64_t epoch = 0;  // of blocks and parameters; guarded by the GIL

using Operands = Few<Array*, 32>;

// One sequence, or paths, for one kind of call, and all that must be as it was.
struct Shortcut {
  int64_t epoch;
  bool training;
  bool recording;
  std::vector<TypeRef> types;    // of the arguments
  std::vector<uint64_t> wanted;  // gradients, by operand
  nb::object guards;             // of what the traced code read
  Guards* guarded;
  nb::object owner;
  const Sequence* sequence = nullptr;
  const Paths* paths = nullptr;
  std::vector<ArrayRef> arrays;                   // null where an argument goes
  std::vector<std::pair<size_t, size_t>> inputs;  // (place among the arrays, argument)
  Form form;                                      // of the result
  mutable uint32_t references = 0;                // guarded by the GIL

  bool is_of(const Shortcut& other) const {
    return training == other.training && recording == other.recording && wanted == other.wanted &&
           std::equal(types.begin(), types.end(), other.types.begin(), other.types.end());
  }

  bool fits(PyObject* arguments) const {
    if (epoch != tigon::epoch) return false;
    const Modes& now = modes();
    if (training != now.training || recording != now.recording) return false;
    if (static_cast<size_t>(PyTuple_GET_SIZE(arguments)) != types.size()) return false;
    for (size_t index = 0; index < types.size(); ++index) {
      PyObject* argument = PyTuple_GET_ITEM(arguments, static_cast<Py_ssize_t>(index));
      if (!is_array(argument) || as_array(argument)->type.get() != types[index].get()) return false;
      // Calls that give one array twice are of a kind of their own, and go the long way.
      for (size_t earlier = 0; earlier < index; ++earlier)
        if (PyTuple_GET_ITEM(arguments, static_cast<Py_ssize_t>(earlier)) == argument) return false;
    }
    return true;
  }

  void retain() const { ++references; }
  void release() const {
    if (--references == 0) delete this;
  }

  void place(PyObject* arguments, Array** operands) const {
    for (size_t index = 0; index < arrays.size(); ++index) operands[index] = arrays[index].get();
    for (auto [place, argument] : inputs)
      operands[place] = as_array(PyTuple_GET_ITEM(arguments, static_cast<Py_ssize_t>(argument)));
  }

  bool wants_the_same(Array* const* operands) const {
    return !recording || paths || wants_gradients(operands, arrays.size(), wanted);
  }

  // Null, and no error, where a value decides for what was never traced: then nothing has happened.
  PyObject* run(Array* const* operands, PyObject* arguments) const {
    std::vector<ArrayRef> results;
    if (paths) {
      const PathEnd* end = paths->run(operands, results);
      return end ? finished(*end, results, arguments) : nullptr;
    }
    sequence->run(operands, results, recording);
    if (form == Form::Bare) return as_object(results[0].release());
    return packed(results, form == Form::Tuple ? PyTuple_New : PyList_New);
  }
};

class Shortcuts {
 public:
  using Held = Ref<const Shortcut>;

  // Null where no shortcut serves the call, or Python's error is set.
  PyObject* call(PyObject* arguments, bool* served) const {
    for (size_t index = 0; index < all_.size(); ++index) {
      if (!all_[index]->fits(arguments)) continue;
      Held found = all_[index];  // a guard may run Python code, which may change them all
      if (!hold(*found->guarded)) continue;
      Operands operands(found->arrays.size());
      found->place(arguments, operands.data());
      if (!found->wants_the_same(operands.data())) continue;
      PyObject* result = guarded([&] { return found->run(operands.data(), arguments); });
      *served = result || PyErr_Occurred();
      return result;
    }
    return nullptr;
  }

  void add(nb::object sequence, nb::list arrays,
           const std::vector<std::pair<size_t, size_t>>& inputs, nb::tuple arguments, int64_t epoch,
           nb::object guards, const std::string& form) {
    PyObject** given_objects = reinterpret_cast<PyTupleObject*>(arguments.ptr())->ob_item;
    if (repeats(given_objects, arguments.size()) || arguments.size() > kMostArguments) return;
    if (!is_guards(guards.ptr())) throw InternalError("a shortcut needs guards");
    bool forks = Py_TYPE(sequence.ptr()) == reinterpret_cast<PyTypeObject*>(paths_type);
    if (!forks && Py_TYPE(sequence.ptr()) != reinterpret_cast<PyTypeObject*>(sequence_type))
      throw InternalError("a shortcut leads to a Sequence or to Paths");
    Ref<Shortcut> made(new Shortcut);
    made->epoch = epoch;
    made->training = is_training();
    made->recording = is_recording();
    made->inputs = inputs;
    made->form = form == "tuple" ? Form::Tuple : form == "list" ? Form::List : Form::Bare;
    std::vector<TypeRef> expected;  // segments of paths ask for their types themselves
    if (forks) {
      made->paths = nb::inst_ptr<Paths>(sequence);
    } else {
      made->sequence = nb::inst_ptr<Sequence>(sequence);
      expected = made->sequence->inputs;
      if (made->form == Form::Bare && made->sequence->results.size() != 1)
        throw InternalError("a bare result is one array");
    }
    made->owner = std::move(sequence);
    size_t operand_count = forks ? made->paths->operands : expected.size();
    if (arrays.size() != operand_count) throw InternalError("a shortcut needs all operands");
    std::vector<bool> given(arrays.size());
    for (nb::handle argument : arguments) {
      if (!is_array(argument.ptr())) throw InternalError("the arguments of a shortcut are arrays");
      made->types.push_back(as_array(argument.ptr())->type);
    }
    for (auto [place, argument] : inputs) {
      if (place >= operand_count || argument >= made->types.size() ||
          (!forks && expected[place].get() != made->types[argument]->plain))
        throw InternalError("an argument of a shortcut does not fit");
      given[place] = true;
    }
    for (size_t index = 0; index < operand_count; ++index) {
      PyObject* array = nb::handle(arrays[index]).ptr();
      bool fits =
          is_array(array) && (forks || as_array(array)->type->plain == expected[index].get());
      if (!fits && !given[index]) throw InternalError("an operand of a shortcut does not fit");
      made->arrays.push_back(given[index] ? ArrayRef() : ArrayRef::borrow(as_array(array)));
    }
    Operands operands(made->arrays.size());
    made->place(arguments.ptr(), operands.data());
    made->wanted = wanted_gradients(operands.data(), made->arrays.size());
    made->guarded = nb::inst_ptr<Guards>(guards);
    made->guards = std::move(guards);
    // What goes is dropped last: that may run Python code.
    std::vector<Held> kept{Held(made.get())};
    for (const Held& one : all_) {
      bool stays = one->epoch == tigon::epoch && kept.size() < kMost;
      if (stays && !one->is_of(*kept[0])) kept.push_back(one);
    }
    all_.swap(kept);
  }

  int traverse(visitproc visit, void* arg) const {
    for (const Held& one : all_) {
      Py_VISIT(one->owner.ptr());
      Py_VISIT(one->guards.ptr());
    }
    return 0;
  }

  void clear() {
    std::vector<Held> all;
    all.swap(all_);
  }

 private:
  static constexpr size_t kMost = 8;
  static constexpr size_t kMostArguments = 32;  // which are compared pair by pair
  std::vector<Held> all_;
};

PyObject* shortcuts_type = nullptr;
PyObject* shortcuts_name = nullptr;
PyObject* long_name = nullptr;
PyObject* failed_name = nullptr;
PyObject* hide_name = nullptr;
PyObject* block_name = nullptr;
PyObject* function_name = nullptr;

// Lets the block say in a user's error where it happened, and leave our own frames out.
void explain_failure(PyObject* self, PyObject* method) {
  PyObject *kind, *value, *trace;
  PyErr_Fetch(&kind, &value, &trace);
  PyErr_NormalizeException(&kind, &value, &trace);
  if (trace) PyException_SetTraceback(value, trace);
  PyObject* done = in_python([&] { return PyObject_CallMethodOneArg(self, method, value); });
  if (!done) PyErr_Clear();
  Py_XDECREF(done);
  Py_XDECREF(trace);
  PyErr_Restore(kind, value, PyException_GetTraceback(value));
}

// Without running Python code: what a block is called lies in its attributes.
void open_block(profile::Span& span, PyObject* self) {
  nb::object attributes = instance_dict(self);
  PyObject* name = nullptr;
  for (PyObject* key : {block_name, function_name}) {
    if (!name && attributes.is_valid()) name = PyDict_GetItem(attributes.ptr(), key);
  }
  const char* text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : nullptr;
  if (!text) PyErr_Clear();
  const std::string* block = profile::lasting(text ? text : Py_TYPE(self)->tp_name);
  span.open_at(profile::SpanKind::Block, *block, place_of_caller(block));
}

PyObject* call_block(PyObject* self, PyObject* arguments, PyObject* keywords) {
  if (!(keywords && PyDict_GET_SIZE(keywords)) && !trace_handlers.call) {
    nb::object table = nb::steal(in_python([&] { return PyObject_GetAttr(self, shortcuts_name); }));
    if (!table.is_valid()) PyErr_Clear();  // the long way finds out why
    bool any =
        table.is_valid() && Py_TYPE(table.ptr()) == reinterpret_cast<PyTypeObject*>(shortcuts_type);
    if (any) {
      bool served = false;
      PyObject* result = nb::inst_ptr<Shortcuts>(table)->call(arguments, &served);
      if (served && !result && PyErr_ExceptionMatches(user_error_type()))
        explain_failure(self, failed_name);
      if (served) return result;
    }
  }
  if (!(keywords && PyDict_GET_SIZE(keywords))) {
    auto count = static_cast<size_t>(PyTuple_GET_SIZE(arguments));
    Few<PyObject*, 8> given(count + 1);
    given[0] = self;
    for (size_t index = 0; index < count; ++index)
      given[index + 1] = PyTuple_GET_ITEM(arguments, static_cast<Py_ssize_t>(index));
    PyObject* result = in_python(
        [&] { return PyObject_VectorcallMethod(long_name, given.data(), count + 1, nullptr); });
    if (!result) explain_failure(self, hide_name);
    return result;
  }
  nb::object method = nb::steal(PyObject_GetAttr(self, long_name));
  if (!method.is_valid()) return nullptr;
  return in_python([&] { return PyObject_Call(method.ptr(), arguments, keywords); });
}

[[gnu::noinline]] PyObject* call_profiled(PyObject* self, PyObject* arguments, PyObject* keywords) {
  profile::Span span;
  open_block(span, self);
  return call_block(self, arguments, keywords);
}

PyObject* short_call(PyObject* self, PyObject* arguments, PyObject* keywords) {
  if (profile::watches_any()) [[unlikely]]
    return call_profiled(self, arguments, keywords);
  return call_block(self, arguments, keywords);
}

int traverse_shortcuts(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<Shortcuts>(self)->traverse(visit, arg) : 0;
}

int clear_shortcuts(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<Shortcuts>(self)->clear();
  return 0;
}

PyType_Slot shortcuts_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_shortcuts)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_shortcuts)},
    {0, nullptr},
};

// Without members: classes derived from it and from others have the layout of the others.
PyType_Slot short_call_slots[] = {
    {Py_tp_call, reinterpret_cast<void*>(short_call)},
    {Py_tp_doc, const_cast<char*>("Calls go to `_cached_shortcuts` first, then to `_long_call`.")},
    {0, nullptr},
};
PyType_Spec short_call_spec{"tigon._native.ShortCall", 0, 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, short_call_slots};

}  // namespace

void bind_shortcuts(nb::module_& m) {
  shortcuts_name = PyUnicode_InternFromString("_cached_shortcuts");
  long_name = PyUnicode_InternFromString("_long_call");
  failed_name = PyUnicode_InternFromString("_name_in");
  hide_name = PyUnicode_InternFromString("_hide_frames");
  block_name = PyUnicode_InternFromString("_name");
  function_name = PyUnicode_InternFromString("name");
  auto shortcuts = nb::class_<Shortcuts>(m, "Shortcuts", nb::type_slots(shortcuts_slots),
                                         "Sequences of traced code by kind of call.");
  shortcuts.def(nb::init<>())
      .def(
          "add",
          [](Shortcuts& all, nb::object sequence, nb::list arrays,
             const std::vector<std::pair<size_t, size_t>>& inputs, nb::tuple arguments,
             int64_t epoch, nb::object guards, const std::string& form) {
            try {
              all.add(std::move(sequence), std::move(arrays), inputs, std::move(arguments), epoch,
                      std::move(guards), form);
            } catch (...) {
              set_python_error();
              throw nb::python_error();
            }
          },
          "sequence"_a, "arrays"_a, "inputs"_a, "arguments"_a, "epoch"_a, "guards"_a, "form"_a);
  shortcuts_type = shortcuts.ptr();
  PyObject* base = PyType_FromSpec(&short_call_spec);
  if (!base) throw nb::python_error();
  m.attr("ShortCall") = nb::steal(base);
  m.def("set_epoch", [](int64_t now) { epoch = now; }, "now"_a);
}

}  // namespace tigon
