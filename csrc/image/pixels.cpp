#include "image/pixels.h"

#include <algorithm>
#include <cstring>
#include <vector>

// The same code twice: for every machine, and with vectors of 32 bytes for those that have them.
// Products and sums stay apart on both (see CMakeLists.txt), so the results are the same.
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define TIGON_WIDE [[gnu::target("avx2")]]
#else
#define TIGON_WIDE
#endif
#define TIGON_INLINE [[gnu::always_inline]] inline

namespace tigon {

namespace {

bool has_wide_vectors() {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  static const bool found = __builtin_cpu_supports("avx2");
  return found;
#else
  return false;
#endif
}

// ------------------------------------------------------------------------------ look-ups

template <class Entry>
void look_up_as(const Bytes& image, const Entry* table, Entry* to) {
  const int64_t size = image.height * image.width;
  if (image.channels == 3) {
    const Entry *red = table, *green = table + 256, *blue = table + 512;
    for (int64_t row = 0; row < image.height; ++row) {
      const uint8_t* pixel = image.first + row * image.row_step;
      Entry* __restrict__ out = to + row * image.width;
      for (int64_t column = 0; column < image.width; ++column, pixel += image.pixel_step) {
        out[column] = red[pixel[0]];
        out[size + column] = green[pixel[1]];
        out[2 * size + column] = blue[pixel[2]];
      }
    }
    return;
  }
  for (int64_t row = 0; row < image.height; ++row) {
    for (int64_t channel = 0; channel < image.channels; ++channel) {
      const uint8_t* pixel = image.first + row * image.row_step + channel;
      const Entry* entries = table + 256 * channel;
      Entry* out = to + channel * size + row * image.width;
      for (int64_t column = 0; column < image.width; ++column, pixel += image.pixel_step)
        out[column] = entries[*pixel];
    }
  }
}

// -------------------------------------------------------------------------------- padding

TIGON_INLINE void drop_padding_as(const uint8_t* from, size_t pixels, bool reversed, uint8_t* to) {
  size_t done = 0;
#if defined(__GNUC__) || defined(__clang__)
  // Four pixels at a time; what is written beyond their twelve bytes the next four write over.
  using Vector = uint8_t __attribute__((vector_size(16)));
  for (; done + 6 <= pixels; done += 4) {
    Vector four;
    std::memcpy(&four, from + 4 * done, 16);
    four = reversed ? __builtin_shufflevector(four, four, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 0,
                                              0, 0, 0)
                    : __builtin_shufflevector(four, four, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0,
                                              0, 0, 0);
    std::memcpy(to + 3 * done, &four, 16);
  }
#endif
  for (; done < pixels; ++done) {
    const uint8_t* pixel = from + 4 * done;
    uint8_t* out = to + 3 * done;
    out[0] = pixel[reversed ? 2 : 0];
    out[1] = pixel[1];
    out[2] = pixel[reversed ? 0 : 2];
  }
}

TIGON_WIDE void drop_padding_wide(const uint8_t* from, size_t pixels, bool reversed, uint8_t* to) {
  drop_padding_as(from, pixels, reversed, to);
}

// ----------------------------------------------------------------------------- resampling

TIGON_INLINE int64_t inside(int64_t place, int64_t size) {
  return std::min(std::max<int64_t>(place, 0), size - 1);
}

TIGON_INLINE uint8_t rounded(float value) {
  return static_cast<uint8_t>(std::min(std::max(value + 0.5f, 0.0f), 255.0f));
}

template <class T>
struct Source {
  const T* image;
  int64_t height, width, channels, row_step;
  const T* row(int64_t number) const { return image + row_step * inside(number, height); }
};

// One row of sums along columns.
template <class T>
TIGON_INLINE void sum_rows(const Source<T>& from, const Taps& rows, int64_t row,
                           float* __restrict__ sums) {
  const int64_t length = from.width * from.channels;
  const int64_t first = rows.first[row];
  const T* old = from.row(first);
  const float weight = rows.weights[row];
  int64_t tap = 1;
  if (rows.count > 1) {  // two at once: sums are written, and read again, half as often
    const T* next = from.row(first + 1);
    const float other = rows.weights[rows.size + row];
    for (int64_t place = 0; place < length; ++place)
      sums[place] =
          static_cast<float>(old[place]) * weight + static_cast<float>(next[place]) * other;
    tap = 2;
  } else {
    for (int64_t place = 0; place < length; ++place)
      sums[place] = static_cast<float>(old[place]) * weight;
  }
  for (; tap + 1 < rows.count; tap += 2) {
    const T *one = from.row(first + tap), *two = from.row(first + tap + 1);
    const float a = rows.weights[rows.size * tap + row];
    const float b = rows.weights[rows.size * (tap + 1) + row];
    for (int64_t place = 0; place < length; ++place)
      sums[place] =
          (sums[place] + static_cast<float>(one[place]) * a) + static_cast<float>(two[place]) * b;
  }
  for (; tap < rows.count; ++tap) {
    const T* one = from.row(first + tap);
    const float a = rows.weights[rows.size * tap + row];
    for (int64_t place = 0; place < length; ++place)
      sums[place] = sums[place] + static_cast<float>(one[place]) * a;
  }
}

// Along a row of `sums`, which is followed by room for four numbers.
template <int64_t Channels>
TIGON_INLINE void sum_columns(const float* sums, int64_t channels, const Taps& columns,
                              const int64_t* places, float* to) {
  for (int64_t column = 0; column < columns.size; ++column) {
    if constexpr (Channels == 3) {
#if defined(__GNUC__) || defined(__clang__)
      using Four = float __attribute__((vector_size(16)));
      Four total{};
      for (int64_t tap = 0; tap < columns.count; ++tap) {
        Four old;
        std::memcpy(&old, sums + places[columns.size * tap + column], sizeof old);
        const float weight = columns.weights[columns.size * tap + column];
        const Four part = old * Four{weight, weight, weight, weight};
        total = tap ? total + part : part;
      }
      std::memcpy(to + 3 * column, &total, sizeof total);
      continue;
#endif
    }
    const int64_t many = Channels ? Channels : channels;
    for (int64_t channel = 0; channel < many; ++channel) {
      float total = 0;
      for (int64_t tap = 0; tap < columns.count; ++tap) {
        const float part = sums[places[columns.size * tap + column] + channel] *
                           columns.weights[columns.size * tap + column];
        total = tap ? total + part : part;
      }
      to[many * column + channel] = total;
    }
  }
}

template <class T>
TIGON_INLINE void store(const float* __restrict__ numbers, int64_t length, T* __restrict__ to) {
  if constexpr (sizeof(T) == 1) {
    for (int64_t place = 0; place < length; ++place) to[place] = rounded(numbers[place]);
  } else {
    std::memcpy(to, numbers, static_cast<size_t>(length) * sizeof(T));
  }
}

template <class T>
TIGON_INLINE void resample_as(const Source<T>& from, const Taps* rows, const Taps* columns, T* to) {
  const int64_t height = rows ? rows->size : from.height;
  const int64_t width = columns ? columns->size : from.width;
  const int64_t channels = from.channels;
  constexpr size_t kRoom = 4;  // for vectors that begin at the last pixel
  std::vector<float> sums(static_cast<size_t>(from.width * channels) + kRoom);
  std::vector<float> line(static_cast<size_t>(width * channels) + kRoom);
  std::vector<int64_t> places;
  if (columns) {
    places.resize(static_cast<size_t>(columns->size * columns->count));
    for (int64_t tap = 0; tap < columns->count; ++tap) {
      for (int64_t column = 0; column < columns->size; ++column)
        places[static_cast<size_t>(columns->size * tap + column)] =
            channels * inside(columns->first[column] + tap, from.width);
    }
  }
  for (int64_t row = 0; row < height; ++row) {
    if (rows) {
      sum_rows(from, *rows, row, sums.data());
    } else {
      const T* old = from.row(row);
      for (int64_t place = 0; place < from.width * channels; ++place)
        sums[static_cast<size_t>(place)] = static_cast<float>(old[place]);
    }
    const float* numbers = sums.data();
    if (columns) {
      if (channels == 3)
        sum_columns<3>(numbers, 3, *columns, places.data(), line.data());
      else if (channels == 1)
        sum_columns<1>(numbers, 1, *columns, places.data(), line.data());
      else
        sum_columns<0>(numbers, channels, *columns, places.data(), line.data());
      numbers = line.data();
    }
    store(numbers, width * channels, to + row * width * channels);
  }
}

template <class T>
TIGON_WIDE void resample_wide(const Source<T>& from, const Taps* rows, const Taps* columns, T* to) {
  resample_as(from, rows, columns, to);
}

template <size_t Size>
void pick_row(const char* from, const int64_t* columns, int64_t width, char* to) {
  for (int64_t column = 0; column < width; ++column)
    std::memcpy(to + static_cast<size_t>(column) * Size,
                from + columns[column] * static_cast<int64_t>(Size), Size);
}

}  // namespace

void drop_padding(const uint8_t* from, size_t pixels, bool reversed, uint8_t* to) {
  if (has_wide_vectors())
    drop_padding_wide(from, pixels, reversed, to);
  else
    drop_padding_as(from, pixels, reversed, to);
}

void look_up(const Bytes& image, const void* table, size_t entry_size, void* to) {
  switch (entry_size) {
  case 1:
    return look_up_as(image, static_cast<const uint8_t*>(table), static_cast<uint8_t*>(to));
  case 2:
    return look_up_as(image, static_cast<const uint16_t*>(table), static_cast<uint16_t*>(to));
  case 4:
    return look_up_as(image, static_cast<const uint32_t*>(table), static_cast<uint32_t*>(to));
  default:
    return look_up_as(image, static_cast<const uint64_t*>(table), static_cast<uint64_t*>(to));
  }
}

template <class T>
void resample(const T* image, int64_t height, int64_t width, int64_t channels, int64_t row_step,
              const Taps* rows, const Taps* columns, T* to) {
  const Source<T> from{image, height, width, channels, row_step};
  if (has_wide_vectors())
    resample_wide(from, rows, columns, to);
  else
    resample_as(from, rows, columns, to);
}

template void resample(const uint8_t*, int64_t, int64_t, int64_t, int64_t, const Taps*, const Taps*,
                       uint8_t*);
template void resample(const float*, int64_t, int64_t, int64_t, int64_t, const Taps*, const Taps*,
                       float*);

void pick(const char* image, int64_t row_step, size_t pixel_size, const int64_t* rows,
          int64_t height, const int64_t* columns, int64_t width, char* to) {
  const size_t length = static_cast<size_t>(width) * pixel_size;
  for (int64_t row = 0; row < height; ++row, to += length) {
    const char* from = image + rows[row] * row_step;
    if (row && rows[row] == rows[row - 1]) {
      std::memcpy(to, to - length, length);
      continue;
    }
    switch (pixel_size) {
    case 1:
      pick_row<1>(from, columns, width, to);
      break;
    case 3:
      pick_row<3>(from, columns, width, to);
      break;
    case 4:
      pick_row<4>(from, columns, width, to);
      break;
    case 12:
      pick_row<12>(from, columns, width, to);
      break;
    default:
      for (int64_t column = 0; column < width; ++column)
        std::memcpy(to + static_cast<size_t>(column) * pixel_size,
                    from + columns[column] * static_cast<int64_t>(pixel_size), pixel_size);
    }
  }
}

}  // namespace tigon
