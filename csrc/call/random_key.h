// The stream of random keys. Guarded by the GIL.
#pragma once

#include <Python.h>

#include <optional>

#include "array/array.h"
#include "array/immediate.h"

namespace tigon {

// The key of the next `calls` random operators, which the stream then skips.
RandomKey take_key(int64_t calls);

// For a call that raised: as if it had not drawn, unless somebody has drawn since.
void give_back_key(RandomKey key, int64_t calls);

void seed_keys(int64_t seed);
RandomKey key_state();  // of the stream of all threads

// From now on this thread draws from a part of its own. Gives what it drew from before; nothing is
// the stream of all threads.
std::optional<RandomKey> set_key_scope(std::optional<RandomKey> begin);

const TypeRef& key_type();  // what a key is to a program: int64[2]

// A key as a Python object, which `invoke` takes as an operand.
extern PyTypeObject* random_key_type;
inline bool is_random_key(PyObject* object) { return Py_TYPE(object) == random_key_type; }
RandomKey as_random_key(PyObject* object);
PyObject* new_random_key(RandomKey key);
bool create_random_key_type(PyObject* module);

}  // namespace tigon
