// What is done with the bytes of images, for Python: on buffers, without the GIL.
#include <cstring>
#include <optional>

#include "image/pixels.h"
#include "python/binding.h"

namespace tigon {
namespace {

using namespace nb::literals;

// An image or a table in memory that Python holds. What does not fit is a mistake of ours.
class Held {
 public:
  Held(nb::handle object, int ndim, bool writable) {
    int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &view_, flags)) throw nb::python_error();
    if (view_.ndim != ndim) {
      PyBuffer_Release(&view_);
      throw InternalError("an image's memory has another number of axes");
    }
  }
  ~Held() { PyBuffer_Release(&view_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  int64_t extent(int axis) const { return view_.shape[axis]; }
  int64_t step(int axis) const { return view_.strides[axis]; }
  size_t item() const { return static_cast<size_t>(view_.itemsize); }
  // 'B', 'f', ...
  char format() const { return view_.format ? view_.format[std::strlen(view_.format) - 1] : 'B'; }
  bool is_dense_from(int axis) const {
    int64_t expected = view_.itemsize;
    for (int place = view_.ndim - 1; place >= axis; --place) {
      if (extent(place) != 1 && step(place) != expected) return false;
      expected *= extent(place);
    }
    return true;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(view_.buf);
  }

 private:
  Py_buffer view_{};
};

void expect(bool condition, const char* what) {
  if (!condition) throw InternalError(std::string("the memory of an image: expected ") + what);
}

// Of the Arrow C data interface, what a decoder fills in for pixels of four bytes.
struct ArrowArray {
  int64_t length, null_count, offset, n_buffers, n_children;
  const void** buffers;
  ArrowArray** children;
};

void take_pixels(nb::handle capsule, nb::handle out, bool reversed) {
  auto* array = static_cast<ArrowArray*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array"));
  if (!array) throw nb::python_error();
  Held to(out, 3, true);
  const auto pixels = static_cast<size_t>(to.extent(0) * to.extent(1));
  expect(to.extent(2) == 3 && to.format() == 'B' && to.is_dense_from(0), "three bytes a pixel");
  expect(array->n_children == 1 && array->length == static_cast<int64_t>(pixels),
         "as many pixels as were decoded");
  const ArrowArray* bytes = array->children[0];
  expect(bytes->n_buffers == 2 && bytes->length == static_cast<int64_t>(4 * pixels),
         "four bytes of each decoded pixel");
  const uint8_t* first =
      static_cast<const uint8_t*>(bytes->buffers[1]) + 4 * array->offset + bytes->offset;
  GilReleased released;
  drop_padding(first, pixels, reversed, to.as<uint8_t>());
}

void look_up_bytes(nb::handle image, nb::handle table, nb::handle out) {
  Held from(image, 3, false), entries(table, 2, false), to(out, 3, true);
  expect(from.format() == 'B' && (from.extent(2) <= 1 || from.step(2) == 1), "bytes side by side");
  expect(entries.extent(0) == from.extent(2) && entries.extent(1) == 256 &&
             entries.is_dense_from(0),
         "256 entries for each channel");
  expect(to.extent(0) == from.extent(2) && to.extent(1) == from.extent(0) &&
             to.extent(2) == from.extent(1) && to.is_dense_from(0) && to.item() == entries.item(),
         "room for the image, channels first");
  const size_t item = to.item();
  expect(item == 1 || item == 2 || item == 4 || item == 8, "entries of 1, 2, 4 or 8 bytes");
  const Bytes bytes{from.as<const uint8_t>(), from.extent(0), from.extent(1),
                    from.extent(2),           from.step(0),   from.step(1)};
  GilReleased released;
  look_up(bytes, entries.as<const void>(), item, to.as<void>());
}

// First pixels (size,) of int64 and weights (taps, size) of float32, held while they are used.
struct HeldTaps {
  Held first, weights;
  HeldTaps(nb::handle pair)
      : first(nb::object(pair[0]), 1, false), weights(nb::object(pair[1]), 2, false) {
    expect(first.item() == 8 && first.is_dense_from(0) && weights.format() == 'f' &&
               weights.is_dense_from(0) && weights.extent(1) == first.extent(0) &&
               weights.extent(0) > 0,
           "weights in float32 for each first pixel");
  }
  Taps taps() const {
    return {first.extent(0), weights.extent(0), first.as<const int64_t>(),
            weights.as<const float>()};
  }
};

template <class T>
void resample_held(const Held& from, const Taps* rows, const Taps* columns, const Held& to) {
  GilReleased released;
  resample(from.as<const T>(), from.extent(0), from.extent(1), from.extent(2),
           from.step(0) / static_cast<int64_t>(sizeof(T)), rows, columns, to.as<T>());
}

void resample_image(nb::handle image, nb::object rows, nb::object columns, nb::handle out) {
  Held from(image, 3, false), to(out, 3, true);
  std::optional<HeldTaps> held_rows, held_columns;
  std::optional<Taps> of_rows, of_columns;
  if (!rows.is_none()) of_rows = held_rows.emplace(rows).taps();
  if (!columns.is_none()) of_columns = held_columns.emplace(columns).taps();
  expect(from.format() == to.format() && from.is_dense_from(1) && to.is_dense_from(0) &&
             from.extent(0) > 0 && from.extent(1) > 0 &&
             from.step(0) % static_cast<int64_t>(from.item()) == 0 &&
             to.extent(0) == (of_rows ? of_rows->size : from.extent(0)) &&
             to.extent(1) == (of_columns ? of_columns->size : from.extent(1)) &&
             to.extent(2) == from.extent(2),
         "rows of dense pixels, and room for the result");
  const Taps* along_rows = of_rows ? &*of_rows : nullptr;
  const Taps* along_columns = of_columns ? &*of_columns : nullptr;
  if (from.format() == 'B') return resample_held<uint8_t>(from, along_rows, along_columns, to);
  expect(from.format() == 'f', "bytes or float32");
  resample_held<float>(from, along_rows, along_columns, to);
}

void pick_pixels(nb::handle image, nb::handle rows, nb::handle columns, nb::handle out) {
  Held from(image, 3, false), vertical(rows, 1, false), horizontal(columns, 1, false);
  Held to(out, 3, true);
  expect(vertical.item() == 8 && horizontal.item() == 8 && vertical.is_dense_from(0) &&
             horizontal.is_dense_from(0) && from.is_dense_from(1) && to.is_dense_from(0) &&
             from.item() == to.item() && to.extent(0) == vertical.extent(0) &&
             to.extent(1) == horizontal.extent(0) && to.extent(2) == from.extent(2),
         "rows of dense pixels, and room for the result");
  for (const auto& [places, axis] : {std::pair{&vertical, 0}, std::pair{&horizontal, 1}}) {
    for (int64_t place = 0; place < places->extent(0); ++place) {
      const int64_t value = places->as<const int64_t>()[place];
      expect(value >= 0 && value < from.extent(axis), "places inside of the image");
    }
  }
  const size_t pixel = from.item() * static_cast<size_t>(from.extent(2));
  GilReleased released;
  pick(from.as<const char>(), from.step(0), pixel, vertical.as<const int64_t>(), vertical.extent(0),
       horizontal.as<const int64_t>(), horizontal.extent(0), to.as<char>());
}

}  // namespace

void bind_images(nb::module_& m) {
  m.def(
      "take_pixels",
      [](nb::handle capsule, nb::handle out, bool reversed) {
        translated([&] { take_pixels(capsule, out, reversed); });
      },
      "capsule"_a, "out"_a, "reversed"_a = false);
  m.def(
      "look_up_bytes",
      [](nb::handle image, nb::handle table, nb::handle out) {
        translated([&] { look_up_bytes(image, table, out); });
      },
      "image"_a, "table"_a, "out"_a);
  m.def(
      "resample_image",
      [](nb::handle image, nb::object rows, nb::object columns, nb::handle out) {
        translated([&] { resample_image(image, rows, columns, out); });
      },
      "image"_a, "rows"_a.none(), "columns"_a.none(), "out"_a);
  m.def(
      "pick_pixels",
      [](nb::handle image, nb::handle rows, nb::handle columns, nb::handle out) {
        translated([&] { pick_pixels(image, rows, columns, out); });
      },
      "image"_a, "rows"_a, "columns"_a, "out"_a);
}

}  // namespace tigon
