// The library in C++17: instances that end by themselves, errors as exceptions.
//
//     model::Model net;
//     std::vector<float> scores(10);
//     net.run({model::input(pixels, {1, 1, 28, 28})}, {model::output(scores)});
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "model.h"

namespace model {

class Error : public std::runtime_error {
 public:
  Error(std::int32_t status, const std::string& what) : std::runtime_error(what), status(status) {}
  const std::int32_t status;
};

template <class T>
constexpr std::int32_t dtype() {
  if constexpr (std::is_same_v<T, float>) return MODEL_FLOAT32;
  if constexpr (std::is_same_v<T, double>) return MODEL_FLOAT64;
  if constexpr (std::is_same_v<T, bool>) return MODEL_BOOL;
  if constexpr (std::is_same_v<T, std::int8_t>) return MODEL_INT8;
  if constexpr (std::is_same_v<T, std::int16_t>) return MODEL_INT16;
  if constexpr (std::is_same_v<T, std::int32_t>) return MODEL_INT32;
  if constexpr (std::is_same_v<T, std::int64_t>) return MODEL_INT64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return MODEL_UINT8;
  if constexpr (std::is_same_v<T, std::uint16_t>) return MODEL_UINT16;
  if constexpr (std::is_same_v<T, std::uint32_t>) return MODEL_UINT32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return MODEL_UINT64;
  return -1;
}

// Elements in row-major order, of this shape.
template <class T>
model_array input(const std::vector<T>& elements, std::initializer_list<std::int64_t> shape) {
  static_assert(dtype<T>() >= 0, "arrays hold no such elements");
  model_array made{};
  made.data = const_cast<T*>(elements.data());
  made.bytes = elements.size() * sizeof(T);
  made.dtype = dtype<T>();
  if (shape.size() > MODEL_MOST_DIMENSIONS)
    throw Error(MODEL_BAD_ARGUMENT, "expected 8 axes at most");
  for (std::int64_t extent : shape) made.shape[made.dimensions++] = extent;
  return made;
}

// Room for a result; its shape is told by `run`.
template <class T>
model_array output(std::vector<T>& elements) {
  static_assert(dtype<T>() >= 0, "arrays hold no such elements");
  model_array made{};
  made.data = elements.data();
  made.bytes = elements.size() * sizeof(T);
  return made;
}

class Model {
 public:
  // `threads`: how many compute. The largest extents and the rest are `options`.
  explicit Model(model_options options = {}, std::int32_t threads = 1) {
    std::array<char, 512> message{};
    options.size = sizeof options;
    options.message = message.data();
    options.message_bytes = message.size();
    if (threads > 1 && !options.parallel_for) {
      threads_ = threads;
      options.parallel_for = in_parallel;
      options.context = this;
      options.workers = threads;
    }
#if !defined(__linux__)
    if (!options.allocate) {
      options.allocate = [](void*, std::size_t bytes) {
        return ::operator new(bytes, std::align_val_t(64), std::nothrow);
      };
      options.release = [](void*, void* block, std::size_t) {
        ::operator delete(block, std::align_val_t(64));
      };
    }
#endif
    std::int32_t status = model_create(&options, &instance_);
    if (status != MODEL_OK) throw Error(status, message.data());
  }
  ~Model() { model_destroy(instance_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Returns the outputs with their shapes.
  std::vector<model_array> run(const std::vector<model_array>& inputs,
                               std::vector<model_array> outputs) {
    if (inputs.size() != count(MODEL_INPUT) || outputs.size() != count(MODEL_OUTPUT))
      throw Error(MODEL_BAD_ARGUMENT, "another number of inputs or outputs");
    check(model_run(instance_, inputs.data(), outputs.data()));
    return outputs;
  }

  // A state, such as a weight that is trained, in the memory of this instance.
  model_array state(std::int32_t number) {
    model_array made{};
    check(model_state(instance_, number, &made));
    return made;
  }

  void seed(std::int64_t seed) { check(model_seed(instance_, seed)); }

  static std::vector<model_description> describe(std::int32_t kind) {
    std::vector<model_description> found;
    model_description one{};
    while (model_describe(kind, static_cast<std::int32_t>(found.size()), &one) == MODEL_OK)
      found.push_back(one);
    return found;
  }

 private:
  static std::size_t count(std::int32_t kind) {
    static const std::array<std::size_t, 2> known{describe(MODEL_INPUT).size(),
                                                  describe(MODEL_OUTPUT).size()};
    return known[static_cast<std::size_t>(kind)];
  }

  void check(std::int32_t status) {
    if (status != MODEL_OK) throw Error(status, model_last_error(instance_));
  }

  static void in_parallel(void* context, std::int64_t count,
                          void (*body)(void*, std::int64_t, std::int32_t), void* work) {
    auto* self = static_cast<Model*>(context);
    std::atomic<std::int64_t> next{0};
    auto share = [&](std::int32_t worker) {
      for (std::int64_t index; (index = next++) < count;) body(work, index, worker);
    };
    std::vector<std::thread> others;
    for (std::int32_t worker = 1; worker < self->threads_ && worker < count; ++worker)
      others.emplace_back(share, worker);
    share(0);
    for (std::thread& other : others) other.join();
  }

  model_instance* instance_ = nullptr;
  std::int32_t threads_ = 1;
};

}  // namespace model
