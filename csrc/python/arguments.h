// What a call of a traced graph is looked up by.
#pragma once

#include <Python.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace tigon {

// (count, training, recording, (shape, dtype code) of each array) of a tuple of arrays that have
// their memory, None of anything else. Where one array is given twice, the first place of each is
// with the count. New references, null with Python's error set.
PyObject* call_kind(PyObject* arguments);

// The first place of the object at `index`: code can tell by `is` whether it was given before.
template <class Objects>
size_t first_place(const Objects& objects, size_t index) {
  size_t first = 0;
  while (objects[first] != objects[index]) ++first;
  return first;
}

template <class Objects>
bool repeats(const Objects& objects, size_t count) {
  constexpr size_t kComparedByPairs = 16;
  if (count <= kComparedByPairs) {
    for (size_t index = 1; index < count; ++index)
      if (first_place(objects, index) != index) return true;
    return false;
  }
  std::vector<PyObject*> sorted;
  sorted.reserve(count);
  for (size_t index = 0; index < count; ++index) sorted.push_back(objects[index]);
  std::sort(sorted.begin(), sorted.end(), std::less<>());
  return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
}

// (kind, arrays) of arguments that may be nested in lists, tuples and dictionaries; `freeze` makes
// other values hashable, and `freeze_attributes` what containers of derived classes hold besides.
// None where an array has no memory.
PyObject* nested_call_kind(PyObject* arguments, PyObject* freeze, PyObject* freeze_attributes);

}  // namespace tigon
