#include "program/processor.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>

#include "program/features.h"
#endif

namespace tigon {

#if defined(__x86_64__)

namespace {

struct Answer {
  uint32_t words[4] = {0, 0, 0, 0};  // eax, ebx, ecx, edx
};

Answer ask(uint32_t leaf, uint32_t part) {
  Answer found;
  __get_cpuid_count(leaf, part, &found.words[0], &found.words[1], &found.words[2], &found.words[3]);
  return found;
}

// Which registers the system saves.
uint64_t saved_registers() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

struct Feature {
  const char* name;
  uint32_t leaf, part;
  int word, bit, registers;
};

#define TIGON_ROW(...) {__VA_ARGS__},
constexpr Feature kFeatures[] = {TIGON_FEATURES(TIGON_ROW)};
#undef TIGON_ROW

}  // namespace

std::vector<std::string> processor_features() {
  uint64_t saved = ask(1, 0).words[kEcx] >> kXgetbv & 1 ? saved_registers() : 0;
  std::vector<std::string> found;
  for (const Feature& feature : kFeatures) {
    uint64_t needed = feature.registers == kZmm   ? kZmmSaved
                      : feature.registers == kYmm ? kYmmSaved
                                                  : 0;
    bool is_there = ask(feature.leaf, feature.part).words[feature.word] >> feature.bit & 1;
    if (is_there && (saved & needed) == needed) found.emplace_back(feature.name);
  }
  return found;
}

#else

std::vector<std::string> processor_features() { return {}; }

#endif

}  // namespace tigon
