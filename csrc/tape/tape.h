// The tape: recorded calls and the reverse walk over them. Guarded by the GIL.
#pragma once

#include <Python.h>

#include <vector>

#include "array/array.h"
#include "array/immediate.h"

namespace tigon {

struct Leaf;
class GradientRule;

// A variable with an attached gradient.
struct Leaf {
  uint32_t references = 0;
  ArrayRef grad;             // null where `rows` is there
  PyObject* rows = nullptr;  // owned: the gradient by rows, which is a Python object
  enum Request : uint8_t { Null, Write, Add } request = Null;
  Array* variable = nullptr;  // not owned; null once it is gone

  Leaf() = default;
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;
  ~Leaf() { Py_XDECREF(rows); }
  void retain() { ++references; }
  void release() {
    if (--references == 0) delete this;
  }
};

// Where an operand of a recorded call came from.
struct Edge {
  Ref<Node> node;
  Ref<Leaf> leaf;
  TypeRef type;
  Immediate immediate;  // if it is one
  bool is_immediate;
  uint32_t output;
};

struct Saved {
  Ref<Storage> storage;
  TypeRef type;
  int64_t offset;
  uint64_t version;
  bool is_output;
  uint32_t index;
};

// One recorded call. The parts lie behind it in one block; release is iterative, since a chain of
// 300,000 must not use the stack.
struct Node {
  uint32_t references;
  uint32_t edge_count;
  uint32_t output_count;
  uint32_t saved_count;
  bool consumed;
  bool others;  // operands on the tape that nothing flows to
  uint64_t sequence;
  const std::string* block;  // where a profile was taken, the one that was called
  PyObject* owner;           // Program, View, or the function given to record_custom
  PyObject* gradient;        // Gradient; null for a custom function

  Edge* edges() { return reinterpret_cast<Edge*>(this + 1); }
  Saved* saved() { return reinterpret_cast<Saved*>(edges() + edge_count); }
  TypeRef* outputs() { return reinterpret_cast<TypeRef*>(saved() + saved_count); }
  size_t bytes() const {
    return sizeof(Node) + edge_count * sizeof(Edge) + saved_count * sizeof(Saved) +
           output_count * sizeof(TypeRef);
  }

  void retain() { ++references; }
  void release() {
    if (--references == 0) destroy(this);
  }
  // Its parts are raw memory: whoever calls this constructs all of them.
  static Ref<Node> create(uint32_t edges, uint32_t saved, uint32_t outputs);
  void consume();  // gives up everything but the types
  static void destroy(Node* node);
};

// Whether gradients of recorded calls on it are asked for.
inline bool wants_gradient(const Array* array) {
  return array->node || (array->leaf && array->leaf->request != Leaf::Null);
}

struct Modes {
  bool recording = false;
  bool training = false;
};

const Modes& modes();  // of this thread
inline bool is_recording() { return modes().recording; }
inline bool is_training() { return modes().training; }
bool set_recording(bool on);
bool set_training(bool on);
uint64_t tape_node_count();

std::string node_name(const Node& node);

// Returns what was set before.
std::pair<int64_t, int64_t> set_sum_operator(int64_t operator_id, int64_t attributes_id);

// Of cotangents by rows: what joins two of them along the first axis, and what adds rows to an
// array (array, numbers of rows, rows); each an operator and its attributes.
struct RowsOperators {
  int64_t join, join_attributes, add, add_attributes;
};
void set_rows_operators(RowsOperators operators);
// The class of gradients by rows. Its `_receive(rows, values, adds)` takes over what a walk has
// found: numbers of rows and these, which may stand several times; None and an array; or None
// twice, where the slope is 0.
void set_rows_type(PyObject* type);

// New references, or an empty vector when the attached gradients were filled instead. `predict`:
// the gradient of what each call computes in prediction, whatever mode it was recorded in.
std::vector<ArrayRef> run_backward(const std::vector<Array*>& heads,
                                   const std::vector<Array*>& head_grads, bool retain_graph,
                                   const std::vector<Array*>* variables, bool predict);

void record_custom(const std::vector<Array*>& inputs, const std::vector<Array*>& outputs,
                   PyObject* backward);

void mark_variable(Array* array, PyObject* grad, const char* request);

}  // namespace tigon
