#include "call/paths.h"

#include "call/random_key.h"
#include "python/errors.h"

namespace tigon {

PyObject* paths_type = nullptr;

uint32_t Segment::next(Array* value) const {
  wait_to_read(value);
  auto by_bits = [&] {
    std::string bits(value->type->nbytes, '\0');
    read_bytes(value, bits.data());
    for (const Branch& branch : branches)
      if (branch.by_bits && branch.bits == bits) return branch.next;
    return kEnds;
  };
  if (decision == Decision::Bits) return by_bits();
  nb::object number = nb::steal(to_scalar(value));
  int64_t found;
  if (decision == Decision::Truth) {
    found = PyObject_IsTrue(number.ptr());
  } else {
    nb::object whole = nb::steal(PyNumber_Long(number.ptr()));
    int overflow = 0;
    found = whole.is_valid() ? PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow) : -1;
    if (PyErr_Occurred() || overflow) {  // what Python says of it, the traced code was told
      PyErr_Clear();
      return by_bits();
    }
  }
  for (const Branch& branch : branches)
    if (!branch.by_bits && branch.number == found) return branch.next;
  return kEnds;
}

int64_t Paths::run_segment(const Segment& segment, Array* const* given,
                           std::vector<ArrayRef>& made) const {
  if (!segment.cache) {
    take_key(segment.draws);
    return segment.draws;
  }
  size_t count = segment.inputs.size();
  Few<Array*, 48> arrays(count);
  for (size_t index = 0; index < count; ++index) {
    PathArray input = segment.inputs[index];
    arrays[index] = input >= 0 ? given[input] : made[static_cast<size_t>(-1 - input)].get();
  }
  std::shared_ptr<KeyedSequence> found = segment.cache->find(arrays.data(), count, training);
  std::vector<ArrayRef> results;
  found->sequence->run(arrays.data(), results, is_recording());
  if (results.size() != segment.made) throw InternalError("paths: a segment makes another number");
  for (ArrayRef& array : results) made.push_back(std::move(array));
  return found->sequence->draws;
}

const PathEnd* Paths::run(Array* const* given, std::vector<ArrayRef>& results) const {
  std::vector<ArrayRef> made;
  auto at = [&](PathArray array) {
    return array >= 0 ? given[array] : made[static_cast<size_t>(-1 - array)].get();
  };
  RandomKey first = take_key(0);
  int64_t drawn = 0;
  try {
    const Segment* segment = &segments[0];
    for (;;) {
      drawn += run_segment(*segment, given, made);
      if (segment->end != Segment::kEnds) break;
      uint32_t next = segment->next(at(segment->decided));
      if (next == Segment::kEnds) {
        give_back_key(first, drawn);
        return nullptr;
      }
      segment = &segments[next];
    }
    const PathEnd& end = ends[segment->end];
    for (auto [from, to] : end.states) take_over(at(to), at(from));
    if (decides_only) give_back_key(first, drawn);
    for (PathArray array : end.results) results.push_back(ArrayRef::borrow(at(array)));
    return &end;
  } catch (...) {
    give_back_key(first, drawn);
    throw;
  }
}

void Paths::check() const {
  auto expect = [](bool holds) {
    if (!holds) throw InternalError("paths: a number is of nothing");
  };
  expect(!segments.empty());
  // A segment knows how much was made before it once its predecessor is known, which comes earlier.
  std::vector<size_t> before(segments.size());
  for (size_t index = 0; index < segments.size(); ++index) {
    const Segment& segment = segments[index];
    auto fits = [&](PathArray array, size_t made) {
      return array >= 0 ? static_cast<size_t>(array) < operands
                        : static_cast<size_t>(-1 - array) < made;
    };
    for (PathArray input : segment.inputs) expect(fits(input, before[index]));
    size_t made = before[index] + segment.made;
    if (segment.end != Segment::kEnds) {
      expect(segment.end < ends.size());
      for (PathArray result : ends[segment.end].results) expect(fits(result, made));
      for (auto [from, to] : ends[segment.end].states) expect(fits(from, made) && fits(to, made));
      continue;
    }
    expect(fits(segment.decided, made));
    for (const Segment::Branch& branch : segment.branches) {
      expect(branch.next > index && branch.next < segments.size());
      before[branch.next] = made;
    }
  }
}

int Paths::traverse(visitproc visit, void* arg) const {
  for (const Segment& segment : segments) Py_VISIT(segment.owner.ptr());
  for (const PathEnd& end : ends) Py_VISIT(end.rebuild.ptr());
  return 0;
}

PyObject* finished(const PathEnd& end, std::vector<ArrayRef>& results, PyObject* arguments) {
  switch (end.form) {
  case Form::Bare:
    return as_object(results[0].release());
  case Form::Tuple:
    return packed(results, PyTuple_New);
  case Form::List:
    return packed(results, PyList_New);
  case Form::Rebuilt:
    break;
  }
  nb::object arrays = nb::steal(packed(results, PyTuple_New));
  PyObject* made = in_python([&] {
    return PyObject_CallFunctionObjArgs(end.rebuild.ptr(), arrays.ptr(), arguments, nullptr);
  });
  if (!made) throw nb::python_error();
  return made;
}

}  // namespace tigon
