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

// Where the draws of the next host callback begin: a stream of its own, told by the seed and the
// number of callbacks before. So they depend neither on when the callback runs nor on what its
// caller draws, nor the caller's on them.
RandomKey take_callback_key();

void seed_keys(int64_t seed);  // of the stream of all threads, or of the callback that this is in
RandomKey key_state();         // of the stream of all threads

struct KeyStream {
  RandomKey next;
  int64_t callbacks = 0;  // so far
};

// From now on this thread draws from a part of its own. Gives what it drew from before; nothing is
// the stream of all threads.
std::optional<KeyStream> set_key_scope(std::optional<KeyStream> begin);

const TypeRef& key_type();  // what a key is to a program: int64[2]

// A key as a Python object, which `invoke` takes as an operand.
extern PyTypeObject* random_key_type;
inline bool is_random_key(PyObject* object) { return Py_TYPE(object) == random_key_type; }
RandomKey as_random_key(PyObject* object);
PyObject* new_random_key(RandomKey key);
bool create_random_key_type(PyObject* module);

}  // namespace tigon
