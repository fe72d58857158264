// Room for a few elements on the stack, for many on the heap.
#pragma once

#include <cstddef>
#include <memory>

namespace tigon {

template <class T, size_t N>
class Few {
 public:
  explicit Few(size_t count)
      : data_(count <= N ? few_ : (many_.reset(new T[count]), many_.get())) {}
  T* data() { return data_; }
  T& operator[](size_t index) { return data_[index]; }

 private:
  T few_[N];
  std::unique_ptr<T[]> many_;
  T* data_;
};

}  // namespace tigon
