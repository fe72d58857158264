// The tape, for Python.
#include "python/binding.h"

#include "call/dispatch.h"
#include "call/random_key.h"
#include "tape/tape.h"

namespace tigon {
namespace {

using namespace nb::literals;

struct TapeNode {
  Ref<Node> node;
};

nb::object tape_tag(const TapeNode& face) {
  PyObject* owner = face.node->owner;
  if (owner && Py_TYPE(owner) == reinterpret_cast<PyTypeObject*>(program_type))
    return nb::inst_ptr<Program>(owner)->tag;
  if (owner && Py_TYPE(owner) == reinterpret_cast<PyTypeObject*>(view_type))
    return nb::inst_ptr<View>(owner)->tag;
  return owner ? nb::borrow(owner) : nb::none();
}

nb::object immediate_operand(const Edge& edge) {
  if (edge.type->ndim == 0) return nb::steal(immediate_to_python(edge.immediate, edge.type->dtype));
  return nb::steal(new_random_key(edge.immediate.key));  // on no device, as numbers are
}

// Operands that the gradient does not need were not kept: they come back with type and history,
// and with memory that holds zeros.
nb::list tape_inputs(const TapeNode& face) {
  Node& node = *face.node;
  if (node.consumed)
    throw UserError("grad: the history of " + node_name(node) +
                    " was used up by an earlier backward; pass retain_graph=True to it");
  nb::list inputs;
  for (uint32_t index = 0; index < node.edge_count; ++index) {
    Edge& edge = node.edges()[index];
    if (edge.is_immediate) {
      inputs.append(immediate_operand(edge));
      continue;
    }
    if (edge.leaf && edge.leaf->variable) {
      inputs.append(nb::borrow(as_object(edge.leaf->variable)));
      continue;
    }
    ArrayRef array;
    for (uint32_t place = 0; place < node.saved_count && !array; ++place) {
      Saved& saved = node.saved()[place];
      if (saved.is_output || saved.index != index) continue;
      if (saved.storage->version != saved.version)
        throw UserError("grad of " + node_name(node) + ": input " + std::to_string(index) +
                        " was overwritten in place after it was recorded; make a copy before "
                        "changing it");
      array = new_array(saved.type, saved.storage, saved.offset);
    }
    if (!array) {
      array = new_array(edge.type);
      fill_array(array.get(), 0);
    }
    array->node = edge.node;
    array->output = edge.output;
    array->leaf = edge.leaf;
    inputs.append(wrap(std::move(array)));
  }
  return inputs;
}

nb::object tape_outputs(const TapeNode& face) {
  Node& node = *face.node;
  nb::list types;
  for (uint32_t index = 0; index < node.output_count; ++index) {
    ArrayType& type = *node.outputs()[index];
    types.append(nb::make_tuple(type.dtype, nb::steal(type.shape_tuple())));
  }
  return types;
}

nb::object tape_saved_output(const TapeNode& face, uint32_t index) {
  Node& node = *face.node;
  for (uint32_t place = 0; place < node.saved_count; ++place) {
    Saved& saved = node.saved()[place];
    if (!saved.is_output || saved.index != index || !saved.storage) continue;
    if (saved.storage->version != saved.version)
      throw UserError("grad of " + node_name(node) + ": output " + std::to_string(index) +
                      " was overwritten in place after it was recorded; make a copy before "
                      "changing it");
    ArrayRef array = new_array(saved.type, saved.storage, saved.offset);
    array->node = face.node;
    array->output = index;
    return wrap(std::move(array));
  }
  return nb::none();
}

}  // namespace

void bind_tape(nb::module_& m) {
  nb::class_<TapeNode>(m, "TapeNode", "Read-only face of a recorded call.")
      .def_prop_ro("tag", tape_tag)
      .def_prop_ro(
          "inputs",
          [](const TapeNode& face) { return translated([&] { return tape_inputs(face); }); })
      .def_prop_ro("output_count", [](const TapeNode& face) { return face.node->output_count; })
      .def_prop_ro("output_types", tape_outputs, "(dtype code, shape) of each output.")
      .def(
          "saved_output",
          [](const TapeNode& face, uint32_t index) {
            return translated([&] { return tape_saved_output(face, index); });
          },
          "index"_a, "The output as an array with its tape entry, or None when it was not kept.")
      .def_prop_ro("sequence", [](const TapeNode& face) { return face.node->sequence; })
      .def_prop_ro("consumed", [](const TapeNode& face) { return face.node->consumed; })
      .def(
          "__eq__",
          [](const TapeNode& face, nb::handle other) {
            return nb::isinstance<TapeNode>(other) &&
                   nb::inst_ptr<TapeNode>(other)->node == face.node;
          },
          nb::arg().none())
      .def("__hash__", [](const TapeNode& face) { return face.node->sequence; });

  m.def("tape_node", [](nb::object array) -> nb::object {
    return translated([&]() -> nb::object {
      Array* a = expect_array(array, "tape_node");
      if (!a->node) return nb::none();
      return nb::make_tuple(TapeNode{a->node}, a->output);
    });
  });
  m.def("set_recording", set_recording);
  m.def("set_training", set_training);
  m.def("is_recording", is_recording);
  m.def("is_training", is_training);
  m.def("set_sum_operator", set_sum_operator);
  m.def(
      "set_rows_operators",
      [](int64_t join, int64_t join_attributes, int64_t add, int64_t add_attributes) {
        set_rows_operators({join, join_attributes, add, add_attributes});
      },
      "join"_a, "join_attributes"_a, "add"_a, "add_attributes"_a);
  m.def("set_rows_type", [](nb::type_object type) { set_rows_type(type.ptr()); });
  m.def(
      "write_rows",
      [](nb::object target, nb::object rows, nb::object values) {
        translated([&] {
          write_rows(expect_array(rows, "write_rows"), expect_array(values, "write_rows"),
                     expect_array(target, "write_rows"));
        });
      },
      "target"_a, "rows"_a, "values"_a);
  m.def(
      "backward",
      [](nb::object heads, nb::object head_grads, bool retain_graph, nb::object variables,
         bool predict) {
        return translated([&]() -> nb::object {
          nb::object held[3];
          std::vector<Array*> head_list = expect_arrays(heads, "backward", false, held[0]);
          std::vector<Array*> grad_list = expect_arrays(head_grads, "backward", true, held[1]);
          if (!grad_list.empty() && grad_list.size() != head_list.size())
            throw UserError("backward: " + std::to_string(head_list.size()) + " heads but " +
                            std::to_string(grad_list.size()) + " head gradients");
          if (variables.is_none()) {
            run_backward(head_list, grad_list, retain_graph, nullptr, predict);
            return nb::none();
          }
          std::vector<Array*> wanted = expect_arrays(variables, "grad", false, held[2]);
          nb::list results;
          for (ArrayRef& result :
               run_backward(head_list, grad_list, retain_graph, &wanted, predict))
            results.append(wrap(std::move(result)));
          return results;
        });
      },
      "heads"_a, "head_grads"_a, "retain_graph"_a, "variables"_a = nb::none(), "predict"_a = false);
  m.def(
      "record_custom",
      [](nb::object inputs, nb::object outputs, nb::object backward) {
        translated([&] {
          nb::object held[2];
          record_custom(expect_arrays(inputs, "record_custom", false, held[0]),
                        expect_arrays(outputs, "record_custom", false, held[1]), backward.ptr());
        });
      },
      "inputs"_a, "outputs"_a, "backward"_a);
}

}  // namespace tigon
