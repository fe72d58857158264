#include "program/sorting.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <string>
#include <type_traits>
#include <utility>

#include "core/common.h"

namespace tigon {
namespace {

// Unsigned numbers in the order of the elements.
template <class T>
auto key_of(T element) {
  if constexpr (std::is_floating_point_v<T>) {
    using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    constexpr Bits sign = Bits(1) << (8 * sizeof(T) - 1);
    Bits bits = std::bit_cast<Bits>(element + T(0));  // -0.0 is 0.0
    return static_cast<Bits>(bits & sign ? ~bits : bits | sign);
  } else {
    using Bits = std::make_unsigned_t<T>;
    constexpr Bits sign = std::is_signed_v<T> ? Bits(1) << (8 * sizeof(T) - 1) : Bits(0);
    return static_cast<Bits>(static_cast<Bits>(element) ^ sign);
  }
}

template <class Bits>
struct Entry {
  Bits key;
  uint32_t place;
};

constexpr int kFew = 8, kMany = 11;  // bits of a digit: of short lines, and of long ones
constexpr int64_t kLong = 4096;

template <class Bits>
size_t counters(int64_t n) {
  int digit = n < kLong ? kFew : kMany;
  int digits = (8 * static_cast<int>(sizeof(Bits)) + digit - 1) / digit;
  return static_cast<size_t>(digits) << digit;
}

// By digits, the last first; each pass keeps the order that the passes before have made.
template <class T, int kDigit>
void order_line(const T* line, int64_t* out, int64_t n, bool descending, void* scratch) {
  using Bits = decltype(key_of(T()));
  constexpr int kDigits = (8 * static_cast<int>(sizeof(Bits)) + kDigit - 1) / kDigit;
  constexpr size_t kValues = size_t(1) << kDigit;
  auto* from = static_cast<Entry<Bits>*>(scratch);
  auto* to = from + n;
  auto* counts = reinterpret_cast<uint32_t*>(to + n);
  std::fill(counts, counts + kDigits * kValues, 0u);
  auto digit = [](Bits key, int number) {
    return static_cast<size_t>(key >> (number * kDigit)) & (kValues - 1);
  };
  for (int64_t i = 0; i < n; ++i) {
    Bits key = key_of(line[i]);
    if (descending) key = static_cast<Bits>(~key);
    from[i] = {key, static_cast<uint32_t>(i)};
    for (int number = 0; number < kDigits; ++number)
      ++counts[number * kValues + digit(key, number)];
  }
  for (int number = 0; number < kDigits; ++number) {
    uint32_t* place = counts + number * kValues;
    if (n && place[digit(from[0].key, number)] == n) continue;  // all have the same digit
    uint32_t sum = 0;
    for (size_t value = 0; value < kValues; ++value) {
      uint32_t count = place[value];
      place[value] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < n; ++i) to[place[digit(from[i].key, number)]++] = from[i];
    std::swap(from, to);
  }
  for (int64_t i = 0; i < n; ++i) out[i] = from[i].place;
}

template <class T>
struct Order {
  using Bits = decltype(key_of(T()));

  static int32_t kernel(void* const* buffers, const int64_t* slots, void* scratch, int64_t begin,
                        int64_t end) {
    int64_t n = slots[1];
    for (int64_t line = begin; line < end; ++line) {
      const T* given = static_cast<const T*>(buffers[0]) + line * n;
      int64_t* out = static_cast<int64_t*>(buffers[1]) + line * n;
      auto order = n < kLong ? order_line<T, kFew> : order_line<T, kMany>;
      order(given, out, n, slots[2] != 0, scratch);
    }
    return 0;
  }

  static size_t scratch(int64_t n) {
    return 2 * static_cast<size_t>(n) * sizeof(Entry<Bits>) + counters<Bits>(n) * sizeof(uint32_t);
  }
};

struct Chosen {
  Kernel kernel;
  size_t (*scratch)(int64_t n);
};

template <class T>
Chosen chosen() {
  return {Order<T>::kernel, Order<T>::scratch};
}

// In order of the codes; narrow floats are widened before.
Chosen of_dtype(int64_t dtype) {
  switch (dtype) {
  case 0:
    return chosen<float>();
  case 1:
    return chosen<double>();
  case 3:
    return chosen<uint8_t>();
  case 4:
    return chosen<int32_t>();
  case 5:
    return chosen<int8_t>();
  case 6:
    return chosen<int64_t>();
  case 8:
    return chosen<int16_t>();
  case 9:
    return chosen<uint16_t>();
  case 10:
    return chosen<uint32_t>();
  case 11:
    return chosen<uint64_t>();
  }
  throw InternalError("order: has no kernel for dtype code " + std::to_string(dtype));
}

}  // namespace

Kernel order_kernel(int64_t dtype) { return of_dtype(dtype).kernel; }

size_t order_scratch_bytes(int64_t dtype, const std::vector<int64_t>& numbers) {
  if (numbers.size() != 2) throw InternalError("order: takes an extent and a direction");
  if (numbers[0] > UINT32_MAX)
    throw UserError("order: sorts lines of up to " + std::to_string(UINT32_MAX) +
                    " elements; given " + std::to_string(numbers[0]) + "; sort parts of them");
  return of_dtype(dtype).scratch(numbers[0]);
}

}  // namespace tigon
