// The Python module: what `_native.pyi` describes.
#include <cstdlib>

#include "call/dispatch.h"
#include "call/sequence.h"
#include "engine/engine.h"
#include "program/program.h"
#include "python/arguments.h"
#include "python/binding.h"
#include "python/guards.h"
#include "python/shortcut.h"

namespace tigon {
namespace {

using namespace nb::literals;

PyObject* module_invoke(PyObject*, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  PyObject* out = nullptr;
  Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  if (count == 4 && !named) {
    out = arguments[3];
  } else if (count == 3 && named == 1 &&
             PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "out") == 0) {
    out = arguments[3];
  } else if (count != 3 || named) {
    PyErr_SetString(PyExc_TypeError, "invoke(operator_id, attributes_id, operands, out=None)");
    return nullptr;
  }
  long long operator_id = PyLong_AsLongLong(arguments[0]);
  if (operator_id == -1 && PyErr_Occurred()) return nullptr;
  long long attributes_id = PyLong_AsLongLong(arguments[1]);
  if (attributes_id == -1 && PyErr_Occurred()) return nullptr;
  // A tuple: a list could change while the interpreter lock is given up.
  bool is_tuple = PyTuple_CheckExact(arguments[2]);
  PyObject* fast = is_tuple ? Py_NewRef(arguments[2]) : PySequence_Tuple(arguments[2]);
  if (!fast) return nullptr;
  PyObject* result = guarded([&] {
    return invoke(operator_id, attributes_id, reinterpret_cast<PyTupleObject*>(fast)->ob_item,
                  static_cast<size_t>(PyTuple_GET_SIZE(fast)), out);
  });
  Py_DECREF(fast);
  return result;
}

PyObject* module_call_kind(PyObject*, PyObject* arguments) {
  return guarded([&] { return call_kind(arguments); });
}

PyObject* module_nested_call_kind(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 3) {
    PyErr_SetString(PyExc_TypeError, "nested_call_kind(arguments, freeze, freeze_attributes)");
    return nullptr;
  }
  return guarded([&] { return nested_call_kind(arguments[0], arguments[1], arguments[2]); });
}

// The first key without an array, or whose array is not where the first one of the arguments is.
PyObject* module_elsewhere(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count != 2 || !PyTuple_Check(given[0]) || !PyDict_Check(given[1])) {
    PyErr_SetString(PyExc_TypeError, "elsewhere(arguments, arrays)");
    return nullptr;
  }
  const Array* first = nullptr;
  for (Py_ssize_t place = 0; !first && place < PyTuple_GET_SIZE(given[0]); ++place) {
    PyObject* argument = PyTuple_GET_ITEM(given[0], place);
    if (is_array(argument)) first = as_array(argument);
  }
  PyObject *key, *value;
  for (Py_ssize_t place = 0; PyDict_Next(given[1], &place, &key, &value);) {
    if (!is_array(value) || (first && as_array(value)->type->device != first->type->device))
      return Py_NewRef(key);
  }
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"invoke", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(module_invoke)),
     METH_FASTCALL | METH_KEYWORDS, "Run one operator."},
    {"call_kind", module_call_kind, METH_O, "What a call on arrays is looked up by."},
    {"nested_call_kind",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(module_nested_call_kind)),
     METH_FASTCALL, "The same of arguments in containers."},
    {"elsewhere", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(module_elsewhere)),
     METH_FASTCALL, "The name of an array that is not where the arguments are, or None."},
    {nullptr, nullptr, 0, nullptr},
};

// Negative: the thread's own.
uint8_t chosen(int device) { return device < 0 ? current_device() : static_cast<uint8_t>(device); }

void bind_arrays(nb::module_& m) {
  for (bool zeroed : {false, true}) {
    m.def(
        zeroed ? "zeros" : "empty",
        [zeroed](const std::vector<int64_t>& shape, int64_t dtype_code, int device) {
          return translated([&] {
            ArrayRef array =
                new_array(ArrayType::get(dtype_code, shape.data(), shape.size(), chosen(device)));
            materialize_now(*array->storage, zeroed);
            if (zeroed) note_write(*array->storage);
            return wrap(std::move(array));
          });
        },
        "shape"_a, "dtype_code"_a, "device"_a = -1);
  }
  m.def(
      "from_numpy",
      [](nb::object array, int device) {
        return translated([&] { return wrap(from_numpy(array.ptr(), chosen(device))); });
      },
      "array"_a, "device"_a = -1);
  m.def("set_numpy_single", [](nb::object maker) { set_numpy_single(maker.ptr()); }, "maker"_a);
  m.def("set_numpy_bfloat16", [](nb::object maker) { set_numpy_bfloat16(maker.ptr()); }, "maker"_a);
  m.def("set_numpy_operand", [](nb::object maker) { set_numpy_operand(maker.ptr()); }, "maker"_a);
  m.def("from_dlpack", [](nb::object source) {
    return translated([&] { return wrap(from_dlpack(source.ptr())); });
  });
  m.def("set_compile_handler", set_compile_handler, nb::arg().none());
  m.def(
      "set_slot_operator",
      [](const std::string& slot, int64_t operator_id, int64_t attributes_id, bool reflected) {
        return translated([&] {
          SlotOperator before = set_slot_operator(slot, {operator_id, attributes_id}, reflected);
          return std::make_pair(before.operator_id, before.attributes_id);
        });
      },
      "slot"_a, "operator_id"_a, "attributes_id"_a, "reflected"_a = false);
  m.def("give_up", [](nb::object array) {
    translated([&] {
      Array* given = expect_array(array, "give_up");
      given->storage.reset();
      given->node.reset();
    });
  });
  m.def(
      "take_over",
      [](nb::object state, nb::object made) {
        translated([&] { take_over(expect_array(state, "state"), expect_array(made, "made")); });
      },
      "state"_a, "made"_a);
  m.def("set_output_caster", set_output_caster, "caster"_a.none());
  m.def("clear_signature_cache", clear_signature_cache);
  m.def("set_most_signatures", set_most_signatures);
  m.def("set_trace_handlers", set_trace_handlers, "call"_a.none(), "read"_a.none());
}

void set_up(nb::module_& m) {
  nb::set_leak_warnings(false);  // caches live as long as the process
  if (!create_array_type(m.ptr())) throw nb::python_error();
  load_numpy();
  m.attr("INPUT") = static_cast<int>(Space::Input);
  m.attr("OUTPUT") = static_cast<int>(Space::Output);
  m.attr("ARENA") = static_cast<int>(Space::Arena);
  m.attr("CONSTANT") = static_cast<int>(Space::Constant);
  bind_arrays(m);
  bind_programs(m);
  bind_sequences(m);
  bind_paths(m);
  bind_guards(m);
  bind_shortcuts(m);
  bind_tape(m);
  bind_engine(m);
  bind_callbacks(m);
  bind_devices(m);
  bind_profile(m);
  bind_object_code(m);
  bind_images(m);
  if (PyModule_AddFunctions(m.ptr(), functions)) throw nb::python_error();

  const char* mode = std::getenv("TIGON_ENGINE");
  const char* mxnet_mode = std::getenv("MXNET_ENGINE_TYPE");
  Engine::instance().naive = (mode && std::string(mode) == "naive") ||
                             (mxnet_mode && std::string(mxnet_mode) == "NaiveEngine");
  install_fork_handlers();
  auto quietly = [](void (*wait)()) {
    return nb::cpp_function([wait] {
      try {
        wait();
      } catch (...) {
        set_python_error();
        PyErr_Clear();
      }
    });
  };
  nb::module_::import_("atexit").attr("register")(quietly(wait_before_end));
  nb::object os = nb::module_::import_("os");
  if (nb::hasattr(os, "register_at_fork"))
    os.attr("register_at_fork")("before"_a = quietly(wait_for_pushed));
  // Frames of this package are not the user's: errors name the place that called in.
  nb::object package = nb::module_::import_("sys").attr("modules").attr("get")("tigon");
  if (nb::hasattr(package, "__path__")) {
    for (nb::handle directory : package.attr("__path__"))
      add_package_directory((nb::cast<std::string>(nb::str(directory)) + "/").c_str());
  }
}

}  // namespace
}  // namespace tigon

NB_MODULE(_native, m) { tigon::set_up(m); }
