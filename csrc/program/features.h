// Instructions that code may need, and where CPUID tells of them: name, leaf, part of the leaf,
// word of the answer, bit, registers that the system has to save. In C and in C++.
#ifndef TIGON_PROGRAM_FEATURES_H
#define TIGON_PROGRAM_FEATURES_H

enum { kEax, kEbx, kEcx, kEdx };
enum { kAnyRegisters, kYmm, kZmm };
enum { kYmmSaved = 0x6, kZmmSaved = 0xe6, kXgetbv = 27 };

#define TIGON_FEATURES(row)                                                                        \
  row("cx16", 1, 0, kEcx, 13, kAnyRegisters) row("sahf", 0x80000001, 0, kEcx, 0, kAnyRegisters)    \
      row("popcnt", 1, 0, kEcx, 23, kAnyRegisters) row("sse3", 1, 0, kEcx, 0, kAnyRegisters)       \
          row("ssse3", 1, 0, kEcx, 9, kAnyRegisters) row("sse4.1", 1, 0, kEcx, 19, kAnyRegisters)  \
              row("sse4.2", 1, 0, kEcx, 20, kAnyRegisters) row("avx", 1, 0, kEcx, 28, kYmm)        \
                  row("avx2", 7, 0, kEbx, 5, kYmm) row("bmi", 7, 0, kEbx, 3, kAnyRegisters)        \
                      row("bmi2", 7, 0, kEbx, 8, kAnyRegisters) row("f16c", 1, 0, kEcx, 29, kYmm)  \
                          row("fma", 1, 0, kEcx, 12, kYmm)                                         \
                              row("lzcnt", 0x80000001, 0, kEcx, 5, kAnyRegisters)                  \
                                  row("movbe", 1, 0, kEcx, 22, kAnyRegisters)                      \
                                      row("avx512f", 7, 0, kEbx, 16, kZmm) row("avx512bw", 7, 0,   \
                                                                               kEbx, 30, kZmm)     \
                                          row("avx512cd", 7, 0, kEbx, 28, kZmm)                    \
                                              row("avx512dq", 7, 0, kEbx, 17, kZmm)                \
                                                  row("avx512vl", 7, 0, kEbx, 31, kZmm)            \
                                                      row("avx512vnni", 7, 0, kEcx, 11, kZmm)      \
                                                          row("avx512bf16", 7, 1, kEax, 5, kZmm)

#endif
