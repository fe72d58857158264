// A call of compiled code, step by step: keys are drawn, programs run, new states take their place.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

#include <map>
#include <variant>
#include <vector>

#include "array/array.h"
#include "array/immediate.h"
#include "call/dispatch.h"
#include "call/keyed_cache.h"
#include "core/few.h"

namespace tigon {

// The arrays of one call: those that it is given, then what its steps make.
class Frame {
 public:
  Frame(Array* const* given, size_t count, size_t size, RandomKey key)
      : key(key), arrays_(size), given_(count), size_(count) {
    std::copy_n(given, count, arrays_.data());
  }

  Array* operator[](uint32_t slot) { return arrays_[slot]; }
  void add(std::vector<ArrayRef>&& made);
  ArrayRef take(uint32_t slot);  // once for each slot

  const RandomKey key;

 private:
  Few<Array*, 48> arrays_;
  std::vector<ArrayRef> made_;
  size_t given_;
  size_t size_;
};

constexpr uint32_t kKeySlot = UINT32_MAX;  // among the inputs of a program: the random key

struct RunStep {
  nb::object owner;
  Program* program;
  std::vector<uint32_t> inputs;
  std::vector<std::pair<uint32_t, uint32_t>> over;  // outputs that overwrite these arrays
  std::vector<uint32_t> donated;                    // inputs that are given up

  void run(Frame& frame) const;
};

// Python code in the middle of a call. It sees arrays of their own, never memory of a program.
struct HostStep {
  nb::object function;
  std::vector<uint32_t> inputs;
  std::vector<TypeRef> outputs;

  void run(Frame& frame) const;
};

// What a call leaves behind, at its end: arrays that were given take over what was made.
struct CommitStep {
  std::vector<std::pair<uint32_t, uint32_t>> states;  // from, to

  void run(Frame& frame) const;
};

// What a program makes of arrays that mostly stay, such as weights in the order in which a
// convolution reads them. It runs again when one of them was written or is another; whoever shares
// it between calls shares what was made, one for each device.
class Prepared {
 public:
  nb::object owner;
  Program* program = nullptr;
  uint64_t runs = 0;

  std::vector<ArrayRef> arrays(Array* const* given);

 private:
  struct Seen {
    uint64_t storage;
    uint64_t version;
    int64_t offset;
    bool operator==(const Seen&) const = default;
  };

  struct Made {
    std::vector<Seen> of;
    std::vector<ArrayRef> arrays;
  };

  std::map<uint8_t, Made> made_;  // by device
};

struct PrepareStep {
  nb::object owner;
  Prepared* prepared;
  std::vector<uint32_t> inputs;

  void run(Frame& frame) const;
};

using Step = std::variant<RunStep, HostStep, CommitStep, PrepareStep>;

// A call that raises draws nothing and changes no state.
class Sequence {
 public:
  std::vector<TypeRef> inputs;
  std::vector<Step> steps;
  std::vector<uint32_t> results;
  int64_t draws = 0;
  nb::object tag;

  std::string name() const;  // of the first program, for errors
  void finish();             // once, when all is filled in
  // `made` comes empty, or with arrays or nulls for the results to go to. `record`: false where
  // nothing is being recorded. `given[i]` null: the operand is `immediates[i]`.
  void run(Array* const* given, std::vector<ArrayRef>& made, bool record = true,
           const Immediate* immediates = nullptr) const;

  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  bool is_direct() const;
  void run_directly(Array* const* given, const Immediate* immediates, RandomKey key,
                    std::vector<ArrayRef>& made) const;
  void run_steps(Array* const* given, RandomKey key, std::vector<ArrayRef>& made) const;

  size_t frame_size_ = 0;
  bool direct_ = false;            // one program on what is given, in order: no frame is needed
  const RunStep* only_ = nullptr;  // and it draws nothing and changes no state
};

extern PyObject* sequence_type;

// A state becomes what was made: by taking over its storage, or, as a part of a larger one that
// others see, by a copy.
void take_over(Array* array, Array* made);

// Arrays as what `make` makes room for: PyTuple_New or PyList_New.
PyObject* packed(std::vector<ArrayRef>& arrays, PyObject* (*make)(Py_ssize_t));

struct KeyedSequence : Keyed {
  nb::object owner;
  const Sequence* sequence;
  std::vector<TypeRef> types;  // the key holds their addresses
};

// Which of these arrays gradients are asked for, in bits; nothing unless recording.
std::vector<uint64_t> wanted_gradients(Array* const* arrays, size_t count);

// Whether that is so, without a vector of them.
bool wants_gradients(Array* const* arrays, size_t count, const std::vector<uint64_t>& wanted);

// Sequences by mode, wanted gradients, inputs given up, and types.
class SequenceCache {
 public:
  // `make(arrays, training, wanted, donated)` answers a miss; `wanted` is a tuple of bools or None.
  SequenceCache(nb::object make, size_t most) : make_(std::move(make)), kept_(most) {}

  std::shared_ptr<KeyedSequence> find(PyObject* arrays, bool training, PyObject* donated);
  std::shared_ptr<KeyedSequence> find(Array* const* given, size_t count, bool training,
                                      const std::vector<uint64_t>& donated = {});

  const KeyedCache<KeyedSequence>& kept() const { return kept_; }
  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  nb::object make_;
  KeyedCache<KeyedSequence> kept_;
};

}  // namespace tigon
