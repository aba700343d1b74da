// Text as canonical forms hold it: UTF-8, with a lone surrogate written as the three bytes of its
// code point. Each sequence of code points has one form, and no two share one.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace millpond::bindings {

// The bytes that one code point takes.
[[nodiscard]] constexpr std::size_t utf8_size(Py_UCS4 point) noexcept {
    return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

// Writes one code point and returns the byte after it. REQUIRES: room for utf8_size(point) bytes.
inline std::uint8_t* write_utf8(Py_UCS4 point, std::uint8_t* out) noexcept {
    const auto tail = [point](int shift) {
        return static_cast<std::uint8_t>(0x80U | ((point >> shift) & 0x3fU));
    };
    if (point < 0x80) {
        *out++ = static_cast<std::uint8_t>(point);
    } else if (point < 0x800) {
        *out++ = static_cast<std::uint8_t>(0xc0U | (point >> 6));
        *out++ = tail(0);
    } else if (point < 0x10000) {
        *out++ = static_cast<std::uint8_t>(0xe0U | (point >> 12));
        *out++ = tail(6);
        *out++ = tail(0);
    } else {
        *out++ = static_cast<std::uint8_t>(0xf0U | (point >> 18));
        *out++ = tail(12);
        *out++ = tail(6);
        *out++ = tail(0);
    }
    return out;
}

// Legacy strings of 3.11 may still have to be put into their final form; false with MemoryError.
[[nodiscard]] inline bool ready_text([[maybe_unused]] PyObject* text) noexcept {
#if PY_VERSION_HEX < 0x030C0000
    return PyUnicode_READY(text) == 0;
#else
    return true;
#endif
}

// The size of the whole text in UTF-8. REQUIRES: ready_text(text).
[[nodiscard]] inline std::size_t utf8_size(PyObject* text) noexcept {
    const auto length = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text));
    if (PyUnicode_IS_ASCII(text)) return length;
    const int kind = static_cast<int>(PyUnicode_KIND(text));
    const void* const data = PyUnicode_DATA(text);
    std::size_t size = 0;
    for (std::size_t i = 0; i < length; ++i) {
        size += utf8_size(PyUnicode_READ(kind, data, static_cast<Py_ssize_t>(i)));
    }
    return size;
}

// Appends a str or an instance of a subclass of str. REQUIRES: the GIL.
inline void append_text(PyObject* text, std::string& out) {
    if (!ready_text(text)) {
        PyErr_Clear();
        return;
    }
    const int kind = static_cast<int>(PyUnicode_KIND(text));
    const void* const data = PyUnicode_DATA(text);
    std::uint8_t bytes[4];
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(text); ++i) {
        const std::uint8_t* const end = write_utf8(PyUnicode_READ(kind, data, i), bytes);
        out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(end - bytes));
    }
}

}  // namespace millpond::bindings
