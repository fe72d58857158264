// What a call of a traced graph is looked up by: the arguments' structure, modes, types of arrays.
#include "arguments.h"

#include <nanobind/nanobind.h>

#include <vector>

#include "array.h"
#include "errors.h"
#include "tape.h"

namespace tigon {

namespace nb = nanobind;

namespace {

bool is_live_array(PyObject* object) { return is_array(object) && as_array(object)->storage; }

// (shape, dtype code), a new reference.
PyObject* type_pair(const Array* array) {
  nb::object shape = nb::steal(array->type->shape_tuple());
  nb::object code = nb::steal(PyLong_FromLong(array->type->dtype));
  return shape && code ? PyTuple_Pack(2, shape.ptr(), code.ptr()) : nullptr;
}

// (structure, training, recording, type pairs); takes over `structure`, which may be null.
template <class Arrays>
PyObject* kind_of(PyObject* structure, const Arrays& arrays, size_t count) {
  if (!structure) return nullptr;
  PyObject* kind = PyTuple_New(static_cast<Py_ssize_t>(3 + count));
  if (!kind) {
    Py_DECREF(structure);
    return nullptr;
  }
  PyTuple_SET_ITEM(kind, 0, structure);
  PyTuple_SET_ITEM(kind, 1, PyBool_FromLong(is_training()));
  PyTuple_SET_ITEM(kind, 2, PyBool_FromLong(is_recording()));
  for (size_t index = 0; index < count; ++index) {
    PyObject* pair = type_pair(as_array(arrays[index]));
    PyTuple_SET_ITEM(kind, static_cast<Py_ssize_t>(3 + index), pair);
    if (!pair) {
      Py_DECREF(kind);
      return nullptr;
    }
  }
  return kind;
}

class Flattened {
 public:
  explicit Flattened(PyObject* freeze) : freeze_(freeze) {}

  // A hashable description, a new reference: None for an array, the type before what is inside a
  // container, and of anything else what `freeze` makes of it. Null where Python has an error.
  PyObject* describe(PyObject* item) {
    if (is_array(item)) {
      all_live_ &= static_cast<bool>(as_array(item)->storage);
      arrays_.push_back(nb::borrow(item));
      Py_RETURN_NONE;
    }
    if (PyList_Check(item) || PyTuple_Check(item)) return describe_sequence(item);
    if (PyDict_Check(item)) return describe_dictionary(item);
    return describe_value(item);
  }

  bool all_live() const { return all_live_; }

  PyObject* kind(PyObject* structure) const {
    std::vector<PyObject*> arrays;
    arrays.reserve(arrays_.size());
    for (const nb::object& array : arrays_) arrays.push_back(array.ptr());
    return kind_of(structure, arrays, arrays.size());
  }

  PyObject* leaves() const {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(arrays_.size()));
    for (size_t index = 0; tuple && index < arrays_.size(); ++index)
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(index), Py_NewRef(arrays_[index].ptr()));
    return tuple;
  }

 private:
  PyObject* describe_sequence(PyObject* item) {
    // A tuple of its own: what `freeze` runs could change a list.
    nb::object parts = nb::steal(PySequence_Tuple(item));
    if (!parts) return nullptr;
    return describe_parts(Py_TYPE(item), parts.ptr());
  }

  PyObject* describe_dictionary(PyObject* item) {
    nb::object pairs = nb::steal(PyDict_Items(item));
    if (!pairs) return nullptr;
    Py_ssize_t count = PyList_GET_SIZE(pairs.ptr());
    nb::object parts = nb::steal(PyTuple_New(2 * count));
    for (Py_ssize_t index = 0; parts && index < count; ++index) {
      PyObject* pair = PyList_GET_ITEM(pairs.ptr(), index);
      PyTuple_SET_ITEM(parts.ptr(), 2 * index, Py_NewRef(PyTuple_GET_ITEM(pair, 0)));
      PyTuple_SET_ITEM(parts.ptr(), 2 * index + 1, Py_NewRef(PyTuple_GET_ITEM(pair, 1)));
    }
    return parts ? describe_parts(Py_TYPE(item), parts.ptr()) : nullptr;
  }

  PyObject* describe_parts(PyTypeObject* type, PyObject* parts) {
    if (Py_EnterRecursiveCall(" while looking into the arguments of a call")) return nullptr;
    Py_ssize_t count = PyTuple_GET_SIZE(parts);
    nb::object described = nb::steal(PyTuple_New(count + 1));
    if (described)
      PyTuple_SET_ITEM(described.ptr(), 0, Py_NewRef(reinterpret_cast<PyObject*>(type)));
    for (Py_ssize_t index = 0; described && index < count; ++index) {
      PyObject* part = describe(PyTuple_GET_ITEM(parts, index));
      if (part) {
        PyTuple_SET_ITEM(described.ptr(), index + 1, part);
      } else {
        described.reset();
      }
    }
    Py_LeaveRecursiveCall();
    return described.release().ptr();
  }

  PyObject* describe_value(PyObject* item) {
    if (PyUnicode_CheckExact(item) || PyLong_CheckExact(item) || PyBool_Check(item))
      return PyTuple_Pack(2, reinterpret_cast<PyObject*>(Py_TYPE(item)), item);
    return in_python([&] { return PyObject_CallOneArg(freeze_, item); });
  }

  PyObject* freeze_;
  std::vector<nb::object> arrays_;
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

PyObject* nested_call_kind(PyObject* arguments, PyObject* freeze) {
  Flattened flattened(freeze);
  PyObject* structure = flattened.describe(arguments);
  if (!structure) return nullptr;
  if (!flattened.all_live()) {
    Py_DECREF(structure);
    Py_RETURN_NONE;
  }
  nb::object kind = nb::steal(flattened.kind(structure));
  nb::object leaves = nb::steal(kind ? flattened.leaves() : nullptr);
  return leaves ? PyTuple_Pack(2, kind.ptr(), leaves.ptr()) : nullptr;
}

}  // namespace tigon
