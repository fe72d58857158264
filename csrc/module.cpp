// The Python module: what `_native.pyi` describes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdlib>

#include "arguments.h"
#include "array.h"
#include "dispatch.h"
#include "engine.h"
#include "errors.h"
#include "guards.h"
#include "object_code.h"
#include "program.h"
#include "shortcut.h"
#include "tape.h"

namespace tigon {
namespace {

using namespace nb::literals;

// Exceptions cross nanobind as Python errors already set.
template <class Body>
auto translated(const Body& body) {
  try {
    return body();
  } catch (...) {
    set_python_error();
    throw nb::python_error();
  }
}

nb::object wrap(ArrayRef array) { return nb::steal(as_object(array.release())); }

Array* expect_array(nb::handle object, const char* where) {
  if (!is_array(object.ptr()))
    throw UserError(std::string(where) + ": expected an NDArray; given " +
                    Py_TYPE(object.ptr())->tp_name);
  return as_array(object.ptr());
}

std::vector<Array*> expect_arrays(nb::handle sequence, const char* where, bool allow_none,
                                  nb::object& fast) {
  fast = nb::steal(PySequence_Fast(sequence.ptr(), "expected a sequence of NDArrays"));
  if (!fast) throw nb::python_error();
  std::vector<Array*> arrays;
  for (Py_ssize_t index = 0; index < PySequence_Fast_GET_SIZE(fast.ptr()); ++index) {
    PyObject* item = PySequence_Fast_GET_ITEM(fast.ptr(), index);
    arrays.push_back(allow_none && item == Py_None ? nullptr : expect_array(item, where));
  }
  return arrays;
}

// ------------------------------------------------------------------------------------- programs

using TypePair = std::pair<int64_t, std::vector<int64_t>>;

TypeRef type_of(const TypePair& pair) {
  return ArrayType::get(pair.first, pair.second.data(), pair.second.size());
}

Launch read_launch(nb::handle given) {
  auto parts = nb::cast<std::tuple<uint64_t, std::vector<std::pair<int, int64_t>>, nb::bytes,
                                   int64_t, int64_t, size_t, std::string>>(given);
  Launch launch{};
  launch.kernel = reinterpret_cast<Kernel>(static_cast<uintptr_t>(std::get<0>(parts)));
  for (auto [space, index] : std::get<1>(parts)) {
    if (space < 0 || space > 3) throw InternalError("launch: unknown buffer space");
    launch.buffers.push_back({static_cast<Space>(space), index});
  }
  const nb::bytes& slots = std::get<2>(parts);
  if (slots.size() % 8) throw InternalError("launch: the slots are not a multiple of 8 bytes");
  launch.slots.resize(slots.size() / 8);
  if (slots.size()) std::memcpy(launch.slots.data(), slots.c_str(), slots.size());
  launch.points = std::get<3>(parts);
  launch.grain = std::get<4>(parts);
  launch.scratch_bytes = std::get<5>(parts);
  launch.operator_name = std::get<6>(parts);
  return launch;
}

void init_program(Program* program, std::string name, const std::vector<TypePair>& inputs,
                  const std::vector<TypePair>& outputs, size_t visible, size_t arena_bytes,
                  const std::vector<nb::bytes>& constants, nb::object waves,
                  const std::vector<std::vector<uint32_t>>& may_alias, double cost,
                  nb::object gradient, nb::object keep_alive, nb::object tag) {
  translated([&] {
    auto built = std::make_unique<Program>();
    built->name = std::move(name);
    for (const TypePair& pair : inputs) built->inputs.push_back(type_of(pair));
    for (const TypePair& pair : outputs) built->outputs.push_back(type_of(pair));
    if (visible > outputs.size()) throw InternalError("Program: more visible outputs than outputs");
    built->visible = visible;
    built->may_alias = may_alias;
    built->gradient = std::move(gradient);
    built->tag = std::move(tag);
    built->code = Ref<ProgramCode>(new ProgramCode);
    ProgramCode& code = *built->code;
    code.input_count = inputs.size();
    code.output_count = outputs.size();
    code.arena_bytes = arena_bytes;
    code.cost = cost;
    code.keep_alive = keep_alive.release().ptr();
    code.drop_keep_alive = drop_object;
    for (const nb::bytes& constant : constants)
      code.add_constant(constant.c_str(), constant.size());
    for (nb::handle wave : waves) {
      std::vector<Launch>& launches = code.waves.emplace_back().launches;
      for (nb::handle launch : wave) launches.push_back(read_launch(launch));
    }
    code.finish();
    ::new (program) Program(std::move(*built));
  });
}

// By hand: the general parser costs more than a small program.
PyObject* program_call(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"inputs", "out", "donate"};
  PyObject* given[3] = {};
  Py_ssize_t count = PyTuple_GET_SIZE(arguments);
  Py_ssize_t known = count;
  for (Py_ssize_t place = 0; place < count && place < 3; ++place)
    given[place] = PyTuple_GET_ITEM(arguments, place);
  if (keywords) {
    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (PyDict_Next(keywords, &position, &key, &value)) {
      for (int place = 0; place < 3; ++place) {
        if (given[place] || PyUnicode_CompareWithASCIIString(key, names[place]) != 0) continue;
        given[place] = value;
        ++known;
        --count;
        break;
      }
      ++count;
    }
  }
  if (!given[0] || known > 3 || count != PyTuple_GET_SIZE(arguments)) {
    PyErr_SetString(PyExc_TypeError, "a program is called as program(inputs, out=None, donate=())");
    return nullptr;
  }
  return guarded([&] { return call_program(self, given[0], given[1], given[2]); });
}

const char* const kTimedParts[] = {"wave", "launch", "alone"};

// One execution on arrays that nobody else uses meanwhile; see ProgramCode::execute_timed.
std::vector<double> program_timed(const Program& program, const std::vector<nb::handle>& inputs,
                                  const std::vector<nb::handle>& outputs, const std::string& part) {
  auto found = std::find(std::begin(kTimedParts), std::end(kTimedParts), part);
  if (found == std::end(kTimedParts))
    throw InternalError("timed: expected wave, launch or alone; given " + part);
  auto places = [&](const std::vector<nb::handle>& arrays, const std::vector<TypeRef>& types) {
    if (arrays.size() != types.size()) throw InternalError("timed: wrong number of arrays");
    std::vector<void*> made;
    for (size_t index = 0; index < arrays.size(); ++index) {
      if (!is_array(arrays[index].ptr()) ||
          as_array(arrays[index].ptr())->type.get() != types[index].get())
        throw InternalError("timed: " + expectation(types[index].get(), arrays[index].ptr()));
      Array* array = as_array(arrays[index].ptr());
      wait_to_read(array);
      array->storage->materialize();
      made.push_back(array->data());
    }
    return made;
  };
  std::vector<void*> in = places(inputs, program.inputs);
  std::vector<void*> out = places(outputs, program.outputs);
  GilReleased released;
  Arena arena(program.code->arena_bytes);
  return program.code->execute_timed(
      in.data(), out.data(), arena.data(),
      static_cast<ProgramCode::Part>(found - std::begin(kTimedParts)));
}

// (wave, operator, points, chunks) of each launch, in the order of `timed`.
std::vector<std::tuple<size_t, std::string, int64_t, int64_t>>
program_launches(const Program& program) {
  std::vector<std::tuple<size_t, std::string, int64_t, int64_t>> made;
  const std::vector<Wave>& waves = program.code->waves;
  for (size_t wave = 0; wave < waves.size(); ++wave) {
    for (const Launch& launch : waves[wave].launches)
      made.emplace_back(wave, launch.operator_name, launch.points, launch.chunks.count);
  }
  return made;
}

int visit(const nb::object& object, visitproc visit, void* arg) {
  Py_VISIT(object.ptr());
  return 0;
}

int traverse_callee(Callee& callee, visitproc visitor, void* arg) {
  if (int result = visit(callee.gradient, visitor, arg)) return result;
  if (int result = visit(callee.tag, visitor, arg)) return result;
  for (auto& [mask, rule] : callee.gradients) {
    if (int result = visit(rule, visitor, arg)) return result;
  }
  return 0;
}

template <class T>
int traverse_as_callee(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  return traverse_callee(*nb::inst_ptr<T>(self), visit, arg);
}

template <class T>
int clear_callee(PyObject* self) {
  if (!nb::inst_ready(self)) return 0;
  Callee& callee = *nb::inst_ptr<T>(self);
  nb::object gradient = std::exchange(callee.gradient, nb::none());
  nb::object tag = std::exchange(callee.tag, nb::none());
  auto gradients = std::move(callee.gradients);
  callee.gradients.clear();
  return 0;
}

int traverse_gradient(PyObject* self, visitproc visitor, void* arg) {
  visitproc visit = visitor;
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  GradientRule& rule = *nb::inst_ptr<GradientRule>(self);
  Py_VISIT(rule.compile.ptr());
  Py_VISIT(rule.predict.ptr());
  Py_VISIT(rule.program.ptr());
  Py_VISIT(rule.prediction_program.ptr());
  return 0;
}

int clear_gradient(PyObject* self) {
  if (!nb::inst_ready(self)) return 0;
  GradientRule& rule = *nb::inst_ptr<GradientRule>(self);
  nb::object compile = std::exchange(rule.compile, nb::none());
  nb::object predict = std::exchange(rule.predict, nb::none());
  nb::object program = std::exchange(rule.program, nb::object());
  nb::object prediction_program = std::exchange(rule.prediction_program, nb::object());
  return 0;
}

PyType_Slot program_slots[] = {
    {Py_tp_call, reinterpret_cast<void*>(program_call)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_as_callee<Program>)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_callee<Program>)},
    {0, nullptr},
};
PyType_Slot view_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_as_callee<View>)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_callee<View>)},
    {0, nullptr},
};
PyType_Slot gradient_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_gradient)},
    {Py_tp_clear, reinterpret_cast<void*>(clear_gradient)},
    {0, nullptr},
};

void bind_programs(nb::module_& m) {
  auto program = nb::class_<Program>(m, "Program", nb::type_slots(program_slots),
                                     "A compiled graph: launches over inputs, outputs, constants "
                                     "and one arena.");
  program
      .def("__init__", init_program, "name"_a, "inputs"_a, "outputs"_a, "visible"_a,
           "arena_bytes"_a, "constants"_a, "waves"_a, "may_alias"_a = nb::make_tuple(),
           "cost"_a = 0.0, "gradient"_a = nb::none(), "keep_alive"_a = nb::none(),
           "tag"_a = nb::none())
      .def_rw("tag", &Program::tag, nb::arg().none())
      .def_rw("answers_truth", &Program::answers_truth)
      .def_ro("name", &Program::name)
      .def_ro("calls", &Program::calls)
      .def_ro("visible", &Program::visible)
      .def_prop_ro("cost", [](const Program& p) { return p.code->cost; })
      .def_prop_ro("arena_bytes", [](const Program& p) { return p.code->arena_bytes; })
      .def_prop_ro("launches", program_launches, "(wave, operator, points, chunks) of each launch.")
      .def(
          "timed",
          [](const Program& p, const std::vector<nb::handle>& inputs,
             const std::vector<nb::handle>& outputs, const std::string& part) {
            return translated([&] { return program_timed(p, inputs, outputs, part); });
          },
          "inputs"_a, "outputs"_a, "part"_a,
          "Seconds of each wave, of each launch by itself, or of each launch on one thread.");
  program_type = program.ptr();

  auto view = nb::class_<View>(m, "View", nb::type_slots(view_slots),
                               "A result that shares the first operand's storage.");
  view.def(
          "__init__",
          [](View* view, int64_t offset, std::vector<int64_t> shape, nb::object gradient,
             nb::object tag) {
            ::new (view) View;
            view->offset = offset;
            view->shape = std::move(shape);
            view->gradient = std::move(gradient);
            view->tag = std::move(tag);
          },
          "offset"_a, "shape"_a, "gradient"_a = nb::none(), "tag"_a = nb::none())
      .def_rw("tag", &View::tag, nb::arg().none());
  view_type = view.ptr();

  auto gradient = nb::class_<GradientRule>(m, "Gradient", nb::type_slots(gradient_slots),
                                           "How cotangents flow through one recorded call.");
  gradient
      .def(
          "__init__",
          [](GradientRule* rule, const std::vector<std::pair<std::string, uint32_t>>& saved,
             std::vector<uint32_t> cotangents, std::vector<uint32_t> targets, nb::object compile,
             nb::object predict, const std::vector<std::pair<std::string, uint32_t>>& also_saved) {
            translated([&] {
              std::vector<std::pair<bool, uint32_t>> kept;
              for (auto* list : {&saved, &also_saved}) {
                for (auto& [kind, index] : *list) {
                  if (kind != "input" && kind != "output")
                    throw InternalError("Gradient.saved: expected 'input' or 'output', given " +
                                        kind);
                  kept.emplace_back(kind == "output", index);
                }
              }
              ::new (rule) GradientRule;
              rule->saved = std::move(kept);
              rule->own_saved = static_cast<uint32_t>(saved.size());
              rule->cotangents = std::move(cotangents);
              rule->targets = std::move(targets);
              rule->compile = std::move(compile);
              rule->predict = std::move(predict);
            });
          },
          "saved"_a, "cotangents"_a, "targets"_a, "compile"_a, "predict"_a = nb::none(),
          "also_saved"_a = nb::list())
      .def_prop_ro("saved",
                   [](const GradientRule& rule) {
                     nb::list saved;
                     for (auto [is_output, index] : rule.saved)
                       saved.append(nb::make_tuple(is_output ? "output" : "input", index));
                     return saved;
                   })
      .def_ro("cotangents", &GradientRule::cotangents)
      .def_ro("targets", &GradientRule::targets);
  gradient_type = gradient.ptr();
}

// ----------------------------------------------------------------------------------------- tape

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
    if (!edge.type) {
      inputs.append(nb::steal(immediate_to_python(edge.scalar, edge.scalar_dtype)));
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

// ---------------------------------------------------------------------------------- object code

template <class Function>
void take(const nb::dict& addresses, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(nb::cast<uintptr_t>(addresses[name]));
}

CodeGenerator code_generator(const nb::dict& addresses) {
  CodeGenerator made;
  take(addresses, "create_context", made.create_context);
  take(addresses, "dispose_context", made.dispose_context);
  take(addresses, "parse", made.parse);
  take(addresses, "verify", made.verify);
  take(addresses, "emit", made.emit);
  take(addresses, "dispose_module", made.dispose_module);
  take(addresses, "buffer_start", made.buffer_start);
  take(addresses, "buffer_size", made.buffer_size);
  take(addresses, "dispose_buffer", made.dispose_buffer);
  take(addresses, "dispose_string", made.dispose_string);
  return made;
}

nb::list finish(ObjectCompiler& compiler) {
  return translated([&] {
    std::vector<ObjectCode> results;
    {
      GilReleased released;
      results = compiler.finish();
    }
    nb::list made;
    for (const ObjectCode& code : results) {
      if (code.refused) {
        made.append(nb::str(code.content.data(), code.content.size()));
      } else {
        made.append(nb::bytes(code.content.data(), code.content.size()));
      }
    }
    return made;
  });
}

void bind_object_code(nb::module_& m) {
  nb::class_<ObjectCompiler>(m, "ObjectCompiler", "Modules of LLVM's text, compiled by threads.")
      .def(
          "__init__",
          [](ObjectCompiler* compiler, const nb::dict& functions,
             const std::vector<uintptr_t>& machines) {
            translated([&] {
              std::vector<void*> pointers;
              for (uintptr_t machine : machines)
                pointers.push_back(reinterpret_cast<void*>(machine));
              ::new (compiler) ObjectCompiler(code_generator(functions), std::move(pointers));
            });
          },
          "functions"_a, "machines"_a)
      .def(
          "add",
          [](ObjectCompiler& compiler, std::string text) {
            translated([&] { compiler.add(std::move(text)); });
          },
          "text"_a)
      .def("finish", finish);
}

// --------------------------------------------------------------------------------------- engine

class HostTask final : public Task {
 public:
  HostTask(nb::object function, std::string name)
      : function_(function.release().ptr()), name_(std::move(name)) {}
  ~HostTask() override {
    if (function_) drop_object(function_);
  }
  bool needs_worker() const override { return true; }
  const std::string& name() const { return name_; }

 protected:
  void execute() override {
    if (python_ends()) sleep_for_ever();  // after the very end there is no state to make
    PyGILState_STATE state = in_python([] { return PyGILState_Ensure(); });
    Task* outer = set_current_host(this);
    PyObject* result = in_python([&] { return PyObject_CallNoArgs(function_); });
    set_current_host(outer);
    std::shared_ptr<Failure> failure;
    if (result) {
      Py_DECREF(result);
    } else {
      PyObject *type, *value, *trace;
      PyErr_Fetch(&type, &value, &trace);
      PyErr_NormalizeException(&type, &value, &trace);
      if (trace && value) PyException_SetTraceback(value, trace);
      nb::object text = nb::steal(value ? PyObject_Str(value) : nullptr);
      const char* message = text.is_valid() ? PyUnicode_AsUTF8(text.ptr()) : nullptr;
      failure = std::make_shared<Failure>(
          Failure::Type::User,
          name_ + ": " + (type ? reinterpret_cast<PyTypeObject*>(type)->tp_name : "error") + ": " +
              (message ? message : "?"));
      PyErr_Clear();
      failure->cause = value;
      failure->drop_cause = drop_object;
      Py_XDECREF(type);
      Py_XDECREF(trace);
    }
    Py_CLEAR(function_);
    PyGILState_Release(state);
    if (failure) throw TravelledError{failure};
  }

 private:
  PyObject* function_;
  std::string name_;
};

void push_callable(nb::object function, nb::object reads, nb::object writes, std::string name) {
  translated([&] {
    nb::object held[2];
    auto* task = new HostTask(std::move(function), std::move(name));
    Ref<Task> owned(task);
    for (Array* array : expect_arrays(reads, "push", false, held[0])) {
      check_not_donated(array);
      task->reads.push_back(array->storage);
    }
    for (Array* array : expect_arrays(writes, "push", false, held[1])) {
      check_not_donated(array);
      ++array->storage->version;
      task->writes.push_back({array->storage, array->whole_storage()});
    }
    Engine& engine = Engine::instance();
    if (Task::current_host()) throw UserError(task->name() + ": push inside a host callback");
    if (!engine.has_room()) wait_for_room();
    task->file = caller_place(&task->line);
    ++counters.pushed;
    engine.push(std::move(owned));
    if (engine.naive) wait_all();
  });
}

nb::dict stats() {
  nb::dict result;
  result["native_calls"] = counters.native_calls;
  result["imperative_operators"] = counters.imperative_operators;
  result["signature_hits"] = counters.signature_hits;
  result["signature_misses"] = counters.signature_misses;
  result["signatures"] = signature_count();
  result["types"] = ArrayType::count();
  result["bytes_now"] = memory::bytes_now();
  result["bytes_peak"] = memory::bytes_peak();
  memory::PoolFigures pool = memory::pool_figures();
  result["pool_bytes"] = pool.mapped;
  result["pool_peak"] = pool.peak;
  result["pool_free"] = pool.free;
  result["pool_largest_free"] = pool.largest_free;
  result["pool_rounding"] = pool.rounding;
  result["pool_fresh_blocks"] = pool.fresh;
  result["pushed"] = counters.pushed;
  result["inlined"] = counters.inlined;
  result["tape_nodes"] = tape_node_count();
  return result;
}

void bind_engine(nb::module_& m) {
  m.def("push", push_callable, "function"_a, "reads"_a, "writes"_a, "name"_a);
  m.def("waitall", [] { translated([] { wait_all(); }); });
  m.def("set_naive", [](bool on) {
    translated([&] {
      wait_all();
      Engine::instance().naive = on;
    });
  });
  m.def("set_num_threads", [](int count) {
    translated([&] {
      if (count < 1)
        throw UserError("set_num_threads: expected at least 1; given " + std::to_string(count));
      wait_all();
      GilReleased released;
      ThreadPool::instance().set_threads(count);
    });
  });
  m.def("num_threads", [] { return ThreadPool::instance().threads(); });
  m.def("stats", stats);
  m.def("reset_peak", memory::reset_peak);
  m.def("trim", memory::trim);
  m.def("turn_pool", [] { memory::turn(true); }, nb::call_guard<nb::gil_scoped_release>());
  m.def("set_error_types",
        [](nb::object user, nb::object index) { set_error_types(user.ptr(), index.ptr()); });
  m.def("set_inline_threshold", [](double microseconds) { inline_threshold = microseconds; });
  m.def("inline_threshold", [] { return inline_threshold; });
}

// ----------------------------------------------------------------------------------------- calls

PyObject* module_invoke(PyObject*, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  PyObject* out = nullptr;
  Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  if (count == 4 && !named) {
    out = arguments[3];
  } else if (count == 3 && named == 1 &&
             PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "out") == 0) {
    out = arguments[3];
  } else if (count != 3 || named) {
    PyErr_SetString(PyExc_TypeError, "invoke(operator_id, attributes_id, operands, out=None)");
    return nullptr;
  }
  long long operator_id = PyLong_AsLongLong(arguments[0]);
  if (operator_id == -1 && PyErr_Occurred()) return nullptr;
  long long attributes_id = PyLong_AsLongLong(arguments[1]);
  if (attributes_id == -1 && PyErr_Occurred()) return nullptr;
  // A tuple: a list could change while the interpreter lock is given up.
  bool is_tuple = PyTuple_CheckExact(arguments[2]);
  PyObject* fast = is_tuple ? Py_NewRef(arguments[2]) : PySequence_Tuple(arguments[2]);
  if (!fast) return nullptr;
  PyObject* result = guarded([&] {
    return invoke(operator_id, attributes_id, reinterpret_cast<PyTupleObject*>(fast)->ob_item,
                  static_cast<size_t>(PyTuple_GET_SIZE(fast)), out);
  });
  Py_DECREF(fast);
  return result;
}

PyObject* module_call_kind(PyObject*, PyObject* arguments) {
  return guarded([&] { return call_kind(arguments); });
}

PyObject* module_nested_call_kind(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "nested_call_kind(arguments, freeze)");
    return nullptr;
  }
  return guarded([&] { return nested_call_kind(arguments[0], arguments[1]); });
}

PyMethodDef functions[] = {
    {"invoke", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(module_invoke)),
     METH_FASTCALL | METH_KEYWORDS, "Run one operator."},
    {"call_kind", module_call_kind, METH_O, "What a call on arrays is looked up by."},
    {"nested_call_kind",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(module_nested_call_kind)),
     METH_FASTCALL, "The same of arguments in containers."},
    {nullptr, nullptr, 0, nullptr},
};

void bind_arrays(nb::module_& m) {
  m.def(
      "empty",
      [](const std::vector<int64_t>& shape, int64_t dtype_code) {
        return translated([&] {
          ArrayRef array = new_array(ArrayType::get(dtype_code, shape.data(), shape.size()));
          materialize_now(*array->storage);
          return wrap(std::move(array));
        });
      },
      "shape"_a, "dtype_code"_a);
  m.def("from_numpy",
        [](nb::object array) { return translated([&] { return wrap(from_numpy(array.ptr())); }); });
  m.def("from_dlpack", [](nb::object source) {
    return translated([&] { return wrap(from_dlpack(source.ptr())); });
  });
  m.def("set_compile_handler", set_compile_handler, nb::arg().none());
  m.def(
      "set_slot_operator",
      [](const std::string& slot, int64_t operator_id, int64_t attributes_id, bool reflected) {
        return translated([&] {
          SlotOperator before = set_slot_operator(slot, {operator_id, attributes_id}, reflected);
          return std::make_pair(before.operator_id, before.attributes_id);
        });
      },
      "slot"_a, "operator_id"_a, "attributes_id"_a, "reflected"_a = false);
  m.def("give_up", [](nb::object array) {
    translated([&] {
      Array* given = expect_array(array, "give_up");
      given->storage.reset();
      given->node.reset();
    });
  });
  m.def("clear_signature_cache", clear_signature_cache);
  m.def("set_most_signatures", set_most_signatures);
  m.def("set_trace_handlers", set_trace_handlers, "call"_a.none(), "read"_a.none());
}

void set_up(nb::module_& m) {
  nb::set_leak_warnings(false);  // caches live as long as the process
  if (!create_array_type(m.ptr())) throw nb::python_error();
  load_numpy();
  m.attr("INPUT") = static_cast<int>(Space::Input);
  m.attr("OUTPUT") = static_cast<int>(Space::Output);
  m.attr("ARENA") = static_cast<int>(Space::Arena);
  m.attr("CONSTANT") = static_cast<int>(Space::Constant);
  bind_arrays(m);
  bind_programs(m);
  bind_guards(m);
  bind_shortcuts(m);
  bind_tape(m);
  bind_engine(m);
  bind_object_code(m);
  if (PyModule_AddFunctions(m.ptr(), functions)) throw nb::python_error();

  const char* mode = std::getenv("TIGON_ENGINE");
  const char* mxnet_mode = std::getenv("MXNET_ENGINE_TYPE");
  Engine::instance().naive = (mode && std::string(mode) == "naive") ||
                             (mxnet_mode && std::string(mxnet_mode) == "NaiveEngine");
  install_fork_handlers();
  auto quietly = [](void (*wait)()) {
    return nb::cpp_function([wait] {
      try {
        wait();
      } catch (...) {
        set_python_error();
        PyErr_Clear();
      }
    });
  };
  nb::module_::import_("atexit").attr("register")(quietly(wait_before_end));
  nb::object os = nb::module_::import_("os");
  if (nb::hasattr(os, "register_at_fork"))
    os.attr("register_at_fork")("before"_a = quietly(wait_for_pushed));
  // Frames of this package are not the user's: errors name the place that called in.
  nb::object package = nb::module_::import_("sys").attr("modules").attr("get")("tigon");
  if (nb::hasattr(package, "__path__")) {
    for (nb::handle directory : package.attr("__path__"))
      add_package_directory((nb::cast<std::string>(nb::str(directory)) + "/").c_str());
  }
}

}  // namespace
}  // namespace tigon

NB_MODULE(_native, m) { tigon::set_up(m); }
