#include "call/random_key.h"

#include "core/common.h"
#include "engine/engine.h"
#include "python/errors.h"

#include <structmember.h>

namespace tigon {
namespace {

KeyStream all_threads{};
thread_local std::optional<KeyStream> own_part;

KeyStream& stream() { return own_part ? *own_part : all_threads; }

// The finalizer of SplitMix64: near numbers become far ones, and different ones stay different.
uint64_t mixed(uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

struct KeyObject {
  PyObject_HEAD RandomKey key;
};

}  // namespace

RandomKey take_key(int64_t calls) {
  RandomKey& from = stream().next;
  RandomKey key = from;
  from.counter += calls;
  return key;
}

RandomKey take_callback_key() {
  KeyStream& from = stream();
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15;
  uint64_t number = static_cast<uint64_t>(++from.callbacks);
  return {
      static_cast<int64_t>(mixed(mixed(static_cast<uint64_t>(from.next.seed)) + number * kStep)),
      0};
}

void give_back_key(RandomKey key, int64_t calls) {
  RandomKey& from = stream().next;
  if (from.seed == key.seed && from.counter == key.counter + calls) from.counter = key.counter;
}

void seed_keys(int64_t seed) { (Task::current_host() ? stream() : all_threads) = {{seed, 0}, 0}; }

RandomKey key_state() { return all_threads.next; }

std::optional<KeyStream> set_key_scope(std::optional<KeyStream> begin) {
  return std::exchange(own_part, begin);
}

const TypeRef& key_type() {
  static const auto* type = [] {
    int64_t extent = 2;
    return new TypeRef(ArrayType::get(kInt64Code, &extent, 1));
  }();
  return *type;
}

PyTypeObject* random_key_type = nullptr;

RandomKey as_random_key(PyObject* object) { return reinterpret_cast<KeyObject*>(object)->key; }

PyObject* new_random_key(RandomKey key) {
  auto* made = PyObject_New(KeyObject, random_key_type);
  if (!made) throw PythonError{};
  made->key = key;
  return reinterpret_cast<PyObject*>(made);
}

bool create_random_key_type(PyObject* module) {
  static PyMemberDef members[] = {
      {"seed", T_LONGLONG, offsetof(KeyObject, key.seed), READONLY, "Of the stream."},
      {"counter", T_LONGLONG, offsetof(KeyObject, key.counter), READONLY,
       "How many calls drew before."},
      {nullptr, 0, 0, 0, nullptr},
  };
  static PyType_Slot slots[] = {
      {Py_tp_members, members},
      {Py_tp_doc, const_cast<char*>("The key of a random operator.")},
      {0, nullptr},
  };
  static PyType_Spec spec = {"tigon._native.RandomKey", sizeof(KeyObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  random_key_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return random_key_type &&
         PyModule_AddObjectRef(module, "RandomKey", reinterpret_cast<PyObject*>(random_key_type)) ==
             0;
}

}  // namespace tigon
