#include "call/dispatch.h"

#include "call/keyed_cache.h"
#include "call/random_key.h"
#include "call/sequence.h"
#include "core/few.h"
#include "profile/profile.h"
#include "python/errors.h"

namespace tigon {

PyObject* program_type = nullptr;
PyObject* view_type = nullptr;
PyObject* gradient_type = nullptr;
PyObject* output_caster = nullptr;

void set_output_caster(nb::object caster) {
  Py_XSETREF(output_caster, caster.is_none() ? nullptr : caster.release().ptr());
}

void read_outputs(PyObject* out, size_t count, std::vector<ArrayRef>& outputs, const char* where) {
  if (!out || out == Py_None) return;
  if (is_array(out)) {
    outputs.push_back(ArrayRef::borrow(as_array(out)));
    return;
  }
  if (!PyList_Check(out) && !PyTuple_Check(out))
    throw UserError(std::string(where) + ": out=: expected an NDArray or a list of them; given " +
                    Py_TYPE(out)->tp_name);
  nb::object fast = nb::steal(PySequence_Fast(out, ""));
  if (!fast) throw nb::python_error();
  auto given = static_cast<size_t>(PySequence_Fast_GET_SIZE(fast.ptr()));
  if (given > count)
    throw UserError(std::string(where) + ": out= has " + std::to_string(given) + " arrays for " +
                    std::to_string(count) + " outputs");
  for (size_t index = 0; index < given; ++index) {
    PyObject* item = PySequence_Fast_GET_ITEM(fast.ptr(), static_cast<Py_ssize_t>(index));
    if (item != Py_None && !is_array(item))
      throw UserError(std::string(where) + ": out= must hold NDArrays; given " +
                      Py_TYPE(item)->tp_name);
    outputs.push_back(item == Py_None ? ArrayRef() : ArrayRef::borrow(as_array(item)));
  }
}

namespace {

PyObject* pack(std::vector<ArrayRef>& outputs, size_t visible, bool bare) {
  if (bare && visible == 1) return as_object(outputs[0].release());
  PyObject* result = PyTuple_New(static_cast<Py_ssize_t>(visible));
  if (!result) throw PythonError{};
  for (size_t index = 0; index < visible; ++index)
    PyTuple_SET_ITEM(result, static_cast<Py_ssize_t>(index), as_object(outputs[index].release()));
  return result;
}

}  // namespace

PyObject* call_program(PyObject* self, PyObject* inputs, PyObject* out, PyObject* donate) {
  Program& program = *nb::inst_ptr<Program>(self);
  // A tuple: a list could change while the interpreter lock is given up.
  nb::object fast =
      PyTuple_CheckExact(inputs) ? nb::borrow(inputs) : nb::steal(PySequence_Tuple(inputs));
  if (!fast) throw nb::python_error();
  auto count = static_cast<size_t>(PyTuple_GET_SIZE(fast.ptr()));
  if (count != program.inputs.size())
    throw UserError(program.name + ": expected " + std::to_string(program.inputs.size()) +
                    " inputs; given " + std::to_string(count));
  Few<Array*, 32> arrays(count);
  Few<Immediate, 32> immediates(count);
  for (size_t index = 0; index < count; ++index) {
    PyObject* item = PyTuple_GET_ITEM(fast.ptr(), static_cast<Py_ssize_t>(index));
    const ArrayType* expected = program.inputs[index].get();
    if (is_array(item)) {
      arrays[index] = as_array(item);
      if (arrays[index]->type->plain == expected) continue;
    } else if (expected->ndim == 0 && is_scalar(item)) {
      arrays[index] = nullptr;
      immediates[index] = convert(read_scalar(item), expected->dtype);
      continue;
    } else if (expected == key_type().get() && is_random_key(item)) {
      arrays[index] = nullptr;
      immediates[index].key = as_random_key(item);
      continue;
    }
    throw UserError(program.name + ": input " + std::to_string(index) + ": " +
                    expectation(expected, item));
  }
  check_one_place(program.name, arrays.data(), count);
  std::vector<ArrayRef> outputs;
  read_outputs(out, program.outputs.size(), outputs, program.name.c_str());
  std::vector<uint32_t> given_up;
  if (donate && donate != Py_None) {
    nb::object list = nb::steal(PySequence_Fast(donate, "donate= must be a sequence of numbers"));
    if (!list) throw nb::python_error();
    for (Py_ssize_t index = 0; index < PySequence_Fast_GET_SIZE(list.ptr()); ++index) {
      long value = PyLong_AsLong(PySequence_Fast_GET_ITEM(list.ptr(), index));
      if (value == -1 && PyErr_Occurred()) throw nb::python_error();
      if (value < 0 || static_cast<size_t>(value) >= count || !arrays[static_cast<size_t>(value)])
        throw UserError(program.name + ": donate=: input " + std::to_string(value) +
                        " is not an NDArray of this call");
      given_up.push_back(static_cast<uint32_t>(value));
    }
  }
  nb::object alive = nb::borrow(self);
  run_program(program, self, arrays.data(), immediates.data(), count, outputs,
              given_up.empty() ? nullptr : &given_up, true);
  return pack(outputs, program.visible, false);
}

// -------------------------------------------------------------------------- the signature cache

namespace {

struct Entry : Keyed {
  std::vector<TypeRef> types;  // the key holds their addresses
  nb::object owner;
  Program* program = nullptr;
  const Sequence* sequence = nullptr;
  View* view = nullptr;
};

// Shapes that change with every call must not fill the memory; a miss costs about a millisecond.
KeyedCache<Entry>& signature_cache() {
  static auto* cache = new KeyedCache<Entry>(8192);
  return *cache;
}

// Words of a signature: the address of a type, or a number's dtype with the lowest bit set.
bool is_number(uint64_t word) { return word & 1; }

PyObject* compile_handler = nullptr;

void check_operands(const std::string& name, const std::vector<TypeRef>& inputs,
                    const uint64_t* key, size_t count) {
  if (inputs.size() != count)
    throw InternalError(name + ": what was compiled takes " + std::to_string(inputs.size()) +
                        " inputs, the call has " + std::to_string(count));
  for (size_t index = 0; index < count; ++index) {
    const ArrayType* expected = inputs[index].get();
    uint64_t word = key[index + 1];
    bool same = is_number(word) ? expected->ndim == 0 && expected->dtype == word >> 1
                                : reinterpret_cast<const ArrayType*>(word)->plain == expected;
    if (!same)
      throw InternalError(name + ": input " + std::to_string(index) + " of what was compiled is " +
                          expected->text() + ", which is not the operand's type");
  }
}

// The devices of arrays, each once, as a tuple of numbers.
PyObject* devices_of(Array* const* arrays, size_t count) {
  std::vector<uint8_t> found;
  for (size_t index = 0; index < count; ++index) {
    if (!arrays[index]) continue;
    uint8_t device = arrays[index]->type->device;
    if (std::find(found.begin(), found.end(), device) == found.end()) found.push_back(device);
  }
  PyObject* devices = PyTuple_New(static_cast<Py_ssize_t>(found.size()));
  for (size_t place = 0; devices && place < found.size(); ++place)
    PyTuple_SET_ITEM(devices, static_cast<Py_ssize_t>(place), PyLong_FromLong(found[place]));
  return devices;
}

std::shared_ptr<Entry> compile(int64_t operator_id, int64_t attributes_id, const uint64_t* key,
                               size_t words, uint64_t hash, Array* const* arrays, size_t count) {
  ++counters.signature_misses;
  if (!compile_handler) throw InternalError("invoke: no compile handler is set");
  auto entry = std::make_shared<Entry>();
  entry->set_key(key, words, hash);
  nb::object signature = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; index < count; ++index) {
    PyObject* part;
    if (!is_number(key[index + 1])) {
      TypeRef type = arrays[index] ? arrays[index]->type : key_type();
      part = Py_BuildValue("(iNO)", static_cast<int>(type->dtype), type->shape_tuple(), Py_False);
      entry->types.push_back(std::move(type));
    } else {
      part = Py_BuildValue("(i()O)", static_cast<int>(key[index + 1] >> 1), Py_True);
    }
    if (!part) throw nb::python_error();
    PyTuple_SET_ITEM(signature.ptr(), static_cast<Py_ssize_t>(index), part);
  }
  nb::object devices = nb::steal(devices_of(arrays, count));
  if (!devices.is_valid()) throw nb::python_error();
  PyObject* answer = in_python([&] {
    return PyObject_CallFunction(compile_handler, "LLOO", static_cast<long long>(operator_id),
                                 static_cast<long long>(attributes_id), signature.ptr(),
                                 devices.ptr());
  });
  if (!answer) throw nb::python_error();
  entry->owner = nb::steal(answer);
  if (Py_TYPE(answer) == reinterpret_cast<PyTypeObject*>(program_type)) {
    entry->program = nb::inst_ptr<Program>(answer);
    check_operands(entry->program->name, entry->program->inputs, key, count);
  } else if (Py_TYPE(answer) == reinterpret_cast<PyTypeObject*>(sequence_type)) {
    entry->sequence = nb::inst_ptr<Sequence>(answer);
    check_operands("sequence", entry->sequence->inputs, key, count);
  } else if (Py_TYPE(answer) == reinterpret_cast<PyTypeObject*>(view_type)) {
    entry->view = nb::inst_ptr<View>(answer);
    if (count == 0 || !arrays[0]) throw InternalError("a View needs an array operand");
    entry->view->bind(arrays[0]->type->dtype);
  } else if (!PyCallable_Check(answer)) {
    throw InternalError(
        "a compile handler must return a Program, a Sequence, a View or a callable");
  }
  signature_cache().insert(entry);
  return entry;
}

PyObject* call_python(PyObject* function, PyObject* const* operands, size_t count,
                      std::vector<ArrayRef>& outputs) {
  if (outputs.empty())
    return in_python([&] { return PyObject_Vectorcall(function, operands, count, nullptr); });
  nb::object arguments = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; index < count; ++index) {
    Py_INCREF(operands[index]);
    PyTuple_SET_ITEM(arguments.ptr(), static_cast<Py_ssize_t>(index), operands[index]);
  }
  size_t given = outputs.size();
  nb::object out = nb::steal(pack(outputs, given, true));
  nb::object keywords = nb::steal(Py_BuildValue("{sO}", "out", out.ptr()));
  return in_python([&] { return PyObject_Call(function, arguments.ptr(), keywords.ptr()); });
}

}  // namespace

thread_local TraceHandlers trace_handlers;

nb::tuple set_trace_handlers(nb::object call, nb::object read) {
  auto exchange = [](PyObject*& place, nb::object& given) {
    PyObject* before = std::exchange(place, given.is_none() ? nullptr : given.release().ptr());
    return before ? nb::steal(before) : nb::none();
  };
  nb::object call_before = exchange(trace_handlers.call, call);
  nb::object read_before = exchange(trace_handlers.read, read);
  return nb::make_tuple(call_before, read_before);
}

void note_read(PyObject* array) {
  if (!trace_handlers.read) return;
  nb::object handler = nb::borrow(trace_handlers.read);
  PyObject* result = in_python([&] { return PyObject_CallOneArg(handler.ptr(), array); });
  if (!result) throw PythonError{};
  Py_DECREF(result);
}

namespace {

PyObject* call_in_trace(int64_t operator_id, int64_t attributes_id, PyObject* const* operands,
                        size_t count, std::vector<ArrayRef>& outputs) {
  nb::object handler = nb::borrow(trace_handlers.call);
  nb::object given = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; index < count; ++index) {
    Py_INCREF(operands[index]);
    PyTuple_SET_ITEM(given.ptr(), static_cast<Py_ssize_t>(index), operands[index]);
  }
  bool writes = false;
  for (const ArrayRef& output : outputs) writes |= static_cast<bool>(output);
  return PyObject_CallFunction(handler.ptr(), "LLOO", static_cast<long long>(operator_id),
                               static_cast<long long>(attributes_id), given.ptr(),
                               writes ? Py_True : Py_False);
}

// Whether a given output is of another dtype than what is computed, and of the same shape.
bool other_dtypes(const Program& program, const std::vector<ArrayRef>& outputs) {
  bool found = false;
  for (size_t index = 0; index < outputs.size(); ++index) {
    if (!outputs[index]) continue;
    const ArrayType* given = outputs[index]->type->plain;
    const ArrayType* made = program.outputs[index].get();
    if (given->ndim != made->ndim ||
        !std::equal(given->dims, given->dims + given->ndim, made->dims))
      return false;
    found |= given->dtype != made->dtype;
  }
  return found;
}

// Computes, and has Python write the results into the given arrays; NotImplemented where it does
// not.
[[gnu::noinline]] PyObject* run_and_cast(Program& program, PyObject* owner, Array* const* arrays,
                                         const Immediate* immediates, size_t count,
                                         std::vector<ArrayRef>& outputs) {
  nb::object caster = nb::borrow(output_caster);
  nb::object given = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(outputs.size())));
  for (size_t index = 0; index < outputs.size(); ++index)
    PyTuple_SET_ITEM(given.ptr(), static_cast<Py_ssize_t>(index),
                     Py_NewRef(outputs[index] ? as_object(outputs[index].get()) : Py_None));
  std::vector<ArrayRef> made;
  run_program(program, owner, arrays, immediates, count, made, nullptr, true, program.updates);
  nb::object results = nb::steal(pack(made, program.visible, false));
  return in_python([&] {
    return PyObject_CallFunctionObjArgs(caster.ptr(), results.ptr(), given.ptr(), nullptr);
  });
}

[[gnu::always_inline]] inline PyObject* run_operator(int64_t operator_id, int64_t attributes_id,
                                                     PyObject* const* operands, size_t count,
                                                     std::vector<ArrayRef>& outputs) {
  if (trace_handlers.call) {
    PyObject* result = call_in_trace(operator_id, attributes_id, operands, count, outputs);
    // What a graph cannot hold is done at once.
    if (result != Py_NotImplemented) return result;
    Py_DECREF(result);
  }
  ++counters.imperative_operators;
  Few<Array*, 16> arrays(count);
  Few<Immediate, 16> immediates(count);
  Few<uint64_t, 17> key(count + 1);
  int first_dtype = -1;
  bool scalars = false;
  key[0] = static_cast<uint64_t>(operator_id) << 32 ^ static_cast<uint64_t>(attributes_id);
  for (size_t index = 0; index < count; ++index) {
    if (is_array(operands[index])) {
      arrays[index] = as_array(operands[index]);
      key[index + 1] = reinterpret_cast<uint64_t>(arrays[index]->type.get());
      if (first_dtype < 0) first_dtype = arrays[index]->type->dtype;
    } else {
      arrays[index] = nullptr;
      scalars = true;
    }
  }
  if (scalars) {
    for (size_t index = 0; index < count; ++index) {
      if (arrays[index]) continue;
      if (is_random_key(operands[index])) {
        immediates[index].key = as_random_key(operands[index]);
        key[index + 1] = reinterpret_cast<uint64_t>(key_type().get());
        continue;
      }
      if (!is_scalar(operands[index]))
        throw UserError(std::string("operand ") + std::to_string(index) +
                        ": expected an NDArray or a number; given " +
                        Py_TYPE(operands[index])->tp_name + "; convert it with nd.array first");
      Scalar scalar = read_scalar(operands[index]);
      int dtype = first_dtype >= 0 ? first_dtype : default_dtype(scalar);
      immediates[index] = convert(scalar, dtype);
      key[index + 1] = static_cast<uint64_t>(dtype) << 1 | 1;
    }
  }
  uint64_t hash = hash_of(key.data(), count + 1);
  // The compiler may run Python and so change the cache: hold the entry itself.
  std::shared_ptr<Entry> compiled;
  Entry* entry;
  if (const std::shared_ptr<Entry>* found = signature_cache().find(key.data(), count + 1, hash)) {
    ++counters.signature_hits;
    entry = found->get();
  } else {
    compiled =
        compile(operator_id, attributes_id, key.data(), count + 1, hash, arrays.data(), count);
    entry = compiled.get();
  }
  nb::object owner = entry->owner;
  if (entry->program) {
    Program& program = *entry->program;
    if (outputs.size() > program.outputs.size())
      throw UserError(program.name + ": out= has more arrays than there are outputs");
    if (output_caster && !outputs.empty() && !program.updates && !is_recording() &&
        other_dtypes(program, outputs)) {
      PyObject* result =
          run_and_cast(program, owner.ptr(), arrays.data(), immediates.data(), count, outputs);
      if (result != Py_NotImplemented) return result;
      Py_DECREF(result);
    }
    run_program(program, owner.ptr(), arrays.data(), immediates.data(), count, outputs, nullptr,
                true, program.updates);
    if (!outputs.empty()) outputs[0]->is_comparison = program.answers_truth;
    return pack(outputs, program.visible, true);
  }
  if (entry->sequence) {
    entry->sequence->run(arrays.data(), outputs, true, immediates.data());
    return pack(outputs, outputs.size(), true);
  }
  if (entry->view) {
    ArrayRef result = run_view(*entry->view, owner.ptr(), arrays[0], true);
    if (outputs.empty() || !outputs[0]) return as_object(result.release());
    Array* given = outputs[0].get();
    check_not_donated(given);
    if (is_recording() && (given->on_tape() || result->node))
      throw UserError("view: out= is not supported while recording");
    if (given->type->plain != result->type->plain)
      throw UserError("view: out=: " + expectation(result->type.get(), as_object(given)));
    copy_array(result.get(), given);
    return as_object(outputs[0].release());
  }
  return call_python(owner.ptr(), operands, count, outputs);
}

// Python knows the names of operators.
[[gnu::noinline]] PyObject* run_profiled(int64_t operator_id, int64_t attributes_id,
                                         PyObject* const* operands, size_t count,
                                         std::vector<ArrayRef>& outputs) {
  see_to_calls();
  profile::Span span;
  span.open_at(profile::SpanKind::Operator, std::string("#") + std::to_string(operator_id),
               place_of_caller(profile::place.block, true));
  return run_operator(operator_id, attributes_id, operands, count, outputs);
}

}  // namespace

PyObject* invoke_with(int64_t operator_id, int64_t attributes_id, PyObject* const* operands,
                      size_t count, std::vector<ArrayRef>& outputs) {
  if (profile::watches_any() && !trace_handlers.call) [[unlikely]]
    return run_profiled(operator_id, attributes_id, operands, count, outputs);
  return run_operator(operator_id, attributes_id, operands, count, outputs);
}

PyObject* invoke(int64_t operator_id, int64_t attributes_id, PyObject* const* operands,
                 size_t count, PyObject* out) {
  std::vector<ArrayRef> outputs;
  read_outputs(out, SIZE_MAX, outputs, "invoke");
  return invoke_with(operator_id, attributes_id, operands, count, outputs);
}

ArrayRef invoke_binary(int64_t operator_id, int64_t attributes_id, Array* a, Array* b, Array* out) {
  std::vector<ArrayRef> outputs;
  if (out) outputs.push_back(ArrayRef::borrow(out));
  PyObject* operands[2] = {as_object(a), as_object(b)};
  PyObject* result = invoke_with(operator_id, attributes_id, operands, 2, outputs);
  if (!result) throw PythonError{};
  if (!is_array(result)) {
    Py_DECREF(result);
    throw InternalError("the operator that adds cotangents must return one array");
  }
  return ArrayRef::steal(as_array(result));
}

nb::object set_compile_handler(nb::object handler) {
  if (handler.is_none()) handler = nb::object();
  nb::object before = nb::steal(std::exchange(compile_handler, handler.release().ptr()));
  return before.is_valid() ? before : nb::none();
}

void set_most_signatures(size_t most) { signature_cache().set_most(most); }
size_t signature_count() { return signature_cache().size(); }
void clear_signature_cache() { signature_cache().clear(); }

}  // namespace tigon
