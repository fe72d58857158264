// Calls of hybridized blocks without Python code, as long as nothing has changed.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

namespace tigon {

void bind_shortcuts(nanobind::module_& m);

}  // namespace tigon
