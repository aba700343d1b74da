// KeyObject: what an entry holds when its key is more than one word: the fingerprint, the opaque
// leaves that are compared by ==, and the object the key was made of where keys can be listed.
#pragma once

#include <Python.h>

#include "millpond/base/hash.hpp"

namespace millpond::bindings {

struct KeyObject {
    PyObject_HEAD Fingerprint print;
    PyObject* leaves;  // a tuple, or null
    PyObject* object;  // or null
};

// New reference, or null with MemoryError set. Borrows both objects; either may be null.
[[nodiscard]] PyObject* make_key_object(const Fingerprint& print, PyObject* leaves,
                                        PyObject* object);

// The 16 bytes of a fingerprint.
[[nodiscard]] PyObject* fingerprint_bytes(const Fingerprint& print);

[[nodiscard]] int init_key_object(PyObject* module);

}  // namespace millpond::bindings
