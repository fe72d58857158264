// Calls whose way depends on values, for Python.
#include "python/binding.h"

#include "call/paths.h"

namespace tigon {

namespace {

using namespace nb::literals;

Form form_of(nb::handle given) {
  if (!PyUnicode_Check(given.ptr())) return Form::Rebuilt;
  auto form = nb::cast<std::string>(given);
  return form == "tuple" ? Form::Tuple : form == "list" ? Form::List : Form::Bare;
}

// (cache or None, inputs, made, draws, decision or None, what comes next): `next` is the number of
// an end, or (decided, [(outcome, segment), ...]).
Segment read_segment(nb::handle given) {
  auto parts = nb::cast<nb::tuple>(given);
  Segment segment;
  segment.owner = parts[0];
  if (!segment.owner.is_none()) {
    if (!nb::isinstance<SequenceCache>(segment.owner))
      throw InternalError("paths: a segment is computed by a SequenceCache");
    segment.cache = nb::inst_ptr<SequenceCache>(segment.owner);
  }
  segment.inputs = nb::cast<std::vector<PathArray>>(parts[1]);
  segment.made = nb::cast<size_t>(parts[2]);
  segment.draws = nb::cast<int64_t>(parts[3]);
  if (parts[4].is_none()) {
    segment.end = nb::cast<uint32_t>(parts[5]);
    return segment;
  }
  auto kind = nb::cast<std::string>(parts[4]);
  segment.decision = kind == "truth"     ? Decision::Truth
                     : kind == "integer" ? Decision::Integer
                                         : Decision::Bits;
  auto [decided, branches] = nb::cast<std::pair<PathArray, nb::list>>(parts[5]);
  segment.decided = decided;
  for (nb::handle item : branches) {
    auto branch = nb::cast<nb::tuple>(item);
    bool by_bits = PyBytes_Check(nb::handle(branch[0]).ptr());
    Segment::Branch made{0, {}, by_bits, nb::cast<uint32_t>(branch[1])};
    if (by_bits) {
      auto bits = nb::cast<nb::bytes>(branch[0]);
      made.bits.assign(bits.c_str(), bits.size());
    } else {
      made.number = nb::cast<int64_t>(branch[0]);
    }
    segment.branches.push_back(std::move(made));
  }
  return segment;
}

// (results, states, form or what rebuilds the result)
PathEnd read_end(nb::handle given) {
  auto parts = nb::cast<nb::tuple>(given);
  PathEnd end;
  end.results = nb::cast<std::vector<PathArray>>(parts[0]);
  end.states = nb::cast<std::vector<std::pair<PathArray, PathArray>>>(parts[1]);
  end.form = form_of(parts[2]);
  if (end.form == Form::Rebuilt) end.rebuild = parts[2];
  if (end.form == Form::Bare && end.results.size() != 1)
    throw InternalError("paths: a bare result is one array");
  return end;
}

void init_paths(Paths* paths, nb::list segments, nb::list ends, size_t operands, bool training,
                bool decides_only) {
  translated([&] {
    auto made = std::make_unique<Paths>();
    for (nb::handle segment : segments) made->segments.push_back(read_segment(segment));
    for (nb::handle end : ends) made->ends.push_back(read_end(end));
    made->operands = operands;
    made->training = training;
    made->decides_only = decides_only;
    made->check();
    ::new (paths) Paths(std::move(*made));
  });
}

// (operands, arrays among the arguments) -> the result, or NotImplemented where an outcome is
// unknown.
PyObject* paths_call(PyObject* self, PyObject* arguments, PyObject*) {
  return guarded([&]() -> PyObject* {
    PyObject *given, *leaves;
    if (!PyArg_UnpackTuple(arguments, "paths", 2, 2, &given, &leaves)) throw nb::python_error();
    nb::object alive = nb::borrow(self);
    const Paths& paths = *nb::inst_ptr<Paths>(self);
    nb::object arrays = nb::steal(PySequence_Tuple(given));
    if (!arrays.is_valid()) throw nb::python_error();
    auto count = static_cast<size_t>(PyTuple_GET_SIZE(arrays.ptr()));
    if (count != paths.operands) throw InternalError("paths: another number of operands");
    Few<Array*, 48> operands(count);
    for (size_t index = 0; index < count; ++index) {
      PyObject* item = PyTuple_GET_ITEM(arrays.ptr(), static_cast<Py_ssize_t>(index));
      if (!is_array(item)) throw InternalError("paths: an operand is no array");
      operands[index] = as_array(item);
    }
    std::vector<ArrayRef> results;
    const PathEnd* end = paths.run(operands.data(), results);
    return end ? finished(*end, results, leaves) : Py_NewRef(Py_NotImplemented);
  });
}

int traverse_paths(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<Paths>(self)->traverse(visit, arg) : 0;
}

PyType_Slot paths_slots[] = {
    {Py_tp_call, reinterpret_cast<void*>(paths_call)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse_paths)},
    {0, nullptr},
};

}  // namespace

void bind_paths(nb::module_& m) {
  m.def(
      "commit",
      [](nb::object array, nb::object made) {
        translated([&] {
          Array* to = expect_array(array, "commit");
          Array* from = expect_array(made, "commit");
          if (to->type->plain != from->type->plain) throw InternalError("commit: other types");
          take_over(to, from);
        });
      },
      "array"_a, "made"_a, "From now on the array is what was made, as states are.");
  auto paths = nb::class_<Paths>(m, "Paths", nb::type_slots(paths_slots),
                                 "A call whose way depends on values, as a tree of segments.");
  paths.def("__init__", init_paths, "segments"_a, "ends"_a, "operands"_a, "training"_a,
            "decides_only"_a = false);
  paths_type = paths.ptr();
}

}  // namespace tigon
