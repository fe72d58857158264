// Kernels that put lines in order: points are the lines of a batch.
#pragma once

#include <map>

#include "program/routines.h"

namespace tigon {

// By the code of a dtype. Buffers: lines, and of each the positions (int64) of its first elements
// in order; equal ones keep theirs. Numbers: elements of a line, positions wanted, whether the
// least are first.
std::map<int64_t, RoutineKernel> order_kernels();
inline constexpr size_t kOrderNumbers = 3;

}  // namespace tigon
