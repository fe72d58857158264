// Python numbers to elements and back.
#include <algorithm>
#include <cmath>

#include "call/dispatch.h"

namespace tigon {
namespace {

// A float of two bytes: how many binary digits it has, and the exponent of its least normal number.
struct Narrow {
  int digits;
  int least;
  uint32_t infinity() const { return static_cast<uint32_t>(3 - 2 * least) << (digits - 1); }
};
constexpr Narrow kFloat16{11, -14}, kBfloat16{8, -126};

// Rounds once, to the nearest, ties to even.
uint16_t narrow_bits(double value, Narrow format) {
  uint32_t sign = std::signbit(value) ? 0x8000 : 0, infinity = format.infinity();
  double size = std::fabs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | infinity | 1u << (format.digits - 2));
  if (size >= std::ldexp(1.0, 2 - format.least)) return static_cast<uint16_t>(sign | infinity);
  int exponent = size == 0 ? format.least : std::max(std::ilogb(size), format.least);
  auto steps =
      static_cast<uint32_t>(std::nearbyint(std::ldexp(size, format.digits - 1 - exponent)));
  // The leading digit of a normal number adds one to the exponent; so does one carried over.
  uint32_t bits = (static_cast<uint32_t>(exponent - format.least) << (format.digits - 1)) + steps;
  return static_cast<uint16_t>(sign | std::min(bits, infinity));
}

double narrow_value(uint16_t bits, Narrow format) {
  uint32_t magnitude = bits & 0x7FFF, infinity = format.infinity();
  int exponent = static_cast<int>(magnitude >> (format.digits - 1));
  int fraction = static_cast<int>(magnitude & ((1u << (format.digits - 1)) - 1));
  double value = magnitude > infinity    ? NAN
                 : magnitude == infinity ? INFINITY
                 : exponent == 0         ? std::ldexp(fraction, format.least - format.digits + 1)
                                         : std::ldexp(fraction + (1 << (format.digits - 1)),
                                                      exponent + format.least - format.digits);
  return bits & 0x8000 ? -value : value;
}

// Truncates towards zero; what has no integer becomes the nearest bound, NaN zero (the plain
// conversion is undefined there).
int64_t truncate(double value) {
  if (std::isnan(value)) return 0;
  if (value >= 9223372036854775808.0) return INT64_MAX;
  if (value < -9223372036854775808.0) return INT64_MIN;
  return static_cast<int64_t>(value);
}

// A fraction is dropped, and refused beside a bool; what does not fit then would stand for
// another number.
void check_fits(const Scalar& scalar, const DTypeInfo& dtype, int64_t integer) {
  bool is_signed = dtype.kind == Kind::Signed, is_bool = dtype.kind == Kind::Bool;
  int bits = is_bool ? 1 : 8 * dtype.size - is_signed;
  uint64_t most = UINT64_MAX >> (64 - bits);
  int64_t least = is_signed ? -static_cast<int64_t>(most) - 1 : 0;
  bool fits;
  if (scalar.type == Scalar::Float) {
    double whole = is_bool ? scalar.real : std::trunc(scalar.real);
    fits = whole >= static_cast<double>(least) && whole < std::ldexp(1.0, bits) &&
           (!is_bool || whole == std::trunc(whole));
  } else if (scalar.type == Scalar::Large) {
    fits = most > INT64_MAX;
  } else {
    fits = integer >= least && (integer < 0 || static_cast<uint64_t>(integer) <= most);
  }
  if (fits) return;
  nb::object number = nb::steal(scalar.type == Scalar::Float ? PyFloat_FromDouble(scalar.real)
                                : scalar.type == Scalar::Large
                                    ? PyLong_FromUnsignedLongLong(static_cast<uint64_t>(integer))
                                    : PyLong_FromLongLong(integer));
  throw UserError(std::string("the number ") + nb::repr(number).c_str() + " does not fit " +
                  dtype.name + ", which holds " + std::to_string(least) + " to " +
                  std::to_string(most) + "; use another dtype (astype converts an array)");
}

}  // namespace

bool is_scalar(PyObject* object) {
  return PyFloat_Check(object) || PyLong_Check(object) ||
         (numpy_generic &&
          PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(numpy_generic)));
}

Scalar read_scalar(PyObject* object) {
  if (PyFloat_Check(object)) return {Scalar::Float, PyFloat_AS_DOUBLE(object), 0};
  if (PyBool_Check(object)) {
    bool value = object == Py_True;
    return {Scalar::Bool, value ? 1.0 : 0.0, value};
  }
  if (PyLong_Check(object)) {
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow > 0) {
      unsigned long long large = PyLong_AsUnsignedLongLong(object);
      if (!PyErr_Occurred())
        return {Scalar::Large, static_cast<double>(large), static_cast<int64_t>(large)};
      PyErr_Clear();
    }
    if (overflow) throw UserError("a Python integer does not fit into 64 bits; use a float");
    return {Scalar::Integer, static_cast<double>(value), value};
  }
  // A numpy scalar, whose item() is a Python number.
  nb::object plain = nb::steal(PyObject_CallMethod(object, "item", nullptr));
  if (!plain) throw nb::python_error();
  if (!PyFloat_Check(plain.ptr()) && !PyLong_Check(plain.ptr()))
    throw UserError(std::string("expected a real number; given ") + Py_TYPE(object)->tp_name);
  return read_scalar(plain.ptr());
}

Immediate convert(const Scalar& scalar, int dtype) {
  Immediate result{};
  bool is_float = scalar.type == Scalar::Float;
  int64_t integer = is_float ? truncate(scalar.real) : scalar.integer;
  if (kDTypes[dtype].kind != Kind::Float) check_fits(scalar, kDTypes[dtype], integer);
  switch (dtype) {
  case 0:
    result.f32 = static_cast<float>(scalar.real);
    break;
  case 1:
    result.f64 = scalar.real;
    break;
  case 2:
  case kBfloat16Code: {
    uint16_t bits = narrow_bits(scalar.real, dtype == 2 ? kFloat16 : kBfloat16);
    std::memcpy(result.bytes, &bits, 2);
    break;
  }
  case 7:
    result.bytes[0] = is_float ? scalar.real != 0 : integer != 0;
    break;
  case 11:
    result.u64 = is_float && scalar.real >= 9223372036854775808.0
                     ? static_cast<uint64_t>(std::fmin(scalar.real, 18446744073709549568.0))
                     : static_cast<uint64_t>(integer);
    break;
  default:  // little-endian: the low bytes, as C's narrowing conversions
    result.i64 = integer;
    break;
  }
  return result;
}

PyObject* immediate_to_python(const Immediate& value, int dtype) {
  auto as = [&]<class T>(T) {
    T result;
    std::memcpy(&result, value.bytes, sizeof(T));
    return result;
  };
  switch (dtype) {
  case 0:
    return PyFloat_FromDouble(value.f32);
  case 1:
    return PyFloat_FromDouble(value.f64);
  case 2:
    return PyFloat_FromDouble(narrow_value(as(uint16_t{}), kFloat16));
  case 3:
    return PyLong_FromLong(as(uint8_t{}));
  case 4:
    return PyLong_FromLong(as(int32_t{}));
  case 5:
    return PyLong_FromLong(as(int8_t{}));
  case 6:
    return PyLong_FromLongLong(value.i64);
  case 7:
    return PyBool_FromLong(value.bytes[0] != 0);
  case 8:
    return PyLong_FromLong(as(int16_t{}));
  case 9:
    return PyLong_FromLong(as(uint16_t{}));
  case 10:
    return PyLong_FromUnsignedLong(as(uint32_t{}));
  case kBfloat16Code:
    return PyFloat_FromDouble(narrow_value(as(uint16_t{}), kBfloat16));
  default:
    return PyLong_FromUnsignedLongLong(value.u64);
  }
}

int default_dtype(const Scalar& scalar) {
  switch (scalar.type) {
  case Scalar::Float:
    return 0;
  case Scalar::Bool:
    return 7;
  case Scalar::Large:
    return 11;
  default:
    return 6;
  }
}

}  // namespace tigon
