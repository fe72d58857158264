#include "array/array.h"

#include <structmember.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "call/dispatch.h"
#include "engine/engine.h"
#include "profile/profile.h"
#include "python/errors.h"
#include "tape/tape.h"

namespace tigon {

PyTypeObject* array_type = nullptr;

// ------------------------------------------------------------------------------------- arrays

namespace {

constexpr size_t kFreeMost = 256;
Array* free_arrays[kFreeMost];
size_t free_count = 0;

void array_dealloc(PyObject* self) {
  Array* array = as_array(self);
  if (array->weak_references) PyObject_ClearWeakRefs(self);
  if (array->leaf && array->leaf->variable == array) array->leaf->variable = nullptr;
  Ref<Node> node = std::move(array->node);
  array->leaf.~Ref();
  array->node.~Ref();
  array->type.~Ref();
  array->storage.~Ref();
  PyTypeObject* type = Py_TYPE(self);
  if (free_count < kFreeMost) {
    free_arrays[free_count++] = array;
  } else {
    PyObject_Free(self);
  }
  Py_DECREF(type);
  // `node` goes last: it may free other arrays.
}

}  // namespace

ArrayRef new_array(TypeRef type, Ref<Storage> storage, int64_t offset) {
  Array* array =
      free_count ? free_arrays[--free_count] : static_cast<Array*>(PyObject_Malloc(sizeof(Array)));
  if (!array) throw std::bad_alloc();
  PyObject_Init(as_object(array), array_type);
  array->weak_references = nullptr;
  ::new (&array->storage) Ref<Storage>(std::move(storage));
  ::new (&array->type) TypeRef(std::move(type));
  array->offset = offset;
  ::new (&array->node) Ref<Node>();
  array->output = 0;
  array->is_comparison = false;
  ::new (&array->leaf) Ref<Leaf>();
  return ArrayRef::steal(array);
}

ArrayRef new_array(TypeRef type) {
  size_t bytes = type->nbytes;
  uint8_t device = type->device;
  return new_array(std::move(type), Storage::create(bytes, device), 0);
}

void read_bytes(Array* array, void* to) {
  Device& device = device_at(array->type->device);
  array->storage->materialize();
  if (!device.is_host())
    return copy_now(device, to, array->data(), array->type->nbytes, DeviceKind::Way::ToHost);
  if (array->type->nbytes) std::memcpy(to, array->data(), array->type->nbytes);
}

void write_bytes(Array* array, const void* from) {
  Device& device = device_at(array->type->device);
  array->storage->materialize();
  if (!device.is_host())
    return copy_now(device, array->data(), from, array->type->nbytes, DeviceKind::Way::FromHost);
  if (array->type->nbytes) std::memcpy(array->data(), from, array->type->nbytes);
}

void check_not_donated(const Array* array) {
  if (!array->storage)
    throw UserError("array: its memory was donated to a program, so that it holds nothing now; "
                    "make a copy before donating it");
}

// ------------------------------------------------------------------------------------- waiting

double callback_seconds = [] {
  const char* text = std::getenv("TIGON_CALLBACK_SECONDS");
  double seconds = text ? std::strtod(text, nullptr) : 0;
  return seconds > 0 ? seconds : HUGE_VAL;
}();
uint64_t callbacks_given_up = 0;

namespace {

// `late()` is asked from time to time, once it takes longer than host callbacks may.
template <class Wait, class Late>
void wait_interruptibly(const Wait& wait, const Late& late) {
  using Clock = std::chrono::steady_clock;
  run_queued_drops();
  std::optional<Clock::time_point> began;
  for (;;) {
    PyThreadState* state = PyEval_SaveThread();
    bool done = wait(std::chrono::milliseconds(50));
    in_python([&] { PyEval_RestoreThread(state); });
    if (done) return;
    if (PyErr_CheckSignals()) throw PythonError{};
    if (!began) began = Clock::now();
    if (std::chrono::duration<double>(Clock::now() - *began).count() > callback_seconds) late();
  }
}

template <class Wait>
void wait_interruptibly(const Wait& wait) {
  wait_interruptibly(wait, [] {});
}

// Raises where a callback is what this thread waits for.
void give_up(const Storage* storage, uint64_t last) {
  std::string callback = Engine::instance().awaited_callback(storage, last, callback_seconds);
  if (callback.empty()) return;
  ++callbacks_given_up;
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%g", callback_seconds);
  throw NotInTime(callback +
                  ": expected it to return to the thread that waits for its results "
                  "within " +
                  seconds +
                  " s; it is still running; see whether it waits for "
                  "something that this thread holds, or set TIGON_CALLBACK_SECONDS to more");
}

bool held_by_callback(const Storage* storage) {
  Task* host = Task::current_host();
  return host && host->owns(storage);
}

void check_not_behind(const Storage& storage, bool readers) {
  Task* host = Task::current_host();
  if (host && Engine::instance().is_behind(host, storage, readers))
    throw UserError("the callback waits for an array that is computed after it, from its results "
                    "or by a later callback; compute with the arrays that it is given");
}

void raise_if_failed(Array* array) {
  if (array->storage->failed.load(std::memory_order_acquire))
    throw TravelledError{array->storage->failure};
}

}  // namespace

void wait_to_read(Array* array) {
  check_not_donated(array);
  Ref<Storage> storage = array->storage;
  if (storage->pending_writes.load(std::memory_order_acquire) != 0 &&
      !held_by_callback(storage.get())) {
    check_not_behind(*storage, false);
    profile::Span span(profile::SpanKind::Wait, "wait_to_read");
    wait_interruptibly([&](auto most) { return Engine::instance().wait_to_read(*storage, most); },
                       [&] { give_up(storage.get(), 0); });
  }
  raise_if_failed(array);
}

void wait_to_write(Array* array) {
  check_not_donated(array);
  Ref<Storage> storage = array->storage;
  if (!storage->ready_to_write() && !held_by_callback(storage.get())) {
    check_not_behind(*storage, true);
    profile::Span span(profile::SpanKind::Wait, "wait_to_write");
    wait_interruptibly([&](auto most) { return Engine::instance().wait_to_write(*storage, most); },
                       [&] { give_up(storage.get(), 0); });
  }
}

void note_write(Storage& storage) {
  Task* host = Task::current_host();
  if (!host || !host->writes_to(&storage)) ++storage.version;
}

void wait_for_pushed() {
  if (Task::current_host()) return;
  Engine& engine = Engine::instance();
  if (!engine.idle()) {
    profile::Span span(profile::SpanKind::Wait, "waitall");
    uint64_t last = engine.last_pushed();
    wait_interruptibly([&](auto most) { return engine.wait_for_pushed(last, most); },
                       [&] { give_up(nullptr, last); });
  }
  run_queued_drops();
}

// Results that nobody has waited for are not missed; callbacks may be. What is running afterwards,
// or pushed by daemon threads, is in nobody's way: it holds all that it touches, and nothing of it
// goes away before the process does.
void wait_before_end() {
  constexpr auto kMost = std::chrono::seconds(2);
  Engine& engine = Engine::instance();
  uint64_t last = engine.last_pushed();
  auto deadline = std::chrono::steady_clock::now() + kMost;
  wait_interruptibly([&](auto most) {
    return engine.watch_pushed(last, most) || std::chrono::steady_clock::now() >= deadline;
  });
  run_queued_drops();
}

void materialize_now(Storage& storage, bool zeroed) {
  auto materialize = [&] { zeroed ? storage.materialize_zeroed() : storage.materialize(); };
  try {
    materialize();
  } catch (const OutOfMemory&) {
    if (Engine::instance().idle()) throw;
    wait_for_pushed();
    materialize();
  }
}

void wait_all() {
  if (Task::current_host())
    throw UserError(
        "waitall: a host callback cannot wait for all work, of which it is a part; wait for "
        "the arrays that it needs, by wait_to_read()");
  wait_for_pushed();
  if (std::shared_ptr<Failure> failure = Engine::instance().take_unseen())
    throw TravelledError{failure};
}

void wait_for_room() {
  if (ThreadPool::on_worker()) return;  // a callback that waits for others would stop them all
  profile::Span span(profile::SpanKind::Wait, "wait for room in the queue");
  wait_interruptibly([&](auto most) { return Engine::instance().wait_for_room(most); });
}

void wait_below(const std::atomic<int>& count, int below) {
  if (ThreadPool::on_worker()) return;
  profile::Span span(profile::SpanKind::Wait, "wait for earlier executions");
  wait_interruptibly([&](auto most) { return Engine::instance().wait_until(count, below, most); });
}

// -------------------------------------------------------------------------- the Python type

namespace {

PyObject* get_shape(PyObject* self, void*) {
  return guarded([&] { return as_array(self)->type->shape_tuple(); });
}
PyObject* get_dtype_code(PyObject* self, void*) {
  return PyLong_FromLong(as_array(self)->type->dtype);
}
PyObject* get_size(PyObject* self, void*) {
  return PyLong_FromLongLong(as_array(self)->type->size);
}
PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(as_array(self)->type->ndim); }
PyObject* get_nbytes(PyObject* self, void*) {
  return PyLong_FromSize_t(as_array(self)->type->nbytes);
}
PyObject* get_version(PyObject* self, void*) {
  return guarded([&] {
    check_not_donated(as_array(self));
    return PyLong_FromUnsignedLongLong(as_array(self)->storage->version);
  });
}
PyObject* get_storage_id(PyObject* self, void*) {
  return guarded([&] {
    check_not_donated(as_array(self));
    return PyLong_FromUnsignedLongLong(as_array(self)->storage->id());
  });
}
PyObject* get_offset(PyObject* self, void*) { return PyLong_FromLongLong(as_array(self)->offset); }
PyObject* get_grad(PyObject* self, void*) {
  Array* array = as_array(self);
  Leaf* leaf = array->leaf.get();
  PyObject* grad = !leaf ? nullptr : leaf->rows ? leaf->rows : as_object(leaf->grad.get());
  if (!grad) grad = Py_None;
  Py_INCREF(grad);
  return grad;
}
PyObject* get_grad_req(PyObject* self, void*) {
  Array* array = as_array(self);
  Leaf::Request request = array->leaf ? array->leaf->request : Leaf::Null;
  return PyUnicode_FromString(request == Leaf::Write ? "write"
                              : request == Leaf::Add ? "add"
                                                     : "null");
}
PyObject* get_has_tape(PyObject* self, void*) {
  return PyBool_FromLong(static_cast<bool>(as_array(self)->node));
}
PyObject* get_is_comparison(PyObject* self, void*) {
  return PyBool_FromLong(as_array(self)->is_comparison);
}
PyObject* get_device(PyObject* self, void*) {
  return PyLong_FromLong(as_array(self)->type->device);
}
PyObject* get_is_pending(PyObject* self, void*) {
  Storage* storage = as_array(self)->storage.get();
  return PyBool_FromLong(storage && storage->pending_writes.load(std::memory_order_acquire) != 0);
}
PyObject* get_donated(PyObject* self, void*) { return PyBool_FromLong(!as_array(self)->storage); }

PyObject* asnumpy(PyObject* self, PyObject*) {
  return guarded([&] {
    note_read(self);
    return to_numpy(as_array(self));
  });
}
PyObject* method_bits_to_numpy(PyObject* self, PyObject*) {
  return guarded([&] {
    note_read(self);
    return bits_to_numpy(as_array(self));
  });
}
PyObject* item(PyObject* self, PyObject*) {
  return guarded([&] {
    note_read(self);
    return to_scalar(as_array(self));
  });
}
PyObject* method_wait_to_read(PyObject* self, PyObject*) {
  return guarded([&] {
    wait_to_read(as_array(self));
    Py_RETURN_NONE;
  });
}

PyObject* method_view(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"offset", "shape", nullptr};
  long long offset;
  PyObject* shape;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "LO:view", const_cast<char**>(names),
                                   &offset, &shape))
    return nullptr;
  return guarded([&]() -> PyObject* {
    Array* array = as_array(self);
    check_not_donated(array);
    nb::object fast = nb::steal(PySequence_Fast(shape, "view: the shape must be a sequence"));
    if (!fast) throw PythonError{};
    std::vector<int64_t> dims;
    for (Py_ssize_t axis = 0; axis < PySequence_Fast_GET_SIZE(fast.ptr()); ++axis) {
      dims.push_back(PyLong_AsLongLong(PySequence_Fast_GET_ITEM(fast.ptr(), axis)));
      if (PyErr_Occurred()) throw PythonError{};
    }
    TypeRef type =
        ArrayType::get(array->type->dtype, dims.data(), dims.size(), array->type->device);
    if (offset < 0 || offset > array->type->size || type->size > array->type->size - offset)
      throw UserError("view: elements " + std::to_string(offset) + " to " +
                      std::to_string(offset + type->size) + " of an array of " +
                      std::to_string(array->type->size));
    int64_t bytes = array->offset + offset * static_cast<int64_t>(type->itemsize());
    return as_object(new_array(type, array->storage, bytes).release());
  });
}

PyObject* method_detach(PyObject* self, PyObject*) {
  return guarded([&] {
    Array* array = as_array(self);
    check_not_donated(array);
    return as_object(new_array(array->type, array->storage, array->offset).release());
  });
}

PyObject* method_copy_from_numpy(PyObject* self, PyObject* source) {
  return guarded([&] {
    copy_from_numpy(as_array(self), source);
    Py_RETURN_NONE;
  });
}

PyObject* method_swap_storage(PyObject* self, PyObject* other) {
  return guarded([&]() -> PyObject* {
    if (!is_array(other)) throw UserError("swap_storage: expected an NDArray");
    Array* array = as_array(self);
    Array* source = as_array(other);
    check_not_donated(source);
    if (array->type.get() != source->type.get())
      throw UserError("swap_storage: expected " + array->type->text() + "; given " +
                      source->type->text());
    array->storage = source->storage;
    array->offset = source->offset;
    Py_RETURN_NONE;
  });
}

PyObject* method_mark_variable(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"grad", "grad_req", nullptr};
  PyObject* grad;
  const char* request;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Os:mark_variable",
                                   const_cast<char**>(names), &grad, &request))
    return nullptr;
  return guarded([&] {
    mark_variable(as_array(self), grad, request);
    Py_RETURN_NONE;
  });
}

PyObject* method_dlpack(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"stream", "max_version", "dl_device", "copy", nullptr};
  PyObject *stream = Py_None, *version = Py_None, *device = Py_None, *copy = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O$OOO:__dlpack__",
                                   const_cast<char**>(names), &stream, &version, &device, &copy))
    return nullptr;
  int kind = 1, number = 0, major = 0, minor = 0;
  if (device != Py_None && !PyArg_ParseTuple(device, "ii:dl_device", &kind, &number))
    return nullptr;
  if (version != Py_None && !PyArg_ParseTuple(version, "ii:max_version", &major, &minor))
    return nullptr;
  if (kind != 1 || number != 0) {
    PyErr_SetString(PyExc_BufferError, "__dlpack__: the memory is the processor's; expected "
                                       "dl_device (1, 0) or None");
    return nullptr;
  }
  int copies = copy == Py_None ? 0 : PyObject_IsTrue(copy);
  if (copies < 0) return nullptr;
  return guarded([&] { return to_dlpack(as_array(self), major >= 1, copies == 1); });
}
PyObject* method_dlpack_device(PyObject* self, PyObject*) {
  return guarded([&] {
    check_on_host(as_array(self), "__dlpack_device__");
    return Py_BuildValue("(ii)", 1, 0);
  });
}

Py_hash_t hash(PyObject* self) {
  return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(self) >> 4);
}

template <class Function>
PyCFunction cast(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"asnumpy", asnumpy, METH_NOARGS, "A numpy copy; waits for the data."},
    {"bits_to_numpy", method_bits_to_numpy, METH_NOARGS,
     "As asnumpy, but bfloat16 as records of its elements' bits."},
    {"item", item, METH_NOARGS, "The one element as a Python number; waits for it."},
    {"wait_to_read", method_wait_to_read, METH_NOARGS, "Return when the data is there."},
    {"view", cast(method_view), METH_VARARGS | METH_KEYWORDS,
     "An unrecorded array on the same storage; the offset counts elements."},
    {"detach", method_detach, METH_NOARGS, "The same data without its history."},
    {"copy_from_numpy", method_copy_from_numpy, METH_O, "Overwrite with a numpy array's values."},
    {"swap_storage", method_swap_storage, METH_O, "Take over another array's storage."},
    {"mark_variable", cast(method_mark_variable), METH_VARARGS | METH_KEYWORDS,
     "Make this a leaf whose gradient backward writes to `grad`."},
    {"__dlpack__", cast(method_dlpack), METH_VARARGS | METH_KEYWORDS, "A DLPack capsule."},
    {"__dlpack_device__", method_dlpack_device, METH_NOARGS, "The DLPack device: cpu."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"shape", get_shape, nullptr, "Extents.", nullptr},
    {"dtype_code", get_dtype_code, nullptr, "Number of the element type.", nullptr},
    {"size", get_size, nullptr, "Number of elements.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of axes.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of the elements.", nullptr},
    {"version", get_version, nullptr, "Counts writes to the storage.", nullptr},
    {"storage_id", get_storage_id, nullptr, "Equal for views of one storage.", nullptr},
    {"storage_offset", get_offset, nullptr, "Bytes from the start of the storage.", nullptr},
    {"grad", get_grad, nullptr, "The array that backward fills, or None.", nullptr},
    {"grad_req", get_grad_req, nullptr, "'null', 'write' or 'add'.", nullptr},
    {"has_tape", get_has_tape, nullptr, "Whether a recorded operator made it.", nullptr},
    {"is_comparison", get_is_comparison, nullptr,
     "Whether a comparison made it: its zeros and ones are answers.", nullptr},
    {"device_index", get_device, nullptr, "Number of the device in the table of devices.", nullptr},
    {"is_pending", get_is_pending, nullptr, "Whether what it is to hold is still computed.",
     nullptr},
    {"donated", get_donated, nullptr, "Whether its memory was given away.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Array, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

}  // namespace

bool create_array_type(PyObject* module) {
  size_t operator_count;
  const PyType_Slot* operators = operator_slots(&operator_count);
  std::vector<PyType_Slot> slots(operators, operators + operator_count);
  auto add = [&](int slot, void* value) { slots.push_back({slot, value}); };
  add(Py_tp_dealloc, reinterpret_cast<void*>(array_dealloc));
  add(Py_tp_richcompare, reinterpret_cast<void*>(compare_slot));
  add(Py_tp_hash, reinterpret_cast<void*>(hash));
  add(Py_tp_methods, methods);
  add(Py_tp_getset, properties);
  add(Py_tp_members, members);
  add(Py_tp_doc, const_cast<char*>("An array on the native runtime."));
  slots.push_back({0, nullptr});
  PyType_Spec spec{"tigon._native.NDArray", sizeof(Array), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots.data()};
  array_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!array_type) return false;
  auto* type = reinterpret_cast<PyObject*>(array_type);
  PyObject* priority = PyFloat_FromDouble(1000.0);
  bool good = priority && PyObject_SetAttrString(type, "__array_priority__", priority) == 0 &&
              PyModule_AddObjectRef(module, "NDArray", type) == 0;
  Py_XDECREF(priority);
  return good;
}

}  // namespace tigon
