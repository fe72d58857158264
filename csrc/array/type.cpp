// Types of arrays, interned.
#include <cstdlib>

#include "array/array.h"
#include "python/errors.h"

namespace tigon {

namespace {

struct TypeTable {
  std::vector<ArrayType*> slots = std::vector<ArrayType*>(256, nullptr);
  size_t used = 0;

  void insert(ArrayType* type) {
    if ((used + 1) * 2 > slots.size()) {
      std::vector<ArrayType*> old(slots.size() * 2, nullptr);
      old.swap(slots);
      for (ArrayType* moved : old) {
        if (moved) place(moved);
      }
    }
    place(type);
    ++used;
  }

  void place(ArrayType* type) {
    size_t mask = slots.size() - 1;
    size_t index = type->hash & mask;
    while (slots[index]) index = (index + 1) & mask;
    slots[index] = type;
  }

  void erase(const ArrayType* type) {
    size_t mask = slots.size() - 1;
    size_t index = type->hash & mask;
    while (slots[index] != type) index = (index + 1) & mask;
    slots[index] = nullptr;
    --used;
    // Close the gap: linear probing must find the entries behind it.
    for (size_t next = (index + 1) & mask; slots[next]; next = (next + 1) & mask) {
      ArrayType* moved = std::exchange(slots[next], nullptr);
      place(moved);
    }
  }
};

TypeTable& type_table() {
  static auto* table = new TypeTable;
  return *table;
}

}  // namespace

TypeRef ArrayType::get(int64_t dtype, const int64_t* dims, size_t ndim, uint8_t device) {
  if (dtype < 0 || dtype >= kDTypeCount)
    throw UserError("array: unknown dtype code " + std::to_string(dtype));
  if (ndim > kMaxDims)
    throw UserError("array: at most " + std::to_string(kMaxDims) + " axes; given " +
                    std::to_string(ndim));
  uint64_t hash =
      (static_cast<uint64_t>(dtype) + (uint64_t{device} << 8)) * 0x9E3779B97F4A7C15u + ndim;
  for (size_t axis = 0; axis < ndim; ++axis) {
    hash = (hash ^ static_cast<uint64_t>(dims[axis])) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  }
  TypeTable& table = type_table();
  size_t mask = table.slots.size() - 1;
  for (size_t index = hash & mask; ArrayType* type = table.slots[index];
       index = (index + 1) & mask) {
    if (type->hash == hash && type->dtype == dtype && type->ndim == ndim &&
        type->device == device && std::equal(dims, dims + ndim, type->dims))
      return TypeRef(type);
  }

  int64_t size = 1;
  int64_t nbytes = kDTypes[dtype].size;
  bool empty = false;
  bool overflow = false;
  for (size_t axis = 0; axis < ndim; ++axis) {
    if (dims[axis] < 0)
      throw UserError("array: a negative extent " + std::to_string(dims[axis]) + " on axis " +
                      std::to_string(axis));
    if (dims[axis] == 0) {
      empty = true;
      continue;
    }
    overflow |= __builtin_mul_overflow(size, dims[axis], &size);
    overflow |= __builtin_mul_overflow(nbytes, dims[axis], &nbytes);
  }
  if (empty) {
    size = nbytes = 0;
  } else if (overflow) {
    std::string text;
    for (size_t axis = 0; axis < ndim; ++axis)
      text += (axis ? ", " : "") + std::to_string(dims[axis]);
    throw UserError("array: the size of shape (" + text +
                    ") overflows 64 bits; use smaller extents");
  }
  TypeRef plain;
  if (device != kFirstCpu) plain = get(dtype, dims, ndim);
  auto* type = static_cast<ArrayType*>(std::malloc(sizeof(ArrayType) + sizeof(int64_t) * ndim));
  if (!type) throw std::bad_alloc();
  *type = ArrayType{};
  type->dtype = static_cast<uint8_t>(dtype);
  type->ndim = static_cast<uint8_t>(ndim);
  type->size = size;
  type->nbytes = static_cast<size_t>(nbytes);
  type->hash = hash;
  std::copy(dims, dims + ndim, type->dims);
  type->device = device;
  type->layout = Layout::Dense;
  type->plain = type;
  if (plain) {
    plain->retain();
    type->plain = plain.get();
  }
  type_table().insert(type);
  return TypeRef(type);
}

TypeRef ArrayType::elsewhere(uint8_t other) const {
  if (other == kFirstCpu) return TypeRef(const_cast<ArrayType*>(plain));
  return get(dtype, dims, ndim, other);
}

size_t ArrayType::count() { return type_table().used; }

void ArrayType::forget() const {
  type_table().erase(this);
  if (plain != this) plain->release();
  Py_XDECREF(shape);
  std::free(const_cast<ArrayType*>(this));
}

PyObject* ArrayType::shape_tuple() {
  if (!shape) {
    shape = PyTuple_New(ndim);
    if (!shape) throw PythonError{};
    for (int axis = 0; axis < ndim; ++axis)
      PyTuple_SET_ITEM(shape, axis, PyLong_FromLongLong(dims[axis]));
  }
  Py_INCREF(shape);
  return shape;
}

std::string ArrayType::text() const {
  std::string result = std::string(kDTypes[dtype].name) + " (";
  for (int axis = 0; axis < ndim; ++axis) result += (axis ? ", " : "") + std::to_string(dims[axis]);
  result += ndim == 1 ? ",)" : ")";
  return device == kFirstCpu ? result : result + " on " + device_at(device).text();
}

}  // namespace tigon
