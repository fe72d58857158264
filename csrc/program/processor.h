// What the processor can do.
#pragma once

#include <string>
#include <vector>

namespace tigon {

// Instructions that the processor has and the system keeps registers for, by LLVM's names; of
// x86-64 those that levels of the architecture are made of, of others none.
std::vector<std::string> processor_features();

}  // namespace tigon
