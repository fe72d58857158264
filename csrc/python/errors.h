// Between C++ exceptions and Python's.
#pragma once

#include <Python.h>

#include <cxxabi.h>

#include "core/common.h"
#include "profile/profile.h"

namespace tigon {

[[noreturn]] void sleep_for_ever();

// Whether the interpreter is being taken down: other threads must leave its objects alone.
inline bool python_ends() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing();
#else
  return _Py_IsFinalizing();
#endif
}

// Around whatever may give up or take the GIL. When the interpreter ends, Python ends its daemon
// threads by unwinding them (before 3.14). Here such a thread stops instead: our destructors need
// the interpreter, and no `catch (...)` may swallow the unwinding.
template <class Call>
auto in_python(const Call& call) {
#if defined(__GLIBCXX__)
  try {
    return call();
  } catch (abi::__forced_unwind&) {
    sleep_for_ever();
  }
#else
  return call();
#endif
}

// Python's error indicator is set.
struct PythonError {};

// Without the GIL while it lives.
class GilReleased {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  ~GilReleased() {
    in_python([&] { PyEval_RestoreThread(state_); });
  }
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

 private:
  PyThreadState* state_;
};

void set_error_types(PyObject* user, PyObject* index, PyObject* timeout);

// `teller(number)` is called by the main thread, soon after a program has given that notice.
void set_notice_teller(PyObject* teller);
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
// That frame, as the place of a span within `block`.
profile::Place place_of_caller(const std::string* block = nullptr, bool by_operator = false);
// Where a profile shows Python's calls of this thread, and another profiler that was at work has
// ended: they are shown again. Frames that ended meanwhile are noticed at the next call.
void see_to_calls();
void add_package_directory(const char* directory);

}  // namespace tigon
