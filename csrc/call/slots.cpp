// NDArray's number slots: operands are looked at, then invoked.
#include "call/dispatch.h"
#include "python/errors.h"

namespace tigon {
namespace {

enum Slot {
  Add,
  Subtract,
  Multiply,
  TrueDivide,
  FloorDivide,
  Remainder,
  Power,
  Matmul,
  Negative,
  Absolute,
  Equal,
  NotEqual,
  Less,
  LessEqual,
  Greater,
  GreaterEqual,
  SlotCount
};

constexpr const char* kSlotNames[SlotCount] = {
    "add",   "subtract", "multiply", "true_divide", "floor_divide", "remainder",
    "power", "matmul",   "negative", "absolute",    "eq",           "ne",
    "lt",    "le",       "gt",       "ge"};

SlotOperator slot_operators[SlotCount];
SlotOperator reflected_operators[SlotCount];

PyObject* numpy_operand_maker = nullptr;

PyObject* not_implemented() { Py_RETURN_NOTIMPLEMENTED; }

// A numpy array as an operand beside `array`. Null and no error for anything else.
nb::object made_of_numpy(PyObject* array, PyObject* value) {
  if (!is_numpy_array(value) || !numpy_operand_maker) return {};
  return nb::steal(in_python(
      [&] { return PyObject_CallFunctionObjArgs(numpy_operand_maker, array, value, nullptr); }));
}

template <Slot kSlot>
PyObject* binary_slot(PyObject* a, PyObject* b) {
  bool left = is_array(a);
  if ((!left && !is_scalar(a)) || (!is_array(b) && !is_scalar(b))) {
    nb::object made = left ? made_of_numpy(a, b) : nb::object();
    if (!made.is_valid()) return PyErr_Occurred() ? nullptr : not_implemented();
    return is_array(made.ptr()) ? binary_slot<kSlot>(a, made.ptr()) : not_implemented();
  }
  const SlotOperator* chosen = &slot_operators[kSlot];
  PyObject* operands[2] = {a, b};
  if (!left && reflected_operators[kSlot].operator_id >= 0) {
    chosen = &reflected_operators[kSlot];
    std::swap(operands[0], operands[1]);
  }
  if (chosen->operator_id < 0) return not_implemented();
  return guarded([&] {
    std::vector<ArrayRef> outputs;
    return invoke_with(chosen->operator_id, chosen->attributes_id, operands, 2, outputs);
  });
}

// What stands for an array in traced code says which one, since `x += symbol` must not make a new
// array. Null and no error for anything else.
nb::object array_behind(PyObject* object) {
  nb::object method = nb::steal(PyObject_GetAttrString(object, "_in_place_operand"));
  if (!method.is_valid()) {
    PyErr_Clear();
    return method;
  }
  return nb::steal(in_python([&] { return PyObject_CallNoArgs(method.ptr()); }));
}

template <Slot kSlot>
PyObject* inplace_slot(PyObject* a, PyObject* b) {
  const SlotOperator& chosen = slot_operators[kSlot];
  if (chosen.operator_id < 0 || !is_array(a)) return not_implemented();
  if (!is_array(b) && !is_scalar(b)) {
    nb::object array = is_numpy_array(b) ? made_of_numpy(a, b) : array_behind(b);
    if (!array.is_valid()) return PyErr_Occurred() ? nullptr : not_implemented();
    return is_array(array.ptr()) ? inplace_slot<kSlot>(a, array.ptr()) : not_implemented();
  }
  return guarded([&]() -> PyObject* {
    if (is_recording() && as_array(a)->on_tape())
      throw UserError(std::string("in-place ") + kSlotNames[kSlot] +
                      ": an array that takes part in a recording cannot be overwritten; write "
                      "y = x + ... or do it outside autograd.record()");
    std::vector<ArrayRef> outputs;
    outputs.push_back(ArrayRef::borrow(as_array(a)));
    PyObject* operands[2] = {a, b};
    return invoke_with(chosen.operator_id, chosen.attributes_id, operands, 2, outputs);
  });
}

template <Slot kSlot>
PyObject* unary_slot(PyObject* a) {
  const SlotOperator& chosen = slot_operators[kSlot];
  if (chosen.operator_id < 0) {
    PyErr_Format(PyExc_TypeError, "no operator is registered for %s", kSlotNames[kSlot]);
    return nullptr;
  }
  return guarded([&] {
    std::vector<ArrayRef> outputs;
    return invoke_with(chosen.operator_id, chosen.attributes_id, &a, 1, outputs);
  });
}

PyObject* positive_slot(PyObject* a) {
  Py_INCREF(a);
  return a;
}

PyObject* power_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) return not_implemented();
  return binary_slot<Power>(a, b);
}

PyObject* inplace_power_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) return not_implemented();
  return inplace_slot<Power>(a, b);
}

template <class Function>
void* pointer(Function function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

PyObject* compare_slot(PyObject* a, PyObject* b, int operation) {
  static constexpr Slot kSlots[] = {Less, LessEqual, Equal, NotEqual, Greater, GreaterEqual};
  const SlotOperator& chosen = slot_operators[kSlots[operation]];
  if (!is_array(b) && !is_scalar(b)) {
    nb::object made = made_of_numpy(a, b);
    if (!made.is_valid()) return PyErr_Occurred() ? nullptr : not_implemented();
    return is_array(made.ptr()) ? compare_slot(a, made.ptr(), operation) : not_implemented();
  }
  if (chosen.operator_id < 0) return not_implemented();
  return guarded([&] {
    std::vector<ArrayRef> outputs;
    PyObject* operands[2] = {a, b};
    return invoke_with(chosen.operator_id, chosen.attributes_id, operands, 2, outputs);
  });
}

const PyType_Slot* operator_slots(size_t* count) {
  static const PyType_Slot slots[] = {
      {Py_nb_add, pointer(binary_slot<Add>)},
      {Py_nb_subtract, pointer(binary_slot<Subtract>)},
      {Py_nb_multiply, pointer(binary_slot<Multiply>)},
      {Py_nb_true_divide, pointer(binary_slot<TrueDivide>)},
      {Py_nb_floor_divide, pointer(binary_slot<FloorDivide>)},
      {Py_nb_remainder, pointer(binary_slot<Remainder>)},
      {Py_nb_power, pointer(power_slot)},
      {Py_nb_matrix_multiply, pointer(binary_slot<Matmul>)},
      {Py_nb_inplace_add, pointer(inplace_slot<Add>)},
      {Py_nb_inplace_subtract, pointer(inplace_slot<Subtract>)},
      {Py_nb_inplace_multiply, pointer(inplace_slot<Multiply>)},
      {Py_nb_inplace_true_divide, pointer(inplace_slot<TrueDivide>)},
      {Py_nb_inplace_floor_divide, pointer(inplace_slot<FloorDivide>)},
      {Py_nb_inplace_remainder, pointer(inplace_slot<Remainder>)},
      {Py_nb_inplace_power, pointer(inplace_power_slot)},
      {Py_nb_negative, pointer(unary_slot<Negative>)},
      {Py_nb_positive, pointer(positive_slot)},
      {Py_nb_absolute, pointer(unary_slot<Absolute>)},
  };
  *count = std::size(slots);
  return slots;
}

void set_numpy_operand(PyObject* maker) { Py_XSETREF(numpy_operand_maker, Py_NewRef(maker)); }

SlotOperator set_slot_operator(const std::string& slot, SlotOperator chosen, bool reflected) {
  for (int index = 0; index < SlotCount; ++index) {
    if (slot != kSlotNames[index]) continue;
    return std::exchange((reflected ? reflected_operators : slot_operators)[index], chosen);
  }
  throw UserError("set_slot_operator: unknown slot '" + slot + "'");
}

}  // namespace tigon
