// What all files that bind the runtime to Python share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "array/array.h"
#include "python/errors.h"

namespace tigon {

namespace nb = nanobind;

// Exceptions cross nanobind as Python errors already set.
template <class Body>
auto translated(const Body& body) {
  try {
    return body();
  } catch (...) {
    set_python_error();
    throw nb::python_error();
  }
}

inline nb::object wrap(ArrayRef array) { return nb::steal(as_object(array.release())); }

inline Array* expect_array(nb::handle object, const char* where) {
  if (!is_array(object.ptr()))
    throw UserError(std::string(where) + ": expected an NDArray; given " +
                    Py_TYPE(object.ptr())->tp_name);
  return as_array(object.ptr());
}

inline std::vector<Array*> expect_arrays(nb::handle sequence, const char* where, bool allow_none,
                                         nb::object& fast) {
  fast = nb::steal(PySequence_Fast(sequence.ptr(), "expected a sequence of NDArrays"));
  if (!fast) throw nb::python_error();
  std::vector<Array*> arrays;
  for (Py_ssize_t index = 0; index < PySequence_Fast_GET_SIZE(fast.ptr()); ++index) {
    PyObject* item = PySequence_Fast_GET_ITEM(fast.ptr(), index);
    arrays.push_back(allow_none && item == Py_None ? nullptr : expect_array(item, where));
  }
  return arrays;
}

// (dtype code, shape), as Python gives types.
using TypePair = std::pair<int64_t, std::vector<int64_t>>;

inline TypeRef type_of(const TypePair& pair) {
  return ArrayType::get(pair.first, pair.second.data(), pair.second.size());
}

void bind_programs(nb::module_& m);
void bind_sequences(nb::module_& m);
void bind_paths(nb::module_& m);
void bind_tape(nb::module_& m);
void bind_object_code(nb::module_& m);
void bind_engine(nb::module_& m);
void bind_callbacks(nb::module_& m);
void bind_devices(nb::module_& m);
void bind_profile(nb::module_& m);
void bind_images(nb::module_& m);

}  // namespace tigon
