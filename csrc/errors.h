// Between C++ exceptions and Python's.
#pragma once

#include <Python.h>

#include "common.h"

namespace tigon {

// Python's error indicator is set.
struct PythonError {};

void set_error_type(PyObject* type);
PyObject* user_error_type();  // borrowed

// From inside a catch block: sets Python's error indicator.
void set_python_error() noexcept;

// Calls body() and turns exceptions into a Python error and a null result.
template <class Body>
PyObject* guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

// For any thread: with the GIL at once, else when a Python thread comes by.
void drop_object(void* object);
void run_with_gil_later(void (*function)(void*), void* context);
void run_queued_drops();

// The innermost Python frame outside this package, or null.
const char* caller_place(int* line);
void add_package_directory(const char* directory);

}  // namespace tigon
