// millpond._engine.EntryReader: what a function or cache makes of the entries that one tier has for
// it. An entry is good if it can be read, each of its stamps is the present one, and its life is not
// over; then its value goes on as a Loaded, with how long memory may keep it. What becomes of each
// entry is counted in the tier's monitor.
#pragma once

#include <Python.h>

namespace millpond::bindings {

[[nodiscard]] bool is_entry_reader(PyObject* object) noexcept;

// Adds the type, and memory_life(), to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_entry_reader(PyObject* module);

}  // namespace millpond::bindings
