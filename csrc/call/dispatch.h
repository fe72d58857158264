// From operands to a running program: signature cache, allocation, inline run or push, tape.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

#include <map>
#include <string>
#include <vector>

#include "array/array.h"
#include "program/program.h"
#include "tape/tape.h"

namespace tigon {

namespace nb = nanobind;

// A Python number on its way into a kernel.
struct Scalar {
  enum Type : uint8_t { Float, Integer, Large, Bool } type;
  double real;
  int64_t integer;
};

bool is_scalar(PyObject* object);
Scalar read_scalar(PyObject* object);  // throws
Immediate convert(const Scalar& scalar, int dtype);
PyObject* immediate_to_python(const Immediate& value, int dtype);
int default_dtype(const Scalar& scalar);

// The two kinds of record that answer a call, both with an optional gradient.
class Callee {
 public:
  std::vector<TypeRef> inputs;  // of a View: empty
  std::vector<TypeRef> outputs;
  nb::object gradient;  // callable or None
  nb::object tag;
  // Gradient objects (or None) by the mask of wanted inputs.
  std::map<std::vector<uint64_t>, nb::object> gradients;

  PyObject* gradient_for(const std::vector<uint64_t>& wanted);  // borrowed
};

class Program : public Callee {
 public:
  std::string name;
  size_t visible = 0;
  bool answers_truth = false;  // of a comparison: its zeros and ones are no numbers
  bool updates = false;        // given outputs stay as they are where an operand has failed
  // Of each output, inputs that are read in step by the launch that writes it.
  std::vector<std::vector<uint32_t>> may_alias;
  // The wave that reads an input last, and the one that writes an output: an output may lie where
  // an input does that is read in earlier waves only. Empty: none may.
  std::vector<int32_t> last_reads;
  std::vector<int32_t> writes;
  Ref<ProgramCode> code;
  uint64_t calls = 0;
};

class View : public Callee {
 public:
  int64_t offset = 0;  // elements
  std::vector<int64_t> shape;
  void bind(int dtype);  // fixes `outputs` on first use
};

class GradientRule {
 public:
  std::vector<std::pair<bool, uint32_t>> saved;  // (is output, index)
  uint32_t own_saved = 0;                        // those after the first few are for `predict`
  std::vector<uint32_t> cotangents;
  std::vector<uint32_t> targets;
  // Of each target, the output that says which rows its cotangent is; -1 of whole ones. Empty: all
  // are whole.
  std::vector<int64_t> rows;
  int64_t rows_of(size_t target) const { return rows.empty() ? -1 : rows[target]; }
  // Of each visible output, by input: whether it takes part in it. Empty: all do.
  std::vector<std::vector<bool>> leads;
  nb::object compile;
  nb::object predict;  // none: prediction has the same gradient
  nb::object program;  // after the first backward
  nb::object prediction_program;
};

// Outputs that are new values of states, which are inputs: (output, input), the outputs counted
// from `first`.
struct NewStates {
  const std::vector<std::pair<uint32_t, uint32_t>>* moves = nullptr;
  size_t first = 0;
};

// `outputs` comes with the wanted targets or nulls and leaves with all outputs.
// `inputs[i]` null: the operand is `immediates[i]`. `keeps`: given outputs stay as they are where
// an operand has failed. Where the call fails new states have their old values.
void run_program(Program& program, PyObject* self, Array* const* inputs,
                 const Immediate* immediates, size_t count, std::vector<ArrayRef>& outputs,
                 const std::vector<uint32_t>* donate, bool record, bool keeps = false,
                 NewStates states = {});

ArrayRef run_view(View& view, PyObject* self, Array* operand, bool record);

PyObject* invoke(int64_t operator_id, int64_t attributes_id, PyObject* const* operands,
                 size_t count, PyObject* out);

// Program.__call__.
PyObject* call_program(PyObject* self, PyObject* inputs, PyObject* out, PyObject* donate);

// Throws where kernels could not read all of them. Caches do without: their keys hold devices, and
// what answers a miss has asked.
void check_one_place(const std::string& name, Array* const* arrays, size_t count);

// For errors: what was expected and what came.
std::string expectation(const ArrayType* expected, PyObject* given);

// `outputs`: the caller's arrays or nulls.
PyObject* invoke_with(int64_t operator_id, int64_t attributes_id, PyObject* const* operands,
                      size_t count, std::vector<ArrayRef>& outputs);

// What `out=` may be: None, an array, or a sequence of arrays and Nones.
void read_outputs(PyObject* out, size_t count, std::vector<ArrayRef>& outputs, const char* where);
// Throws where a call on this device cannot write them; `types` are those of its results.
void check_outputs(const std::string& name, const std::vector<TypeRef>& types,
                   const std::vector<ArrayRef>& outputs, uint8_t device);

// A call that is not recorded.
ArrayRef invoke_binary(int64_t operator_id, int64_t attributes_id, Array* a, Array* b, Array* out);

// Copies, ordered by the engine.
void copy_array(Array* from, Array* to);
// In place: rows of the target, by their numbers, take these values. Nothing else is read or
// written.
void write_rows(Array* rows, Array* values, Array* target);
void fill_array(Array* array, double value);  // small set of constants: 0 and 1
// The values on another device: of the host's memory a view, else a copy.
ArrayRef placed_on(Array* array, uint8_t device);
ArrayRef moved_to(Array* array, uint8_t device);  // always a copy

// The setters return what was set before.
nb::object set_compile_handler(nb::object handler);
struct SlotOperator {
  int64_t operator_id = -1;  // negative: none
  int64_t attributes_id = 0;
};
SlotOperator set_slot_operator(const std::string& slot, SlotOperator chosen, bool reflected);
void set_numpy_operand(PyObject* maker);
// Writes results into arrays of other dtypes, given for them: (results, arrays or Nones). Null:
// nobody does, and such arrays are refused.
extern PyObject* output_caster;
void set_output_caster(nb::object caster);
void clear_signature_cache();
size_t signature_count();
void set_most_signatures(size_t most);

// While a thread traces Python code: who answers its operator calls, and who is told of the arrays
// whose values it reads. Null otherwise. Owned.
struct TraceHandlers {
  PyObject* call = nullptr;  // (operator_id, attributes_id, operands, whether out= is given)
  PyObject* read = nullptr;  // (array)
};
extern thread_local TraceHandlers trace_handlers;
nb::tuple set_trace_handlers(nb::object call, nb::object read);  // returns those before
void note_read(PyObject* array);

extern double inline_threshold;  // microseconds

struct Counters {
  uint64_t native_calls = 0;
  uint64_t imperative_operators = 0;
  uint64_t signature_hits = 0;
  uint64_t signature_misses = 0;
  uint64_t pushed = 0;
  uint64_t inlined = 0;
};
extern Counters counters;

PyObject* compare_slot(PyObject* a, PyObject* b, int operation);
const PyType_Slot* operator_slots(size_t* count);

// Types registered with nanobind, cached for quick checks.
extern PyObject* program_type;
extern PyObject* view_type;
extern PyObject* gradient_type;

}  // namespace tigon
