#include "program/routines.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <functional>
#include <map>
#include <type_traits>

#include "program/sorting.h"

namespace tigon {
namespace {

// ------------------------------------------------------------------------------ the library

template <class T>
struct Functions {
  void (*potrf)(char* uplo, int* n, T* a, int* lda, int* info) = nullptr;
  void (*potri)(char* uplo, int* n, T* a, int* lda, int* info) = nullptr;
  void (*trsm)(char* side, char* uplo, char* trans, char* diag, int* m, int* n, T* alpha, T* a,
               int* lda, T* b, int* ldb) = nullptr;
  void (*geqrf)(int* m, int* n, T* a, int* lda, T* tau, T* work, int* lwork, int* info) = nullptr;
  void (*orgqr)(int* m, int* n, int* k, T* a, int* lda, T* tau, T* work, int* lwork,
                int* info) = nullptr;
  void (*syevd)(char* jobz, char* uplo, int* n, T* a, int* lda, T* w, T* work, int* lwork,
                int* iwork, int* liwork, int* info) = nullptr;
  void (*getrf)(int* m, int* n, T* a, int* lda, int* ipiv, int* info) = nullptr;
  void (*getri)(int* n, T* a, int* lda, int* ipiv, T* work, int* lwork, int* info) = nullptr;
};

template <class T>
Functions<T> library;

template <class T>
bool set_function(const std::string& name, void* address) {
  Functions<T>& f = library<T>;
  auto take = [&](auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(address);
    return true;
  };
  if (name == "potrf") return take(f.potrf);
  if (name == "potri") return take(f.potri);
  if (name == "trsm") return take(f.trsm);
  if (name == "geqrf") return take(f.geqrf);
  if (name == "orgqr") return take(f.orgqr);
  if (name == "syevd") return take(f.syevd);
  if (name == "getrf") return take(f.getrf);
  if (name == "getri") return take(f.getri);
  return false;
}

int (*thread_count)() = nullptr;
void (*set_thread_count)(int) = nullptr;

// OpenBLAS has one number of threads for the whole process: the first kernel to begin keeps the
// user's, the last to end puts it back. A number that the user sets meanwhile stays.
class OneThread {
 public:
  OneThread() {
    if (!set_thread_count) return;
    lock.lock();
    if (users++ == 0) {
      before = thread_count();
      if (before != 1) set_thread_count(1);
    }
    lock.unlock();
  }
  ~OneThread() {
    if (!set_thread_count) return;
    lock.lock();
    if (--users == 0 && before != 1 && thread_count() == 1) set_thread_count(before);
    lock.unlock();
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  static inline SpinLock lock;
  static inline int users = 0;
  static inline int before = 1;
};

// ------------------------------------------------------------------------------ kernels

constexpr int64_t kColumnBlock = 32;  // of factorizations: work space for as many columns at once

int32_t failed(void* scratch, int32_t status, int64_t matrix, int64_t detail) {
  int64_t details[KernelFailure::kDetails] = {matrix, detail};
  std::memcpy(scratch, details, sizeof(details));
  return status;
}

// A positive `info` has the routine's own meaning, a negative one counts arguments.
int32_t failed_with(void* scratch, int32_t status, int64_t matrix, int info) {
  return failed(scratch, info > 0 ? status : kRoutineRefused, matrix, info > 0 ? info : -info);
}

// The private memory of a call, piece by piece; what a failure tells is at its beginning. Without
// memory it counts only.
class Pieces {
 public:
  explicit Pieces(void* scratch) : next_(reinterpret_cast<uintptr_t>(scratch)) {
    take<int64_t>(KernelFailure::kDetails);
  }
  template <class T>
  T* take(int64_t count) {
    uintptr_t begin = next_;
    next_ += (static_cast<size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(begin);
  }
  size_t bytes() const { return next_; }

 private:
  uintptr_t next_;
};

template <class T>
T* matrix_of(void* const* buffers, size_t buffer, int64_t point, int64_t elements) {
  return static_cast<T*>(buffers[buffer]) + point * elements;
}

template <class T>
void copy(T* to, const T* from, int64_t count) {
  if (count) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
}

// One triangle of `from`; zeros in the other.
template <class T>
void copy_triangle(T* to, const T* from, int64_t n, bool lower) {
  for (int64_t row = 0; row < n; ++row, to += n, from += n) {
    int64_t first = lower ? 0 : row;
    int64_t last = lower ? row + 1 : n;
    std::fill(to, to + first, T(0));
    copy(to + first, from + first, last - first);
    std::fill(to + last, to + n, T(0));
  }
}

// Each routine: what it needs of scratch, and one matrix. Numbers are the slots behind the first.

template <class T>
struct Potrf {  // A -> L; n, lower
  static void plan(Pieces&, const int64_t*) {}
  static int32_t run(void* const* buffers, const int64_t* numbers, void* scratch, int64_t point) {
    int n = static_cast<int>(numbers[0]), info = 0;
    bool lower = numbers[1];
    char uplo = lower ? 'U' : 'L';
    T* out = matrix_of<T>(buffers, 1, point, numbers[0] * n);
    copy_triangle(out, matrix_of<T>(buffers, 0, point, numbers[0] * n), n, lower);
    library<T>.potrf(&uplo, &n, out, &n, &info);
    return info ? failed_with(scratch, kNotPositiveDefinite, point, info) : 0;
  }
};

template <class T>
struct Potri {  // L -> the inverse of L L^T; n, lower
  static void plan(Pieces&, const int64_t*) {}
  static int32_t run(void* const* buffers, const int64_t* numbers, void* scratch, int64_t point) {
    int n = static_cast<int>(numbers[0]), info = 0;
    bool lower = numbers[1];
    char uplo = lower ? 'U' : 'L';
    T* out = matrix_of<T>(buffers, 1, point, numbers[0] * n);
    copy(out, matrix_of<T>(buffers, 0, point, numbers[0] * n), numbers[0] * n);
    library<T>.potri(&uplo, &n, out, &n, &info);
    if (info) return failed_with(scratch, kSingular, point, info);
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t column = 0; column < row; ++column) {
        T &below = out[row * n + column], &above = out[column * n + row];
        (lower ? above : below) = lower ? below : above;
      }
    }
    return 0;
  }
};

template <class T>
struct Trsm {  // A, B -> X; rows and columns of B, transpose, rightside, lower, alpha
  static void plan(Pieces&, const int64_t*) {}
  static int32_t run(void* const* buffers, const int64_t* numbers, void*, int64_t point) {
    int m = static_cast<int>(numbers[1]), n = static_cast<int>(numbers[0]);
    bool right = numbers[3];
    int64_t size = right ? numbers[1] : numbers[0];
    int lda = static_cast<int>(size);
    char side = right ? 'L' : 'R', uplo = numbers[4] ? 'U' : 'L', diag = 'N';
    char trans = numbers[2] ? 'T' : 'N';
    double scale;
    std::memcpy(&scale, &numbers[5], sizeof(scale));
    T alpha = static_cast<T>(scale);
    T* out = matrix_of<T>(buffers, 2, point, numbers[0] * numbers[1]);
    copy(out, matrix_of<T>(buffers, 1, point, numbers[0] * numbers[1]), numbers[0] * numbers[1]);
    T* a = matrix_of<T>(buffers, 0, point, size * size);
    library<T>.trsm(&side, &uplo, &trans, &diag, &m, &n, &alpha, a, &lda, out, &m);
    return 0;
  }
};

template <class T>
struct Gelqf {  // A -> Q, L; rows m <= columns n
  struct Space {
    T *tau, *work;
    int lwork;
    Space(Pieces& pieces, const int64_t* numbers)
        : tau(pieces.take<T>(numbers[0])), work(pieces.take<T>(numbers[0] * kColumnBlock)),
          lwork(static_cast<int>(std::min<int64_t>(numbers[0] * kColumnBlock, INT_MAX))) {}
  };
  static void plan(Pieces& pieces, const int64_t* numbers) { Space(pieces, numbers); }
  static int32_t run(void* const* buffers, const int64_t* numbers, void* scratch, int64_t point) {
    Pieces pieces(scratch);
    Space space(pieces, numbers);
    int m = static_cast<int>(numbers[0]), n = static_cast<int>(numbers[1]), info = 0;
    T* q = matrix_of<T>(buffers, 1, point, numbers[0] * n);
    T* l = matrix_of<T>(buffers, 2, point, numbers[0] * m);
    copy(q, matrix_of<T>(buffers, 0, point, numbers[0] * n), numbers[0] * n);
    library<T>.geqrf(&n, &m, q, &n, space.tau, space.work, &space.lwork, &info);
    if (info) return failed_with(scratch, kRoutineRefused, point, info);
    for (int64_t row = 0; row < m; ++row) {
      copy(l + row * m, q + row * n, row + 1);
      std::fill(l + row * m + row + 1, l + (row + 1) * m, T(0));
    }
    library<T>.orgqr(&n, &m, &m, q, &n, space.tau, space.work, &space.lwork, &info);
    return info ? failed_with(scratch, kRoutineRefused, point, info) : 0;
  }
};

template <class T>
struct Syevd {  // A -> U, L; n
  struct Space {
    T* work;
    int* iwork;
    int lwork, liwork;
    Space(Pieces& pieces, const int64_t* numbers) {
      int64_t n = numbers[0];
      int64_t count = 1 + 6 * n + 2 * n * n;
      lwork = static_cast<int>(std::min<int64_t>(count, INT_MAX));
      liwork = static_cast<int>(std::min<int64_t>(3 + 5 * n, INT_MAX));
      work = pieces.take<T>(count);
      iwork = pieces.take<int>(3 + 5 * n);
    }
  };
  static void plan(Pieces& pieces, const int64_t* numbers) { Space(pieces, numbers); }
  static int32_t run(void* const* buffers, const int64_t* numbers, void* scratch, int64_t point) {
    Pieces pieces(scratch);
    Space space(pieces, numbers);
    int n = static_cast<int>(numbers[0]), info = 0;
    T* u = matrix_of<T>(buffers, 1, point, numbers[0] * n);
    copy(u, matrix_of<T>(buffers, 0, point, numbers[0] * n), numbers[0] * n);
    char jobz = 'V', uplo = 'U';
    library<T>.syevd(&jobz, &uplo, &n, u, &n, matrix_of<T>(buffers, 2, point, n), space.work,
                     &space.lwork, space.iwork, &space.liwork, &info);
    if (info) return failed_with(scratch, kNoConvergence, point, info);
    for (int64_t row = 0; row < n; ++row, u += n) {
      // Vectors are unique up to their sign: the largest element, the first of such, is positive.
      auto smaller = [](T a, T b) { return std::abs(a) < std::abs(b); };
      if (*std::max_element(u, u + n, smaller) < 0) std::transform(u, u + n, u, std::negate<T>());
    }
    return 0;
  }
};

template <class T>
struct Factors {  // P L U, and what is left to work with
  int* pivots;
  int n, info = 0;
  Factors(Pieces& pieces, const int64_t* numbers)
      : pivots(pieces.take<int>(numbers[0])), n(static_cast<int>(numbers[0])) {}
  void make(T* a) {
    int lda = std::max(n, 1);
    library<T>.getrf(&n, &n, a, &lda, pivots, &info);
  }
};

template <class T>
struct Inverse {  // A -> its inverse; n, whether that of a singular one is a failure, or else 0
  struct Space : Factors<T> {
    T* work;
    int lwork;
    Space(Pieces& pieces, const int64_t* numbers)
        : Factors<T>(pieces, numbers), work(pieces.take<T>(numbers[0] * kColumnBlock)),
          lwork(static_cast<int>(std::min<int64_t>(numbers[0] * kColumnBlock, INT_MAX))) {}
  };
  static void plan(Pieces& pieces, const int64_t* numbers) { Space(pieces, numbers); }
  static int32_t run(void* const* buffers, const int64_t* numbers, void* scratch, int64_t point) {
    Pieces pieces(scratch);
    Space space(pieces, numbers);
    int n = space.n;
    T* out = matrix_of<T>(buffers, 1, point, numbers[0] * n);
    copy(out, matrix_of<T>(buffers, 0, point, numbers[0] * n), numbers[0] * n);
    space.make(out);
    if (!space.info)
      library<T>.getri(&n, out, &n, space.pivots, space.work, &space.lwork, &space.info);
    if (space.info > 0 && !numbers[1]) {
      std::fill(out, out + numbers[0] * n, T(0));
      return 0;
    }
    return space.info ? failed_with(scratch, kSingular, point, space.info) : 0;
  }
};

template <class T>
struct Determinant : Factors<T> {  // of a copy, as sign and logarithm of the absolute value
  T* copied;
  Determinant(Pieces& pieces, const int64_t* numbers)
      : Factors<T>(pieces, numbers), copied(pieces.take<T>(numbers[0] * numbers[0])) {}
  // Calls `factor` with each diagonal element; the sign of the permutation.
  template <class Each>
  int each_factor(const T* a, Each factor) {
    int64_t n = this->n;
    copy(copied, a, n * n);
    this->make(copied);
    int sign = 1;
    for (int64_t row = 0; row < n; ++row) {
      if (this->pivots[row] != row + 1) sign = -sign;
      factor(static_cast<double>(copied[row * (n + 1)]));
    }
    return sign;
  }
};

template <class T>
struct Det {  // A -> its determinant; n
  static void plan(Pieces& pieces, const int64_t* numbers) { Determinant<T>(pieces, numbers); }
  static int32_t run(void* const* buffers, const int64_t* numbers, void* scratch, int64_t point) {
    Pieces pieces(scratch);
    Determinant<T> found(pieces, numbers);
    double product = 1;
    int sign = found.each_factor(matrix_of<T>(buffers, 0, point, numbers[0] * numbers[0]),
                                 [&](double factor) { product *= factor; });
    if (found.info < 0) return failed_with(scratch, kRoutineRefused, point, found.info);
    *matrix_of<T>(buffers, 1, point, 1) = static_cast<T>(sign * product);
    return 0;
  }
};

template <class T>
struct SLogDet {  // A -> sign and logarithm of the absolute value of its determinant; n
  static void plan(Pieces& pieces, const int64_t* numbers) { Determinant<T>(pieces, numbers); }
  static int32_t run(void* const* buffers, const int64_t* numbers, void* scratch, int64_t point) {
    Pieces pieces(scratch);
    Determinant<T> found(pieces, numbers);
    double signs = 1, sum = 0;
    auto add = [&](double factor) {
      signs *= factor > 0 ? 1 : factor < 0 ? -1 : factor;  // of nan, nan
      sum += std::log(std::abs(factor));
    };
    int sign = found.each_factor(matrix_of<T>(buffers, 0, point, numbers[0] * numbers[0]), add);
    if (found.info < 0) return failed_with(scratch, kRoutineRefused, point, found.info);
    *matrix_of<T>(buffers, 1, point, 1) = static_cast<T>(sign * signs);
    *matrix_of<T>(buffers, 2, point, 1) = static_cast<T>(sum);
    return 0;
  }
};

template <class Routine>
int32_t kernel(void* const* buffers, const int64_t* slots, void* scratch, int64_t begin,
               int64_t end) {
  OneThread pinned;
  for (int64_t point = begin; point < end; ++point) {
    if (int32_t status = Routine::run(buffers, slots + 1, scratch, point)) return status;
  }
  return 0;
}

template <class Routine>
size_t scratch_of(const int64_t* numbers) {
  Pieces pieces(nullptr);
  Routine::plan(pieces, numbers);
  return pieces.bytes();
}

struct Routine {
  std::map<int64_t, RoutineKernel> kernels;  // by the code of a dtype
  size_t numbers;                            // beside the number of points
  size_t extents;                            // so many of these, first, are counted by LAPACK
  bool library = true;
};

template <template <class> class Made>
Routine both(size_t numbers, size_t extents) {
  return {{{0, {kernel<Made<float>>, scratch_of<Made<float>>}},
           {1, {kernel<Made<double>>, scratch_of<Made<double>>}}},
          numbers,
          extents};
}

const std::map<std::string, Routine>& routines() {
  static const std::map<std::string, Routine> all = {
      {"potrf", both<Potrf>(2, 1)},
      {"potri", both<Potri>(2, 1)},
      {"trsm", both<Trsm>(6, 2)},
      {"gelqf", both<Gelqf>(2, 2)},
      {"syevd", both<Syevd>(1, 1)},
      {"inverse", both<Inverse>(2, 1)},
      {"det", both<Det>(1, 1)},
      {"slogdet", both<SLogDet>(1, 1)},
      {"order", {order_kernels(), kOrderNumbers, 0, false}},
  };
  return all;
}

const Routine& routine_named(const std::string& name) {
  auto found = routines().find(name);
  if (found == routines().end()) throw InternalError("routine: there is no " + name);
  return found->second;
}

const RoutineKernel& kernel_of(const std::string& name, int64_t dtype) {
  const Routine& routine = routine_named(name);
  auto found = routine.kernels.find(dtype);
  if (found == routine.kernels.end())
    throw InternalError("routine " + name + ": there is none of dtype " + std::to_string(dtype));
  return found->second;
}

}  // namespace

bool routine_needs_library(const std::string& name) { return routine_named(name).library; }

bool is_of_library(Kernel kernel) {
  for (const auto& [name, routine] : routines()) {
    if (!routine.library) continue;
    for (const auto& [dtype, made] : routine.kernels) {
      if (kernel == made.kernel) return true;
    }
  }
  return false;
}

Kernel routine_kernel(const std::string& name, int64_t dtype) {
  return kernel_of(name, dtype).kernel;
}

size_t routine_scratch_bytes(const std::string& name, int64_t dtype,
                             const std::vector<int64_t>& numbers) {
  const Routine& routine = routine_named(name);
  if (numbers.size() != routine.numbers)
    throw InternalError("routine " + name + ": takes " + std::to_string(routine.numbers) +
                        " numbers");
  for (size_t place = 0; place < routine.extents; ++place) {
    if (numbers[place] > INT_MAX)
      throw UserError("linalg." + name + ": LAPACK counts to " + std::to_string(INT_MAX) +
                      "; given an extent of " + std::to_string(numbers[place]) +
                      "; use smaller matrices");
  }
  return kernel_of(name, dtype).scratch(numbers.data());
}

bool set_library_function(const std::string& name, void* address) {
  if (name.empty()) return false;
  std::string rest = name.substr(1);
  return name[0] == 's' ? set_function<float>(rest, address)
                        : name[0] == 'd' && set_function<double>(rest, address);
}

void set_library_threads(int (*count)(), void (*set_count)(int)) {
  thread_count = count;
  set_thread_count = set_count;
}

}  // namespace tigon
