// millpond._engine.RowLook: the look-up of one entry in a SQLite file, without a Python frame. It is
// what most hits of that tier are. Whatever is out of the ordinary (a connection to be opened, a row
// that is not sound) is left to the tier's own way, which it shortens and does not replace.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "hot/entry_reading.hpp"
#include "hot/heap_type.hpp"

namespace millpond::bindings {

// The stamps of some names, and for how long they are the present ones.
struct KnownStamps {
    std::uint64_t version = 0;  // of what the RowLook knows; it never has the same again
    std::vector<Present> present;
    Ref texts;  // the stamps as a list of int
};
using KnownStampsPtr = std::shared_ptr<const KnownStamps>;

struct RowFound {
    Ref data;              // bytes; null: there is no entry, or its life is over
    KnownStampsPtr known;  // of the names that were asked for
    std::int64_t guard = 0;
    bool guarded = true;   // false: the guard was not asked for
    std::int64_t now = 0;  // microseconds, when it was read
};

enum class RowOutcome {
    Found,
    Cannot,  // the tier has to be asked
    Error,   // an exception is set
};

[[nodiscard]] bool is_row_look(PyObject* object) noexcept;
// `known` is what an earlier look for the same names has found of them, or null: it spares asking. A
// row that is there comes without its guard. REQUIRES: is_row_look(look); `names` is a list or a
// tuple. Throws std::bad_alloc.
[[nodiscard]] RowOutcome look_for_row(PyObject* look, PyObject* key, PyObject* names,
                                      const KnownStampsPtr& known, RowFound& found);
// Replaces what was found by the row as it is now, with its guard.
[[nodiscard]] RowOutcome look_again(PyObject* look, PyObject* key, RowFound& found);

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_row_look(PyObject* module);

}  // namespace millpond::bindings
