#include "dispatch.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "engine.h"
#include "errors.h"

namespace tigon {

PyObject* program_type = nullptr;
PyObject* view_type = nullptr;
PyObject* gradient_type = nullptr;
double inline_threshold = 20;
Counters counters;

namespace {

// Room for a few elements on the stack, for many on the heap.
template <class T, size_t N>
class Few {
 public:
  explicit Few(size_t count)
      : data_(count <= N ? few_ : (many_.reset(new T[count]), many_.get())) {}
  T* data() { return data_; }
  T& operator[](size_t index) { return data_[index]; }

 private:
  T few_[N];
  std::unique_ptr<T[]> many_;
  T* data_;
};

bool overlap(const Array* a, const Array* b) {
  return a->storage.get() == b->storage.get() && a->type->nbytes && b->type->nbytes &&
         a->offset < b->offset + static_cast<int64_t>(b->type->nbytes) &&
         b->offset < a->offset + static_cast<int64_t>(a->type->nbytes);
}

void move_bytes(const char* from, char* to, size_t bytes) {
  bool disjoint = from + bytes <= to || to + bytes <= from;
  if (disjoint) {
    parallel_copy(to, from, bytes);
  } else if (from != to) {
    std::memmove(to, from, bytes);
  }
}

class CopyTask final : public Task {
 public:
  CopyTask(Array* from, Array* to)
      : source_(from->storage.get()), target_(to->storage.get()), from_(from->offset),
        to_(to->offset), bytes_(from->type->nbytes) {
    reads.push_back(from->storage);
    writes.push_back({to->storage, to->whole_storage()});
  }

 protected:
  void execute() override { move_bytes(source_->data() + from_, target_->data() + to_, bytes_); }

 private:
  Storage* source_;
  Storage* target_;
  int64_t from_;
  int64_t to_;
  size_t bytes_;
};

struct Place {
  Storage* storage;  // null: the immediate; kept alive by the task's lists
  int64_t offset;
  Immediate immediate;
};

struct AliasCopy {
  Storage* from;
  Storage* to;
  int64_t offset;
  size_t bytes;
};

class ProgramTask final : public Task {
 public:
  ProgramTask(Ref<ProgramCode> code, std::string name)
      : code_(std::move(code)), name_(std::move(name)) {
    code_->in_flight.fetch_add(1, std::memory_order_relaxed);
  }
  ~ProgramTask() override {
    if (!abandoned_) code_->in_flight.fetch_sub(1, std::memory_order_release);
  }

  std::vector<Place> inputs;
  std::vector<Place> outputs;
  std::vector<AliasCopy> copies;

 protected:
  void abandon() override {
    abandoned_ = true;
    code_->in_flight.fetch_sub(1, std::memory_order_release);
  }

  void execute() override {
    Few<void*, 64> in(inputs.size());
    Few<void*, 64> out(outputs.size());
    for (size_t index = 0; index < inputs.size(); ++index) {
      Place& place = inputs[index];
      if (place.storage) place.storage->materialize();
      in[index] = place.storage ? place.storage->data() + place.offset : place.immediate.bytes;
    }
    for (size_t index = 0; index < outputs.size(); ++index)
      out[index] = outputs[index].storage->data() + outputs[index].offset;
    Arena arena(code_->arena_bytes);
    code_->execute(in.data(), out.data(), arena.data());
    for (const AliasCopy& copy : copies)
      move_bytes(copy.from->data(), copy.to->data() + copy.offset, copy.bytes);
  }

  std::string title() const override { return name_; }

 private:
  Ref<ProgramCode> code_;
  std::string name_;
  bool abandoned_ = false;
};

void push(Ref<Task> task) {
  task->file = caller_place(&task->line);
  ++counters.pushed;
  Engine::instance().push(std::move(task));
}

std::string expectation(const ArrayType* expected, PyObject* given) {
  std::string text = "expected " + expected->text() + "; given ";
  if (is_array(given)) return text + as_array(given)->type->text();
  return text + Py_TYPE(given)->tp_name;
}

uint16_t half_bits(double value) {
  float single = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &single, 4);
  uint32_t sign = (bits >> 16) & 0x8000;
  uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00);
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);
  if (magnitude < 0x38800000) {  // denormal in half precision
    float scaled = std::fabs(single) * 16777216.0f;
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(scaled)));
  }
  uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

double half_value(uint16_t bits) {
  int exponent = (bits >> 10) & 31;
  int fraction = bits & 1023;
  double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp(fraction, -24)
                                 : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -value : value;
}

// Truncates towards zero; what has no integer becomes the nearest bound, NaN zero (the plain
// conversion is undefined there).
int64_t truncate(double value) {
  if (std::isnan(value)) return 0;
  if (value >= 9223372036854775808.0) return INT64_MAX;
  if (value < -9223372036854775808.0) return INT64_MIN;
  return static_cast<int64_t>(value);
}

}  // namespace

// ------------------------------------------------------------------------------------- scalars

bool is_scalar(PyObject* object) {
  return PyFloat_Check(object) || PyLong_Check(object) ||
         (numpy_generic &&
          PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(numpy_generic)));
}

Scalar read_scalar(PyObject* object) {
  if (PyFloat_Check(object)) return {Scalar::Float, PyFloat_AS_DOUBLE(object), 0};
  if (PyBool_Check(object)) {
    bool value = object == Py_True;
    return {Scalar::Bool, value ? 1.0 : 0.0, value};
  }
  if (PyLong_Check(object)) {
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow > 0) {
      unsigned long long large = PyLong_AsUnsignedLongLong(object);
      if (!PyErr_Occurred())
        return {Scalar::Large, static_cast<double>(large), static_cast<int64_t>(large)};
      PyErr_Clear();
    }
    if (overflow) throw UserError("a Python integer does not fit into 64 bits; use a float");
    return {Scalar::Integer, static_cast<double>(value), value};
  }
  // A numpy scalar, whose item() is a Python number.
  nb::object plain = nb::steal(PyObject_CallMethod(object, "item", nullptr));
  if (!plain) throw nb::python_error();
  if (!PyFloat_Check(plain.ptr()) && !PyLong_Check(plain.ptr()))
    throw UserError(std::string("expected a real number; given ") + Py_TYPE(object)->tp_name);
  return read_scalar(plain.ptr());
}

Immediate convert(const Scalar& scalar, int dtype) {
  Immediate result{};
  bool is_float = scalar.type == Scalar::Float;
  int64_t integer = is_float ? truncate(scalar.real) : scalar.integer;
  switch (dtype) {
  case 0:
    result.f32 = static_cast<float>(scalar.real);
    break;
  case 1:
    result.f64 = scalar.real;
    break;
  case 2: {
    uint16_t bits = half_bits(scalar.real);
    std::memcpy(result.bytes, &bits, 2);
    break;
  }
  case 7:
    result.bytes[0] = is_float ? scalar.real != 0 : integer != 0;
    break;
  case 11:
    result.u64 = is_float && scalar.real >= 9223372036854775808.0
                     ? static_cast<uint64_t>(std::fmin(scalar.real, 18446744073709549568.0))
                     : static_cast<uint64_t>(integer);
    break;
  default:  // little-endian: the low bytes, as C's narrowing conversions
    result.i64 = integer;
    break;
  }
  return result;
}

PyObject* immediate_to_python(const Immediate& value, int dtype) {
  auto as = [&]<class T>(T) {
    T result;
    std::memcpy(&result, value.bytes, sizeof(T));
    return result;
  };
  switch (dtype) {
  case 0:
    return PyFloat_FromDouble(value.f32);
  case 1:
    return PyFloat_FromDouble(value.f64);
  case 2:
    return PyFloat_FromDouble(half_value(as(uint16_t{})));
  case 3:
    return PyLong_FromLong(as(uint8_t{}));
  case 4:
    return PyLong_FromLong(as(int32_t{}));
  case 5:
    return PyLong_FromLong(as(int8_t{}));
  case 6:
    return PyLong_FromLongLong(value.i64);
  case 7:
    return PyBool_FromLong(value.bytes[0] != 0);
  case 8:
    return PyLong_FromLong(as(int16_t{}));
  case 9:
    return PyLong_FromLong(as(uint16_t{}));
  case 10:
    return PyLong_FromUnsignedLong(as(uint32_t{}));
  default:
    return PyLong_FromUnsignedLongLong(value.u64);
  }
}

int default_dtype(const Scalar& scalar) {
  switch (scalar.type) {
  case Scalar::Float:
    return 0;
  case Scalar::Bool:
    return 7;
  case Scalar::Large:
    return 11;
  default:
    return 6;
  }
}

// ------------------------------------------------------------------------------------- copying

void copy_array(Array* from, Array* to) {
  if (from->storage.get() == to->storage.get() && from->offset == to->offset) return;
  constexpr size_t kInline = 65536;
  ++to->storage->version;
  bool ready = from->storage->ready_to_read() && to->storage->ready_to_write();
  if (ready && (from->type->nbytes < kInline || Engine::instance().naive)) {
    from->storage->materialize();
    to->storage->materialize();
    move_bytes(from->data(), to->data(), from->type->nbytes);
    return;
  }
  push(Ref<Task>(new CopyTask(from, to)));
}

void fill_array(Array* array, double value) {
  materialize_now(*array->storage);
  Immediate element = convert({Scalar::Float, value, 0}, array->type->dtype);
  size_t width = array->type->itemsize();
  char* to = array->data();
  if (value == 0) {
    if (array->type->nbytes) std::memset(to, 0, array->type->nbytes);
    return;
  }
  for (int64_t index = 0; index < array->type->size; ++index, to += width)
    std::memcpy(to, element.bytes, width);
}

// ------------------------------------------------------------------------------------ recording

PyObject* Callee::gradient_for(const std::vector<uint64_t>& wanted) {
  auto found = gradients.find(wanted);
  if (found != gradients.end()) return found->second.ptr();
  // A View does not know its operands: it has one.
  size_t count = inputs.empty() ? 1 : inputs.size();
  nb::object mask = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; index < count; ++index) {
    PyObject* flag = (wanted[index / 64] >> (index % 64)) & 1 ? Py_True : Py_False;
    Py_INCREF(flag);
    PyTuple_SET_ITEM(mask.ptr(), static_cast<Py_ssize_t>(index), flag);
  }
  nb::object rule = nb::steal(PyObject_CallOneArg(gradient.ptr(), mask.ptr()));
  if (!rule) throw nb::python_error();
  if (!rule.is_none()) {
    if (Py_TYPE(rule.ptr()) != reinterpret_cast<PyTypeObject*>(gradient_type))
      throw InternalError("a gradient callback must return a Gradient or None");
    const GradientRule& r = *nb::inst_ptr<GradientRule>(rule);
    for (auto [is_output, index] : r.saved) {
      if (index >= (is_output ? outputs.size() : count))
        throw InternalError("Gradient.saved: index out of range");
    }
    for (uint32_t index : r.cotangents) {
      if (index >= outputs.size()) throw InternalError("Gradient.cotangents: index out of range");
    }
    for (uint32_t index : r.targets) {
      if (index >= count) throw InternalError("Gradient.targets: index out of range");
    }
  }
  return gradients.insert_or_assign(wanted, std::move(rule)).first->second.ptr();
}

namespace {

void record_call(Callee& callee, PyObject* self, Array* const* inputs, const Immediate* immediates,
                 size_t count, std::vector<ArrayRef>& outputs) {
  if (callee.gradient.is_none()) return;
  static thread_local std::vector<uint64_t> wanted;
  wanted.assign(count / 64 + 1, 0);
  bool any = false;
  for (size_t index = 0; index < count; ++index) {
    Array* input = inputs[index];
    if (!input) continue;
    if (input->node || (input->leaf && input->leaf->request != Leaf::Null)) {
      wanted[index / 64] |= uint64_t{1} << (index % 64);
      any = true;
    }
  }
  if (!any) return;
  PyObject* found = callee.gradient_for(wanted);
  if (found == Py_None) return;
  GradientRule& rule = *nb::inst_ptr<GradientRule>(found);
  Ref<Node> node =
      Node::create(static_cast<uint32_t>(count), static_cast<uint32_t>(rule.saved.size()),
                   static_cast<uint32_t>(outputs.size()));
  Py_INCREF(self);
  node->owner = self;
  Py_INCREF(found);
  node->gradient = found;
  for (size_t index = 0; index < count; ++index) {
    Edge& edge = node->edges()[index];
    if (Array* input = inputs[index]) {
      edge.node = input->node;
      edge.leaf = input->leaf;
      edge.type = input->type;
      edge.output = input->output;
    } else {
      edge.scalar = immediates[index];
      edge.scalar_dtype = callee.inputs[index]->dtype;
    }
  }
  for (size_t index = 0; index < rule.saved.size(); ++index) {
    auto [is_output, source] = rule.saved[index];
    Saved& saved = node->saved()[index];
    saved.is_output = is_output;
    saved.index = source;
    Array* array = is_output ? outputs[source].get() : inputs[source];
    if (array) {
      saved.storage = array->storage;
      saved.type = array->type;
      saved.offset = array->offset;
      saved.version = array->storage->version;
      // Overwritten by this very call through out=: backward has to say so.
      for (size_t output = 0; !is_output && output < outputs.size(); ++output) {
        if (!callee.inputs.empty() && outputs[output]->storage == array->storage) --saved.version;
      }
    }
  }
  for (size_t index = 0; index < outputs.size(); ++index) {
    node->outputs()[index] = outputs[index]->type;
    outputs[index]->node = node;
    outputs[index]->output = static_cast<uint32_t>(index);
    outputs[index]->leaf.reset();
  }
}

bool may_share(const Program& program, size_t output, size_t input) {
  if (output >= program.may_alias.size()) return false;
  for (uint32_t allowed : program.may_alias[output]) {
    if (allowed == input) return true;
  }
  return false;
}

void check_given_output(const Program& program, size_t output, Array* given, bool recording) {
  check_not_donated(given);
  if (given->type.get() != program.outputs[output].get())
    throw UserError(program.name +
                    ": out=: " + expectation(program.outputs[output].get(), as_object(given)));
  if (recording && given->on_tape())
    throw UserError(program.name +
                    ": an array that takes part in a recording cannot be overwritten (+=, x[:] = "
                    "and out= are not differentiable); write y = x + ... or do it outside "
                    "autograd.record()");
}

// Arrays by storage: a training step has hundreds of inputs and of outputs given by the caller.
class ByStorage {
 public:
  void add(const Array* array, size_t index) {
    if (array && array->storage) places_.emplace_back(array->storage.get(), index);
  }
  void reserve(size_t count) { places_.reserve(count); }
  void sort() { std::sort(places_.begin(), places_.end()); }
  // Those on this array's storage.
  auto range(const Array* array) const {
    std::pair<Storage*, size_t> first{array->storage.get(), 0};
    std::pair<Storage*, size_t> last{array->storage.get(), SIZE_MAX};
    return std::pair{std::lower_bound(places_.begin(), places_.end(), first),
                     std::upper_bound(places_.begin(), places_.end(), last)};
  }

 private:
  std::vector<std::pair<Storage*, size_t>> places_;
};

void check_outputs_disjoint(const Program& program, const std::vector<ArrayRef>& outputs) {
  ByStorage places;
  for (size_t index = 0; index < outputs.size(); ++index) places.add(outputs[index].get(), index);
  places.sort();
  for (size_t index = 0; index < outputs.size(); ++index) {
    if (!outputs[index] || !outputs[index]->storage) continue;
    auto [first, last] = places.range(outputs[index].get());
    for (auto place = first; place != last; ++place) {
      if (place->second != index && overlap(outputs[index].get(), outputs[place->second].get()))
        throw UserError(program.name + ": out=: two outputs overlap; give each its own array");
    }
  }
}

// The caller's array cannot be written directly when an input that the kernels still read lies
// there, unless the compiler has said that this is harmless.
bool conflicts(const Program& program, size_t output, const Array* given, Array* const* inputs,
               const ByStorage& places) {
  auto [first, last] = places.range(given);
  for (auto place = first; place != last; ++place) {
    const Array* input = inputs[place->second];
    if (!overlap(given, input)) continue;
    bool same = given->offset == input->offset && given->type->nbytes == input->type->nbytes;
    if (!same || !may_share(program, output, place->second)) return true;
  }
  return false;
}

ArrayRef reuse_donated(const Program& program, size_t output, Array* const* inputs, size_t count,
                       const std::vector<uint32_t>& donate, std::vector<bool>& taken) {
  size_t bytes = program.outputs[output]->nbytes;
  for (uint32_t index : donate) {
    if (index >= count || taken[index] || !inputs[index] || !may_share(program, output, index))
      continue;
    Array* input = inputs[index];
    if (input->type->nbytes != bytes || !input->whole_storage() || input->storage->foreign() ||
        !input->storage->exclusive())
      continue;
    bool twice = false;
    for (size_t other = 0; other < count; ++other)
      twice |= other != index && inputs[other] == input && !may_share(program, output, other);
    if (twice) continue;
    taken[index] = true;
    ++input->storage->version;
    return new_array(program.outputs[output], input->storage, 0);
  }
  return {};
}

}  // namespace

// ------------------------------------------------------------------------------------- programs

namespace {

void run_inline(const ProgramCode& code, Array* const* inputs, const Immediate* immediates,
                size_t count, const std::vector<ArrayRef>& outputs) {
  Few<void*, 32> in(count);
  Few<void*, 32> out(outputs.size());
  for (size_t index = 0; index < count; ++index) {
    if (inputs[index]) {
      inputs[index]->storage->materialize();
      in[index] = inputs[index]->data();
    } else {
      in[index] = const_cast<char*>(immediates[index].bytes);
    }
  }
  for (size_t index = 0; index < outputs.size(); ++index) {
    outputs[index]->storage->materialize();
    out[index] = outputs[index]->data();
  }
  if (code.arena_bytes) {
    Arena arena(code.arena_bytes);
    code.execute(in.data(), out.data(), arena.data());
  } else {
    code.execute(in.data(), out.data(), nullptr);
  }
}

}  // namespace

void run_program(Program& program, PyObject* self, Array* const* inputs,
                 const Immediate* immediates, size_t count, std::vector<ArrayRef>& outputs,
                 const std::vector<uint32_t>* donate, bool record) {
  Engine& engine = Engine::instance();
  ProgramCode& code = *program.code;
  bool naive = engine.naive.load(std::memory_order_relaxed) || Task::current_host();
  bool small = naive || code.cost < inline_threshold;
  if (!engine.has_room()) wait_for_room();
  // Two at a time, so that the queue cannot hold the inputs and outputs of many steps.
  if (!small && code.arena_bytes && code.in_flight.load(std::memory_order_relaxed) >= 2)
    wait_below(code.in_flight, 2);

  bool ready = true;
  for (size_t index = 0; index < count; ++index) {
    if (!inputs[index]) continue;
    check_not_donated(inputs[index]);
    if (naive) {
      wait_to_read(inputs[index]);
      continue;
    }
    ready &= inputs[index]->storage->ready_to_read();
  }

  bool recording = record && is_recording();
  outputs.resize(program.outputs.size());
  ByStorage input_places;
  if (!outputs.empty() &&
      std::any_of(outputs.begin(), outputs.end(), [](const ArrayRef& o) { return bool(o); })) {
    if (outputs.size() > 1) check_outputs_disjoint(program, outputs);
    input_places.reserve(count);
    for (size_t index = 0; index < count; ++index) input_places.add(inputs[index], index);
    input_places.sort();
  }
  std::vector<std::pair<size_t, ArrayRef>> copies;  // output, the caller's array
  std::vector<bool> taken(donate ? count : 0);
  for (size_t index = 0; index < outputs.size(); ++index) {
    if (!outputs[index]) {
      if (donate && !recording)
        outputs[index] = reuse_donated(program, index, inputs, count, *donate, taken);
      if (!outputs[index]) outputs[index] = new_array(program.outputs[index]);
      if (donate && !naive) ready &= outputs[index]->storage->ready_to_write();
      if (donate && naive) wait_to_write(outputs[index].get());
      continue;
    }
    Array* given = outputs[index].get();
    check_given_output(program, index, given, recording);
    if (naive) {
      wait_to_write(given);
      if (given->whole_storage()) given->storage->forget_failure();
    } else {
      ready &= given->storage->ready_to_write();
    }
    if (conflicts(program, index, given, inputs, input_places)) {
      copies.emplace_back(index, std::move(outputs[index]));
      outputs[index] = new_array(program.outputs[index]);
    } else {
      ++given->storage->version;
    }
  }

  ++program.calls;
  ++counters.native_calls;
  if (small && ready) {
    ++counters.inlined;
    Ref<ProgramCode> held(&code);
    bool drained = engine.idle();
    for (;;) {
      try {
        run_inline(code, inputs, immediates, count, outputs);
        break;
      } catch (const OutOfMemory& error) {
        // What is in flight may hold the memory.
        if (drained) throw OutOfMemory(program.name + ": " + error.what());
        drained = true;
        wait_until_idle();
      }
    }
    for (auto& [index, given] : copies) {
      ++given->storage->version;
      given->storage->materialize();
      move_bytes(outputs[index]->data(), given->data(), given->type->nbytes);
    }
  } else {
    auto* task = new ProgramTask(program.code, program.name);
    Ref<Task> owned(task);
    task->inputs.reserve(count);
    task->outputs.reserve(outputs.size());
    for (size_t index = 0; index < count; ++index) {
      Place place{};
      if (inputs[index]) {
        place.storage = inputs[index]->storage.get();
        place.offset = inputs[index]->offset;
        task->reads.push_back(inputs[index]->storage);
      } else {
        place.immediate = immediates[index];
      }
      task->inputs.push_back(place);
    }
    for (ArrayRef& output : outputs) {
      task->outputs.push_back({output->storage.get(), output->offset, {}});
      task->writes.push_back({output->storage, output->whole_storage()});
    }
    for (auto& [index, given] : copies) {
      ++given->storage->version;
      task->copies.push_back({outputs[index]->storage.get(), given->storage.get(), given->offset,
                              given->type->nbytes});
      task->writes.push_back({given->storage, given->whole_storage()});
    }
    push(std::move(owned));
  }
  for (auto& [index, given] : copies) outputs[index] = std::move(given);

  if (recording) record_call(program, self, inputs, immediates, count, outputs);
  if (donate) {
    for (uint32_t index : *donate) {
      if (index >= count || !inputs[index]) continue;
      inputs[index]->storage.reset();
      inputs[index]->node.reset();
    }
  }
}

void View::bind(int dtype) {
  TypeRef type = ArrayType::get(dtype, shape.data(), shape.size());
  if (!outputs.empty() && outputs[0].get() != type.get())
    throw InternalError("a View must not serve two signatures");
  outputs = {type};
}

ArrayRef run_view(View& view, PyObject* self, Array* operand, bool record) {
  check_not_donated(operand);
  const TypeRef& type = view.outputs[0];
  int64_t offset = operand->offset + view.offset * static_cast<int64_t>(type->itemsize());
  if (offset < 0 ||
      offset + static_cast<int64_t>(type->nbytes) > static_cast<int64_t>(operand->storage->bytes()))
    throw InternalError("a view reaches outside its storage");
  std::vector<ArrayRef> outputs;
  outputs.push_back(new_array(type, operand->storage, offset));
  if (record && is_recording()) record_call(view, self, &operand, nullptr, 1, outputs);
  return std::move(outputs[0]);
}

namespace {

// What `out=` may be: None, an array, or a sequence of arrays and Nones.
void read_outputs(PyObject* out, size_t count, std::vector<ArrayRef>& outputs, const char* where) {
  if (!out || out == Py_None) return;
  if (is_array(out)) {
    outputs.push_back(ArrayRef::borrow(as_array(out)));
    return;
  }
  nb::object fast = nb::steal(PySequence_Fast(out, "out= must be an NDArray or a sequence"));
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
      if (arrays[index]->type.get() == expected) continue;
    } else if (expected->ndim == 0 && is_scalar(item)) {
      arrays[index] = nullptr;
      immediates[index] = convert(read_scalar(item), expected->dtype);
      continue;
    }
    throw UserError(program.name + ": input " + std::to_string(index) + ": " +
                    expectation(expected, item));
  }
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

// ------------------------------------------------------------------------- the signature cache

namespace {

struct Entry {
  uint64_t hash;
  std::vector<uint64_t> key;
  std::vector<TypeRef> types;  // the key holds their addresses
  nb::object owner;
  Program* program = nullptr;
  View* view = nullptr;
};

struct SignatureCache {
  std::vector<std::shared_ptr<Entry>> slots = std::vector<std::shared_ptr<Entry>>(256);
  size_t used = 0;

  const std::shared_ptr<Entry>* find(const uint64_t* key, size_t words, uint64_t hash) const {
    size_t mask = slots.size() - 1;
    for (size_t index = hash & mask; slots[index]; index = (index + 1) & mask) {
      const Entry& entry = *slots[index];
      if (entry.hash == hash && entry.key.size() == words &&
          std::memcmp(entry.key.data(), key, words * sizeof(uint64_t)) == 0)
        return &slots[index];
    }
    return nullptr;
  }

  void insert(std::shared_ptr<Entry> entry) {
    if ((used + 1) * 2 > slots.size()) {
      std::vector<std::shared_ptr<Entry>> old(slots.size() * 2);
      old.swap(slots);
      for (std::shared_ptr<Entry>& moved : old) {
        if (moved) place(std::move(moved));
      }
    }
    place(std::move(entry));
    ++used;
  }

  void place(std::shared_ptr<Entry> entry) {
    size_t mask = slots.size() - 1;
    size_t index = entry->hash & mask;
    while (slots[index]) index = (index + 1) & mask;
    slots[index] = std::move(entry);
  }
};

SignatureCache& signature_cache() {
  static auto* cache = new SignatureCache;
  return *cache;
}

PyObject* compile_handler = nullptr;

std::shared_ptr<Entry> compile(int64_t operator_id, int64_t attributes_id, const uint64_t* key,
                               size_t words, uint64_t hash, Array* const* arrays, size_t count) {
  ++counters.signature_misses;
  if (!compile_handler) throw InternalError("invoke: no compile handler is set");
  auto entry = std::make_shared<Entry>();
  entry->hash = hash;
  entry->key.assign(key, key + words);
  nb::object signature = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; index < count; ++index) {
    Array* array = arrays[index];
    PyObject* part;
    if (array) {
      entry->types.push_back(array->type);
      part = Py_BuildValue("(iNO)", static_cast<int>(array->type->dtype),
                           array->type->shape_tuple(), Py_False);
    } else {
      part = Py_BuildValue("(i()O)", static_cast<int>(key[index + 1] >> 1), Py_True);
    }
    if (!part) throw nb::python_error();
    PyTuple_SET_ITEM(signature.ptr(), static_cast<Py_ssize_t>(index), part);
  }
  PyObject* answer =
      PyObject_CallFunction(compile_handler, "LLO", static_cast<long long>(operator_id),
                            static_cast<long long>(attributes_id), signature.ptr());
  if (!answer) throw nb::python_error();
  entry->owner = nb::steal(answer);
  if (Py_TYPE(answer) == reinterpret_cast<PyTypeObject*>(program_type)) {
    entry->program = nb::inst_ptr<Program>(answer);
    if (entry->program->inputs.size() != count)
      throw InternalError(entry->program->name + ": the compiled program takes " +
                          std::to_string(entry->program->inputs.size()) + " inputs, the call has " +
                          std::to_string(count));
    for (size_t index = 0; index < count; ++index) {
      const ArrayType* expected = entry->program->inputs[index].get();
      bool same = arrays[index] ? arrays[index]->type.get() == expected
                                : expected->ndim == 0 && expected->dtype == key[index + 1] >> 1;
      if (!same)
        throw InternalError(entry->program->name + ": input " + std::to_string(index) +
                            " of the compiled program is " + expected->text() +
                            ", which is not the operand's type");
    }
  } else if (Py_TYPE(answer) == reinterpret_cast<PyTypeObject*>(view_type)) {
    entry->view = nb::inst_ptr<View>(answer);
    if (count == 0 || !arrays[0]) throw InternalError("a View needs an array operand");
    entry->view->bind(arrays[0]->type->dtype);
  } else if (!PyCallable_Check(answer)) {
    throw InternalError("a compile handler must return a Program, a View or a callable");
  }
  signature_cache().insert(entry);
  return entry;
}

PyObject* call_python(PyObject* function, PyObject* const* operands, size_t count,
                      std::vector<ArrayRef>& outputs) {
  if (outputs.empty()) return PyObject_Vectorcall(function, operands, count, nullptr);
  nb::object arguments = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
  for (size_t index = 0; index < count; ++index) {
    Py_INCREF(operands[index]);
    PyTuple_SET_ITEM(arguments.ptr(), static_cast<Py_ssize_t>(index), operands[index]);
  }
  size_t given = outputs.size();
  nb::object out = nb::steal(pack(outputs, given, true));
  nb::object keywords = nb::steal(Py_BuildValue("{sO}", "out", out.ptr()));
  return PyObject_Call(function, arguments.ptr(), keywords.ptr());
}

PyObject* invoke_with(int64_t operator_id, int64_t attributes_id, PyObject* const* operands,
                      size_t count, std::vector<ArrayRef>& outputs) {
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
  uint64_t hash = count;
  for (size_t index = 0; index <= count; ++index) {
    hash = (hash ^ key[index]) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  }
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
    run_program(program, owner.ptr(), arrays.data(), immediates.data(), count, outputs, nullptr,
                true);
    return pack(outputs, program.visible, true);
  }
  if (entry->view) {
    ArrayRef result = run_view(*entry->view, owner.ptr(), arrays[0], true);
    if (outputs.empty() || !outputs[0]) return as_object(result.release());
    Array* given = outputs[0].get();
    check_not_donated(given);
    if (is_recording() && (given->on_tape() || result->node))
      throw UserError("view: out= is not supported while recording");
    if (given->type.get() != result->type.get())
      throw UserError("view: out=: " + expectation(result->type.get(), as_object(given)));
    copy_array(result.get(), given);
    return as_object(outputs[0].release());
  }
  return call_python(owner.ptr(), operands, count, outputs);
}

}  // namespace

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

void clear_signature_cache() {
  SignatureCache old;
  std::swap(old, signature_cache());
}

// ----------------------------------------------------------------------------------- the slots

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

PyObject* not_implemented() { Py_RETURN_NOTIMPLEMENTED; }

template <Slot kSlot>
PyObject* binary_slot(PyObject* a, PyObject* b) {
  bool left = is_array(a);
  if ((!left && !is_scalar(a)) || (!is_array(b) && !is_scalar(b))) return not_implemented();
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

template <Slot kSlot>
PyObject* inplace_slot(PyObject* a, PyObject* b) {
  const SlotOperator& chosen = slot_operators[kSlot];
  if (chosen.operator_id < 0 || !is_array(a) || (!is_array(b) && !is_scalar(b)))
    return not_implemented();
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
  if (chosen.operator_id < 0 || (!is_array(b) && !is_scalar(b))) return not_implemented();
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

SlotOperator set_slot_operator(const std::string& slot, SlotOperator chosen, bool reflected) {
  for (int index = 0; index < SlotCount; ++index) {
    if (slot != kSlotNames[index]) continue;
    return std::exchange((reflected ? reflected_operators : slot_operators)[index], chosen);
  }
  throw UserError("set_slot_operator: unknown slot '" + slot + "'");
}

}  // namespace tigon
