// millpond._engine.MappedStamp: the number that processes share to tell each other of invalidations
// (base/mapped_stamp.hpp), raw since every read of a database looks at its epoch.
#pragma once

#include <Python.h>

#include "millpond/base/mapped_stamp.hpp"

namespace millpond::bindings {

// What is in it; null without an exception for any other object.
[[nodiscard]] MappedStamp* mapped_stamp(PyObject* object) noexcept;

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_mapped_stamp(PyObject* module);

}  // namespace millpond::bindings
