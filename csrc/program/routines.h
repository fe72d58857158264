// Kernels that are found by name. Most call LAPACK: a batch of matrices each, points being its
// matrices. "order" (sorting.h) sorts lines and needs no library.
//
// Matrices lie row after row, and LAPACK counts columns first: it is given the transpose of each,
// in place, and the other triangle.
#pragma once

#include <string>
#include <vector>

#include "program/program.h"

namespace tigon {

// By the name of a routine and the code of a dtype; throws where there is none. Its slots are the
// number of points and the routine's own numbers.
Kernel routine_kernel(const std::string& name, int64_t dtype);
bool is_routine(Kernel kernel);
// Of each call, for these numbers. Throws UserError where LAPACK cannot count so far.
size_t routine_scratch_bytes(const std::string& name, int64_t dtype,
                             const std::vector<int64_t>& numbers);

// A function of BLAS or LAPACK by its name there ("dpotrf"). False for names that nothing calls.
bool set_library_function(const std::string& name, void* address);

// Of a library with threads of its own, which would compete with ours: while a kernel runs it has
// one. Null where there is no such setting.
void set_library_threads(int (*count)(), void (*set_count)(int));

}  // namespace tigon
