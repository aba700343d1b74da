// What an int holds, read where CPython keeps it.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

// Whether an int is held in one machine word, as nearly all are.
inline bool is_compact(PyObject* object) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    return PyUnstable_Long_IsCompact(reinterpret_cast<const PyLongObject*>(object)) != 0;
#else
    return -1 <= Py_SIZE(object) && Py_SIZE(object) <= 1;
#endif
}

// REQUIRES: is_compact(object).
inline std::int64_t compact_value(PyObject* object) noexcept {
    const auto* const number = reinterpret_cast<const PyLongObject*>(object);
#if PY_VERSION_HEX >= 0x030C0000
    return PyUnstable_Long_CompactValue(number);
#else
    return static_cast<std::int64_t>(number->ob_digit[0]) * Py_SIZE(object);
#endif
}

// The sign and the magnitude of an int of any size, lowest byte first and no zero byte at its end.
// False with an exception set. May throw bad_alloc.
inline bool magnitude_of(PyObject* object, bool& negative, std::vector<std::uint8_t>& bytes) {
    negative = _PyLong_Sign(object) < 0;
    // The type's own slot: a subclass may define __abs__.
    const Ref magnitude(PyLong_Type.tp_as_number->nb_absolute(object));
    if (!magnitude) return false;
    const std::size_t bits = _PyLong_NumBits(magnitude.get());
    if (bits == static_cast<std::size_t>(-1)) return false;
    bytes.resize((bits + 7) / 8);
    auto* const number = reinterpret_cast<PyLongObject*>(magnitude.get());
#if PY_VERSION_HEX >= 0x030D0000
    return _PyLong_AsByteArray(number, bytes.data(), bytes.size(), 1, 0, 1) == 0;
#else
    return _PyLong_AsByteArray(number, bytes.data(), bytes.size(), 1, 0) == 0;
#endif
}

}  // namespace millpond::bindings
