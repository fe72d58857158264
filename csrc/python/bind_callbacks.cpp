// Python code that the engine runs, and what it is given, for Python.
#include "python/binding.h"

#include <atomic>
#include <chrono>
#include <cstring>

#include "call/dispatch.h"
#include "call/tasks.h"
#include "engine/engine.h"

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
  double running_for() const override {
    int64_t began = began_.load(std::memory_order_relaxed);
    return began ? static_cast<double>(now() - began) * 1e-9 : 0;
  }
  bool execute() override {
    if (python_ends()) sleep_for_ever();  // after the very end there is no state to make
    PyGILState_STATE state = in_python([] { return PyGILState_Ensure(); });
    Task* outer = set_current_host(this);
    began_.store(now(), std::memory_order_relaxed);
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
      // Of code that this code has called: the message begins with its name.
      bool named = value && PyObject_HasAttrString(value, "of_callback");
      std::string place = named ? "" : name_ + ": " + (ours ? "" : kind + ": ");
      failure = std::make_shared<Failure>(Failure::Type::User, place + (message ? message : "?"));
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
  static int64_t now() {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  }

  std::atomic<int64_t> began_{0};
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
      task->writes.push_back({array->storage, array->whole_storage(), false, false, {}});
    }
    Engine& engine = Engine::instance();
    if (Task::current_host()) throw UserError(task->name() + ": push inside a host callback");
    if (!engine.has_room()) wait_for_room();
    push(std::move(owned));
    if (engine.naive) wait_all();
  });
}

// What code is given to read: arrays on the memory of these, whose values nobody changes while it
// runs, each of a storage of its own.
nb::list lend(nb::object arrays) {
  return translated([&] {
    nb::object held;
    nb::list lent;
    for (Array* array : expect_arrays(arrays, "lend", true, held)) {
      if (!array) {
        lent.append(nb::none());
        continue;
      }
      check_not_donated(array);
      array->storage->materialize();
      lent.append(wrap(new_array(array->type, Storage::lend(array->storage), array->offset)));
    }
    return lent;
  });
}

// Whether nothing but this list refers to the array's memory.
bool is_last(const Array* array) { return Py_REFCNT(array) == 1 && array->storage->exclusive(); }

void await_others(Array* array) {
  const Storage& storage = *array->storage;
  while (storage.pending_writes.load() || storage.pending_reads.load()) wait_to_write(array);
}

// The code has ended: what it keeps of that gets memory of its own.
void take_back(nb::list lent) {
  translated([&] {
    for (nb::handle item : lent) {
      if (item.is_none()) continue;
      Array* array = as_array(item.ptr());
      if (!array->storage) continue;  // it was given up
      Storage& storage = *array->storage;
      if (storage.version && storage.owner() != &storage) ++storage.owner()->version;
      if (is_last(array)) continue;
      await_others(array);
      storage.keep();
    }
  });
}

// What the code has written becomes the value of the targets, in its memory; of what the code keeps
// they get a copy.
void hand_over(nb::list made, nb::list targets) {
  translated([&] {
    for (size_t index = 0; index < made.size(); ++index) {
      Array* array = expect_array(made[index], "hand_over");
      Array* target = expect_array(targets[index], "hand_over");
      wait_to_read(array);
      await_others(array);
      array->storage->materialize();
      if (is_last(array) && !array->storage->foreign() && array->whole_storage()) {
        target->storage->exchange_memory(*array->storage);
      } else {
        target->storage->materialize();
        if (target->type->nbytes) std::memcpy(target->data(), array->data(), target->type->nbytes);
      }
    }
  });
}

// The arrays of `out=`, each of which a call on this device may write.
nb::list given_outputs(const std::string& name, nb::object out, const std::vector<TypePair>& types,
                       uint8_t device) {
  return translated([&] {
    std::vector<ArrayRef> outputs;
    read_outputs(out.ptr(), SIZE_MAX, outputs, name.c_str());
    std::vector<TypeRef> expected;
    for (const TypePair& type : types) expected.push_back(type_of(type));
    check_outputs(name, expected, outputs, device);
    nb::list given;
    for (ArrayRef& output : outputs)
      given.append(output ? wrap(std::move(output)) : nb::object(nb::none()));
    return given;
  });
}

}  // namespace

void bind_callbacks(nb::module_& m) {
  m.def("push", push_callable, "function"_a, "reads"_a, "writes"_a, "name"_a);
  m.def("in_callback", [] { return Task::current_host() != nullptr; });
  m.def("lend", lend, "arrays"_a);
  m.def("take_back", take_back, "lent"_a);
  m.def("hand_over", hand_over, "made"_a, "targets"_a);
  m.def("given_outputs", given_outputs, "name"_a, "out"_a.none(), "types"_a, "device"_a);
  m.def("set_callback_seconds", [](double seconds) { callback_seconds = seconds; });
  m.def("callback_seconds", [] { return callback_seconds; });
  m.def("callbacks_given_up", [] { return callbacks_given_up; });
}

}  // namespace tigon
