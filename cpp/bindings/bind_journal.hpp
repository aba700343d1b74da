// Registers Journal: what a tier that is out has to be told before it is read again.
#pragma once

#include <Python.h>

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

// For those who look at a journal before each read: what journal_is_pending() takes, valid while the
// Journal lives; null without an exception for any other object.
[[nodiscard]] const void* journal_in(PyObject* object);
// Whether the tier has to be told something.
[[nodiscard]] bool journal_is_pending(const void* journal) noexcept;

void bind_journal(pybind11::module_& m);

}  // namespace millpond::bindings
