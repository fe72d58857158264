// Small operands that are no arrays: Python numbers, and keys of random operators.
#pragma once

#include <cstdint>

namespace tigon {

// Random bits are a function of both (Philox).
struct RandomKey {
  int64_t seed;
  int64_t counter;  // of the calls that drew before
};

union Immediate {
  char bytes[16];
  double f64;
  float f32;
  int64_t i64;
  uint64_t u64;
  RandomKey key;
};

}  // namespace tigon
