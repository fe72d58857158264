// What a call of a traced graph is looked up by: the arguments' structure, modes, types of arrays.
#include "python/arguments.h"

#include <nanobind/nanobind.h>

#include <unordered_map>
#include <vector>

#include "array/array.h"
#include "python/errors.h"
#include "tape/tape.h"

namespace tigon {

namespace nb = nanobind;

namespace {

bool is_live_array(PyObject* object) { return is_array(object) && as_array(object)->storage; }

// (shape, dtype code), and the device where it is not the first; a new reference.
PyObject* type_parts(const Array* array) {
  nb::object shape = nb::steal(array->type->shape_tuple());
  nb::object code = nb::steal(PyLong_FromLong(array->type->dtype));
  if (!shape || !code) return nullptr;
  if (array->type->device == kFirstCpu) return PyTuple_Pack(2, shape.ptr(), code.ptr());
  nb::object device = nb::steal(PyLong_FromLong(array->type->device));
  return device ? PyTuple_Pack(3, shape.ptr(), code.ptr(), device.ptr()) : nullptr;
}

// (structure, first place of each array); takes over `structure`.
template <class Arrays>
PyObject* with_places(PyObject* structure, const Arrays& arrays, size_t count) {
  nb::object own = nb::steal(structure);
  nb::object places = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; places && index < count; ++index) {
    PyObject* place = PyLong_FromSize_t(first_place(arrays, index));
    PyTuple_SET_ITEM(places.ptr(), static_cast<Py_ssize_t>(index), place);
  }
  return places ? PyTuple_Pack(2, own.ptr(), places.ptr()) : nullptr;
}

// (structure, training, recording, types); takes over `structure`, which may be null.
template <class Arrays>
PyObject* kind_of(PyObject* structure, const Arrays& arrays, size_t count) {
  if (!structure) return nullptr;
  if (repeats(arrays, count)) structure = with_places(structure, arrays, count);
  PyObject* kind = structure ? PyTuple_New(static_cast<Py_ssize_t>(3 + count)) : nullptr;
  if (!kind) {
    Py_XDECREF(structure);
    return nullptr;
  }
  PyTuple_SET_ITEM(kind, 0, structure);
  PyTuple_SET_ITEM(kind, 1, PyBool_FromLong(is_training()));
  PyTuple_SET_ITEM(kind, 2, PyBool_FromLong(is_recording()));
  for (size_t index = 0; index < count; ++index) {
    PyObject* parts = type_parts(as_array(arrays[index]));
    PyTuple_SET_ITEM(kind, static_cast<Py_ssize_t>(3 + index), parts);
    if (!parts) {
      Py_DECREF(kind);
      return nullptr;
    }
  }
  return kind;
}

// Levels of containers, as in tigon/base/nested.py.
constexpr size_t kDeepest = 1000;

class Flattened {
 public:
  Flattened(PyObject* freeze, PyObject* freeze_attributes)
      : freeze_(freeze), freeze_attributes_(freeze_attributes) {}

  // Notes a hashable description without nesting: None for an array, the type and the number of
  // parts before what is inside a container, and of anything else what `freeze` makes of it. False
  // where Python has an error.
  bool describe(PyObject* arguments) {
    if (!add(arguments)) return false;
    while (!open_.empty()) {
      Container& last = open_.back();
      if (last.next == PyTuple_GET_SIZE(last.parts.ptr())) {
        open_.pop_back();
      } else if (!add(PyTuple_GET_ITEM(last.parts.ptr(), last.next++))) {
        return false;
      }
    }
    return true;
  }

  bool all_live() const { return all_live_; }

  PyObject* kind() const { return kind_of(tuple_of(tokens_), Pointers{&arrays_}, arrays_.size()); }
  PyObject* leaves() const { return tuple_of(arrays_); }

 private:
  struct Container {
    nb::object parts;  // a tuple of its own: what `freeze` runs could change a list
    Py_ssize_t next;
  };

  struct Pointers {
    const std::vector<nb::object>* arrays;
    PyObject* operator[](size_t index) const { return (*arrays)[index].ptr(); }
  };

  static PyObject* tuple_of(const std::vector<nb::object>& items) {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(items.size()));
    for (size_t index = 0; tuple && index < items.size(); ++index)
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(index), Py_NewRef(items[index].ptr()));
    return tuple;
  }

  bool add(PyObject* item) {
    if (is_array(item)) {
      all_live_ &= static_cast<bool>(as_array(item)->storage);
      arrays_.push_back(nb::borrow(item));
      tokens_.push_back(nb::none());
      return true;
    }
    // What is in it, whatever a derived class says of that.
    if (PyList_Check(item)) return open(item, nb::steal(PyList_AsTuple(item)));
    if (PyTuple_Check(item))
      return open(item, nb::steal(PyTuple_GetSlice(item, 0, PyTuple_GET_SIZE(item))));
    if (PyDict_Check(item)) return open(item, keys_and_values(item));
    tokens_.push_back(nb::steal(describe_value(item)));
    if (!tokens_.back().is_valid()) return false;
    return is_plain(item) || note_sharing(item);
  }

  bool open(PyObject* item, nb::object parts) {
    if (!parts) return false;
    if (open_.size() >= kDeepest) {
      PyErr_Format(user_error_type(),
                   "call: containers are nested more than %d deep; one of them may contain itself; "
                   "pass arrays in lists, tuples or dictionaries that end",
                   static_cast<int>(kDeepest));
      return false;
    }
    if (!PyTuple_CheckExact(item) && !note_sharing(item)) return false;
    tokens_.push_back(nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(item))));
    tokens_.push_back(nb::steal(PyLong_FromSsize_t(PyTuple_GET_SIZE(parts.ptr()))));
    if (!tokens_.back().is_valid()) return false;
    open_.push_back({std::move(parts), 0});
    bool is_derived =
        !PyTuple_CheckExact(item) && !PyList_CheckExact(item) && !PyDict_CheckExact(item);
    return !is_derived || describe_attributes(item);
  }

  static bool is_plain(PyObject* item) {
    return item == Py_None || PyUnicode_CheckExact(item) || PyLong_CheckExact(item) ||
           PyBool_Check(item) || PyFloat_CheckExact(item);
  }

  // Code can tell by `is` whether a list was given before.
  bool note_sharing(PyObject* container) {
    auto [found, is_new] = containers_.try_emplace(container, containers_.size());
    if (is_new) return true;
    nb::object first = nb::steal(PyLong_FromSize_t(found->second));
    if (!first) return false;
    tokens_.push_back(nb::steal(PyTuple_Pack(1, first.ptr())));
    return tokens_.back().is_valid();
  }

  bool describe_attributes(PyObject* item) {
    tokens_.push_back(
        nb::steal(in_python([&] { return PyObject_CallOneArg(freeze_attributes_, item); })));
    return tokens_.back().is_valid();
  }

  static nb::object keys_and_values(PyObject* item) {
    nb::object pairs = nb::steal(PyDict_Items(item));
    if (!pairs) return nb::object();
    Py_ssize_t count = PyList_GET_SIZE(pairs.ptr());
    nb::object parts = nb::steal(PyTuple_New(2 * count));
    for (Py_ssize_t index = 0; parts && index < count; ++index) {
      PyObject* pair = PyList_GET_ITEM(pairs.ptr(), index);
      PyTuple_SET_ITEM(parts.ptr(), 2 * index, Py_NewRef(PyTuple_GET_ITEM(pair, 0)));
      PyTuple_SET_ITEM(parts.ptr(), 2 * index + 1, Py_NewRef(PyTuple_GET_ITEM(pair, 1)));
    }
    return parts;
  }

  PyObject* describe_value(PyObject* item) {
    if (PyUnicode_CheckExact(item) || PyLong_CheckExact(item) || PyBool_Check(item))
      return PyTuple_Pack(2, reinterpret_cast<PyObject*>(Py_TYPE(item)), item);
    return in_python([&] { return PyObject_CallOneArg(freeze_, item); });
  }

  PyObject* freeze_;
  PyObject* freeze_attributes_;
  std::vector<Container> open_;
  std::vector<nb::object> tokens_;
  std::vector<nb::object> arrays_;
  std::unordered_map<PyObject*, size_t> containers_;  // the arguments hold them
  bool all_live_ = true;
};

}  // namespace

PyObject* call_kind(PyObject* arguments) {
  if (!PyTuple_CheckExact(arguments)) Py_RETURN_NONE;
  PyObject** items = reinterpret_cast<PyTupleObject*>(arguments)->ob_item;
  Py_ssize_t count = PyTuple_GET_SIZE(arguments);
  for (Py_ssize_t index = 0; index < count; ++index) {
    if (!is_live_array(items[index])) Py_RETURN_NONE;
  }
  return kind_of(PyLong_FromSsize_t(count), items, static_cast<size_t>(count));
}

PyObject* nested_call_kind(PyObject* arguments, PyObject* freeze, PyObject* freeze_attributes) {
  Flattened flattened(freeze, freeze_attributes);
  if (!flattened.describe(arguments)) return nullptr;
  if (!flattened.all_live()) Py_RETURN_NONE;
  nb::object kind = nb::steal(flattened.kind());
  nb::object leaves = nb::steal(kind ? flattened.leaves() : nullptr);
  return leaves ? PyTuple_Pack(2, kind.ptr(), leaves.ptr()) : nullptr;
}

}  // namespace tigon
