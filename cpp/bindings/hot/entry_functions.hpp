// The functions of the extension that make and read stored entries, for millpond.io.codecs.
#pragma once

#include <Python.h>

#include <cstdint>

#include "millpond/cache/envelope.hpp"

namespace millpond::bindings {

struct PlainTerms {
    std::uint64_t schema = 0;
    bool readonly = false;
    PyObject* unpack = nullptr;  // unpack(packed, size): the content, or None. Borrowed
};

// The whole short way: the value of an entry whose envelope was read, if it is tagged and not
// encrypted; NotImplemented for any other that is sound, or cannot be decompressed. Null with an
// exception set, Unreadable for an entry that cannot be read. `bytes` is the entry, which `found`
// borrows from.
[[nodiscard]] PyObject* plain_value(PyObject* bytes, const Envelope& found,
                                    const PlainTerms& terms);

// Adds them and their types to the module. -1 with an exception set.
[[nodiscard]] int init_entries(PyObject* module);

}  // namespace millpond::bindings
