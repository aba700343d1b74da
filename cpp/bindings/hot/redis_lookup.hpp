// What a look-up of entries sends to a Redis, and what its reply holds: hundreds of short strings,
// too many to be made one by one in Python.
#pragma once

#include <Python.h>

namespace millpond::bindings {

// Adds redis_lookup() and redis_found() to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_redis_lookup(PyObject* module);

}  // namespace millpond::bindings
