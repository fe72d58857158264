// The order of lines: a kernel, found by name like those that call a library, that sorts positions.
#pragma once

#include <vector>

#include "program/program.h"

namespace tigon {

// By the code of a dtype: of each line of n elements the positions (int64) that sort it, equal
// elements in the order they have. Slots: the number of lines, n, and whether the greatest come
// first. There is no NaN among the elements; 0.0 and -0.0 are equal.
Kernel order_kernel(int64_t dtype);
// Of each call, for n and the direction.
size_t order_scratch_bytes(int64_t dtype, const std::vector<int64_t>& numbers);

}  // namespace tigon
