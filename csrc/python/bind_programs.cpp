// Programs and gradients of operators, for Python.
#include "python/binding.h"

#include <algorithm>

#include "call/dispatch.h"
#include "program/control.h"
#include "program/program.h"
#include "program/routines.h"
#include "tape/tape.h"

namespace tigon {
namespace {

using namespace nb::literals;

// (address, buffers, slots, points, grain, scratch_bytes, operator), and of a loop its control.
Launch read_launch(nb::handle given) {
  auto parts = nb::cast<nb::sequence>(given);
  size_t count = nb::len(parts);
  if (count != 7 && count != 8) throw InternalError("launch: expected 7 or 8 parts");
  Launch launch{};
  launch.kernel = reinterpret_cast<Kernel>(nb::cast<uintptr_t>(parts[0]));
  for (auto [space, index] : nb::cast<std::vector<std::pair<int, int64_t>>>(parts[1])) {
    if (space < 0 || space > 3) throw InternalError("launch: unknown buffer space");
    launch.buffers.push_back({static_cast<Space>(space), index});
  }
  auto slots = nb::cast<nb::bytes>(parts[2]);
  if (slots.size() % 8) throw InternalError("launch: the slots are not a multiple of 8 bytes");
  launch.slots.resize(slots.size() / 8);
  if (slots.size()) std::memcpy(launch.slots.data(), slots.c_str(), slots.size());
  launch.points = nb::cast<int64_t>(parts[3]);
  launch.grain = nb::cast<int64_t>(parts[4]);
  launch.scratch_bytes = nb::cast<size_t>(parts[5]);
  launch.operator_name = nb::cast<std::string>(parts[6]);
  if (count == 8 && !nb::object(parts[7]).is_none())
    launch.control = nb::cast<std::shared_ptr<const Control>>(parts[7]);
  return launch;
}

void init_control(Control* control, int kind, const std::vector<nb::handle>& programs,
                  const std::vector<uint32_t>& counts, bool reverse, bool counted, bool keyed,
                  const std::vector<int64_t>& numbers, std::vector<size_t> row_bytes,
                  std::vector<size_t> state_bytes, std::vector<bool> kept) {
  translated([&] {
    auto code = [&](size_t index) {
      if (index >= programs.size()) return Ref<ProgramCode>();
      if (Py_TYPE(programs[index].ptr()) != reinterpret_cast<PyTypeObject*>(program_type))
        throw InternalError("Control: expected Programs");
      return nb::inst_ptr<Program>(programs[index])->code;
    };
    if (kind < 0 || kind > 2) throw InternalError("Control: there is no such kind");
    if (counts.size() != 5 || numbers.size() != 2)
      throw InternalError("Control: expected 5 counts and 2 numbers");
    Control made;
    made.kind = static_cast<Control::Kind>(kind);
    made.body = code(0);
    made.other = code(1);
    made.data = counts[0];
    made.states = counts[1];
    made.others = counts[2];
    made.outs = counts[3];
    made.loose = counts[4];
    made.reverse = reverse;
    made.counted = counted;
    made.keyed = keyed;
    made.most = numbers[0];
    made.ordinal = numbers[1];
    made.row_bytes = std::move(row_bytes);
    made.state_bytes = std::move(state_bytes);
    made.kept = std::move(kept);
    made.check();
    ::new (control) Control(std::move(made));
  });
}

void init_program(Program* program, std::string name, const std::vector<TypePair>& inputs,
                  const std::vector<TypePair>& outputs, size_t visible, size_t arena_bytes,
                  const std::vector<nb::bytes>& constants, nb::object waves,
                  const std::vector<std::vector<uint32_t>>& may_alias, double cost,
                  nb::object gradient, nb::object keep_alive, nb::object tag,
                  const std::vector<int32_t>& last_reads, const std::vector<int32_t>& writes) {
  translated([&] {
    auto built = std::make_unique<Program>();
    built->name = std::move(name);
    for (const TypePair& pair : inputs) built->inputs.push_back(type_of(pair));
    for (const TypePair& pair : outputs) built->outputs.push_back(type_of(pair));
    if (visible > outputs.size()) throw InternalError("Program: more visible outputs than outputs");
    built->visible = visible;
    built->may_alias = may_alias;
    built->last_reads = last_reads;
    built->writes = writes;
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

}  // namespace

void bind_programs(nb::module_& m) {
  auto program = nb::class_<Program>(m, "Program", nb::type_slots(program_slots),
                                     "A compiled graph: launches over inputs, outputs, constants "
                                     "and one arena.");
  program
      .def("__init__", init_program, "name"_a, "inputs"_a, "outputs"_a, "visible"_a,
           "arena_bytes"_a, "constants"_a, "waves"_a, "may_alias"_a = nb::make_tuple(),
           "cost"_a = 0.0, "gradient"_a = nb::none(), "keep_alive"_a = nb::none(),
           "tag"_a = nb::none(), "last_reads"_a = nb::make_tuple(), "writes"_a = nb::make_tuple())
      .def_rw("tag", &Program::tag, nb::arg().none())
      .def_rw("answers_truth", &Program::answers_truth)
      .def_rw("updates", &Program::updates)
      .def_ro("name", &Program::name)
      .def_ro("calls", &Program::calls)
      .def_ro("visible", &Program::visible)
      .def_prop_ro(
          "inputs",
          [](const Program& p) {
            nb::list types;
            for (const TypeRef& type : p.inputs)
              types.append(nb::make_tuple(type->dtype, nb::steal(type->shape_tuple())));
            return types;
          },
          "(dtype code, shape) of each input.")
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

  nb::class_<Control>(m, "Control", "A loop over a program, or a choice of two.")
      .def("__init__", init_control, "kind"_a, "programs"_a, "counts"_a, "reverse"_a, "counted"_a,
           "keyed"_a, "numbers"_a, "row_bytes"_a, "state_bytes"_a, "kept"_a);

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
             nb::object predict, const std::vector<std::pair<std::string, uint32_t>>& also_saved,
             const std::vector<std::vector<uint32_t>>& leads, std::vector<int64_t> rows) {
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
              if (!rows.empty() && rows.size() != targets.size())
                throw InternalError("Gradient.rows: expected one number for each target");
              rule->targets = std::move(targets);
              rule->rows = std::move(rows);
              rule->compile = std::move(compile);
              rule->predict = std::move(predict);
              for (const std::vector<uint32_t>& inputs : leads) {
                std::vector<bool>& marks = rule->leads.emplace_back();
                for (uint32_t input : inputs) {
                  if (marks.size() <= input) marks.resize(input + 1);
                  marks[input] = true;
                }
              }
            });
          },
          "saved"_a, "cotangents"_a, "targets"_a, "compile"_a, "predict"_a = nb::none(),
          "also_saved"_a = nb::list(), "leads"_a = nb::list(), "rows"_a = nb::list())
      .def_prop_ro("saved",
                   [](const GradientRule& rule) {
                     nb::list saved;
                     for (auto [is_output, index] : rule.saved)
                       saved.append(nb::make_tuple(is_output ? "output" : "input", index));
                     return saved;
                   })
      .def_ro("cotangents", &GradientRule::cotangents)
      .def_ro("targets", &GradientRule::targets)
      .def_ro("rows", &GradientRule::rows);
  gradient_type = gradient.ptr();

  m.def(
      "routine_address",
      [](const std::string& name, int64_t dtype_code) {
        return translated(
            [&] { return reinterpret_cast<uintptr_t>(routine_kernel(name, dtype_code)); });
      },
      "name"_a, "dtype_code"_a);
  m.def(
      "routine_scratch_bytes",
      [](const std::string& name, int64_t dtype_code, const std::vector<int64_t>& numbers) {
        return translated([&] { return routine_scratch_bytes(name, dtype_code, numbers); });
      },
      "name"_a, "dtype_code"_a, "numbers"_a);
  m.def(
      "routine_needs_library",
      [](const std::string& name) {
        return translated([&] { return routine_needs_library(name); });
      },
      "name"_a);
  m.def(
      "set_library_function",
      [](const std::string& name, uintptr_t address) {
        return set_library_function(name, reinterpret_cast<void*>(address));
      },
      "name"_a, "address"_a);
  m.def(
      "set_library_threads",
      [](uintptr_t count, uintptr_t set_count) {
        set_library_threads(reinterpret_cast<int (*)()>(count),
                            reinterpret_cast<void (*)(int)>(set_count));
      },
      "count"_a, "set_count"_a);
}

}  // namespace tigon
