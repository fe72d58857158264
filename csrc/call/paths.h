// A call whose way depends on values: segments run, what one has made decides which comes next, and
// the last commits what the call leaves behind.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

#include <string>
#include <vector>

#include "call/sequence.h"

namespace tigon {

// An array of such a call: an operand is its number, the n-th of those made by segments is -1 - n.
using PathArray = int32_t;

enum class Decision : uint8_t { Truth, Integer, Bits };

enum class Form : uint8_t { Bare, Tuple, List, Rebuilt };

// How a path ends.
struct PathEnd {
  std::vector<PathArray> results;
  std::vector<std::pair<PathArray, PathArray>> states;  // from, to
  Form form;
  nb::object rebuild;  // (results, arguments) -> result, where the form is Rebuilt
};

struct Segment {
  static constexpr uint32_t kEnds = UINT32_MAX;
  struct Branch {
    int64_t number;    // of a truth or an integer
    std::string bits;  // of anything else, and of what is no int64_t
    bool by_bits;
    uint32_t next;  // segment
  };

  nb::object owner;
  SequenceCache* cache = nullptr;  // null: there is nothing to compute
  std::vector<PathArray> inputs;
  size_t made = 0;    // arrays
  int64_t draws = 0;  // of random numbers that nobody reads, where there is nothing to compute
  Decision decision;
  PathArray decided;
  std::vector<Branch> branches;
  uint32_t end = kEnds;  // or the number of its end

  // The segment that comes next; kEnds where the outcome is unknown.
  uint32_t next(Array* value) const;
};

class Paths {
 public:
  std::vector<Segment> segments;
  std::vector<PathEnd> ends;
  size_t operands = 0;
  bool training = false;
  bool decides_only = false;  // what a call draws is given back

  void check() const;  // that all numbers are of something
  // The end that the call came to. Null where an outcome is unknown; then, as where it raises, no
  // state has changed and nothing was drawn.
  const PathEnd* run(Array* const* given, std::vector<ArrayRef>& results) const;

  int traverse(visitproc visit, void* arg) const;

 private:
  // Runs a segment; how many random numbers it drew.
  int64_t run_segment(const Segment& segment, Array* const* given,
                      std::vector<ArrayRef>& made) const;
};

extern PyObject* paths_type;

// The result of a path for users; `arguments` are the arrays among those of the call.
PyObject* finished(const PathEnd& end, std::vector<ArrayRef>& results, PyObject* arguments);

}  // namespace tigon
