// NDArray: a Python type of its own, with number slots that reach the dispatcher without Python.
#pragma once

#include <Python.h>

#include <vector>

#include "memory/storage.h"

namespace tigon {

struct Node;
struct Leaf;

enum class Layout : uint8_t { Dense };

// Shape, dtype, device and layout, interned: equal types are the same object. Guarded by the GIL.
struct ArrayType {
  mutable uint32_t references;
  uint8_t dtype;
  uint8_t ndim;
  uint8_t device;
  Layout layout;
  int64_t size;
  size_t nbytes;
  uint64_t hash;
  PyObject* shape;         // the tuple, made on first use
  const ArrayType* plain;  // the same on the first cpu: what graphs and programs are typed with
  int64_t dims[1];         // ndim of them

  void retain() const { ++references; }
  void release() const {
    if (--references == 0) forget();
  }
  size_t itemsize() const { return kDTypes[dtype].size; }
  PyObject* shape_tuple();  // new reference
  std::string text() const;
  Ref<ArrayType> on(uint8_t other) const {  // the same on another device
    return other == device ? Ref<ArrayType>(const_cast<ArrayType*>(this)) : elsewhere(other);
  }

  // Throws UserError for unknown dtypes, negative extents and sizes that overflow.
  static Ref<ArrayType> get(int64_t dtype, const int64_t* dims, size_t ndim,
                            uint8_t device = kFirstCpu);
  static size_t count();

 private:
  Ref<ArrayType> elsewhere(uint8_t other) const;
  void forget() const;
};

using TypeRef = Ref<ArrayType>;

struct Array {
  PyObject_HEAD PyObject* weak_references;
  Ref<Storage> storage;  // null once donated
  TypeRef type;
  int64_t offset;  // bytes
  Ref<Node> node;  // of the recorded call that made it
  uint32_t output;
  bool is_comparison;  // its zeros and ones are answers, not numbers
  Ref<Leaf> leaf;      // attached gradient

  char* data() const { return storage->data() + offset; }
  bool on_tape() const { return node || leaf; }
  bool whole_storage() const { return type->nbytes == storage->bytes(); }
};

extern PyTypeObject* array_type;

inline bool is_array(PyObject* object) { return Py_TYPE(object) == array_type; }
inline Array* as_array(PyObject* object) { return reinterpret_cast<Array*>(object); }
inline PyObject* as_object(Array* array) { return reinterpret_cast<PyObject*>(array); }

// An owned reference to an Array.
class ArrayRef {
 public:
  ArrayRef() = default;
  static ArrayRef borrow(Array* array) {
    Py_XINCREF(as_object(array));
    return steal(array);
  }
  static ArrayRef steal(Array* array) {
    ArrayRef result;
    result.array_ = array;
    return result;
  }
  ArrayRef(const ArrayRef& other) : array_(other.array_) { Py_XINCREF(as_object(array_)); }
  ArrayRef(ArrayRef&& other) noexcept : array_(std::exchange(other.array_, nullptr)) {}
  ArrayRef& operator=(ArrayRef other) noexcept {
    std::swap(array_, other.array_);
    return *this;
  }
  ~ArrayRef() { Py_XDECREF(as_object(array_)); }
  Array* get() const { return array_; }
  Array* operator->() const { return array_; }
  explicit operator bool() const { return array_ != nullptr; }
  Array* release() { return std::exchange(array_, nullptr); }

 private:
  Array* array_ = nullptr;
};

ArrayRef new_array(TypeRef type, Ref<Storage> storage, int64_t offset);
ArrayRef new_array(TypeRef type);  // fresh storage without memory yet

inline bool is_on_host(const Array* array) { return is_host(array->type->device); }
// Its bytes, which nobody is writing, from and to the host's memory, wherever they are.
void read_bytes(Array* array, void* to);
void write_bytes(Array* array, const void* from);

void check_not_donated(const Array* array);

// ------------------------------------------------------------------------ waiting, with the GIL

// Returns when the data can be read; raises its failure. The GIL is given up meanwhile and Ctrl-C
// interrupts.
void wait_to_read(Array* array);
void wait_to_write(Array* array);
extern double callback_seconds;      // how long a wait for a host callback may take
extern uint64_t callbacks_given_up;  // how many took longer
// One more version, which the tape compares. What a host callback writes was counted when it was
// pushed.
void note_write(Storage& storage);
void wait_all();         // for what was pushed before; raises the first failure nobody has seen
void wait_for_pushed();  // the same, raises none
void wait_before_end();  // the same, but not for long
// Memory for a fresh storage; what is in flight may have to end first.
void materialize_now(Storage& storage, bool zeroed = false);
void wait_for_room();
void wait_below(const std::atomic<int>& count, int below);

// --------------------------------------------------------------------------- numpy and friends

PyObject* to_numpy(Array* array);
// bfloat16, which numpy lacks, as records of its elements' bits; others as `to_numpy`.
PyObject* bits_to_numpy(Array* array);
void set_numpy_single(PyObject* maker);
void set_numpy_bfloat16(PyObject* maker);
ArrayRef from_numpy(PyObject* source, uint8_t device);
void copy_from_numpy(Array* array, PyObject* source);
PyObject* to_scalar(Array* array);
PyObject* to_dlpack(Array* array, bool versioned, bool copy);
void check_on_host(const Array* array, const char* where);
ArrayRef from_dlpack(PyObject* source);
void load_numpy();
bool is_numpy_array(PyObject* object);
extern PyObject* numpy_generic;  // the base class of numpy's scalars

bool create_array_type(PyObject* module);

}  // namespace tigon
