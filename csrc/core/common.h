// Shared vocabulary: references, errors, element types.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace tigon {

inline constexpr size_t kAlignment = 64;
inline constexpr int kMaxDims = 32;

// A mistake of the user's: becomes the type given to `set_error_types`.
struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct IndexOutOfRange : UserError {
  using UserError::UserError;
};

struct NotInTime : UserError {
  using UserError::UserError;
};

struct OutOfMemory : std::runtime_error {
  explicit OutOfMemory(const std::string& message) : std::runtime_error(message) {}
};

// A broken invariant: becomes AssertionError.
struct InternalError : std::logic_error {
  using std::logic_error::logic_error;
};

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Critical sections of a few instructions only.
class SpinLock {
 public:
  void lock();
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  void lock_slow();
  std::atomic<bool> held_{false};
};

inline void SpinLock::lock() {
  if (held_.exchange(true, std::memory_order_acquire)) lock_slow();
}

// Intrusive reference; T has retain() and release().
template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* pointer) : pointer_(pointer) {
    if (pointer_) pointer_->retain();
  }
  static Ref adopt(T* pointer) {
    Ref result;
    result.pointer_ = pointer;
    return result;
  }
  Ref(const Ref& other) : Ref(other.pointer_) {}
  Ref(Ref&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
  Ref& operator=(const Ref& other) {
    Ref(other).swap(*this);
    return *this;
  }
  Ref& operator=(Ref&& other) noexcept {
    Ref(std::move(other)).swap(*this);
    return *this;
  }
  ~Ref() {
    if (pointer_) pointer_->release();
  }
  void swap(Ref& other) noexcept { std::swap(pointer_, other.pointer_); }
  void reset() { Ref().swap(*this); }
  T* get() const { return pointer_; }
  T* operator->() const { return pointer_; }
  T& operator*() const { return *pointer_; }
  explicit operator bool() const { return pointer_ != nullptr; }
  friend bool operator==(const Ref& a, const Ref& b) { return a.pointer_ == b.pointer_; }

 private:
  T* pointer_ = nullptr;
};

// Base of objects that any thread may release.
template <class T>
class AtomicCounted {
 public:
  void retain() const { references_.fetch_add(1, std::memory_order_relaxed); }
  // Nobody can join the only holder, who need not tell the others.
  void release() const {
    if (references() == 1 || references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      T::destroy(const_cast<T*>(static_cast<const T*>(this)));
  }
  uint32_t references() const { return references_.load(std::memory_order_acquire); }

 protected:
  mutable std::atomic<uint32_t> references_{0};
};

// ------------------------------------------------------------------------- element types

enum class Kind : uint8_t { Float, Signed, Unsigned, Bool };

struct DTypeInfo {
  const char* name;
  uint8_t size;
  Kind kind;
};

// Indexed by dtype code: those of MXNet's parameter files, continued.
inline constexpr DTypeInfo kDTypes[] = {
    {"float32", 4, Kind::Float},   {"float64", 8, Kind::Float},   {"float16", 2, Kind::Float},
    {"uint8", 1, Kind::Unsigned},  {"int32", 4, Kind::Signed},    {"int8", 1, Kind::Signed},
    {"int64", 8, Kind::Signed},    {"bool", 1, Kind::Bool},       {"int16", 2, Kind::Signed},
    {"uint16", 2, Kind::Unsigned}, {"uint32", 4, Kind::Unsigned}, {"uint64", 8, Kind::Unsigned},
    {"bfloat16", 2, Kind::Float},
};
inline constexpr int kDTypeCount = 13;
inline constexpr int kInt64Code = 6;
inline constexpr int kBfloat16Code = 12;

}  // namespace tigon
