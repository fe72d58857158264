#include "python/guards.h"

#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/common.h"
#include "python/errors.h"

namespace tigon {

nanobind::object instance_dict(PyObject* object) {
  if (PyModule_Check(object)) return nanobind::borrow(PyModule_GetDict(object));
  nanobind::object found = nanobind::steal(PyObject_GenericGetDict(object, nullptr));
  if (!found.is_valid()) PyErr_Clear();
  if (found.is_valid() && !PyDict_Check(found.ptr())) return nanobind::object();
  return found;
}

namespace {

namespace nb = nanobind;
using namespace nb::literals;

PyObject* missing = nullptr;  // stands for a name that was not there
PyObject* guards_type = nullptr;

// Whether two objects are one, or immutable and equal to the bit.
bool same(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (!a || !b || Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyFloat_CheckExact(a)) {
    double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (PyTuple_CheckExact(a)) {
    if (PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b)) return false;
    if (Py_EnterRecursiveCall(" in a comparison of tuples")) {
      PyErr_Clear();
      return false;
    }
    bool equal = true;
    for (Py_ssize_t i = 0; equal && i < PyTuple_GET_SIZE(a); ++i)
      equal = same(PyTuple_GET_ITEM(a, i), PyTuple_GET_ITEM(b, i));
    Py_LeaveRecursiveCall();
    return equal;
  }
  if (PyComplex_CheckExact(a)) {
    Py_complex x = PyComplex_AsCComplex(a), y = PyComplex_AsCComplex(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (PyMethod_Check(a))  // made anew at every access
    return PyMethod_GET_SELF(a) == PyMethod_GET_SELF(b) &&
           PyMethod_GET_FUNCTION(a) == PyMethod_GET_FUNCTION(b);
  if (PyLong_CheckExact(a) || PyUnicode_CheckExact(a) || PyBytes_CheckExact(a)) {
    int equal = PyObject_RichCompareBool(a, b, Py_EQ);
    if (equal < 0) PyErr_Clear();
    return equal == 1;
  }
  return false;
}

void expect(bool right, const char* message) {
  if (right) return;
  PyErr_SetString(PyExc_AssertionError, message);
  throw nb::python_error();
}

nb::object required(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

// A number that differs once a dictionary has changed since it was last asked; 0 where nobody
// knows. Python tags dictionaries up to 3.11 and tells watchers from 3.12 on; theirs is one count
// for all. Python 3.13 does not tell them of attributes that lie in the object itself, which its
// dictionary has the values of apart.
#if PY_VERSION_HEX < 0x030C0000
uint64_t dict_version(PyObject* dict) {
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
}

uint64_t watch_dict(PyObject* dict) { return dict_version(dict); }
#else
uint64_t dict_changes = 1;

uint64_t dict_version(PyObject*) { return dict_changes; }

int on_dict_change(PyDict_WatchEvent, PyObject*, PyObject*, PyObject*) {
  ++dict_changes;
  return 0;
}

uint64_t watch_dict(PyObject* dict) {
  static const int watcher = PyDict_AddWatcher(on_dict_change);
  if (reinterpret_cast<PyDictObject*>(dict)->ma_values) return 0;
  if (watcher >= 0 && PyDict_Watch(watcher, dict) == 0) return dict_changes;
  PyErr_Clear();
  return 0;
}
#endif

enum class Place {
  kNames,
  kDict,
  kCell,
  kSequence,
  kMapping,
  kAttribute,
  kPlainFunction,
  kFunction,
  kType,
  kCheck
};

struct Guard {
  Place place;
  nb::object owner;
  nb::object key;
  nb::object value;
  uint64_t version = 0;  // of a type or a dictionary

  bool update(PyObject* now) {
    PyObject* before = value.ptr();
    if (now == before) return true;
    if (!same(now, before)) return false;
    value = nb::borrow(now);  // found by its address from now on
    return true;
  }

  // The commonest ones, without a call.
  bool surely_holds() const {
    PyObject* self = owner.ptr();
    switch (place) {
    case Place::kType:
      return reinterpret_cast<PyTypeObject*>(self)->tp_version_tag == version;
    case Place::kNames:
      return dict_version(self) == version;
    case Place::kCell:
      return PyCell_GET(self) == value.ptr();
    case Place::kPlainFunction:
      return PyFunction_GET_CODE(self) == key.ptr() && !PyFunction_GET_DEFAULTS(self) &&
             !PyFunction_GET_KW_DEFAULTS(self);
    default:
      return false;
    }
  }

  bool holds() {
    PyObject* self = owner.ptr();
    switch (place) {
    case Place::kNames:
      return !differing_name().is_valid();
    case Place::kDict:  // of an object of this class
      return reinterpret_cast<PyObject*>(Py_TYPE(self)) == key.ptr() &&
             (value.ptr() == Py_None || instance_dict(self).ptr() == value.ptr());
    case Place::kCell: {
      PyObject* found = PyCell_GET(self);
      return update(found ? found : missing);
    }
    case Place::kSequence:
      return sequence_holds();
    case Place::kMapping:
      return mapping_holds();
    case Place::kAttribute: {
      nb::object found = nb::steal(PyObject_GetAttr(self, key.ptr()));
      if (!found.is_valid()) PyErr_Clear();
      return update(found.is_valid() ? found.ptr() : missing);
    }
    case Place::kPlainFunction:
    case Place::kFunction:
      return PyFunction_GET_CODE(self) == key.ptr() &&
             or_none(PyFunction_GET_DEFAULTS(self)) == PyTuple_GET_ITEM(value.ptr(), 0) &&
             or_none(PyFunction_GET_KW_DEFAULTS(self)) == PyTuple_GET_ITEM(value.ptr(), 1);
    case Place::kType:
      return type_holds();
    case Place::kCheck: {
      nb::object answer = nb::steal(in_python([&] { return PyObject_CallNoArgs(self); }));
      if (!answer.is_valid()) PyErr_Clear();
      return answer.ptr() == Py_True;
    }
    }
    return false;
  }

  // Of names in a dictionary, the first that is another value now. What is found equal is known by
  // its address from then on, and if there is none, by the version of the dictionary.
  nb::object differing_name() {
    PyObject *self = owner.ptr(), *names = key.ptr(), *values = value.ptr();
    uint64_t now = watch_dict(self);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); ++i) {
      PyObject* name = PyList_GET_ITEM(names, i);
      PyObject* found = PyDict_GetItemWithError(self, name);
      if (!found) PyErr_Clear();
      if (!found) found = missing;
      PyObject* before = PyList_GET_ITEM(values, i);
      if (found == before) continue;
      if (!same(found, before)) return nb::borrow(name);
      PyList_SetItem(values, i, Py_NewRef(found));
    }
    version = now;
    return nb::object();
  }

  static PyObject* or_none(PyObject* object) { return object ? object : Py_None; }

  bool sequence_holds() {
    PyObject *self = owner.ptr(), *expected = value.ptr();
    bool list = PyList_Check(self);
    Py_ssize_t size = PyTuple_GET_SIZE(expected);
    if ((list ? PyList_GET_SIZE(self) : PyTuple_GET_SIZE(self)) != size) return false;
    for (Py_ssize_t i = 0; i < size; ++i) {
      PyObject* item = list ? PyList_GET_ITEM(self, i) : PyTuple_GET_ITEM(self, i);
      if (!same(item, PyTuple_GET_ITEM(expected, i))) return false;
    }
    return true;
  }

  // In order: programs may depend on it.
  bool mapping_holds() {
    PyObject *self = owner.ptr(), *expected = value.ptr(), *name, *item;
    if (PyDict_GET_SIZE(self) * 2 != PyTuple_GET_SIZE(expected)) return false;
    Py_ssize_t position = 0, i = 0;
    while (PyDict_Next(self, &position, &name, &item)) {
      if (i + 1 >= PyTuple_GET_SIZE(expected)) return false;
      if (!same(name, PyTuple_GET_ITEM(expected, i))) return false;
      if (!same(item, PyTuple_GET_ITEM(expected, i + 1))) return false;
      i += 2;
    }
    return true;
  }

  // A type keeps its tag until it or a base of it is changed.
  bool type_holds() {
    auto* type = reinterpret_cast<PyTypeObject*>(owner.ptr());
    PyObject* bases = PyTuple_GET_ITEM(value.ptr(), PyTuple_GET_SIZE(key.ptr()));
    if (type->tp_mro != bases) return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key.ptr()); ++i) {
      PyObject* found = _PyType_Lookup(type, PyTuple_GET_ITEM(key.ptr(), i));
      if ((found ? found : missing) != PyTuple_GET_ITEM(value.ptr(), i)) return false;
    }
    version = type->tp_version_tag ? type->tp_version_tag : UINT64_MAX;
    return true;
  }
};

}  // namespace

class Guards {
 public:
  size_t add(Guard guard) {
    if (guard.place == Place::kNames) names_at_.emplace(guard.owner.ptr(), all_.size());
    all_.push_back(std::move(guard));
    return all_.size() - 1;
  }

  // Nothing is added once the trace is over, so that a check, which may run Python code, does not
  // disturb the loop.
  bool hold() {
    Guard* one = all_.data();
    Guard* end = one + all_.size();
    for (; one != end; ++one) {
      if (!one->surely_holds()) return failed(one - all_.data()) < 0;
    }
    return true;
  }

  int64_t failed(size_t first = 0) {
    for (size_t i = first; i < all_.size(); ++i) {
      if (!all_[i].surely_holds() && !all_[i].holds()) return static_cast<int64_t>(i);
    }
    return -1;
  }

  size_t size() const { return all_.size(); }

  // Begin with those that another trace has made, which stay as they are.
  void begin_with(const Guards& before) {
    for (const Guard& one : before.all_) {
      Guard own = one;
      if (own.place == Place::kNames) {
        own.key = required(PySequence_List(one.key.ptr()));
        own.value = required(PySequence_List(one.value.ptr()));
      }
      add(std::move(own));
    }
  }

  // One guard for all names of a dictionary.
  size_t add_name(nb::object space, nb::object name) {
    auto known = names_at_.find(space.ptr());
    size_t at = known == names_at_.end() ? add({Place::kNames, std::move(space),
                                                required(PyList_New(0)), required(PyList_New(0))})
                                         : known->second;
    Guard& all = all_[at];
    PyObject* found = PyDict_GetItemWithError(all.owner.ptr(), name.ptr());
    if (!found && PyErr_Occurred()) throw nb::python_error();
    all.version = UINT64_MAX;
    if (PyList_Append(all.key.ptr(), name.ptr()) < 0 ||
        PyList_Append(all.value.ptr(), found ? found : missing) < 0)
      throw nb::python_error();
    return at;
  }

  nb::object differing_name(size_t number) {
    Guard& one = all_.at(number);
    nb::object found;
    if (one.place == Place::kNames) found = one.differing_name();
    return found.is_valid() ? found : nb::none();
  }

  int traverse(visitproc visit, void* arg) const {
    for (const Guard& one : all_) {
      Py_VISIT(one.owner.ptr());
      Py_VISIT(one.key.ptr());
      Py_VISIT(one.value.ptr());
    }
    return 0;
  }

  void clear() {
    std::vector<Guard> all;
    all.swap(all_);
    names_at_.clear();
  }

 private:
  std::vector<Guard> all_;
  std::unordered_map<PyObject*, size_t> names_at_;  // by dictionary, which the guard keeps
};

bool is_guards(PyObject* object) {
  return Py_TYPE(object) == reinterpret_cast<PyTypeObject*>(guards_type);
}

bool hold(Guards& guards) { return guards.hold(); }

namespace {

int traverse_guards(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<Guards>(self)->traverse(visit, arg) : 0;
}

int clear_guards(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<Guards>(self)->clear();
  return 0;
}

PyType_Slot guards_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_guards)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_guards)},
    {0, nullptr},
};

Guard mapping_guard(nb::object mapping) {
  expect(PyDict_Check(mapping.ptr()), "guards: a mapping is a dictionary");
  nb::object content = required(PyTuple_New(2 * PyDict_GET_SIZE(mapping.ptr())));
  PyObject *name, *item;
  Py_ssize_t position = 0, i = 0;
  while (PyDict_Next(mapping.ptr(), &position, &name, &item)) {
    PyTuple_SET_ITEM(content.ptr(), i++, Py_NewRef(name));
    PyTuple_SET_ITEM(content.ptr(), i++, Py_NewRef(item));
  }
  return {Place::kMapping, std::move(mapping), nb::object(), std::move(content)};
}

// `values`: what was found under the names. The first comparison looks them all up. After them
// comes the order of bases.
Guard type_guard(nb::object type, nb::tuple names, nb::tuple values) {
  expect(PyType_Check(type.ptr()), "guards: names of a type");
  expect(names.size() == values.size(), "guards: a value for each name");
  nb::object bases = nb::borrow(reinterpret_cast<PyTypeObject*>(type.ptr())->tp_mro);
  nb::object found = required(PySequence_Concat(values.ptr(), nb::make_tuple(bases).ptr()));
  return {Place::kType, std::move(type), std::move(names), std::move(found), UINT64_MAX};
}

// ------------------------------------------------------------------------- frames that run

// Whether frames of a code are shown; by its address, which is why it is kept alive.
std::unordered_map<PyObject*, bool>& known_codes() {
  static auto* codes = new std::unordered_map<PyObject*, bool>;
  return *codes;
}

constexpr size_t kMostCodes = 20'000;

struct Watcher {
  PyObject* classify;  // code -> bool: whether its frames are shown
  PyObject* entered;   // frame ->
  PyObject* called;    // (frame, function) ->, for the listed functions of C
  std::unordered_set<void*> listed;
};

Watcher* watcher = nullptr;  // installed once; guarded by the GIL

bool is_watched(PyObject* code) {
  auto& codes = known_codes();
  auto found = codes.find(code);
  if (found != codes.end()) return found->second;
  nb::object answer = nb::steal(PyObject_CallOneArg(watcher->classify, code));
  if (!answer.is_valid()) throw nb::python_error();
  if (codes.size() >= kMostCodes) {
    std::unordered_map<PyObject*, bool> old;
    old.swap(codes);
    for (auto& [one, _] : old) Py_DECREF(one);
  }
  bool result = answer.ptr() == Py_True;
  codes.emplace(Py_NewRef(code), result);
  return result;
}

int on_event(PyObject*, PyFrameObject* frame, int what, PyObject* argument) {
  if (what != PyTrace_CALL && what != PyTrace_C_CALL) return 0;
  try {
    auto* shown = reinterpret_cast<PyObject*>(frame);
    if (what == PyTrace_CALL) {
      nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
      if (!is_watched(code.ptr())) return 0;
      nb::object done = nb::steal(PyObject_CallOneArg(watcher->entered, shown));
      return done.is_valid() ? 0 : -1;
    }
    if (!argument || !PyCFunction_Check(argument)) return 0;
    auto* address = reinterpret_cast<void*>(PyCFunction_GET_FUNCTION(argument));
    if (!watcher->listed.count(address)) return 0;
    nb::object done =
        nb::steal(PyObject_CallFunctionObjArgs(watcher->called, shown, argument, nullptr));
    return done.is_valid() ? 0 : -1;
  } catch (nb::python_error& error) {
    error.restore();
    return -1;
  }
}

}  // namespace

void bind_guards(nb::module_& m) {
  auto guards = nb::class_<Guards>(m, "Guards", nb::type_slots(guards_slots),
                                   "Values that traced code read, and where.");
  guards.def(nb::init<>())
      .def("name",
           [](Guards& all, nb::object space, nb::object name) {
             expect(PyDict_Check(space.ptr()), "guards: a name is of a dictionary");
             return all.add_name(std::move(space), std::move(name));
           })
      .def("differing_name", &Guards::differing_name)
      .def("object",
           [](Guards& all, nb::object owner) {
             nb::object found = instance_dict(owner.ptr());
             if (!found.is_valid()) found = nb::none();
             nb::object kind = nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(owner.ptr())));
             return all.add({Place::kDict, std::move(owner), std::move(kind), std::move(found)});
           })
      .def("cell",
           [](Guards& all, nb::object cell) {
             expect(PyCell_Check(cell.ptr()), "guards: not a cell");
             PyObject* found = PyCell_GET(cell.ptr());
             nb::object value = nb::borrow(found ? found : missing);
             return all.add({Place::kCell, std::move(cell), nb::object(), std::move(value)});
           })
      .def("sequence",
           [](Guards& all, nb::object sequence) {
             expect(PyList_Check(sequence.ptr()) || PyTuple_Check(sequence.ptr()),
                    "guards: a sequence is a list or a tuple");
             nb::object content = required(PySequence_Tuple(sequence.ptr()));
             return all.add(
                 {Place::kSequence, std::move(sequence), nb::object(), std::move(content)});
           })
      .def("mapping", [](Guards& all,
                         nb::object mapping) { return all.add(mapping_guard(std::move(mapping))); })
      .def("attribute",
           [](Guards& all, nb::object owner, nb::object name) {
             nb::object found = nb::steal(PyObject_GetAttr(owner.ptr(), name.ptr()));
             if (!found.is_valid()) PyErr_Clear();
             if (!found.is_valid()) found = nb::borrow(missing);
             return all.add(
                 {Place::kAttribute, std::move(owner), std::move(name), std::move(found)});
           })
      .def("function",
           [](Guards& all, nb::object function) {
             PyObject* f = function.ptr();
             expect(PyFunction_Check(f), "guards: not a function");
             nb::object parts =
                 required(PyTuple_Pack(2, Guard::or_none(PyFunction_GET_DEFAULTS(f)),
                                       Guard::or_none(PyFunction_GET_KW_DEFAULTS(f))));
             nb::object code = nb::borrow(PyFunction_GET_CODE(f));
             bool plain = !PyFunction_GET_DEFAULTS(f) && !PyFunction_GET_KW_DEFAULTS(f);
             return all.add({plain ? Place::kPlainFunction : Place::kFunction, std::move(function),
                             std::move(code), std::move(parts)});
           })
      .def("type",
           [](Guards& all, nb::object type, nb::tuple names, nb::tuple values) {
             return all.add(type_guard(std::move(type), std::move(names), std::move(values)));
           })
      .def("check",
           [](Guards& all, nb::object function) {
             return all.add({Place::kCheck, std::move(function), nb::object(), nb::object()});
           })
      .def("hold", &Guards::hold)
      .def("begin_with",
           [](Guards& all, nb::object before) {
             expect(is_guards(before.ptr()), "guards: what comes before them are guards");
             all.begin_with(*nb::inst_ptr<Guards>(before));
           })
      .def("failed", [](Guards& all) { return all.failed(); })
      .def("__len__", &Guards::size);
  guards_type = guards.ptr();

  missing = Py_NewRef(
      required(PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type))).ptr());
  m.attr("MISSING") = nb::borrow(missing);
  m.def(
      "instance_dict",
      [](nb::object object) -> nb::object {
        nb::object found = instance_dict(object.ptr());
        return found.is_valid() ? found : nb::none();
      },
      "object"_a.none());
  m.def("type_lookup", [](nb::object type, nb::object name) -> nb::object {
    expect(PyType_Check(type.ptr()), "type_lookup: not a type");
    PyObject* found = _PyType_Lookup(reinterpret_cast<PyTypeObject*>(type.ptr()), name.ptr());
    return nb::borrow(found ? found : missing);
  });
  m.def("set_watcher", [](nb::object classify, nb::object entered, nb::object called,
                          nb::list functions) {
    auto* made =
        new Watcher{classify.release().ptr(), entered.release().ptr(), called.release().ptr(), {}};
    for (nb::handle function : functions) {
      expect(PyCFunction_Check(function.ptr()), "set_watcher: not a function of C");
      made->listed.insert(reinterpret_cast<void*>(PyCFunction_GET_FUNCTION(function.ptr())));
    }
    watcher = made;  // one for the process, never freed: another thread may be in it
  });
  m.def(
      "same", [](nb::object a, nb::object b) { return same(a.ptr(), b.ptr()); }, "a"_a.none(),
      "b"_a.none());
  // What runs until `resume` is ours and reads nothing of the user's: it is not shown, which saves
  // most of what watching costs. Gives whether there was anything to suspend. From Python 3.12 on,
  // where every change of the profile function has all code instrumented anew, it does nothing.
  m.def("suspend", [] {
#if PY_VERSION_HEX < 0x030C0000
    if (PyThreadState_Get()->c_profilefunc == on_event) {
      PyEval_SetProfile(nullptr, nullptr);
      return true;
    }
#endif
    return false;
  });
  m.def("resume", [] { PyEval_SetProfile(on_event, nullptr); });
  // This thread's frames are shown from now on, or no longer. A profiler of the user's, written in
  // C or in Python, rests meanwhile.
  m.def("watch", [](bool on) {
    static thread_local Py_tracefunc rests = nullptr;
    static thread_local PyObject* rests_with = nullptr;
    expect(watcher || !on, "watch: no watcher");
    PyThreadState* thread = PyThreadState_Get();
    if (on && thread->c_profilefunc != on_event) {
      rests = thread->c_profilefunc;
      rests_with = thread->c_profileobj;
      Py_XINCREF(rests_with);
      PyEval_SetProfile(on_event, nullptr);
    } else if (!on && thread->c_profilefunc == on_event) {
      PyEval_SetProfile(std::exchange(rests, nullptr), rests_with);
      Py_CLEAR(rests_with);
    }
  });
}

}  // namespace tigon
