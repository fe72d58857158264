// What a call of a traced graph is looked up by.
#pragma once

#include <Python.h>

namespace tigon {

// (count, training, recording, (shape, dtype code) of each array) of a tuple of arrays that have
// their memory; None of anything else. New references, null with Python's error set.
PyObject* call_kind(PyObject* arguments);

// (kind, arrays) of arguments that may be nested in lists, tuples and dictionaries; `freeze` makes
// other values hashable. None where an array has no memory.
PyObject* nested_call_kind(PyObject* arguments, PyObject* freeze);

}  // namespace tigon
