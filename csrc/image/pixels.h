// Images as bytes: what is between a decoder and a batch, without Python.
//
// Images are rows of pixels; a pixel's channels lie side by side. Steps are in bytes, and may be
// negative.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tigon {

// Pixels of three bytes from such of four, whose fourth is padding; last channel first if reversed.
void drop_padding(const uint8_t* from, size_t pixels, bool reversed, uint8_t* to);

struct Bytes {
  const uint8_t* first;
  int64_t height, width, channels;
  int64_t row_step, pixel_step;
};

// to[channel][row][column] = table[channel][the byte there]: what is done number by number to
// bytes is known of all 256. Entries have 1, 2, 4 or 8 bytes.
void look_up(const Bytes& image, const void* table, size_t entry_size, void* to);

// Where along an axis each new number begins, and the weights of the old ones from there on: those
// of one tap, then those of the next. Beyond the edge the last pixel goes on.
struct Taps {
  int64_t size, count;
  const int64_t* first;
  const float* weights;
};

// Sums along columns, then along rows, tap by tap in float32, each product rounded; null where the
// size stays. Bytes are rounded to the nearest. `row_step` of the image is in elements.
template <class T>
void resample(const T* image, int64_t height, int64_t width, int64_t channels, int64_t row_step,
              const Taps* rows, const Taps* columns, T* to);

// Whole pixels, from the rows and columns that are named.
void pick(const char* image, int64_t row_step, size_t pixel_size, const int64_t* rows,
          int64_t height, const int64_t* columns, int64_t width, char* to);

}  // namespace tigon
