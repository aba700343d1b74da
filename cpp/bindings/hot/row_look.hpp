// millpond._engine.RowLook: the look-up of one entry in a SQLite file, without a Python frame. It is
// what most hits of that tier are. Whatever is out of the ordinary (a connection to be opened, a row
// that is not sound) is left to the tier's own way, which it shortens and does not replace.
#pragma once

#include <Python.h>

#include <cstdint>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

struct RowFound {
    Ref data;    // bytes; null: there is no entry, or its life is over
    Ref stamps;  // of the names that were asked for, a list of int
    std::int64_t guard = 0;
    std::int64_t now = 0;  // microseconds, when it was read
};

enum class RowOutcome {
    Found,
    Cannot,  // the tier has to be asked
    Error,   // an exception is set
};

[[nodiscard]] bool is_row_look(PyObject* object) noexcept;
// REQUIRES: is_row_look(look); `names` is a list or a tuple.
[[nodiscard]] RowOutcome look_for_row(PyObject* look, PyObject* key, PyObject* names,
                                      RowFound& found);

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_row_look(PyObject* module);

}  // namespace millpond::bindings
