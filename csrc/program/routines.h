// Kernels that are written here and not generated. Most call LAPACK: a batch of matrices each,
// points being its matrices; these lie row after row, and LAPACK counts columns first: it is given
// the transpose of each, in place, and the other triangle. One puts lines in order (`sorting.h`).
#pragma once

#include <string>
#include <vector>

#include "program/program.h"

namespace tigon {

// A kernel, and the scratch memory of a call for the routine's own numbers, which follow the number
// of points in its slots.
struct RoutineKernel {
  Kernel kernel;
  size_t (*scratch)(const int64_t* numbers);
};

// By the name of a routine and the code of a dtype; throws where there is none.
Kernel routine_kernel(const std::string& name, int64_t dtype);
// Whether it calls LAPACK, and so may fail at a matrix when it has worked through others.
bool routine_needs_library(const std::string& name);
bool is_of_library(Kernel kernel);
// Of each call, for these numbers. Throws UserError where LAPACK cannot count so far.
size_t routine_scratch_bytes(const std::string& name, int64_t dtype,
                             const std::vector<int64_t>& numbers);

// A function of BLAS or LAPACK by its name there ("dpotrf"). False for names that nothing calls.
bool set_library_function(const std::string& name, void* address);

// Of a library with threads of its own, which would compete with ours: while a kernel runs it has
// one. Null where there is no such setting.
void set_library_threads(int (*count)(), void (*set_count)(int));

}  // namespace tigon
