// What traced Python code read, compared natively at every call; and who is told of what it runs.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

namespace tigon {

class Guards;

// Whether everything is as it was. Needs the GIL; leaves no Python error behind.
bool hold(Guards& guards);
bool is_guards(PyObject* object);

// The attributes of an instance as a dictionary, without running its code; null if it has none.
nanobind::object instance_dict(PyObject* object);

void bind_guards(nanobind::module_& m);

}  // namespace tigon
