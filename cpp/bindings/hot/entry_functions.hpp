// The functions of the extension that make and read stored entries, for millpond.io.codecs.
#pragma once

#include <Python.h>

namespace millpond::bindings {

// Adds them and their types to the module. -1 with an exception set.
[[nodiscard]] int init_entries(PyObject* module);

}  // namespace millpond::bindings
