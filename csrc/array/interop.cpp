// Data in and out: numpy, Python numbers, DLPack.
#include <nanobind/nanobind.h>

#include <cstring>

#include "array/array.h"
#include "call/dispatch.h"
#include "engine/pool.h"
#include "python/errors.h"

namespace tigon {

PyObject* numpy_generic = nullptr;

namespace {

PyObject* numpy_empty = nullptr;
PyObject* numpy_dtypes[kDTypeCount];
PyObject* numpy_array = nullptr;
PyObject* numpy_single = nullptr;    // what an array of one element becomes, if it has axes
PyObject* numpy_bfloat16 = nullptr;  // makes an array for people of one of bfloat16's bits

// numpy has no bfloat16. Its bits lie in records of one number, whose name says what it is; so they
// do in MXNet.
constexpr const char* kBfloat16Format = "H:bfloat16:}";

int dtype_of_format(const char* format, Py_ssize_t itemsize) {
  if (!format) return 3;
  if (format[0] == 'T' && format[1] == '{') {
    format += format[2] == '<' ? 3 : 2;
    return std::strcmp(format, kBfloat16Format) ? -1 : kBfloat16Code;
  }
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (format[0] == 0 || format[1] != 0) return -1;
  auto integer = [&](bool is_signed) {
    switch (itemsize) {
    case 1:
      return is_signed ? 5 : 3;
    case 2:
      return is_signed ? 8 : 9;
    case 4:
      return is_signed ? 4 : 10;
    default:
      return is_signed ? 6 : 11;
    }
  };
  switch (*format) {
  case 'f':
    return 0;
  case 'd':
    return 1;
  case 'e':
    return 2;
  case '?':
    return 7;
  case 'b':
  case 'h':
  case 'i':
  case 'l':
  case 'q':
    return integer(true);
  case 'B':
  case 'H':
  case 'I':
  case 'L':
  case 'Q':
    return integer(false);
  default:
    return -1;
  }
}

// Strided to contiguous, innermost axis last.
void gather(char*& to, const char* from, const int64_t* dims, const int64_t* strides, int ndim,
            size_t itemsize) {
  if (ndim == 0) {
    std::memcpy(to, from, itemsize);
    to += itemsize;
    return;
  }
  if (ndim == 1) {
    if (strides[0] == static_cast<int64_t>(itemsize)) {
      size_t bytes = static_cast<size_t>(dims[0]) * itemsize;
      std::memcpy(to, from, bytes);
      to += bytes;
      return;
    }
    for (int64_t index = 0; index < dims[0]; ++index) {
      std::memcpy(to, from, itemsize);
      to += itemsize;
      from += strides[0];
    }
    return;
  }
  for (int64_t index = 0; index < dims[0]; ++index)
    gather(to, from + index * strides[0], dims + 1, strides + 1, ndim - 1, itemsize);
}

bool contiguous(const int64_t* dims, const int64_t* strides, int ndim, size_t itemsize) {
  int64_t expected = static_cast<int64_t>(itemsize);
  for (int axis = ndim - 1; axis >= 0; --axis) {
    if (dims[axis] != 1 && strides[axis] != expected) return false;
    expected *= dims[axis];
  }
  return true;
}

void copy_strided(char* to, const char* from, const ArrayType& type, const int64_t* strides) {
  if (type.size == 0) return;
  auto copy = [&] {
    if (contiguous(type.dims, strides, type.ndim, type.itemsize())) {
      parallel_copy(to, from, type.nbytes);
    } else {
      char* next = to;
      gather(next, from, type.dims, strides, type.ndim, type.itemsize());
    }
  };
  if (type.nbytes < 65536) {
    copy();
  } else {
    GilReleased released;
    copy();
  }
}

struct Buffer {
  Py_buffer view{};
  explicit Buffer(PyObject* object, const char* where) {
    if (PyObject_GetBuffer(object, &view, PyBUF_RECORDS_RO)) {
      PyErr_Clear();
      throw UserError(std::string(where) +
                      ": expected a numpy array of float32, float64, float16, a fixed-size integer "
                      "type or bool; given " +
                      Py_TYPE(object)->tp_name + "; convert it first");
    }
  }
  ~Buffer() { PyBuffer_Release(&view); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  TypeRef type(const char* where) const {
    int dtype = dtype_of_format(view.format, view.itemsize);
    if (dtype < 0 || kDTypes[dtype].size != view.itemsize)
      throw UserError(std::string(where) +
                      ": expected float32, float64, float16, a fixed-size integer type or bool; "
                      "given elements of format '" +
                      (view.format ? view.format : "B") + "'; convert with astype first");
    return ArrayType::get(dtype, reinterpret_cast<const int64_t*>(view.shape),
                          static_cast<size_t>(view.ndim));
  }
  const int64_t* strides() const { return reinterpret_cast<const int64_t*>(view.strides); }
};

static_assert(sizeof(Py_ssize_t) == sizeof(int64_t));

PyObject* checked(PyObject* object) {
  if (!object) throw PythonError{};
  return object;
}

}  // namespace

void load_numpy() {
  nb::module_ numpy = nb::module_::import_("numpy");
  numpy_generic = nb::object(numpy.attr("generic")).release().ptr();
  numpy_empty = nb::object(numpy.attr("empty")).release().ptr();
  numpy_array = nb::object(numpy.attr("ndarray")).release().ptr();
  nb::list record;
  record.append(nb::make_tuple("bfloat16", "<u2"));
  for (int code = 0; code < kDTypeCount; ++code) {
    nb::object given = record;
    if (code != kBfloat16Code) given = nb::str(kDTypes[code].name);
    numpy_dtypes[code] = nb::object(numpy.attr("dtype")(given)).release().ptr();
  }
}

bool is_numpy_array(PyObject* object) {
  return numpy_array && PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(numpy_array));
}

void set_numpy_single(PyObject* maker) { Py_XSETREF(numpy_single, Py_NewRef(maker)); }

void set_numpy_bfloat16(PyObject* maker) { Py_XSETREF(numpy_bfloat16, Py_NewRef(maker)); }

PyObject* to_numpy(Array* array) {
  if (array->type->dtype == kBfloat16Code && numpy_bfloat16) {
    nb::object bits = nb::steal(bits_to_numpy(array));
    return checked(PyObject_CallOneArg(numpy_bfloat16, bits.ptr()));
  }
  return bits_to_numpy(array);
}

PyObject* bits_to_numpy(Array* array) {
  wait_to_read(array);
  nb::object shape = nb::steal(array->type->shape_tuple());
  bool single = array->type->size == 1 && array->type->ndim > 0 && numpy_single &&
                array->type->dtype != kBfloat16Code;
  nb::object result = nb::steal(
      checked(PyObject_CallFunctionObjArgs(single ? numpy_single : numpy_empty, shape.ptr(),
                                           numpy_dtypes[array->type->dtype], nullptr)));
  if (array->type->size == 0) return result.release().ptr();
  Py_buffer view;
  if (PyObject_GetBuffer(result.ptr(), &view, PyBUF_SIMPLE | PyBUF_WRITABLE)) throw PythonError{};
  size_t bytes = array->type->nbytes;
  if (bytes < 65536 || !is_on_host(array)) {
    read_bytes(array, view.buf);
  } else {
    array->storage->materialize();
    Ref<Storage> held = Ref<Storage>(array->storage->owner());
    const char* from = array->data();
    GilReleased released;
    parallel_copy(view.buf, from, bytes);
  }
  PyBuffer_Release(&view);
  return result.release().ptr();
}

namespace {

void copy_in(Array* array, const Buffer& buffer) {
  const char* from = static_cast<const char*>(buffer.view.buf);
  if (is_on_host(array)) return copy_strided(array->data(), from, *array->type, buffer.strides());
  std::vector<char> dense(array->type->nbytes);
  copy_strided(dense.data(), from, *array->type, buffer.strides());
  write_bytes(array, dense.data());
}

}  // namespace

ArrayRef from_numpy(PyObject* source, uint8_t device) {
  Buffer buffer(source, "from_numpy");
  ArrayRef result = new_array(buffer.type("from_numpy")->on(device));
  materialize_now(*result->storage);
  copy_in(result.get(), buffer);
  return result;
}

void copy_from_numpy(Array* array, PyObject* source) {
  Buffer buffer(source, "copy_from_numpy");
  TypeRef type = buffer.type("copy_from_numpy");
  if (type.get() != array->type->plain)
    throw UserError("copy_from_numpy: expected " + array->type->text() + "; given " + type->text());
  if (is_recording() && array->on_tape())
    throw UserError("copy_from_numpy: an array that takes part in a recording cannot be "
                    "overwritten; do it outside autograd.record()");
  wait_to_write(array);
  array->storage->materialize();
  note_write(*array->storage);
  copy_in(array, buffer);
  if (array->whole_storage()) array->storage->forget_failure();
}

PyObject* to_scalar(Array* array) {
  if (array->type->size != 1)
    throw UserError("item: expected an array of size 1; given " + array->type->text());
  wait_to_read(array);
  Immediate value{};
  read_bytes(array, value.bytes);
  return immediate_to_python(value, array->type->dtype);
}

// ------------------------------------------------------------------------------------ DLPack

namespace {

struct DLDevice {
  int32_t device_type;
  int32_t device_id;
};
struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor dl_tensor;
};
constexpr uint8_t kDLBfloat = 4;
constexpr uint64_t kReadOnly = 1;
constexpr uint64_t kCopied = 2;

template <class Managed>
struct Export {
  Managed managed;
  Ref<Storage> storage;
  int64_t shape[kMaxDims];
  int64_t strides[kMaxDims];
};

int dtype_of_dlpack(DLDataType type) {
  if (type.lanes != 1) return -1;
  Kind kind;
  switch (type.code) {
  case 0:
    kind = Kind::Signed;
    break;
  case 1:
    kind = Kind::Unsigned;
    break;
  case 2:
    kind = Kind::Float;
    break;
  case kDLBfloat:
    return type.bits == 16 ? kBfloat16Code : -1;
  case 6:
    kind = Kind::Bool;
    break;
  default:
    return -1;
  }
  for (int code = 0; code < kDTypeCount; ++code) {
    if (kDTypes[code].kind == kind && kDTypes[code].size * 8 == type.bits) return code;
  }
  return -1;
}

template <class Managed>
ArrayRef import_managed(Managed* managed, bool read_only) {
  // Whatever happens, the producer's memory goes back: at once on error, with the storage else.
  auto free_managed = [](void* context) {
    auto* m = static_cast<Managed*>(context);
    if (m->deleter) m->deleter(m);
  };
  auto give_back = [](void* context) {
    auto inner = [](void* c) {
      auto* m = static_cast<Managed*>(c);
      if (m->deleter) m->deleter(m);
    };
    // A producer's deleter may need Python.
    if (PyGILState_Check()) {
      inner(context);
    } else {
      run_with_gil_later(inner, context);
    }
  };
  try {
    const DLTensor& tensor = managed->dl_tensor;
    if (tensor.device.device_type != 1)
      throw UserError("from_dlpack: expected data in main memory; copy it to the cpu first");
    int dtype = dtype_of_dlpack(tensor.dtype);
    if (dtype < 0)
      throw UserError("from_dlpack: the element type is not supported; convert it first");
    TypeRef type = ArrayType::get(dtype, tensor.shape, static_cast<size_t>(tensor.ndim));
    char* data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    std::vector<int64_t> strides(static_cast<size_t>(tensor.ndim));
    bool dense = true;
    if (tensor.strides) {
      for (int axis = 0; axis < tensor.ndim; ++axis)
        strides[static_cast<size_t>(axis)] =
            tensor.strides[axis] * static_cast<int64_t>(type->itemsize());
      dense = contiguous(type->dims, strides.data(), tensor.ndim, type->itemsize());
    }
    if (dense && !read_only)
      return new_array(type, Storage::wrap(data, type->nbytes, give_back, managed), 0);
    // Read-only or strided memory cannot be an NDArray's own: copy.
    ArrayRef copy = new_array(type);
    copy->storage->materialize();
    if (dense) {
      if (type->nbytes) std::memcpy(copy->data(), data, type->nbytes);
    } else {
      copy_strided(copy->data(), data, *type, strides.data());
    }
    free_managed(managed);
    return copy;
  } catch (...) {
    free_managed(managed);
    throw;
  }
}

}  // namespace

void check_on_host(const Array* array, const char* where) {
  if (is_on_host(array)) return;
  throw UserError(std::string(where) + ": the array is on " +
                  device_at(array->type->device).text() +
                  ", whose memory other libraries cannot read; copy it with "
                  "as_in_context(mx.cpu())");
}

namespace {

template <class Managed>
PyObject* exported_capsule(Array* array, const char* name, PyCapsule_Destructor destructor,
                           Managed managed) {
  auto* exported = new Export<Managed>;
  exported->managed = managed;
  exported->storage = Ref<Storage>(array->storage->owner());
  const ArrayType& type = *array->type;
  int64_t step = 1;
  for (int axis = type.ndim - 1; axis >= 0; --axis) {
    exported->shape[axis] = type.dims[axis];
    exported->strides[axis] = step;
    step *= type.dims[axis];
  }
  static constexpr uint8_t kCodes[] = {2, 0, 1, 6};  // by Kind
  DLTensor& tensor = exported->managed.dl_tensor;
  tensor.data = array->data();
  tensor.device = {1, 0};
  tensor.ndim = type.ndim;
  tensor.dtype = {type.dtype == kBfloat16Code ? kDLBfloat
                                              : kCodes[static_cast<int>(kDTypes[type.dtype].kind)],
                  static_cast<uint8_t>(type.itemsize() * 8), 1};
  tensor.shape = exported->shape;
  tensor.strides = exported->strides;
  tensor.byte_offset = 0;
  exported->managed.manager_ctx = exported;
  exported->managed.deleter = [](Managed* m) {
    delete static_cast<Export<Managed>*>(m->manager_ctx);
  };
  PyObject* capsule = PyCapsule_New(&exported->managed, name, destructor);
  if (!capsule) {
    delete exported;
    throw PythonError{};
  }
  return capsule;
}

template <class Managed>
void drop_unconsumed(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;  // consumed
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

}  // namespace

PyObject* to_dlpack(Array* array, bool versioned, bool copy) {
  check_on_host(array, "to_dlpack");
  wait_to_read(array);
  array->storage->materialize();
  ArrayRef held = ArrayRef::borrow(array);
  if (copy) {
    held = new_array(array->type);
    materialize_now(*held->storage);
    write_bytes(held.get(), array->data());
  }
  held->storage->shown = true;
  if (!versioned)
    return exported_capsule(
        held.get(), "dltensor",
        [](PyObject* self) { drop_unconsumed<DLManagedTensor>(self, "dltensor"); },
        DLManagedTensor{});
  DLManagedTensorVersioned managed{};
  managed.major = 1;
  managed.flags = copy ? kCopied : 0;
  return exported_capsule(
      held.get(), "dltensor_versioned",
      [](PyObject* self) { drop_unconsumed<DLManagedTensorVersioned>(self, "dltensor_versioned"); },
      managed);
}

ArrayRef from_dlpack(PyObject* source) {
  nb::object capsule;
  if (PyCapsule_CheckExact(source)) {
    capsule = nb::borrow(source);
  } else {
    nb::object method = nb::steal(PyObject_GetAttrString(source, "__dlpack__"));
    if (!method) {
      PyErr_Clear();
      throw UserError(std::string("from_dlpack: expected an object with __dlpack__; given ") +
                      Py_TYPE(source)->tp_name);
    }
    // Without a version producers cannot say that memory is read-only, and refuse to give it.
    nb::object keywords = nb::steal(checked(Py_BuildValue("{s(ii)}", "max_version", 1, 0)));
    nb::object none = nb::steal(checked(PyTuple_New(0)));
    capsule = nb::steal(PyObject_Call(method.ptr(), none.ptr(), keywords.ptr()));
    if (!capsule.is_valid() && PyErr_ExceptionMatches(PyExc_TypeError)) {  // older producers
      PyErr_Clear();
      capsule = nb::steal(PyObject_CallNoArgs(method.ptr()));
    }
    checked(capsule.ptr());
  }
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
    auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    PyCapsule_SetName(capsule.ptr(), "used_dltensor");
    return import_managed(managed, false);
  }
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    auto* managed = static_cast<DLManagedTensorVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (managed->major != 1)
      throw UserError("from_dlpack: expected a tensor of DLPack 1; given one of DLPack " +
                      std::to_string(managed->major));
    PyCapsule_SetName(capsule.ptr(), "used_dltensor_versioned");
    return import_managed(managed, (managed->flags & kReadOnly) != 0);
  }
  throw UserError("from_dlpack: the capsule holds no tensor, or was used before");
}

}  // namespace tigon
