#include "python/errors.h"

#include <nanobind/nanobind.h>

#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "program/program.h"

namespace tigon {
namespace {

PyObject* error_type = nullptr;
PyObject* index_type = nullptr;
PyObject* timeout_type = nullptr;
PyObject* memory_type = nullptr;
auto* package_directories = new std::vector<std::string>;

struct Drop {
  void (*function)(void*);
  void* context;
};
SpinLock drop_lock;
std::vector<Drop>* drops = new std::vector<Drop>;
std::atomic<bool> any_drops{false};

int pending_call(void*) {
  run_queued_drops();
  return 0;
}

PyObject* memory_error() {
  if (!memory_type) {
    // Both `except MemoryError` and `except TigonError` catch it.
    PyObject* bases = error_type && error_type != PyExc_RuntimeError
                          ? Py_BuildValue("(OO)", error_type, PyExc_MemoryError)
                          : Py_BuildValue("(O)", PyExc_MemoryError);
    memory_type = PyErr_NewException("tigon._native.OutOfMemoryError", bases, nullptr);
    Py_XDECREF(bases);
    if (!memory_type) PyErr_Clear();
  }
  return memory_type ? memory_type : PyExc_MemoryError;
}

PyObject* notice_teller = nullptr;

int tell_notice(void* number) {
  if (!notice_teller) return 0;
  PyObject* result =
      PyObject_CallFunction(notice_teller, "n", reinterpret_cast<Py_ssize_t>(number));
  Py_XDECREF(result);
  return result ? 0 : -1;
}

PyObject* index_error_type() { return index_type ? index_type : PyExc_IndexError; }

void set_failure(const Failure& failure) {
  PyObject* type = failure.type == Failure::Type::User     ? user_error_type()
                   : failure.type == Failure::Type::Index  ? index_error_type()
                   : failure.type == Failure::Type::Memory ? memory_error()
                                                           : PyExc_AssertionError;
  PyErr_SetString(type, failure.message.c_str());
  if (!failure.cause) return;
  PyObject *kind, *value, *trace;
  PyErr_Fetch(&kind, &value, &trace);
  PyErr_NormalizeException(&kind, &value, &trace);
  if (value) {
    auto* cause = static_cast<PyObject*>(failure.cause);
    Py_INCREF(cause);
    PyException_SetCause(value, cause);
  }
  PyErr_Restore(kind, value, trace);
}

}  // namespace

void sleep_for_ever() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

void set_error_types(PyObject* user, PyObject* index, PyObject* timeout) {
  Py_XSETREF(error_type, Py_NewRef(user));
  Py_XSETREF(index_type, Py_NewRef(index));
  Py_XSETREF(timeout_type, Py_NewRef(timeout));
  Py_CLEAR(memory_type);
  memory_error();
}

void set_notice_teller(PyObject* teller) {
  Py_XSETREF(notice_teller, Py_NewRef(teller));
  set_notice_listener([](int32_t number) {
    auto context = reinterpret_cast<void*>(static_cast<Py_ssize_t>(number));
    return !python_ends() && Py_AddPendingCall(tell_notice, context) == 0;
  });
}

PyObject* user_error_type() { return error_type ? error_type : PyExc_RuntimeError; }

void set_python_error() noexcept {
  try {
    throw;
  } catch (const PythonError&) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_AssertionError, "error without an exception");
  } catch (nanobind::python_error& error) {
    error.restore();
  } catch (const TravelledError& error) {
    error.failure->seen.store(true);
    set_failure(*error.failure);
  } catch (const IndexOutOfRange& error) {
    PyErr_SetString(index_error_type(), error.what());
  } catch (const NotInTime& error) {
    PyErr_SetString(timeout_type ? timeout_type : PyExc_TimeoutError, error.what());
  } catch (const UserError& error) {
    PyErr_SetString(user_error_type(), error.what());
  } catch (const OutOfMemory& error) {
    PyErr_SetString(memory_error(), error.what());
  } catch (const std::bad_alloc&) {
    PyErr_SetString(memory_error(), "out of memory");
  } catch (const InternalError& error) {
    PyErr_SetString(PyExc_AssertionError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  } catch (...) {
    PyErr_SetString(PyExc_AssertionError, "unknown C++ exception");
  }
}

void run_with_gil_later(void (*function)(void*), void* context) {
  if (python_ends()) return;  // for nobody
  {
    std::lock_guard<SpinLock> guard(drop_lock);
    drops->push_back({function, context});
    any_drops.store(true, std::memory_order_release);
  }
  Py_AddPendingCall(pending_call, nullptr);  // when its queue is full a later wait does it
}

void run_queued_drops() {
  if (!any_drops.load(std::memory_order_acquire)) return;
  std::vector<Drop> mine;
  {
    std::lock_guard<SpinLock> guard(drop_lock);
    mine.swap(*drops);
    any_drops.store(false, std::memory_order_relaxed);
  }
  for (const Drop& drop : mine) drop.function(drop.context);
}

void drop_object(void* object) {
  if (python_ends()) return;  // whoever asks for the GIL then is told anything
  auto decrement = [](void* opaque) { Py_DECREF(static_cast<PyObject*>(opaque)); };
  if (PyGILState_Check()) {
    decrement(object);
  } else {
    run_with_gil_later(decrement, object);
  }
}

void add_package_directory(const char* directory) { package_directories->emplace_back(directory); }

const char* caller_place(int* line) {
  // File names stay for ever, with the objects that hold them: there are few.
  static auto* names = new std::unordered_map<PyObject*, const char*>;
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(reinterpret_cast<PyObject*>(frame));
  const char* place = nullptr;
  while (frame) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    PyObject* file = code->co_filename;
    auto found = names->find(file);
    if (found == names->end()) {
      const char* text = PyUnicode_AsUTF8(file);
      if (!text) {
        PyErr_Clear();
        text = "?";
      }
      bool ours = false;
      for (const std::string& directory : *package_directories)
        ours |= std::string_view(text).starts_with(directory);
      Py_INCREF(file);
      found = names->emplace(file, ours ? nullptr : text).first;
    }
    Py_DECREF(reinterpret_cast<PyObject*>(code));
    if (found->second) {
      place = found->second;
      *line = PyFrame_GetLineNumber(frame);
      break;
    }
    PyFrameObject* outer = PyFrame_GetBack(frame);
    Py_DECREF(reinterpret_cast<PyObject*>(frame));
    frame = outer;
  }
  Py_XDECREF(reinterpret_cast<PyObject*>(frame));
  return place;
}

profile::Place place_of_caller(const std::string* block, bool by_operator) {
  profile::Place where{nullptr, 0, block, by_operator};
  where.file = caller_place(&where.line);
  return where;
}

}  // namespace tigon
