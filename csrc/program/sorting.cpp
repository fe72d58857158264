#include "program/sorting.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

namespace tigon {
namespace {

// ------------------------------------------------------------------------------ keys
//
// What elements are compared by: integers in the order of the elements. Signed ones, since x86
// compares only these in vectors.

template <class T>
struct Key;

template <class T>
  requires std::is_integral_v<T>
struct Key<T> {
  using type = std::make_signed_t<T>;
  static type of(T x) {
    constexpr auto kSign = std::is_signed_v<T> ? type(0) : std::numeric_limits<type>::min();
    return static_cast<type>(static_cast<type>(x) ^ kSign);
  }
};

// NaN has no place in an order: it counts as infinity. Both zeros are equal.
template <class T>
  requires std::is_floating_point_v<T>
struct Key<T> {
  using type = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  static type of(T x) {
    constexpr type kInfinity = std::bit_cast<type>(std::numeric_limits<T>::infinity());
    constexpr type kMagnitude = std::numeric_limits<type>::max();
    type bits = std::bit_cast<type>(x + T(0));
    type key = bits ^ ((bits >> (8 * sizeof(T) - 1)) & kMagnitude);
    return (bits & kMagnitude) > kInfinity ? kInfinity : key;
  }
};

template <class T>
using KeyOf = typename Key<T>::type;

// The other order is that of the complements.
template <class T>
KeyOf<T> key_of(T x, KeyOf<T> turned) {
  return static_cast<KeyOf<T>>(Key<T>::of(x) ^ turned);
}

// ------------------------------------------------------------------------------ records
//
// A key and where it was. No two are equal, so whatever compares them whole keeps equal elements as
// they were.

struct Narrow {  // one integer, where 32 bits suffice for both
  uint64_t both;
  Narrow() = default;
  template <class K>
  Narrow(K key, int64_t place)
      : both(uint64_t(unsigned_of(key)) << 32 | static_cast<uint32_t>(place)) {}
  template <class K>
  static std::make_unsigned_t<K> unsigned_of(K key) {
    return static_cast<std::make_unsigned_t<K>>(key ^ std::numeric_limits<K>::min());
  }
  uint64_t key() const { return both >> 32; }
  int64_t place() const { return static_cast<uint32_t>(both); }
  bool operator<(const Narrow& other) const { return both < other.both; }
};

struct Wide {
  uint64_t bits;
  int64_t where;
  Wide() = default;
  template <class K>
  Wide(K key, int64_t place) : bits(Narrow::unsigned_of(key)), where(place) {}
  uint64_t key() const { return bits; }
  int64_t place() const { return where; }
  bool operator<(const Wide& other) const {
    return bits < other.bits || (bits == other.bits && where < other.where);
  }
};

// ------------------------------------------------------------------------------ orders

constexpr int64_t kInserted = 24;         // so few are inserted one by one
constexpr int64_t kWideDigits = 4096;     // from so many on a table of 2**11 counts is worth it
constexpr int64_t kSelected = 8;          // a smaller part of a line than this is looked for
constexpr int64_t kLooked = 32;           // elements that are compared at once
constexpr int64_t kLeastCandidates = 64;  // that are collected before worse ones are dropped

template <class Record>
void write_places(int64_t* to, const Record* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i].place();
}

template <class Record>
void insert_each(Record* records, int64_t count) {
  for (int64_t i = 1; i < count; ++i) {
    Record moved = records[i];
    int64_t at = i;
    for (; at && moved < records[at - 1]; --at) records[at] = records[at - 1];
    records[at] = moved;
  }
}

// By digits of the keys, the last first; digits that all have in common are passed over. The last
// pass writes positions.
template <int kBits, int kKeyBits, class Record>
void order_by_digits(int64_t* to, Record* records, Record* other, int64_t extent, int64_t count) {
  constexpr int kDigits = (kKeyBits + kBits - 1) / kBits;
  constexpr uint64_t kMask = (uint64_t(1) << kBits) - 1;
  static_assert(kDigits * kBits - kBits < 64);
  using Counts = std::array<uint64_t, kMask + 1>;
  std::array<Counts, kDigits> counts{};
  for (int64_t i = 0; i < extent; ++i) {
    uint64_t key = records[i].key();
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][key >> (digit * kBits) & kMask];
  }
  int told[kDigits], passes = 0;
  uint64_t first = records[0].key();
  for (int digit = 0; digit < kDigits; ++digit) {
    if (counts[digit][first >> (digit * kBits) & kMask] != static_cast<uint64_t>(extent))
      told[passes++] = digit;
  }
  if (!passes) return write_places(to, records, count);
  for (int pass = 0; pass < passes; ++pass) {
    int shift = told[pass] * kBits;
    Counts& begins = counts[told[pass]];
    uint64_t begin = 0;
    for (uint64_t& place : begins) begin += std::exchange(place, begin);
    if (pass + 1 < passes) {
      for (int64_t i = 0; i < extent; ++i)
        other[begins[records[i].key() >> shift & kMask]++] = records[i];
      std::swap(records, other);
    } else if (count == extent) {
      for (int64_t i = 0; i < extent; ++i)
        to[begins[records[i].key() >> shift & kMask]++] = records[i].place();
    } else {
      for (int64_t i = 0; i < extent; ++i) {
        uint64_t at = begins[records[i].key() >> shift & kMask]++;
        if (at < static_cast<uint64_t>(count)) to[at] = records[i].place();
      }
    }
  }
}

template <int kKeyBits, class Record>
void order_records(int64_t* to, Record* records, Record* other, int64_t extent, int64_t count) {
  if (extent <= kInserted) {
    insert_each(records, extent);
    write_places(to, records, count);
  } else if (extent < kWideDigits || kKeyBits < 11) {
    order_by_digits<8, kKeyBits>(to, records, other, extent, count);
  } else {
    order_by_digits<11, kKeyBits>(to, records, other, extent, count);
  }
}

// Few of many: candidates are collected, and of these the worse ones dropped whenever there are
// twice as many as wanted. What is no better than the worst wanted one so far is passed over, and
// that is soon almost everything.
template <class T, class Record>
class Selection {
 public:
  Selection(Record* candidates, int64_t wanted, KeyOf<T> turned)
      : candidates_(candidates), wanted_(wanted), room_(room(wanted)), turned_(turned) {}

  static int64_t room(int64_t wanted) { return std::max(2 * wanted, kLeastCandidates) + kLooked; }

  int64_t of(const T* line, int64_t extent) {
    int64_t done = std::min(wanted_, extent);
    for (int64_t i = 0; i < done; ++i) take(line[i], i);
    drop();
    for (; done + kLooked <= extent; done += kLooked) {
      if (any(line + done)) {
        for (int64_t i = done; i < done + kLooked; ++i) take(line[i], i);
        if (count_ + kLooked > room_) drop();
      }
    }
    for (; done < extent; ++done) take(line[done], done);
    drop();
    return count_;
  }

 private:
  bool any(const T* part) const {
    KeyOf<T> found = 0;
    for (int64_t i = 0; i < kLooked; ++i)
      found |= static_cast<KeyOf<T>>(key_of(part[i], turned_) < worst_);
    return found;
  }

  void take(T element, int64_t place) {
    KeyOf<T> key = key_of(element, turned_);
    candidates_[count_] = Record(key, place);
    count_ += !full_ || key < worst_;
  }

  void drop() {
    if (count_ < wanted_) return;
    std::nth_element(candidates_, candidates_ + wanted_ - 1, candidates_ + count_);
    count_ = wanted_;
    full_ = true;
    uint64_t key = candidates_[wanted_ - 1].key();
    worst_ =
        static_cast<KeyOf<T>>(static_cast<KeyOf<T>>(key) ^ std::numeric_limits<KeyOf<T>>::min());
  }

  Record* candidates_;
  int64_t wanted_, room_, count_ = 0;
  KeyOf<T> turned_, worst_ = 0;
  bool full_ = false;
};

template <class T>
bool selects(const int64_t* numbers) {
  return numbers[1] * kSelected < numbers[0];
}

// Records that a call has in its scratch memory, in two blocks.
template <class T>
int64_t record_count(const int64_t* numbers) {
  return selects<T>(numbers) ? Selection<T, Wide>::room(numbers[1]) : numbers[0];
}

template <class T>
bool is_narrow(const int64_t* numbers) {
  return sizeof(T) <= 4 && numbers[0] <= int64_t(std::numeric_limits<uint32_t>::max());
}

template <class T, class Record>
void order_line(const T* line, int64_t* to, const int64_t* numbers, void* scratch) {
  int64_t extent = numbers[0], count = numbers[1];
  KeyOf<T> turned = numbers[2] ? KeyOf<T>(0) : static_cast<KeyOf<T>>(-1);
  Record* records = static_cast<Record*>(scratch);
  Record* other = records + record_count<T>(numbers);
  if (selects<T>(numbers)) {
    extent = count ? Selection<T, Record>(records, count, turned).of(line, extent) : 0;
  } else {
    for (int64_t i = 0; i < extent; ++i) records[i] = Record(key_of(line[i], turned), i);
  }
  // Selected ones are in disorder, and equal ones among them no longer as they were.
  if (selects<T>(numbers)) {
    std::sort(records, records + extent);
    write_places(to, records, count);
  } else if (extent) {
    order_records<8 * sizeof(T)>(to, records, other, extent, count);
  }
}

template <class T>
int32_t kernel(void* const* buffers, const int64_t* slots, void* scratch, int64_t begin,
               int64_t end) {
  const int64_t* numbers = slots + 1;
  const T* lines = static_cast<const T*>(buffers[0]);
  int64_t* places = static_cast<int64_t*>(buffers[1]);
  bool narrow = is_narrow<T>(numbers);
  for (int64_t point = begin; point < end; ++point) {
    auto order = narrow ? order_line<T, Narrow> : order_line<T, Wide>;
    order(lines + point * numbers[0], places + point * numbers[1], numbers, scratch);
  }
  return 0;
}

template <class T>
size_t scratch_of(const int64_t* numbers) {
  size_t each = is_narrow<T>(numbers) ? sizeof(Narrow) : sizeof(Wide);
  return 2 * each * static_cast<size_t>(record_count<T>(numbers));
}

template <class T>
RoutineKernel of() {
  return {kernel<T>, scratch_of<T>};
}

}  // namespace

std::map<int64_t, RoutineKernel> order_kernels() {
  return {{0, of<float>()},     {1, of<double>()},   {3, of<uint8_t>()}, {4, of<int32_t>()},
          {5, of<int8_t>()},    {6, of<int64_t>()},  {8, of<int16_t>()}, {9, of<uint16_t>()},
          {10, of<uint32_t>()}, {11, of<uint64_t>()}};
}

}  // namespace tigon
