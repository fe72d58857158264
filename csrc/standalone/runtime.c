// What runs in an exported library beside its kernels. It calls nothing outside of itself: memory
// comes from the caller or from the system's own calls. Everything is in tables (tables.h), which
// are read where they lie; nothing here is written to, so any number of instances run at once.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "standalone/tables.h"
#include "tigon/standalone/model.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include "program/features.h"
#endif

enum { kAlignment = 64, kMessage = 512, kMostExtents = 16 };

typedef int64_t Word;

// Kernels are called in one way on all systems, ours in that of the system.
#if defined(__x86_64__)
#define TIGON_KERNEL __attribute__((sysv_abi))
#else
#define TIGON_KERNEL
#endif
typedef int32_t(TIGON_KERNEL* Kernel)(void* const* buffers, const int64_t* slots, void* scratch,
                                      int64_t begin, int64_t end);

#if defined(__wasm__)
// Where the tables are, and behind all that the module brings, memory; whoever puts the module
// together says it. Functions are numbers: code is as if it lay at 0.
extern const char model_tables[], model_end[];

static const char* tables(void) { return model_tables; }
#else
// Bytes from here to the tables. Whoever puts the library together writes it: no compiler may know
// what it is.
__asm__(".section .rodata\n"
        ".globl model_distance\n"
        ".p2align 3\n"
        "model_distance: .quad 0\n"
        ".previous");
extern const Word model_distance[] __attribute__((visibility("hidden")));

static const char* tables(void) { return (const char*)model_distance + *model_distance; }
#endif
static const Word* at(Word place) { return (const Word*)(const void*)tables() + place; }
static const char* text(Word place) { return (const char*)at(place); }

// ------------------------------------------------------------- what compilers call by themselves

void* memcpy(void* restrict to, const void* restrict from, size_t bytes);
void* memset(void* to, int value, size_t bytes);

#if defined(__wasm__)
void* memcpy(void* restrict to, const void* restrict from, size_t bytes) {
  __asm__ volatile("local.get %0\nlocal.get %1\nlocal.get %2\nmemory.copy 0, 0"
                   :
                   : "r"(to), "r"(from), "r"(bytes)
                   : "memory");
  return to;
}

void* memset(void* to, int value, size_t bytes) {
  __asm__ volatile("local.get %0\nlocal.get %1\nlocal.get %2\nmemory.fill 0"
                   :
                   : "r"(to), "r"(value), "r"(bytes)
                   : "memory");
  return to;
}
#else
void* memcpy(void* restrict to, const void* restrict from, size_t bytes) {
  char* out = to;
  const char* in = from;
#if defined(__x86_64__)
  __asm__ volatile("rep movsb" : "+D"(out), "+S"(in), "+c"(bytes) : : "memory");
#else
  for (size_t i = 0; i < bytes; ++i) {
    out[i] = in[i];
    __asm__ volatile("" : : : "memory");  // or this loop would become a call of itself
  }
#endif
  return to;
}

void* memset(void* to, int value, size_t bytes) {
  char* out = to;
#if defined(__x86_64__)
  __asm__ volatile("rep stosb" : "+D"(out), "+c"(bytes) : "a"(value) : "memory");
#else
  for (size_t i = 0; i < bytes; ++i) {
    out[i] = (char)value;
    __asm__ volatile("" : : : "memory");
  }
#endif
  return to;
}
#endif

// ------------------------------------------------------------------------------------- messages

typedef struct Text {
  char* begin;
  size_t size, length;
} Text;

static void say(Text* to, const char* what) {
  for (; *what && to->length + 1 < to->size; ++what) to->begin[to->length++] = *what;
  if (to->size) to->begin[to->length] = 0;
}

static void say_number(Text* to, Word number) {
  char digits[24];
  int place = sizeof digits - 1;
  uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  digits[place] = 0;
  do digits[--place] = (char)('0' + rest % 10);
  while (rest /= 10);
  if (number < 0) digits[--place] = '-';
  say(to, digits + place);
}

static bool same_text(const char* a, const char* b) {
  while (*a && *a == *b) ++a, ++b;
  return *a == *b;
}

// ----------------------------------------------------------------------------------- the system

#if defined(__linux__) && !defined(TIGON_WITHOUT_SYSTEM)
enum { kHasSystem = 1 };

static Word system_call(Word number, Word a, Word b, Word c, Word d, Word e, Word f) {
#if defined(__x86_64__)
  Word result;
  register Word r10 __asm__("r10") = d;
  register Word r8 __asm__("r8") = e;
  register Word r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register Word x8 __asm__("x8") = number;
  register Word x0 __asm__("x0") = a;
  register Word x1 __asm__("x1") = b;
  register Word x2 __asm__("x2") = c;
  register Word x3 __asm__("x3") = d;
  register Word x4 __asm__("x4") = e;
  register Word x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
#endif
}

#if defined(__x86_64__)
enum { kOpenAt = 257, kClose = 3, kSeek = 8, kMap = 9, kUnmap = 11, kAdvise = 28 };
#else
enum { kOpenAt = 56, kClose = 57, kSeek = 62, kMap = 222, kUnmap = 215, kAdvise = 233 };
#endif
enum { kHere = -100, kCloseOnExec = 02000000, kToEnd = 2 };
enum { kRead = 1, kWrite = 2, kPrivate = 2, kAnonymous = 32 };

static void release_pages(const void* block, size_t bytes) {
  system_call(kUnmap, (Word)block, (Word)bytes, 0, 0, 0, 0);
}

// Blocks of 2 MiB and more begin on a huge page and ask for such, as in `memory/storage.cpp`.
static void* pages(size_t bytes) {
  enum { kHugePage = 2 << 20, kPage = 4096, kHugePages = 14 };
  bool is_huge = bytes >= kHugePage;
  Word length = (Word)bytes + (is_huge ? kHugePage : 0);
  Word made = system_call(kMap, 0, length, kRead | kWrite, kPrivate | kAnonymous, -1, 0);
  if (made < 0 && made > -4096) return NULL;
  if (!is_huge) return (void*)made;
  Word start = (made + kHugePage - 1) / kHugePage * kHugePage;
  Word end = (start + (Word)bytes + kPage - 1) / kPage * kPage;
  if (start > made) release_pages((void*)made, (size_t)(start - made));
  if (made + length > end) release_pages((void*)end, (size_t)(made + length - end));
  system_call(kAdvise, start, (Word)bytes, kHugePages, 0, 0, 0);
  return (void*)start;
}

static const void* map_file(const char* path, size_t* bytes) {
  Word file = system_call(kOpenAt, kHere, (Word)path, kCloseOnExec, 0, 0, 0);
  if (file < 0) return NULL;
  Word size = system_call(kSeek, file, 0, kToEnd, 0, 0, 0);
  Word made = -1;
  if (size > 0) made = system_call(kMap, 0, size, kRead, kPrivate, file, 0);
  system_call(kClose, file, 0, 0, 0, 0, 0);
  if (made < 0 && made > -4096) return NULL;
  *bytes = (size_t)size;
  return (const void*)made;
}
#elif defined(__wasm__)
enum { kHasSystem = 1, kWasmPage = 65536 };

// What is not taken of the module's memory, in order of addresses; no two pieces touch.
typedef struct Free {
  struct Free* next;
  size_t bytes;
} Free;

static Free* free_memory;
static bool has_begun;

static size_t whole_lines(size_t bytes) { return (bytes + kAlignment - 1) & ~(kAlignment - 1u); }

static void release_pages(const void* block, size_t bytes) {
  Free* own = (Free*)(size_t)block;
  Free** place = &free_memory;
  Free* before = NULL;
  for (; *place && *place < own; place = &(*place)->next) before = *place;
  own->bytes = whole_lines(bytes);
  own->next = *place;
  *place = own;
  if (own->next && (char*)own + own->bytes == (char*)own->next) {
    own->bytes += own->next->bytes;
    own->next = own->next->next;
  }
  if (before && (char*)before + before->bytes == (char*)own) {
    before->bytes += own->bytes;
    before->next = own->next;
  }
}

static void* pages(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return NULL;
  size_t wanted = whole_lines(bytes ? bytes : 1);
  if (!has_begun) {
    size_t begin = whole_lines((size_t)model_end);
    size_t end = __builtin_wasm_memory_size(0) * kWasmPage;
    has_begun = true;
    if (end > begin) release_pages((void*)begin, end - begin);
  }
  for (int turn = 0; turn < 2; ++turn) {
    for (Free** place = &free_memory; *place; place = &(*place)->next) {
      Free* own = *place;
      if (own->bytes < wanted) continue;
      own->bytes -= wanted;
      if (!own->bytes) *place = own->next;
      return (char*)own + own->bytes;  // its end: the piece stays in its place
    }
    size_t count = (wanted + kWasmPage - 1) / kWasmPage;
    size_t made = turn ? SIZE_MAX : __builtin_wasm_memory_grow(0, count);
    if (made == SIZE_MAX) return NULL;
    release_pages((void*)(made * kWasmPage), count * kWasmPage);
  }
  return NULL;
}

static const void* map_file(const char* path, size_t* bytes) { return path && bytes ? NULL : NULL; }
#else
enum { kHasSystem = 0 };

static void* pages(size_t bytes) { return bytes ? NULL : NULL; }
static void release_pages(const void* block, size_t bytes) { (void)block, (void)bytes; }
static const void* map_file(const char* path, size_t* bytes) { return path && bytes ? NULL : NULL; }
#endif

// -------------------------------------------------------------------------------- the processor

#if defined(__x86_64__)
static bool processor_has(const char* wanted) {
  static const struct {
    char name[16];
    uint32_t leaf, part;
    int word, bit, registers;
  } features[] = {
#define TIGON_ROW(...) {__VA_ARGS__},
      TIGON_FEATURES(TIGON_ROW)
#undef TIGON_ROW
  };
  for (size_t i = 0; i < sizeof features / sizeof *features; ++i) {
    if (!same_text(features[i].name, wanted)) continue;
    uint32_t words[4] = {0, 0, 0, 0};
    uint64_t saved = 0;
    if (!__get_cpuid_count(1, 0, &words[0], &words[1], &words[2], &words[3])) return false;
    if (words[kEcx] >> kXgetbv & 1) {
      uint32_t low, high;
      __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
      saved = (uint64_t)high << 32 | low;
    }
    uint64_t needed = features[i].registers == kZmm   ? kZmmSaved
                      : features[i].registers == kYmm ? kYmmSaved
                                                      : 0;
    if (!__get_cpuid_count(features[i].leaf, features[i].part, &words[0], &words[1], &words[2],
                           &words[3]))
      return false;
    return words[features[i].word] >> features[i].bit & 1 && (saved & needed) == needed;
  }
  // What every processor of this architecture has is in no table.
  static const char always[][8] = {"cx8", "fxsr", "mmx", "sse", "sse2", "x87"};
  for (size_t i = 0; i < sizeof always / sizeof *always; ++i)
    if (same_text(always[i], wanted)) return true;
  return false;
}
#elif defined(__wasm__)
static bool processor_has(const char* wanted) { return *wanted != 0; }  // or it were not compiled
#else
static bool processor_has(const char* wanted) {
  return same_text(wanted, "fp-armv8") || same_text(wanted, "neon");
}
#endif

// ------------------------------------------------------------------------------------- instances

typedef struct Running {  // a launch as it is to be run
  const int64_t* slots;
  int64_t points, grain;
  size_t scratch;
  Kernel kernel;
} Running;

typedef struct Part Part;

typedef struct Controlled {
  Part* body;
  Part* other;
  size_t block;  // bytes from the begin of memory: see `run_loop`
  size_t bytes;
  int64_t most;
  int64_t* row_bytes;
  int64_t* state_bytes;
  void** in;
  void** out;
  void** stacks;
} Controlled;

struct Part {  // a program of this instance
  const Word* program;
  Running* launches;
  Controlled** controls;  // of each launch; null where it is a kernel
  int64_t** slots;        // room for them
  size_t* sizes;          // of temporaries, as reserved
  size_t* offsets;
  size_t arena;  // bytes from the begin of memory
  void** buffers;
};

struct model_instance {
  model_options options;
  const Word* model;
  const Word* level;
  const char* code;
  const char* weights;
  const void* mapped;
  size_t mapped_bytes;
  size_t bytes;  // of this block
  char* memory;  // arenas, scratch, states that move later
  size_t memory_bytes;
  size_t scratch_bytes, scratch_at;  // of each worker
  int64_t* largest;
  int64_t* extents;
  const Word* way;  // what is solved, or null
  Part* part;       // its program
  Part** parts;     // of all ways
  char** states;
  size_t* later;  // where states are made that move at the end
  void** inputs;
  void** outputs;
  int64_t key[2];
  int32_t workers;
  int32_t notice;  // 1 more than the number of what a run has noticed; 0: nothing
  Text error;
  char message[kMessage];
};

static int32_t fail(Text* error, int32_t status, const char* what) {
  error->length = 0;
  say(error, what);
  return status;
}

// ----------------------------------------------------------------------------------- formulas

static Word floor_divided(Word a, Word b) {
  Word quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

// Saturates: sizes that do not fit are refused as too large.
static Word times(Word a, Word b) {
  uint64_t left = a < 0 ? 0 - (uint64_t)a : (uint64_t)a;
  uint64_t right = b < 0 ? 0 - (uint64_t)b : (uint64_t)b;
  if (left && right > INT64_MAX / left) return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
  return a * b;
}

static Word plus(Word a, Word b) {
  Word result;
  if (!__builtin_add_overflow(a, b, &result)) return result;
  return a > 0 ? INT64_MAX : INT64_MIN;
}

static Word value_of(Word formula, const int64_t* extents) {
  const Word* next = at(formula);
  Word total = 0;
  for (Word terms = *next++; terms; --terms) {
    Word product = *next++;
    for (Word factors = *next++; factors; --factors, next += 3) {
      if (next[0] == kTheExtent) {
        product = times(product, extents[next[1]]);
        continue;
      }
      Word a = value_of(next[1], extents), b = value_of(next[2], extents);
      Word quotient = b ? floor_divided(a, b) : 0;
      product = times(product, next[0] == kQuotient ? quotient : b ? a - quotient * b : 0);
    }
    total = plus(total, product);
  }
  return total;
}

static bool holds(const Word* condition, const int64_t* extents) {
  Word value = value_of(condition[kConditionFormula], extents);
  bool found = condition[kConditionTest] == kIsZero       ? value == 0
               : condition[kConditionTest] == kIsNegative ? value < 0
                                                          : value <= 0;
  return found == (condition[kConditionAnswer] != 0);
}

static const Word* first_broken(Word count, Word place, const int64_t* extents) {
  const Word* condition = at(place);
  for (; count; --count, condition += kConditionSize)
    if (!holds(condition, extents)) return condition;
  return NULL;
}

// -------------------------------------------------------------------------------- memory plans

static size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

static const Word* temporary(const Word* program, Word number) {
  return at(program[kProgramTemporariesAt]) + number * kTemporarySize;
}

static bool meet(const Word* a, const Word* b) {
  return a[kTemporaryFirst] <= b[kTemporaryLast] && b[kTemporaryFirst] <= a[kTemporaryLast];
}

// Whether `taker` may lie where `source` does, which ends as it begins.
static bool hands_over(const Word* program, const size_t* sizes, Word source, Word taker) {
  const Word *from = temporary(program, source), *to = temporary(program, taker);
  if (from[kTemporaryLast] != to[kTemporaryFirst] || from[kTemporaryFirst] >= to[kTemporaryFirst] ||
      sizes[taker] > sizes[source])
    return false;
  const Word* shares = at(to[kTemporarySharesAt]);
  for (Word i = 0; i < to[kTemporaryShares]; ++i)
    if (shares[i] == source) return true;
  return false;
}

static bool fits_over(const Word* program, const size_t* sizes, const size_t* offsets,
                      const Word* placed, Word count, Word own, size_t start) {
  for (Word i = 0; i < count; ++i) {
    Word rival = placed[i];
    if (!meet(temporary(program, rival), temporary(program, own)) || !sizes[rival]) continue;
    if (offsets[rival] >= start + sizes[own] || offsets[rival] + sizes[rival] <= start) continue;
    if (offsets[rival] == start &&
        (hands_over(program, sizes, rival, own) || hands_over(program, sizes, own, rival)))
      continue;
    return false;
  }
  return true;
}

// Large ones first, each in the place of one that hands over or that it hands over to, else in the
// tightest gap; `placed` is room for their numbers, in order of offsets. Returns the bytes of all.
static size_t arrange(const Word* program, const size_t* sizes, size_t* offsets, Word* placed) {
  Word all = program[kProgramTemporaries], count = 0;
  size_t total = 0;
  for (Word i = 0; i < all; ++i) offsets[i] = SIZE_MAX;
  for (Word turn = 0; turn < all; ++turn) {
    Word own = -1;
    for (Word i = 0; i < all; ++i)
      if (offsets[i] == SIZE_MAX && (own < 0 || sizes[i] > sizes[own])) own = i;
    size_t start = SIZE_MAX;
    for (Word i = 0; i < count && start == SIZE_MAX; ++i) {
      Word partner = placed[i];
      if ((hands_over(program, sizes, partner, own) || hands_over(program, sizes, own, partner)) &&
          fits_over(program, sizes, offsets, placed, count, own, offsets[partner]))
        start = offsets[partner];
    }
    if (start == SIZE_MAX) {
      size_t top = 0, best = SIZE_MAX;
      for (Word i = 0; i < count; ++i) {
        Word rival = placed[i];
        if (!sizes[rival] || !meet(temporary(program, rival), temporary(program, own))) continue;
        if (offsets[rival] > top && offsets[rival] - top >= sizes[own] &&
            offsets[rival] - top < best) {
          best = offsets[rival] - top;
          start = top;
        }
        if (offsets[rival] + sizes[rival] > top) top = offsets[rival] + sizes[rival];
      }
      if (start == SIZE_MAX) start = top;
    }
    offsets[own] = start;
    if (start + sizes[own] > total) total = start + sizes[own];
    Word place = count++;
    for (; place && offsets[placed[place - 1]] > start; --place) placed[place] = placed[place - 1];
    placed[place] = own;
  }
  return total;
}

// ------------------------------------------------------------------------------------- building

// Memory for what does not change its size; without a begin it only counts.
typedef struct Room {
  char* begin;
  size_t used;
} Room;

static void* take(Room* room, size_t bytes) {
  size_t place = room->used;
  room->used += aligned(bytes);
  return room->begin ? room->begin + place : NULL;
}

static const Word* launch_of(const Word* program, Word number) {
  return at(program[kProgramLaunchesAt]) + number * kLaunchSize;
}

static const Word* choice_of(const Word* launch, Word number) {
  return at(launch[kLaunchChoicesAt]) + number * kChoiceSize;
}

static Part* build(Room* room, const Word* program);

static Controlled* build_control(Room* room, const Word* control) {
  Controlled* made = take(room, sizeof *made);
  Word states = control[kControlStates], rows = control[kControlData] + control[kControlOuts];
  Word inputs = control[kControlData] + states + control[kControlOthers] + 1;
  int64_t* row_bytes = take(room, (size_t)rows * sizeof(int64_t));
  int64_t* state_bytes = take(room, (size_t)states * sizeof(int64_t));
  void** in = take(room, (size_t)inputs * sizeof(void*));
  void** out = take(room, (size_t)(control[kControlOuts] + states) * sizeof(void*));
  void** stacks = take(room, (size_t)states * sizeof(void*));
  Part* body = build(room, at(control[kControlBody]));
  Part* other = control[kControlOther] ? build(room, at(control[kControlOther])) : NULL;
  if (!room->begin) return NULL;
  *made = (Controlled){body, other, 0, 0, 0, row_bytes, state_bytes, in, out, stacks};
  return made;
}

static Part* build(Room* room, const Word* program) {
  size_t launches = (size_t)program[kProgramLaunches];
  size_t temporaries = (size_t)program[kProgramTemporaries];
  Part* part = take(room, sizeof *part);
  Part made = {.program = program};
  made.launches = take(room, launches * sizeof(Running));
  made.controls = take(room, launches * sizeof(void*));
  made.slots = take(room, launches * sizeof(void*));
  made.sizes = take(room, temporaries * sizeof(size_t));
  made.offsets = take(room, temporaries * sizeof(size_t));
  size_t buffers = 0;
  for (size_t i = 0; i < launches; ++i) {
    const Word* launch = launch_of(program, (Word)i);
    Word most = 0;
    for (Word n = 0; n < launch[kLaunchChoices]; ++n) {
      Word slots = choice_of(launch, n)[kChoiceSlots];
      most = slots > most ? slots : most;
    }
    int64_t* slots = take(room, (size_t)most * sizeof(int64_t));
    Controlled* control = NULL;
    if (launch[kLaunchControl]) control = build_control(room, at(launch[kLaunchControl]));
    if (room->begin) {
      made.slots[i] = slots;
      made.controls[i] = control;
    }
    if ((size_t)launch[kLaunchBuffers] > buffers) buffers = (size_t)launch[kLaunchBuffers];
  }
  made.buffers = take(room, buffers * sizeof(void*));
  if (room->begin) *part = made;
  return part;
}

// Memory that depends on extents, as far as it is taken: bytes, and the scratch of one worker.
typedef struct Reserved {
  size_t bytes, scratch;
  bool is_too_large;
} Reserved;

static const Word kMostBytes = (Word)(SIZE_MAX / 4);

static size_t reserve(Reserved* reserved, Word bytes) {
  size_t place = reserved->bytes;
  if (bytes < 0 || bytes > kMostBytes || (Word)place > kMostBytes)
    reserved->is_too_large = true;
  else
    reserved->bytes += aligned((size_t)bytes);
  return place;
}

static void reserve_part(Part* part, const int64_t* extents, Reserved* reserved, Word* placed);

static void reserve_control(Controlled* own, const Word* control, const int64_t* extents,
                            Reserved* reserved, Word* placed) {
  Word states = control[kControlStates], rows = control[kControlData] + control[kControlOuts];
  for (Word i = 0; i < rows; ++i)
    own->row_bytes[i] = value_of(at(control[kControlRowsAt])[i], extents);
  Word bytes = 2 * kAlignment;  // a truth value, and a key
  for (Word i = 0; i < states; ++i) {
    own->state_bytes[i] = value_of(at(control[kControlBytesAt])[i], extents);
    bytes = plus(bytes, times(2, plus(own->state_bytes[i], kAlignment)));
  }
  own->most = value_of(control[kControlMost], extents);
  if (!placed) {
    if (bytes > (Word)own->bytes) reserved->is_too_large = true;
  } else {
    own->bytes = (size_t)bytes;
    own->block = reserve(reserved, bytes);
  }
  reserve_part(own->body, extents, reserved, placed);
  if (own->other) reserve_part(own->other, extents, reserved, placed);
}

// With `placed`: decide where everything lies. Without: see that it still fits there.
static void reserve_part(Part* part, const int64_t* extents, Reserved* reserved, Word* placed) {
  const Word* program = part->program;
  for (Word i = 0; i < program[kProgramTemporaries]; ++i) {
    Word bytes = value_of(temporary(program, i)[kTemporaryBytes], extents);
    if (bytes < 0 || bytes > kMostBytes) {
      reserved->is_too_large = true;
      return;
    }
    if (placed)
      part->sizes[i] = aligned((size_t)bytes);
    else if ((size_t)bytes > part->sizes[i])
      reserved->is_too_large = true;
  }
  if (placed) {
    size_t bytes = arrange(program, part->sizes, part->offsets, placed);
    part->arena = reserve(reserved, (Word)bytes);
  }
  for (Word i = 0; i < program[kProgramLaunches]; ++i) {
    const Word* launch = launch_of(program, i);
    if (launch[kLaunchControl]) {
      reserve_control(part->controls[i], at(launch[kLaunchControl]), extents, reserved, placed);
      continue;
    }
    for (Word n = 0; placed && n < launch[kLaunchChoices]; ++n) {
      Word scratch = value_of(choice_of(launch, n)[kChoiceScratch], extents);
      if (scratch > kMostBytes) reserved->is_too_large = true;
      if (scratch > 0 && (size_t)scratch > reserved->scratch) reserved->scratch = (size_t)scratch;
    }
  }
}

static Word most_temporaries(const Word* program) {
  Word most = program[kProgramTemporaries];
  for (Word i = 0; i < program[kProgramLaunches]; ++i) {
    Word place = launch_of(program, i)[kLaunchControl];
    if (!place) continue;
    for (int which = kControlBody; which <= kControlOther; ++which) {
      Word within = at(place)[which] ? most_temporaries(at(at(place)[which])) : 0;
      most = within > most ? within : most;
    }
  }
  return most;
}

// ------------------------------------------------------------------------------------- solving

static void say_extents(model_instance* own, const int64_t* extents) {
  const Word* row = at(own->model[kModelExtentsAt]);
  for (Word i = 0; i < own->model[kModelExtents]; ++i, row += kExtentSize) {
    if (i) say(&own->error, ", ");
    say(&own->error, text(row[kExtentName]));
    say(&own->error, " = ");
    say_number(&own->error, extents[i]);
  }
}

static int32_t refuse_extents(model_instance* own, const int64_t* extents, const Word* condition,
                              const char* who) {
  own->error.length = 0;
  say(&own->error, who);
  say(&own->error, ": expected ");
  say(&own->error, condition ? text(condition[kConditionText]) : "sizes below the largest");
  say(&own->error, "; given ");
  say_extents(own, extents);
  say(&own->error, condition ? "; there is no code for that: export with such a size"
                             : "; create an instance with larger ones");
  return MODEL_BAD_EXTENT;
}

static int64_t slot_of(Word form, Word number, const int64_t* extents) {
  union {
    double real;
    int64_t bits;
  } value = {.bits = number};
  if (form == kWhole) value.bits = value_of(number, extents);
  if (form == kReal) value.real = (double)value_of(number, extents);
  if (form == kShare) {
    value.bits = at(number)[0];
    value.real /= (double)value_of(at(number)[1], extents);
  }
  return value.bits;
}

static int32_t solve(model_instance* own, Part* part, const int64_t* extents) {
  const Word* program = part->program;
  const Word* broken =
      first_broken(program[kProgramConditions], program[kProgramConditionsAt], extents);
  if (broken) return refuse_extents(own, extents, broken, text(own->model[kModelName]));
  for (Word i = 0; i < program[kProgramLaunches]; ++i) {
    const Word* launch = launch_of(program, i);
    if (launch[kLaunchControl]) {
      Controlled* control = part->controls[i];
      int32_t status = solve(own, control->body, extents);
      if (!status && control->other) status = solve(own, control->other, extents);
      if (status) return status;
      continue;
    }
    const Word* choice = NULL;
    for (Word n = 0; n < launch[kLaunchChoices] && !choice; ++n) {
      const Word* each = choice_of(launch, n);
      broken = first_broken(each[kChoiceConditions], each[kChoiceConditionsAt], extents);
      if (!broken) choice = each;
    }
    if (!choice) return refuse_extents(own, extents, broken, text(launch[kLaunchName]));
    const Word* slots = at(choice[kChoiceSlotsAt]);
    for (Word n = 0; n < choice[kChoiceSlots]; ++n)
      part->slots[i][n] = slot_of(slots[2 * n], slots[2 * n + 1], extents);
    Running* running = &part->launches[i];
    running->slots = part->slots[i];
    running->points = value_of(choice[kChoicePoints], extents);
    running->grain = choice[kChoiceGrain];
    Word scratch = value_of(choice[kChoiceScratch], extents);
    if (scratch > (Word)own->scratch_bytes) return refuse_extents(own, extents, NULL, "scratch");
    running->scratch = (size_t)scratch;
    running->kernel = (Kernel)(Word)(own->code + choice[kChoiceFunction]);
  }
  return MODEL_OK;
}

// ------------------------------------------------------------------------------------- running

enum { kMostChunks = 128, kFirstNotice = 64, kDetails = 4 };

typedef struct Work {
  const Running* running;
  void* const* buffers;
  char* scratch;
  size_t scratch_bytes;
  int64_t size;
  int32_t status, notice;
  int64_t details[kDetails];
} Work;

static void run_points(Work* work, int64_t begin, int64_t end, int32_t worker) {
  const Running* running = work->running;
  void* scratch = work->scratch + (size_t)worker * work->scratch_bytes;
  int32_t status = running->kernel(work->buffers, running->slots, scratch, begin, end);
  int32_t none = 0;
  if (status >= kFirstNotice)
    __atomic_store_n(&work->notice, status - kFirstNotice + 1, __ATOMIC_RELAXED);
  if (status == 0 || status >= kFirstNotice ||
      !__atomic_compare_exchange_n(&work->status, &none, status, false, __ATOMIC_ACQ_REL,
                                   __ATOMIC_RELAXED))
    return;
  if (running->scratch >= sizeof work->details)
    memcpy(work->details, scratch, sizeof work->details);
}

static void run_chunk(void* opaque, int64_t index, int32_t worker) {
  Work* work = opaque;
  int64_t begin = index * work->size, end = begin + work->size;
  if (__atomic_load_n(&work->status, __ATOMIC_RELAXED)) return;
  run_points(work, begin, end < work->running->points ? end : work->running->points, worker);
}

static void say_failure(Text* error, const Work* work) {
  const int64_t* details = work->details;
  if (work->status == 5) {
    say(error, details[3] < 0 ? "expected a number of elements up to " : "index ");
    say_number(error, details[3] < 0 ? details[1] - 1 : details[0]);
    if (details[3] < 0) {
      say(error, "; given ");
      say_number(error, details[0]);
      return;
    }
    say(error, " is out of bounds for axis ");
    say_number(error, details[3]);
    say(error, " with size ");
    say_number(error, details[1]);
    return;
  }
  switch (work->status) {
  case 1:
    say(error, "an index is out of range; check the indices against the shape of the data");
    return;
  case 2:
    say(error, "integer division by zero; check the divisor");
    return;
  case 3:
    say(error, "a value is outside the operator's domain; check the input");
    return;
  default:
    say(error, "the kernel stopped with status ");
    say_number(error, work->status);
  }
}

static bool run_kernel(model_instance* own, const Word* launch, const Running* running,
                       void* const* buffers) {
  if (running->points <= 0) return true;
  Work work = {running, buffers, own->memory + own->scratch_at, own->scratch_bytes, 0, 0, 0, {0}};
  int64_t chunks = running->grain > 0 ? running->points / running->grain : 1;
  chunks = chunks < 1 ? 1 : chunks > kMostChunks ? kMostChunks : chunks;
  if (own->options.parallel_for && chunks > 1) {
    work.size = (running->points + chunks - 1) / chunks;
    chunks = (running->points + work.size - 1) / work.size;
    own->options.parallel_for(own->options.context, chunks, run_chunk, &work);
  } else {
    run_points(&work, 0, running->points, 0);
  }
  if (work.notice) own->notice = work.notice;
  if (!work.status) return true;
  say(&own->error, text(launch[kLaunchName]));
  say(&own->error, ": ");
  say_failure(&own->error, &work);
  return false;
}

static bool run_part(model_instance* own, Part* part, void* const* inputs, void* const* outputs);

// The key that programs within draw from, as in `program/control.cpp`.
static int64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (int64_t)(z ^ (z >> 31));
}

static void inner_key(int64_t seed, int64_t counter, int64_t* made) {
  uint64_t counted = (uint64_t)mixed((uint64_t)counter + 0x9E3779B97F4A7C15u);
  made[0] = mixed((uint64_t)seed ^ counted);
  made[1] = 0;
}

static char* row(void* begin, int64_t number, int64_t bytes) {
  return (char*)begin + number * bytes;
}

static void within(model_instance* own, const char* name, const char* what, int64_t number) {
  // Said from the inside out: the message so far comes last.
  char rest[kMessage];
  memcpy(rest, own->message, kMessage);
  own->error.length = 0;
  say(&own->error, name);
  say(&own->error, ": ");
  say(&own->error, what);
  if (number >= 0) say_number(&own->error, number);
  say(&own->error, ": ");
  say(&own->error, rest);
}

static bool run_choice(model_instance* own, const Word* launch, const Word* control,
                       Controlled* part, void* const* buffers) {
  bool taken = *(const unsigned char*)buffers[0] != 0;
  Word others = control[kControlOthers], keyed = control[kControlKeyed];
  for (Word i = 0; i < others + keyed; ++i) part->in[i] = buffers[1 + i];
  if (keyed) {
    const int64_t* key = buffers[1 + others];
    int64_t* inner = (int64_t*)(void*)(own->memory + part->block + kAlignment);
    inner_key(key[0], key[1] + control[kControlOrdinal], inner);
    part->in[others] = inner;
  }
  Part* which = taken ? part->body : part->other;
  if (run_part(own, which, part->in, buffers + 1 + others + keyed)) return true;
  within(own, text(launch[kLaunchName]), taken ? "where it holds" : "where it does not hold", -1);
  return false;
}

// As in `program/control.cpp`, over memory that is there.
static bool run_loop(model_instance* own, const Word* launch, const Word* control, Controlled* part,
                     void* const* buffers) {
  bool conditional = control[kControlKind] == kWhile, reverse = control[kControlReverse] != 0;
  Word data = control[kControlData], states = control[kControlStates];
  Word others = control[kControlOthers], outs = control[kControlOuts];
  const Word* kept = at(control[kControlKeptAt]);
  const char* name = text(launch[kLaunchName]);
  void* const* next = buffers + data + states + others;
  int64_t count = part->most;
  if (control[kControlCounted]) {
    int64_t given = *(const int64_t*)*next++;
    count = given < 0 ? 0 : given < count ? given : count;
  }
  int64_t key[2] = {0, 0};
  if (control[kControlKeyed]) {
    const int64_t* given = *next++;
    inner_key(given[0], given[1] + control[kControlOrdinal], key);
  }
  void* const* rows = next;
  void* const* last = rows + outs;
  next = last + states;

  char* block = own->memory + part->block;
  unsigned char* truth = (unsigned char*)block;
  int64_t* own_key = (int64_t*)(void*)(block + kAlignment);
  char* turns = block + 2 * kAlignment;  // two of each state that is not kept
  void** in = part->in;
  for (Word i = 0; i < states + others; ++i) in[data + i] = buffers[data + i];
  void** current = in + data;
  for (Word i = 0; i < states; ++i) {
    if (!kept[i]) continue;
    part->stacks[i] = *next++;
    if (!count) continue;
    char* first = row(part->stacks[i], reverse ? count - 1 : 0, part->state_bytes[i]);
    memcpy(first, current[i], (size_t)part->state_bytes[i]);
    current[i] = first;
  }
  if (control[kControlKeyed]) in[data + states + others] = own_key;

  int64_t made = 0;
  for (; made < count; ++made) {
    int64_t number = reverse ? count - 1 - made : made;
    if (control[kControlKeyed]) inner_key(key[0], number, own_key);
    if (conditional) {
      void* decides = truth;
      if (!run_part(own, part->other, in, &decides)) {
        within(own, name, "condition before iteration ", number);
        return false;
      }
      if (!*truth) break;
    }
    for (Word i = 0; i < data; ++i) in[i] = row(buffers[i], number, part->row_bytes[i]);
    for (Word i = 0; i < outs; ++i) part->out[i] = row(rows[i], number, part->row_bytes[data + i]);
    char* turn = turns;
    for (Word i = 0; i < states; ++i) {
      size_t bytes = aligned((size_t)part->state_bytes[i]);
      if (made + 1 == count)
        part->out[outs + i] = last[i];
      else if (kept[i])
        part->out[outs + i] =
            row(part->stacks[i], reverse ? number - 1 : number + 1, part->state_bytes[i]);
      else
        part->out[outs + i] = turn + (made % 2 ? bytes : 0);
      turn += 2 * bytes;
    }
    if (!run_part(own, part->body, in, part->out)) {
      within(own, name, "iteration ", number);
      return false;
    }
    for (Word i = 0; i < states; ++i) current[i] = part->out[outs + i];
  }
  for (Word i = 0; i < states; ++i)
    if (current[i] != last[i]) memcpy(last[i], current[i], (size_t)part->state_bytes[i]);
  for (Word i = 0; i < outs - control[kControlLoose] && made < part->most; ++i) {
    int64_t bytes = part->row_bytes[data + i];
    memset(row(rows[i], made, bytes), 0, (size_t)((part->most - made) * bytes));
  }
  if (conditional) *(int64_t*)*next = made;
  return true;
}

static bool run_part(model_instance* own, Part* part, void* const* inputs, void* const* outputs) {
  const Word* program = part->program;
  const Word* constants = at(program[kProgramConstantsAt]);
  const Word* launch = at(program[kProgramLaunchesAt]);
  for (Word i = 0; i < program[kProgramLaunches]; ++i, launch += kLaunchSize) {
    const Word* place = at(launch[kLaunchBuffersAt]);
    void** buffers = part->buffers;
    for (Word n = 0; n < launch[kLaunchBuffers]; ++n, place += 2) {
      switch (place[0]) {
      case kSpaceInput:
        buffers[n] = inputs[place[1]];
        break;
      case kSpaceOutput:
        buffers[n] = outputs[place[1]];
        break;
      case kSpaceTemporary:
        buffers[n] = own->memory + part->arena + part->offsets[place[1]];
        break;
      case kSpaceConstant:
        buffers[n] = (void*)(Word)at(constants[place[1]]);
        break;
      default:
        buffers[n] = own->memory + part->arena;
      }
    }
    bool is_done;
    if (!launch[kLaunchControl]) {
      is_done = run_kernel(own, launch, &part->launches[i], buffers);
    } else {
      const Word* control = at(launch[kLaunchControl]);
      bool chooses = control[kControlKind] == kChooses;
      is_done = (chooses ? run_choice : run_loop)(own, launch, control, part->controls[i], buffers);
    }
    if (!is_done) return false;
  }
  return true;
}

// ----------------------------------------------------------------------------- weights' digest

// A sum over all words, each mixed with its place, and the sum of all sums on the way: as fast as
// memory is read, and it tells files apart that are not made to deceive. The last word is filled up
// with zeros.
static void digest(const unsigned char* content, size_t bytes, uint64_t* low, uint64_t* high) {
  uint64_t a = bytes, b = 0, place = 0x9E3779B97F4A7C15u;
  for (size_t i = 0; i < bytes; i += 8, place += 0x9E3779B97F4A7C15u) {
    uint64_t word = 0;
    if (bytes - i >= 8)
      __builtin_memcpy(&word, content + i, 8);
    else
      for (size_t n = 0; n < bytes - i; ++n) word |= (uint64_t)content[i + n] << 8 * n;
    uint64_t z = (word ^ place) * 0xBF58476D1CE4E5B9u;
    a += z ^ z >> 32;
    b += a;
  }
  *low = a;
  *high = b;
}

// ------------------------------------------------------------------------------------ interface

#define PUBLIC __attribute__((visibility("default")))

static void* allocate(const model_options* options, size_t bytes) {
  return options->allocate ? options->allocate(options->context, bytes) : pages(bytes);
}

static void release(const model_options* options, void* block, size_t bytes) {
  if (!block) return;
  if (options->allocate)
    options->release(options->context, block, bytes);
  else
    release_pages(block, bytes);
}

static void release_all(model_instance* own) {
  if (own->mapped) release_pages(own->mapped, own->mapped_bytes);
  release(&own->options, own->memory, own->memory_bytes);
  model_options options = own->options;
  release(&options, own, own->bytes);
}

static const Word* fit_level(const Word* model, const char* wanted, Text* error) {
  const Word* level = at(model[kModelLevelsAt]);
  const char* lacking = "";
  bool is_known = false;
  for (Word i = 0; i < model[kModelLevels]; ++i, level += kLevelSize) {
    if (wanted && !same_text(wanted, text(level[kLevelName]))) continue;
    is_known = true;
    const Word* features = at(level[kLevelFeaturesAt]);
    Word n = 0;
    while (n < level[kLevelFeatures] && processor_has(text(features[n]))) ++n;
    if (n == level[kLevelFeatures]) return level;
    lacking = text(features[n]);
  }
  fail(error, 0, text(model[kModelName]));
  if (!is_known) {
    say(error, ": there is no code of level ");
    say(error, wanted);
  } else {
    say(error, ": this processor has no ");
    say(error, lacking);
    say(error, "; export with a lower level");
  }
  return NULL;
}

static int32_t find_weights(model_instance* own, Text* error) {
  const Word* model = own->model;
  if (!model[kModelApart]) {
    own->weights = tables() + model[kModelDistance];
    return MODEL_OK;
  }
  const void* content = own->options.weights;
  size_t bytes = own->options.weights_bytes;
  if (!content) {
    if (!own->options.weights_path)
      return fail(error, MODEL_BAD_WEIGHTS,
                  "expected weights_path, or weights; given neither, and they are not inside");
    content = own->mapped = map_file(own->options.weights_path, &bytes);
    own->mapped_bytes = bytes;
    if (!content) {
      fail(error, 0, own->options.weights_path);
      say(error, ": cannot be read");
      return MODEL_BAD_WEIGHTS;
    }
  }
  uint64_t low = 0, high = 0;
  if ((Word)bytes == model[kModelBytes]) digest(content, bytes, &low, &high);
  if (low != (uint64_t)model[kModelDigest] || high != (uint64_t)model[kModelDigestHigh]) {
    fail(error, 0, own->options.weights ? "weights" : own->options.weights_path);
    say(error, ": expected the file that was exported with this library; given another one");
    return MODEL_BAD_WEIGHTS;
  }
  own->weights = (const char*)content + model[kModelBegin];
  return MODEL_OK;
}

static bool check_options(const model_options* options, Text* error) {
  const char* wrong = NULL;
  if (!options->allocate != !options->release)
    wrong = "allocate and release: expected both, or neither; given one";
  else if (!options->allocate && !kHasSystem)
    wrong = "allocate and release: expected functions; this library asks no system for memory";
  else if (options->workers < 0)
    wrong = "workers: expected 0 or more; given a negative number";
  else if (options->parallel_for && !options->workers)
    wrong = "workers: expected how many parallel_for has; given 0";
  if (wrong) fail(error, 0, wrong);
  return !wrong;
}

// Decide where everything lies for the largest extents, and take the memory.
static int32_t take_memory(model_instance* own, Text* error) {
  const Word* model = own->model;
  const Word* level = own->level;
  Word temporaries = 0;
  for (Word i = 0; i < level[kLevelWays]; ++i) {
    Word most = most_temporaries(own->parts[i]->program);
    temporaries = most > temporaries ? most : temporaries;
  }
  size_t numbers_bytes = ((size_t)temporaries + 1) * sizeof(Word);
  Word* placed = allocate(&own->options, numbers_bytes);
  if (!placed) return fail(error, MODEL_NO_MEMORY, "there is no memory for an instance");
  Reserved reserved = {0, 0, false};
  size_t most = 0;
  for (Word i = 0; i < level[kLevelWays]; ++i) {  // one at a time runs: all in one place
    reserved.bytes = 0;
    reserve_part(own->parts[i], own->largest, &reserved, placed);
    most = reserved.bytes > most ? reserved.bytes : most;
  }
  reserved.bytes = most;
  release(&own->options, placed, numbers_bytes);
  const Word* state = at(model[kModelStatesAt]);
  for (Word i = 0; i < 2 * model[kModelStates]; ++i) {
    Word bytes = value_of(state[i / 2 * kArraySize + kArrayBytes], own->largest);
    size_t place = reserve(&reserved, bytes);
    if (i % 2)
      own->later[i / 2] = place;
    else
      own->states[i / 2] = (char*)place;
  }
  own->scratch_bytes = aligned(reserved.scratch);
  own->scratch_at =
      reserve(&reserved, (Word)own->scratch_bytes * (own->workers ? own->workers : 1));
  if (reserved.is_too_large)
    return fail(error, MODEL_BAD_EXTENT, "largest: expected sizes whose arrays fit into memory");
  own->memory_bytes = reserved.bytes + kAlignment;
  own->memory = allocate(&own->options, own->memory_bytes);
  if (!own->memory) {
    fail(error, 0, "there is no memory for ");
    say_number(error, (Word)own->memory_bytes);
    say(error, " bytes of intermediate results");
    return MODEL_NO_MEMORY;
  }
  if ((Word)own->memory % kAlignment)
    return fail(error, MODEL_BAD_ARGUMENT, "allocate: expected memory at a multiple of 64 bytes");
  for (Word i = 0; i < model[kModelStates]; ++i, state += kArraySize) {
    own->states[i] = own->memory + (size_t)own->states[i];
    memcpy(own->states[i], own->weights + state[kArrayPlace],
           (size_t)value_of(state[kArrayBytes], own->largest));
  }
  return MODEL_OK;
}

PUBLIC int32_t model_create(const model_options* given, model_instance** made) {
  if (!made) return MODEL_BAD_ARGUMENT;
  *made = NULL;
  // Options of another header have their message elsewhere, if they have one.
  if (!given || given->size != sizeof *given) return MODEL_BAD_ARGUMENT;
  Text error = {given->message, given->message ? given->message_bytes : 0, 0};
  say(&error, "");
  if (!check_options(given, &error)) return MODEL_BAD_ARGUMENT;
  const Word* model = at(0);
  const Word* level = fit_level(model, given->level, &error);
  if (!level) return MODEL_UNFIT_MACHINE;

  const Word* ways = at(level[kLevelWaysAt]);
  size_t extents = (size_t)model[kModelExtents], states = (size_t)model[kModelStates];
  size_t sources = 0, targets = 0, count = (size_t)level[kLevelWays];
  for (size_t i = 0; i < count; ++i) {
    const Word* way = ways + i * kWaySize;
    if ((size_t)way[kWaySources] > sources) sources = (size_t)way[kWaySources];
    if ((size_t)way[kWayTargets] > targets) targets = (size_t)way[kWayTargets];
  }
  model_instance* own = NULL;
  Room room = {NULL, 0};
  for (int turn = 0; turn < 2; ++turn) {  // count, then take
    model_instance* block = take(&room, sizeof *block);
    int64_t* numbers = take(&room, 2 * extents * sizeof(int64_t));
    char** places = take(&room, states * sizeof(char*));
    size_t* later = take(&room, states * sizeof(size_t));
    void** inputs = take(&room, sources * sizeof(void*));
    void** outputs = take(&room, targets * sizeof(void*));
    Part** parts = take(&room, count * sizeof(void*));
    for (size_t i = 0; i < count; ++i) {
      Part* part = build(&room, at(ways[i * kWaySize + kWayProgram]));
      if (room.begin) parts[i] = part;
    }
    if (!room.begin) {
      room.begin = allocate(given, room.used);
      if (!room.begin) return fail(&error, MODEL_NO_MEMORY, "there is no memory for an instance");
      memset(room.begin, 0, room.used);
      own = (model_instance*)(void*)room.begin;
      own->bytes = room.used;
      room.used = 0;
      continue;
    }
    own->largest = numbers;
    own->extents = numbers + extents;
    own->states = places;
    own->later = later;
    own->inputs = inputs;
    own->outputs = outputs;
    own->parts = parts;
  }
  own->options = *given;
  own->model = model;
  own->level = level;
  own->code = tables() + level[kLevelCode];
  own->workers = given->workers;
  own->key[0] = given->seed;
  own->error = (Text){own->message, kMessage, 0};
  int32_t status = MODEL_OK;
  for (size_t i = 0; i < extents; ++i) {
    const Word* extent = at(model[kModelExtentsAt]) + (Word)i * kExtentSize;
    own->largest[i] = given->largest ? given->largest[i] : extent[kExtentLikely];
    if (own->largest[i] < 1) {
      fail(&error, 0, "largest: expected 1 or more for ");
      say(&error, text(extent[kExtentName]));
      status = MODEL_BAD_EXTENT;
    }
  }
  if (!status) status = find_weights(own, &error);
  if (!status) status = take_memory(own, &error);
  if (status) {
    release_all(own);
    return status;
  }
  *made = own;
  return MODEL_OK;
}

PUBLIC void model_destroy(model_instance* own) {
  if (own) release_all(own);
}

PUBLIC const char* model_last_error(const model_instance* own) {
  return own ? own->message : "expected an instance; given a null pointer";
}

static void say_shape(Text* error, Word dimensions, const int64_t* shape) {
  say(error, "(");
  for (Word i = 0; i < dimensions; ++i) {
    if (i) say(error, ", ");
    say_number(error, shape[i]);
  }
  say(error, dimensions == 1 ? ",)" : ")");
}

static const char* dtype_name(Word dtype) {
  static const char names[][9] = {"float32", "float64", "float16", "uint8", "int32",
                                  "int8",    "int64",   "bool",    "int16", "uint16",
                                  "uint32",  "uint64",  "bfloat16"};
  return dtype >= 0 && dtype < 13 ? names[dtype] : "no dtype";
}

// The extent that an axis is, if it is one and nothing else.
static Word extent_of(Word formula) {
  const Word* terms = at(formula);
  bool is_one = terms[0] == 1 && terms[1] == 1 && terms[2] == 1 && terms[3] == kTheExtent;
  return is_one ? terms[4] : -1;
}

static int32_t refuse_array(model_instance* own, const Word* row, const char* what) {
  own->error.length = 0;
  say(&own->error, text(row[kArrayName]));
  say(&own->error, what);
  return MODEL_BAD_ARGUMENT;
}

static int32_t check_memory(model_instance* own, const Word* row, const model_array* array,
                            Word bytes) {
  if (bytes > 0 && !array->data) return refuse_array(own, row, ": data is a null pointer");
  if (bytes > 0 && (Word)array->bytes < bytes) {
    refuse_array(own, row, ": expected memory of ");
    say_number(&own->error, bytes);
    say(&own->error, " bytes; given ");
    say_number(&own->error, (Word)array->bytes);
    return MODEL_BAD_ARGUMENT;
  }
  if ((Word)array->data % row[kArrayItem])
    return refuse_array(own, row, ": data does not lie at a multiple of its element's size");
  return MODEL_OK;
}

static int32_t check_inputs(model_instance* own, const model_array* inputs, int64_t* extents) {
  const Word* model = own->model;
  for (Word i = 0; i < model[kModelExtents]; ++i) extents[i] = -1;
  for (int turn = 0; turn < 2; ++turn) {  // first what extents are, then the rest by them
    const Word* row = at(model[kModelInputsAt]);
    for (Word i = 0; i < model[kModelInputs]; ++i, row += kArraySize) {
      const model_array* array = &inputs[i];
      bool fits = array->dtype == row[kArrayDtype] && array->dimensions == row[kArrayDimensions];
      const Word* shape = at(row[kArrayShapeAt]);
      for (Word n = 0; fits && n < row[kArrayDimensions]; ++n) {
        Word extent = extent_of(shape[n]);
        if (!turn && extent >= 0 && extents[extent] < 0 && array->shape[n] >= 1)
          extents[extent] = array->shape[n];
        if (turn) fits = array->shape[n] == value_of(shape[n], extents);
        if (turn && extent >= 0 && extents[extent] < 1) fits = false;
      }
      if (!fits) {
        refuse_array(own, row, ": expected ");
        say(&own->error, dtype_name(row[kArrayDtype]));
        say(&own->error, " of shape (");
        for (Word n = 0; n < row[kArrayDimensions]; ++n) {
          Word extent = extent_of(shape[n]);
          if (n) say(&own->error, ", ");
          if (extent >= 0)
            say(&own->error, text(at(model[kModelExtentsAt])[extent * kExtentSize + kExtentName]));
          else
            say_number(&own->error, value_of(shape[n], extents));
        }
        say(&own->error, row[kArrayDimensions] == 1 ? ",); given " : "); given ");
        say(&own->error, dtype_name(array->dtype));
        say(&own->error, " of shape ");
        Word most = array->dimensions <= MODEL_MOST_DIMENSIONS ? array->dimensions : 0;
        say_shape(&own->error, most, array->shape);
        return MODEL_BAD_ARGUMENT;
      }
      if (turn) {
        int32_t status = check_memory(own, row, array, value_of(row[kArrayBytes], extents));
        if (status) return status;
      }
    }
  }
  return MODEL_OK;
}

static int32_t prepare(model_instance* own, const int64_t* extents) {
  bool is_same = own->way != NULL;
  for (Word i = 0; i < own->model[kModelExtents]; ++i) {
    is_same = is_same && own->extents[i] == extents[i];
    if (extents[i] > own->largest[i]) return refuse_extents(own, extents, NULL, "extents");
  }
  if (is_same) return MODEL_OK;
  own->way = NULL;
  const Word* way = at(own->level[kLevelWaysAt]);
  for (Word i = 0; i < own->level[kLevelWays] && !own->way; ++i, way += kWaySize) {
    if (solve(own, own->parts[i], extents)) continue;
    own->way = way;
    own->part = own->parts[i];
  }
  if (!own->way) return solve(own, own->parts[0], extents);  // what the first way lacks is said
  own->error.length = 0;
  say(&own->error, "");
  Reserved reserved = {0, 0, false};
  reserve_part(own->part, extents, &reserved, NULL);
  if (reserved.is_too_large) {
    own->way = NULL;
    return refuse_extents(own, extents, NULL, "intermediate results");
  }
  for (Word i = 0; i < own->model[kModelExtents]; ++i) own->extents[i] = extents[i];
  return MODEL_OK;
}

static void* row_of_schedule(model_instance* own, const Word* weight) {
  Word rows = value_of(at(weight[kArrayShapeAt])[0], NULL);
  Word turn = *(int64_t*)(void*)own->states[own->model[kModelUpdates]];
  turn = turn < 0 ? 0 : turn < rows ? turn : rows - 1;
  Word bytes = value_of(weight[kArrayBytes], NULL) / rows;
  return (void*)(Word)(own->weights + weight[kArrayPlace] + turn * bytes);
}

static int32_t run(model_instance* own, const model_array* inputs, model_array* outputs) {
  const Word* model = own->model;
  int64_t extents[kMostExtents];
  int32_t status = check_inputs(own, inputs, extents);
  if (!status) status = prepare(own, extents);
  if (status) return status;
  bool only_shapes = false;
  const Word* row = at(model[kModelOutputsAt]);
  for (Word i = 0; i < model[kModelOutputs]; ++i, row += kArraySize) {
    model_array* array = &outputs[i];
    const Word* shape = at(row[kArrayShapeAt]);
    array->dtype = (int32_t)row[kArrayDtype];
    array->dimensions = (int32_t)row[kArrayDimensions];
    for (Word n = 0; n < row[kArrayDimensions]; ++n) array->shape[n] = value_of(shape[n], extents);
    Word bytes = value_of(row[kArrayBytes], extents);
    only_shapes = only_shapes || (!array->data && bytes);
    if (array->data) status = check_memory(own, row, array, bytes);
    if (status) return status;
  }
  if (only_shapes) return MODEL_OK;

  const Word* way = own->way;
  const Word* source = at(way[kWaySourcesAt]);
  int64_t key[2] = {own->key[0], own->key[1]};
  for (Word i = 0; i < way[kWaySources]; ++i, source += 2) {
    Word number = source[1];
    const Word* weight = at(model[kModelWeightsAt]) + number * kArraySize;
    own->inputs[i] = source[0] == kFromInput    ? inputs[number].data
                     : source[0] == kFromWeight ? (void*)(Word)(own->weights + weight[kArrayPlace])
                     : source[0] == kFromState  ? own->states[number]
                     : source[0] == kFromSchedule ? row_of_schedule(own, weight)
                                                  : (void*)key;
  }
  const Word* target = at(way[kWayTargetsAt]);
  for (Word i = 0; i < way[kWayTargets]; ++i, target += 2) {
    Word number = target[1];
    own->outputs[i] = target[0] == kToOutput  ? outputs[number].data
                      : target[0] == kToState ? own->states[number]
                                              : own->memory + own->later[number];
  }
  own->notice = 0;
  if (!run_part(own, own->part, own->inputs, own->outputs)) return MODEL_FAILED;
  if (own->notice > 0 && own->notice <= model[kModelNotices])
    say(&own->error, text(at(model[kModelNoticesAt])[own->notice - 1]));
  target = at(way[kWayTargetsAt]);
  for (Word i = 0; i < way[kWayTargets]; ++i, target += 2) {
    if (target[0] != kToStateLater) continue;
    const Word* state = at(model[kModelStatesAt]) + target[1] * kArraySize;
    memcpy(own->states[target[1]], own->outputs[i], (size_t)value_of(state[kArrayBytes], extents));
  }
  own->key[1] += model[kModelDraws];
  if (model[kModelUpdates] >= 0) ++*(int64_t*)(void*)own->states[model[kModelUpdates]];
  return MODEL_OK;
}

PUBLIC int32_t model_run(model_instance* own, const model_array* inputs, model_array* outputs) {
  if (!own) return MODEL_BAD_ARGUMENT;
  fail(&own->error, 0, "");
  if ((!inputs && own->model[kModelInputs]) || !outputs)
    return fail(&own->error, MODEL_BAD_ARGUMENT,
                inputs ? "outputs: expected an array for each output; given a null pointer"
                       : "inputs: expected an array for each input; given a null pointer");
  return run(own, inputs, outputs);
}

static void describe_array(const Word* row, model_description* made) {
  const Word* shape = at(row[kArrayShapeAt]);
  made->name = text(row[kArrayName]);
  made->dtype = (int32_t)row[kArrayDtype];
  made->dimensions = (int32_t)row[kArrayDimensions];
  for (Word i = 0; i < row[kArrayDimensions]; ++i) {
    const Word* terms = at(shape[i]);
    Word extent = extent_of(shape[i]);
    bool is_plain = !terms[0] || (terms[0] == 1 && terms[2] == 0);
    made->shape[i] = is_plain ? value_of(shape[i], NULL) : extent >= 0 ? -1 - extent : -1000;
  }
}

PUBLIC int32_t model_describe(int32_t kind, int32_t index, model_description* made) {
  if (!made) return MODEL_BAD_ARGUMENT;
  memset(made, 0, sizeof *made);
  static const unsigned char lists[] = {kModelInputs, kModelOutputs, kModelExtents,
                                        kModelStates, kModelWeights, kModelLevels};
  const Word* model = at(0);
  if (kind < 0 || kind > MODEL_LEVEL || index < 0 || index >= model[lists[kind]])
    return MODEL_NO_SUCH;
  const Word* rows = at(model[lists[kind] + 1]);
  if (kind == MODEL_EXTENT) {
    made->name = text(rows[index * kExtentSize + kExtentName]);
    made->shape[0] = rows[index * kExtentSize + kExtentLikely];
  } else if (kind == MODEL_LEVEL) {
    made->name = text(rows[index * kLevelSize + kLevelName]);
  } else {
    const Word* row = rows + index * kArraySize;
    describe_array(row, made);
    if (kind == MODEL_STATE || kind == MODEL_WEIGHT)
      made->bytes = (size_t)value_of(row[kArrayBytes], NULL);
  }
  return MODEL_OK;
}

PUBLIC int32_t model_state(model_instance* own, int32_t index, model_array* state) {
  if (!own) return MODEL_BAD_ARGUMENT;
  if (!state) return fail(&own->error, MODEL_BAD_ARGUMENT, "state: given a null pointer");
  model_description described;
  if (model_describe(MODEL_STATE, index, &described))
    return fail(&own->error, MODEL_NO_SUCH, "state: there is none of that number");
  fail(&own->error, 0, "");
  state->data = own->states[index];
  state->bytes = described.bytes;
  state->dtype = described.dtype;
  state->dimensions = described.dimensions;
  memcpy(state->shape, described.shape, sizeof state->shape);
  return MODEL_OK;
}

PUBLIC int32_t model_seed(model_instance* own, int64_t seed) {
  if (!own) return MODEL_BAD_ARGUMENT;
  fail(&own->error, 0, "");
  own->key[0] = seed;
  own->key[1] = 0;
  return MODEL_OK;
}

#if defined(__wasm__)
// What `model.js` knows of this: where fields lie, and memory for what it hands in.
_Static_assert(sizeof(model_options) == 64 && offsetof(model_options, weights) == 12 &&
                   offsetof(model_options, seed) == 24 && offsetof(model_options, message) == 52,
               "options");
_Static_assert(sizeof(model_array) == 80 && offsetof(model_array, shape) == 16, "arrays");

PUBLIC void* model_allocate(size_t bytes) { return pages(bytes); }
PUBLIC void model_release(void* block, size_t bytes) {
  if (block) release_pages(block, bytes);
}
#endif
