// Reading the arguments of raw C-API methods: keyword options, lives and numbers, with errors that
// say what was given and what is allowed.
#pragma once

#include <Python.h>

#include <span>

#include "millpond/base/clock.hpp"

namespace millpond::bindings {

// Sorts the keyword arguments of a fastcall into `values`, by the names at the same places; places
// that were not given stay null. Borrowed references. False with TypeError set.
[[nodiscard]] bool read_options(const char* function, std::span<const char* const> names,
                                PyObject* const* given, PyObject* kwnames,
                                std::span<PyObject*> values);

// A life: seconds as int or float, a timedelta, text such as "1h30m", the name of a profile such as
// "@user_data", or None for no limit (kForEver). `option` names it in errors. False with one set.
[[nodiscard]] bool read_life(PyObject* object, const char* option, Nanos& life);

// Dollars: a number from 0 to 1e15. False with an exception set.
[[nodiscard]] bool read_cost(PyObject* object, double& cost);

}  // namespace millpond::bindings
