// The functions of the extension that tests and tools make keys with.
#pragma once

#include <pybind11/pybind11.h>

namespace millpond::bindings {

void bind_keys(pybind11::module_& m);

}  // namespace millpond::bindings
