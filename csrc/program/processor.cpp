#include "program/processor.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
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

enum Registers { kAny, kYmm, kZmm };

struct Feature {
  const char* name;
  uint32_t leaf, part;
  int word, bit;
  Registers registers;
};

constexpr int kEax = 0, kEbx = 1, kEcx = 2;
constexpr uint32_t kExtended = 0x80000001;

constexpr Feature kFeatures[] = {
    {"cx16", 1, 0, kEcx, 13, kAny},       {"sahf", kExtended, 0, kEcx, 0, kAny},
    {"popcnt", 1, 0, kEcx, 23, kAny},     {"sse3", 1, 0, kEcx, 0, kAny},
    {"ssse3", 1, 0, kEcx, 9, kAny},       {"sse4.1", 1, 0, kEcx, 19, kAny},
    {"sse4.2", 1, 0, kEcx, 20, kAny},     {"avx", 1, 0, kEcx, 28, kYmm},
    {"avx2", 7, 0, kEbx, 5, kYmm},        {"bmi", 7, 0, kEbx, 3, kAny},
    {"bmi2", 7, 0, kEbx, 8, kAny},        {"f16c", 1, 0, kEcx, 29, kYmm},
    {"fma", 1, 0, kEcx, 12, kYmm},        {"lzcnt", kExtended, 0, kEcx, 5, kAny},
    {"movbe", 1, 0, kEcx, 22, kAny},      {"avx512f", 7, 0, kEbx, 16, kZmm},
    {"avx512bw", 7, 0, kEbx, 30, kZmm},   {"avx512cd", 7, 0, kEbx, 28, kZmm},
    {"avx512dq", 7, 0, kEbx, 17, kZmm},   {"avx512vl", 7, 0, kEbx, 31, kZmm},
    {"avx512vnni", 7, 0, kEcx, 11, kZmm}, {"avx512bf16", 7, 1, kEax, 5, kZmm},
};

}  // namespace

std::vector<std::string> processor_features() {
  constexpr uint64_t kYmmSaved = 0x6, kZmmSaved = 0xe6;
  constexpr int kXgetbv = 27;
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
