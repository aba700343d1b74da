// The functions of the extension that make and read stored entries, for millpond.io.codecs.
#pragma once

#include <Python.h>

#include <cstdint>

#include "millpond/cache/envelope.hpp"

namespace millpond::bindings {

// The whole short way: the value of an entry whose envelope was read, if it is tagged and neither
// compressed nor encrypted; NotImplemented for any other that is sound. Null with an exception set,
// Unreadable for an entry that cannot be read. `bytes` is the entry, which `found` borrows from.
[[nodiscard]] PyObject* plain_value(PyObject* bytes, const Envelope& found, std::uint64_t schema,
                                    bool readonly);

// Adds them and their types to the module. -1 with an exception set.
[[nodiscard]] int init_entries(PyObject* module);

}  // namespace millpond::bindings
