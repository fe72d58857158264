// The engine and its counters, for Python.
#include "python/binding.h"

#include "call/dispatch.h"
#include "engine/engine.h"
#include "python/arguments.h"
#include "tape/tape.h"

namespace tigon {
namespace {

using namespace nb::literals;

class HostTask final : public Task {
 public:
  HostTask(nb::object function, std::string name)
      : function_(function.release().ptr()), name_(std::move(name)) {}
  ~HostTask() override {
    if (function_) drop_object(function_);
  }
  bool needs_worker() const override { return true; }
  const std::string& name() const { return name_; }

 protected:
  std::string title() const override { return name_; }
  bool execute() override {
    if (python_ends()) sleep_for_ever();  // after the very end there is no state to make
    PyGILState_STATE state = in_python([] { return PyGILState_Ensure(); });
    Task* outer = set_current_host(this);
    PyObject* result = in_python([&] { return PyObject_CallNoArgs(function_); });
    set_current_host(outer);
    std::shared_ptr<Failure> failure;
    if (result) {
      Py_DECREF(result);
    } else {
      PyObject *type, *value, *trace;
      PyErr_Fetch(&type, &value, &trace);
      PyErr_NormalizeException(&type, &value, &trace);
      if (trace && value) PyException_SetTraceback(value, trace);
      nb::object text = nb::steal(value ? PyObject_Str(value) : nullptr);
      const char* message = text.is_valid() ? PyUnicode_AsUTF8(text.ptr()) : nullptr;
      std::string kind = type ? reinterpret_cast<PyTypeObject*>(type)->tp_name : "error";
      bool ours = type && PyErr_GivenExceptionMatches(type, user_error_type());
      failure =
          std::make_shared<Failure>(Failure::Type::User, name_ + ": " + (ours ? "" : kind + ": ") +
                                                             (message ? message : "?"));
      PyErr_Clear();
      failure->cause = value;
      failure->drop_cause = drop_object;
      Py_XDECREF(type);
      Py_XDECREF(trace);
    }
    Py_CLEAR(function_);
    PyGILState_Release(state);
    if (failure) throw TravelledError{failure};
    return true;
  }

 private:
  PyObject* function_;
  std::string name_;
};

void push_callable(nb::object function, nb::object reads, nb::object writes, std::string name) {
  translated([&] {
    nb::object held[2];
    auto* task = new HostTask(std::move(function), std::move(name));
    Ref<Task> owned(task);
    for (Array* array : expect_arrays(reads, "push", false, held[0])) {
      check_not_donated(array);
      task->reads.push_back(array->storage);
    }
    for (Array* array : expect_arrays(writes, "push", false, held[1])) {
      check_not_donated(array);
      ++array->storage->version;
      task->writes.push_back({array->storage, array->whole_storage()});
    }
    Engine& engine = Engine::instance();
    if (Task::current_host()) throw UserError(task->name() + ": push inside a host callback");
    if (!engine.has_room()) wait_for_room();
    task->file = caller_place(&task->line);
    ++counters.pushed;
    engine.push(std::move(owned));
    if (engine.naive) wait_all();
  });
}

nb::dict stats() {
  nb::dict result;
  result["native_calls"] = counters.native_calls;
  result["imperative_operators"] = counters.imperative_operators;
  result["signature_hits"] = counters.signature_hits;
  result["signature_misses"] = counters.signature_misses;
  result["signatures"] = signature_count();
  result["types"] = ArrayType::count();
  result["bytes_now"] = memory::bytes_now();
  result["bytes_peak"] = memory::bytes_peak();
  memory::PoolFigures pool = memory::pool_figures();
  result["pool_bytes"] = pool.mapped;
  result["pool_peak"] = pool.peak;
  result["pool_free"] = pool.free;
  result["pool_largest_free"] = pool.largest_free;
  result["pool_rounding"] = pool.rounding;
  result["pool_fresh_blocks"] = pool.fresh;
  result["pushed"] = counters.pushed;
  result["inlined"] = counters.inlined;
  result["tape_nodes"] = tape_node_count();
  return result;
}

}  // namespace

void bind_engine(nb::module_& m) {
  m.def("push", push_callable, "function"_a, "reads"_a, "writes"_a, "name"_a);
  m.def("in_callback", [] { return Task::current_host() != nullptr; });
  m.def("waitall", [] { translated([] { wait_all(); }); });
  m.def("set_naive", [](bool on) {
    translated([&] {
      wait_all();
      Engine::instance().naive = on;
    });
  });
  m.def("set_num_threads", [](int count) {
    translated([&] {
      if (count < 1)
        throw UserError("set_num_threads: expected at least 1; given " + std::to_string(count));
      wait_all();
      GilReleased released;
      ThreadPool::instance().set_threads(count);
    });
  });
  m.def("num_threads", [] { return ThreadPool::instance().threads(); });
  m.def("stats", stats);
  m.def("reset_peak", memory::reset_peak);
  m.def("trim", memory::trim);
  m.def("turn_pool", [] { memory::turn(true); }, nb::call_guard<nb::gil_scoped_release>());
  m.def("set_error_types", [](nb::object user, nb::object index, nb::object timeout) {
    set_error_types(user.ptr(), index.ptr(), timeout.ptr());
  });
  m.def("set_callback_seconds", [](double seconds) { callback_seconds = seconds; });
  m.def("callback_seconds", [] { return callback_seconds; });
  m.def("callbacks_given_up", [] { return callbacks_given_up; });
  m.def("set_inline_threshold", [](double microseconds) { inline_threshold = microseconds; });
  m.def("inline_threshold", [] { return inline_threshold; });
}

}  // namespace tigon
