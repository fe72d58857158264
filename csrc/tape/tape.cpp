#include "tape/tape.h"

#include <algorithm>
#include <memory>
#include <queue>
#include <unordered_map>

#include "call/dispatch.h"
#include "call/random_key.h"
#include "profile/profile.h"
#include "python/errors.h"

namespace tigon {
namespace {

thread_local Modes own_modes;
uint64_t live_nodes = 0;
uint64_t next_sequence = 1;
int64_t sum_operator = -1;
int64_t sum_attributes = 0;
RowsOperators rows_operators{-1, 0, -1, 0};
PyObject* rows_type = nullptr;

class RecordingOff {
 public:
  RecordingOff() : before_(set_recording(false)) {}
  ~RecordingOff() { set_recording(before_); }
  RecordingOff(const RecordingOff&) = delete;
  RecordingOff& operator=(const RecordingOff&) = delete;

 private:
  bool before_;
};

}  // namespace

const Modes& modes() { return own_modes; }
bool set_recording(bool on) { return std::exchange(own_modes.recording, on); }
bool set_training(bool on) { return std::exchange(own_modes.training, on); }
uint64_t tape_node_count() { return live_nodes; }

std::pair<int64_t, int64_t> set_sum_operator(int64_t operator_id, int64_t attributes_id) {
  return {std::exchange(sum_operator, operator_id), std::exchange(sum_attributes, attributes_id)};
}

void set_rows_operators(RowsOperators operators) { rows_operators = operators; }

void set_rows_type(PyObject* type) {
  Py_INCREF(type);
  Py_XDECREF(std::exchange(rows_type, type));
}

// --------------------------------------------------------------------------------------- nodes

Ref<Node> Node::create(uint32_t edges, uint32_t saved, uint32_t outputs) {
  Node shape{};
  shape.edge_count = edges;
  shape.saved_count = saved;
  shape.output_count = outputs;
  void* place = memory::allocate(shape.bytes());
  if (!place) memory::throw_out_of_memory(shape.bytes());
  auto* node = ::new (place) Node(shape);
  node->sequence = next_sequence++;
  if (profile::watches_any()) [[unlikely]]
    node->block = profile::place.block;
  ++live_nodes;
  return Ref<Node>(node);
}

void Node::consume() {
  consumed = true;
  for (uint32_t index = 0; index < saved_count; ++index) saved()[index].storage.reset();
  for (uint32_t index = 0; index < edge_count; ++index) {
    edges()[index].node.reset();
    edges()[index].leaf.reset();
  }
  // A custom function often holds its own outputs: let go, or the circle would never be freed.
  if (!gradient) Py_CLEAR(owner);
}

void Node::destroy(Node* node) {
  static auto* doomed = new std::vector<Node*>;
  static bool draining = false;
  doomed->push_back(node);
  if (draining) return;
  draining = true;
  while (!doomed->empty()) {
    Node* next = doomed->back();
    doomed->pop_back();
    PyObject* owner = next->owner;
    PyObject* gradient = next->gradient;
    size_t bytes = next->bytes();
    std::destroy_n(next->edges(), next->edge_count);
    std::destroy_n(next->saved(), next->saved_count);
    std::destroy_n(next->outputs(), next->output_count);
    memory::release(next, bytes);
    --live_nodes;
    Py_XDECREF(gradient);
    Py_XDECREF(owner);
  }
  draining = false;
}

std::string node_name(const Node& node) {
  if (node.owner && Py_TYPE(node.owner) == reinterpret_cast<PyTypeObject*>(program_type))
    return nb::inst_ptr<Program>(node.owner)->name;
  if (node.owner && Py_TYPE(node.owner) == reinterpret_cast<PyTypeObject*>(view_type))
    return "view";
  return "custom function";
}

void mark_variable(Array* array, PyObject* grad, const char* request) {
  std::string name = request;
  Leaf::Request kind;
  if (name == "write") {
    kind = Leaf::Write;
  } else if (name == "add") {
    kind = Leaf::Add;
  } else if (name == "null") {
    kind = Leaf::Null;
  } else {
    throw UserError("attach_grad: grad_req must be 'write', 'add' or 'null'; given '" + name + "'");
  }
  check_not_donated(array);
  if (grad == Py_None && kind != Leaf::Null)
    throw UserError("attach_grad: grad_req '" + name + "' needs an array for the gradient");
  bool by_rows = rows_type && reinterpret_cast<PyObject*>(Py_TYPE(grad)) == rows_type;
  if (grad != Py_None && !is_array(grad) && !by_rows)
    throw UserError(std::string("attach_grad: the gradient must be an NDArray; given ") +
                    Py_TYPE(grad)->tp_name);
  if (grad != Py_None && !by_rows && as_array(grad)->type.get() != array->type.get())
    throw UserError("attach_grad: the gradient must be " + array->type->text() + "; given " +
                    as_array(grad)->type->text());
  if (grad == as_object(array)) throw UserError("attach_grad: an array cannot be its own gradient");
  if (array->leaf && array->leaf->variable == array) array->leaf->variable = nullptr;
  Ref<Node> node = std::move(array->node);
  if (grad == Py_None) {
    array->leaf.reset();
    return;
  }
  array->leaf = Ref<Leaf>(new Leaf);
  if (by_rows) {
    Py_INCREF(grad);
    array->leaf->rows = grad;
  } else {
    array->leaf->grad = ArrayRef::borrow(as_array(grad));
  }
  array->leaf->request = kind;
  array->leaf->variable = array;
}

void record_custom(const std::vector<Array*>& inputs, const std::vector<Array*>& outputs,
                   PyObject* backward) {
  bool any = false;
  for (Array* input : inputs) any |= input->on_tape();
  if (!any || !is_recording()) return;
  Ref<Node> node =
      Node::create(static_cast<uint32_t>(inputs.size()), 0, static_cast<uint32_t>(outputs.size()));
  Py_INCREF(backward);
  node->owner = backward;
  for (size_t index = 0; index < inputs.size(); ++index) {
    const Array& input = *inputs[index];
    ::new (node->edges() + index) Edge{input.node, input.leaf, input.type, {}, false, input.output};
  }
  for (size_t index = 0; index < outputs.size(); ++index) {
    ::new (node->outputs() + index) TypeRef(outputs[index]->type);
    outputs[index]->node = node;
    outputs[index]->output = static_cast<uint32_t>(index);
    outputs[index]->leaf.reset();
  }
}

// ------------------------------------------------------------------------------------ backward

namespace {

struct Cotangent {
  ArrayRef array;
  bool owned = false;  // nobody else sees it: sums may go into it
  ArrayRef rows{};     // if there, the rows of the value that these are, some perhaps several times
};

class Walk {
 public:
  Walk(bool retain, const std::vector<Array*>* variables, bool predict)
      : retain_(retain), predict_(predict), variables_(variables) {
    if (!variables) return;
    for (Array* variable : *variables) {
      if (!variable->on_tape())
        throw UserError("grad: a variable takes no part in the recorded computation; call "
                        "attach_grad on it before autograd.record()");
      if (variable->leaf) {
        leaves_.try_emplace(variable->leaf.get());
      } else {
        wanted_.try_emplace(variable->node.get(),
                            std::vector<Cotangent>(variable->node->output_count));
      }
    }
  }

  void seed(Array* head, Array* grad) {
    if (!head->on_tape())
      throw UserError("backward: the array was not recorded; compute it inside autograd.record() "
                      "from arrays with attach_grad");
    if (head->node && head->node->consumed) throw UserError(already_freed(*head->node));
    Cotangent value;
    if (grad) {
      check_not_donated(grad);
      bool near =
          grad->type->device == head->type->device || (is_on_host(grad) && is_on_host(head));
      if (grad->type->plain != head->type->plain || !near)
        throw UserError("backward: the head gradient must be " + head->type->text() + "; given " +
                        grad->type->text() + (near ? "" : "; move it with as_in_context"));
      value.array = grad->type->device == head->type->device ? lent(grad)
                                                             : placed_on(grad, head->type->device);
    } else {
      value = {new_array(head->type), true};
      fill_array(value.array.get(), 1);
    }
    deliver(head->node, head->leaf, head->output, head->type, std::move(value));
  }

  void run() {
    while (!queue_.empty()) {
      Node* next = queue_.top().second;
      queue_.pop();
      auto found = states_.find(next);
      State state = std::move(found->second);
      states_.erase(found);
      if (auto wanted = wanted_.find(next); wanted != wanted_.end()) {
        for (uint32_t index = 0; index < next->output_count; ++index) {
          state.cotangents[index].owned = false;
          wanted->second[index] = state.cotangents[index];
        }
      }
      if (!state.fed) {
        reach_all(*next, state);  // its history stays: another walk may bring a cotangent
        continue;
      }
      if (next->consumed) throw UserError(already_freed(*next));
      if (profile::watches_any()) [[unlikely]]
        profile::place.block = next->block;
      if (next->gradient) {
        run_rule(*next, state);
      } else {
        run_custom(*next, state);
      }
      if (!retain_) next->consume();
    }
    if (!variables_) keep_what_is_written();
    for (auto& [leaf, state] : leaves_) {
      if (variables_) continue;
      if (leaf->rows) {
        if (state.total.array || leaf->request == Leaf::Write) give_rows(*leaf, state.total);
      } else if (state.total.array) {
        store(*leaf, state.total.array.get());
      } else if (!state.written && leaf->request == Leaf::Write) {
        store(*leaf, zeros(leaf->grad->type).get());  // reached with a slope of 0 alone
      }
    }
  }

  std::vector<ArrayRef> results() {
    std::vector<ArrayRef> found;
    if (!variables_) return found;
    for (Array* variable : *variables_) {
      ArrayRef value = variable->leaf ? leaves_[variable->leaf.get()].total.array
                                      : wanted_[variable->node.get()][variable->output].array;
      if (!value) value = zeros(variable->type);
      found.push_back(std::move(value));
    }
    return found;
  }

 private:
  struct State {
    Ref<Node> node;
    std::vector<Cotangent> cotangents;
    uint64_t reached = 0;  // of the outputs, which take part; the 64th and later as one
    bool fed = false;      // some cotangent has come

    static uint64_t bit(size_t output) { return uint64_t{1} << std::min<size_t>(output, 63); }

    bool leads_to(uint32_t input) const {
      if (!node->gradient) return true;
      const auto& leads = nb::inst_ptr<GradientRule>(node->gradient)->leads;
      if (leads.empty()) return true;
      for (size_t output = 0; output < leads.size(); ++output) {
        if ((reached & bit(output)) && input < leads[output].size() && leads[output][input])
          return true;
      }
      return false;
    }
  };
  struct LeafState {
    bool written = false;  // the attached gradient holds this walk's sum so far
    Cotangent total;       // else it is collected here and stored at the end
  };

  static std::string already_freed(const Node& node) {
    return "backward: the history of " + node_name(node) +
           " was used up by an earlier backward; pass retain_graph=True to it";
  }

  // What the user gave, which may be the very array of a gradient: as one more holder of its
  // memory, so that the gradient is not written (`direct`) before all have read it.
  static ArrayRef lent(Array* array) {
    return new_array(array->type, array->storage, array->offset);
  }

  static ArrayRef zeros(const TypeRef& type) {
    ArrayRef array = new_array(type);
    fill_array(array.get(), 0);
    return array;
  }

  static void accumulate(Cotangent& into, Cotangent value) {
    if (!into.array) {
      into = std::move(value);
      return;
    }
    if (into.rows && value.rows) {
      into = {joined(into.array, value.array), true, joined(into.rows, value.rows)};
      return;
    }
    if (into.rows) std::swap(into, value);
    if (value.rows) {
      into = {with_rows_added(into, value), true};
      return;
    }
    if (sum_operator < 0) throw InternalError("backward: no sum operator is set");
    if (!into.owned && value.owned) std::swap(into, value);
    Array* out = into.owned && into.array->storage->exclusive() ? into.array.get() : nullptr;
    into = {invoke_binary(sum_operator, sum_attributes, into.array.get(), value.array.get(), out),
            true};
  }

  static ArrayRef joined(const ArrayRef& first, const ArrayRef& second) {
    if (rows_operators.join < 0) throw InternalError("backward: no operators of rows are set");
    return invoke_binary(rows_operators.join, rows_operators.join_attributes, first.get(),
                         second.get(), nullptr);
  }

  static ArrayRef with_rows_added(const Cotangent& whole, const Cotangent& part) {
    if (rows_operators.add < 0) throw InternalError("backward: no operators of rows are set");
    PyObject* operands[] = {as_object(whole.array.get()), as_object(part.rows.get()),
                            as_object(part.array.get())};
    std::vector<ArrayRef> outputs(1);
    if (whole.owned && whole.array->storage->exclusive()) outputs[0] = whole.array;
    nb::object made = nb::steal(
        invoke_with(rows_operators.add, rows_operators.add_attributes, operands, 3, outputs));
    if (!made) throw nb::python_error();
    return ArrayRef::borrow(as_array(made.ptr()));
  }

  static void give_rows(Leaf& leaf, const Cotangent& total) {
    auto object = [](const ArrayRef& array) { return array ? as_object(array.get()) : Py_None; };
    PyObject* arguments[] = {leaf.rows, object(total.rows), object(total.array),
                             leaf.request == Leaf::Add ? Py_True : Py_False};
    static PyObject* name = PyUnicode_InternFromString("_receive");
    nb::object done = nb::steal(
        in_python([&] { return PyObject_VectorcallMethod(name, arguments, 4, nullptr); }));
    if (!done) throw nb::python_error();
  }

  // Of a node that takes part with this output.
  State& state_of(const Ref<Node>& node, uint32_t output) {
    auto [place, fresh] = states_.try_emplace(node.get());
    State& state = place->second;
    if (fresh) {
      state.node = node;
      state.cotangents.resize(node->output_count);
      queue_.emplace(node->sequence, node.get());
    }
    state.reached |= State::bit(output);
    return state;
  }

  // Gradients are where their values are; what computed them may be elsewhere.
  void deliver(const Edge& edge, Cotangent value) {
    if (edge.type && value.array->type->device != edge.type->device) {
      uint8_t device = edge.type->device;
      if (value.rows) value.rows = placed_on(value.rows.get(), device);
      value.array = placed_on(value.array.get(), device);
    }
    deliver(edge.node, edge.leaf, edge.output, edge.type, std::move(value));
  }

  void deliver(const Ref<Node>& node, const Ref<Leaf>& leaf, uint32_t output, const TypeRef& type,
               Cotangent value) {
    if (value.rows && (node || (leaf && (variables_ || !leaf->rows))))
      value = {with_rows_added({zeros(type), true}, value), true};
    if (node) {
      State& state = state_of(node, output);
      state.fed = true;
      accumulate(state.cotangents[output], std::move(value));
      return;
    }
    if (!leaf) return;
    if (variables_) {
      auto place = leaves_.find(leaf.get());
      if (place != leaves_.end()) accumulate(place->second.total, std::move(value));
      return;
    }
    if (leaf->request == Leaf::Null) return;
    LeafState& state = leaf_state(leaf);
    if (leaf->rows || state.total.array || (!state.written && !direct(*leaf))) {
      accumulate(state.total, std::move(value));
    } else if (state.written || leaf->request == Leaf::Add) {
      if (sum_operator < 0) throw InternalError("backward: no sum operator is set");
      invoke_binary(sum_operator, sum_attributes, leaf->grad.get(), value.array.get(),
                    leaf->grad.get());
      state.written = true;
    } else {
      copy_array(value.array.get(), leaf->grad.get());
      state.written = true;
    }
  }

  // Nothing flows along the edge, but what it leads to takes part: its gradient is 0, not what an
  // earlier walk has left there.
  void reach(const Edge& edge) {
    if (edge.node) {
      if (!edge.node->consumed) state_of(edge.node, edge.output);
    } else if (edge.leaf && !variables_) {
      leaf_state(edge.leaf);
    }
  }

  void reach_all(Node& node, const State& state) {
    for (uint32_t index = 0; index < node.edge_count; ++index) {
      if (state.leads_to(index)) reach(node.edges()[index]);
    }
  }

  void reach_others(Node& node, const State& state, const std::vector<uint32_t>& targets) {
    for (uint32_t index = 0; index < node.edge_count; ++index) {
      Edge& edge = node.edges()[index];
      if ((edge.node || edge.leaf) && state.leads_to(index) &&
          std::find(targets.begin(), targets.end(), index) == targets.end())
        reach(edge);
    }
  }

  LeafState& leaf_state(const Ref<Leaf>& leaf) {
    auto [place, fresh] = leaves_.try_emplace(leaf.get());
    if (fresh) held_.push_back(leaf);
    return place->second;
  }

  // Whether the attached gradient may be written while the walk goes on: somebody else who holds
  // its memory (a saved operand, a head gradient) must still read the old values.
  static bool direct(const Leaf& leaf) {
    return leaf.grad->storage && leaf.grad->storage->exclusive();
  }

  // Gradients that are other gradients' sums are copied before any of them is stored.
  void keep_what_is_written() {
    for (auto& [leaf, state] : leaves_) {
      Array* total = state.total.array.get();
      if (!total || state.total.owned) continue;
      for (auto& [other, unused] : leaves_) {
        if (other == leaf || other->rows || other->request == Leaf::Null ||
            other->grad->storage != total->storage)
          continue;
        ArrayRef own = new_array(total->type);
        copy_array(total, own.get());
        state.total = {std::move(own), true};
        break;
      }
    }
  }

  static void store(Leaf& leaf, Array* total) {
    check_not_donated(leaf.grad.get());
    if (leaf.request == Leaf::Add) {
      if (sum_operator < 0) throw InternalError("backward: no sum operator is set");
      invoke_binary(sum_operator, sum_attributes, leaf.grad.get(), total, leaf.grad.get());
    } else {
      copy_array(total, leaf.grad.get());
    }
  }

  void run_custom(Node& node, State& state) {
    std::vector<PyObject*> arguments;
    for (uint32_t index = 0; index < node.output_count; ++index) {
      ArrayRef& cotangent = state.cotangents[index].array;
      if (!cotangent) cotangent = zeros(node.outputs()[index]);
      arguments.push_back(as_object(cotangent.get()));
    }
    nb::object answer = nb::steal(in_python([&] {
      return PyObject_Vectorcall(node.owner, arguments.data(), arguments.size(), nullptr);
    }));
    if (!answer) throw nb::python_error();
    if (is_array(answer.ptr()) || answer.is_none()) answer = nb::make_tuple(answer);
    nb::object fast = nb::steal(
        PySequence_Fast(answer.ptr(), "the backward of a custom function must return arrays"));
    if (!fast) throw nb::python_error();
    if (PySequence_Fast_GET_SIZE(fast.ptr()) != static_cast<Py_ssize_t>(node.edge_count))
      throw UserError("custom function: backward must return " + std::to_string(node.edge_count) +
                      " gradients, one for each input; given " +
                      std::to_string(PySequence_Fast_GET_SIZE(fast.ptr())));
    std::vector<ArrayRef> given(node.edge_count);  // all, before the first of them is delivered
    for (uint32_t index = 0; index < node.edge_count; ++index) {
      PyObject* item = PySequence_Fast_GET_ITEM(fast.ptr(), static_cast<Py_ssize_t>(index));
      Edge& edge = node.edges()[index];
      if (item == Py_None) continue;
      if (!is_array(item) || as_array(item)->type->plain != edge.type->plain)
        throw UserError("custom function: gradient " + std::to_string(index) + " must be " +
                        edge.type->text() + "; given " +
                        (is_array(item) ? as_array(item)->type->text() : Py_TYPE(item)->tp_name));
      check_not_donated(as_array(item));
      given[index] = lent(as_array(item));
    }
    for (uint32_t index = 0; index < node.edge_count; ++index) {
      if (given[index]) {
        deliver(node.edges()[index], {std::move(given[index]), false});
      } else {
        reach(node.edges()[index]);
      }
    }
  }

  void run_rule(Node& node, State& state) {
    nb::object held_rule = nb::borrow(node.gradient);
    GradientRule& rule = *nb::inst_ptr<GradientRule>(node.gradient);
    bool any = rule.cotangents.empty();
    for (uint32_t index : rule.cotangents) any |= static_cast<bool>(state.cotangents[index].array);
    if (!any || rule.targets.empty()) return reach_all(node, state);
    if (node.others) reach_others(node, state, rule.targets);
    bool predict = predict_ && !rule.predict.is_none();
    nb::object& callee = predict ? rule.prediction_program : rule.program;
    if (!callee.is_valid()) {
      nb::object made = in_python([&] { return predict ? rule.predict() : rule.compile(); });
      PyTypeObject* type = Py_TYPE(made.ptr());
      if (type != reinterpret_cast<PyTypeObject*>(program_type) &&
          type != reinterpret_cast<PyTypeObject*>(view_type))
        throw InternalError("Gradient.compile must return a Program or a View");
      callee = made;
    }

    std::vector<ArrayRef> holders;
    std::vector<Array*> inputs;
    std::vector<Immediate> immediates(rule.cotangents.size() + rule.saved.size());
    std::vector<uint32_t> donate;
    for (uint32_t index : rule.cotangents) {
      Cotangent& cotangent = state.cotangents[index];
      if (!cotangent.array) cotangent = {zeros(node.outputs()[index]), true};
      holders.push_back(cotangent.array);
      inputs.push_back(cotangent.array.get());
    }
    for (uint32_t index = 0; index < (predict ? node.saved_count : rule.own_saved); ++index) {
      Saved& saved = node.saved()[index];
      if (!saved.type) {
        immediates[inputs.size()] = node.edges()[saved.index].immediate;
        inputs.push_back(nullptr);
        continue;
      }
      if (saved.storage->version != saved.version)
        throw UserError("backward of " + node_name(node) + ": " +
                        (saved.is_output ? "output " : "input ") + std::to_string(saved.index) +
                        " (" + saved.type->text() +
                        ") was overwritten in place after it was "
                        "recorded; make a copy before changing it");
      holders.push_back(new_array(saved.type, saved.storage, saved.offset));
      inputs.push_back(holders.back().get());
      if (!retain_) saved.storage.reset();
    }

    if (Py_TYPE(callee.ptr()) == reinterpret_cast<PyTypeObject*>(view_type)) {
      View& view = *nb::inst_ptr<View>(callee);
      if (inputs.empty() || !inputs[0] || rule.targets.size() != 1)
        throw InternalError("a View as a gradient needs one cotangent and one target");
      view.bind(inputs[0]->type->dtype);
      Edge& edge = node.edges()[rule.targets[0]];
      ArrayRef value = run_view(view, callee.ptr(), inputs[0], false);
      check_target(node, rule.targets[0], value.get());
      deliver(edge, {std::move(value), false});
      return;
    }

    Program& program = *nb::inst_ptr<Program>(callee);
    check_inputs(node, program, inputs);
    if (program.outputs.size() < rule.targets.size())
      throw InternalError("backward of " + node_name(node) + ": the program has too few outputs");
    std::vector<ArrayRef> outputs(program.outputs.size());
    for (size_t index = 0; index < rule.targets.size(); ++index) {
      if (rule.rows_of(index) < 0 && state.leads_to(rule.targets[index]) &&
          can_write_directly(node, rule, index)) {
        Leaf& leaf = *node.edges()[rule.targets[index]].leaf;
        bool fits = program.outputs[index].get() == leaf.grad->type->plain;
        if (fits && is_reachable(leaf.grad.get(), inputs)) outputs[index] = leaf.grad;
      }
    }
    // What only this walk holds may become the memory of the results.
    for (size_t index = 0; index < rule.cotangents.size(); ++index) {
      Cotangent& cotangent = state.cotangents[rule.cotangents[index]];
      if (cotangent.owned &&
          std::count(rule.cotangents.begin(), rule.cotangents.end(), rule.cotangents[index]) == 1)
        donate.push_back(static_cast<uint32_t>(index));
    }
    std::vector<ArrayRef> given = outputs;
    run_program(program, callee.ptr(), inputs.data(), immediates.data(), inputs.size(), outputs,
                donate.empty() ? nullptr : &donate, false);
    state.cotangents.clear();
    holders.clear();
    for (size_t index = 0; index < rule.targets.size(); ++index) {
      if (!state.leads_to(rule.targets[index])) continue;
      Edge& edge = node.edges()[rule.targets[index]];
      if (given[index]) {
        leaf_state(edge.leaf).written = true;
        continue;
      }
      if (int64_t rows = rule.rows_of(index); rows >= 0) {
        deliver(edge, {std::move(outputs[index]), true, outputs.at(static_cast<size_t>(rows))});
        continue;
      }
      check_target(node, rule.targets[index], outputs[index].get());
      deliver(edge, {std::move(outputs[index]), true});
    }
  }

  // Whether what computes on these operands can write there.
  static bool is_reachable(const Array* array, const std::vector<Array*>& inputs) {
    if (is_on_host(array)) return inputs.empty() || !inputs[0] || is_on_host(inputs[0]);
    return !inputs.empty() && inputs[0] && inputs[0]->type->device == array->type->device;
  }

  bool can_write_directly(Node& node, const GradientRule& rule, size_t target) {
    Edge& edge = node.edges()[rule.targets[target]];
    if (variables_ || edge.node || !edge.leaf || edge.leaf->request != Leaf::Write) return false;
    if (edge.leaf->rows) return false;
    auto found = leaves_.find(edge.leaf.get());
    if (found != leaves_.end() && (found->second.written || found->second.total.array))
      return false;
    for (size_t other = 0; other < rule.targets.size(); ++other) {
      if (other != target && node.edges()[rule.targets[other]].leaf == edge.leaf) return false;
    }
    return direct(*edge.leaf);
  }

  static void check_target(Node& node, uint32_t input, Array* value) {
    const TypeRef& expected = node.edges()[input].type;
    if (expected && value->type->plain != expected->plain)
      throw InternalError("backward of " + node_name(node) + ": the cotangent of input " +
                          std::to_string(input) + " is " + value->type->text() + ", not " +
                          expected->text());
  }

  static void check_inputs(Node& node, const Program& program, const std::vector<Array*>& inputs) {
    if (program.inputs.size() != inputs.size())
      throw InternalError("backward of " + node_name(node) + ": the program takes " +
                          std::to_string(program.inputs.size()) + " inputs, the tape has " +
                          std::to_string(inputs.size()));
    for (size_t index = 0; index < inputs.size(); ++index) {
      const ArrayType* expected = program.inputs[index].get();
      bool small = expected->ndim == 0 || expected == key_type().get();
      if (inputs[index] ? inputs[index]->type->plain != expected : !small)
        throw InternalError("backward of " + node_name(node) + ": input " + std::to_string(index) +
                            " of the program is " + expected->text() + ", the tape has " +
                            (inputs[index] ? inputs[index]->type->text() : "a number"));
    }
  }

  bool retain_;
  bool predict_;
  const std::vector<Array*>* variables_;
  std::unordered_map<Node*, State> states_;
  std::unordered_map<Node*, std::vector<Cotangent>> wanted_;
  std::unordered_map<Leaf*, LeafState> leaves_;
  std::vector<Ref<Leaf>> held_;
  // Latest first: a cotangent is complete only after all users of its value.
  std::priority_queue<std::pair<uint64_t, Node*>> queue_;
};

}  // namespace

std::vector<ArrayRef> run_backward(const std::vector<Array*>& heads,
                                   const std::vector<Array*>& head_grads, bool retain_graph,
                                   const std::vector<Array*>* variables, bool predict) {
  profile::Span span;
  if (profile::watches_any()) [[unlikely]] {
    span.open_at(profile::SpanKind::Backward, "backward", place_of_caller());
  }
  RecordingOff off;
  Walk walk(retain_graph, variables, predict);
  for (size_t index = 0; index < heads.size(); ++index)
    walk.seed(heads[index], index < head_grads.size() ? head_grads[index] : nullptr);
  walk.run();
  return walk.results();
}

}  // namespace tigon
