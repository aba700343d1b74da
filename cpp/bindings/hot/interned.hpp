// Attributes and methods by a name known when this is compiled. The C-API's functions that take a
// char* make a new string each time, and CPython's cache of attributes keeps up to 4,096 of those,
// each in the place of a name that a program looks up.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

template <std::size_t size>
struct Literal {
    // NOLINTNEXTLINE(google-explicit-constructor): written as a string
    // NOLINTNEXTLINE(misc-explicit-constructor): written as a string
    consteval Literal(const char (&given)[size]) { std::copy_n(given, size, text); }
    char text[size];
};

// Borrowed; null with an exception set.
template <Literal name>
[[nodiscard]] PyObject* interned() noexcept {
    static PyObject* kept = nullptr;
    if (kept == nullptr) kept = PyUnicode_InternFromString(name.text);
    return kept;
}

// Empty with an exception set.
template <Literal name>
[[nodiscard]] Ref attribute_of(PyObject* object) noexcept {
    PyObject* const text = interned<name>();
    return Ref(text == nullptr ? nullptr : PyObject_GetAttr(object, text));
}

// As PyObject_SetAttr.
template <Literal name>
[[nodiscard]] int set_attribute(PyObject* object, PyObject* value) noexcept {
    PyObject* const text = interned<name>();
    return text == nullptr ? -1 : PyObject_SetAttr(object, text, value);
}

// The method called with borrowed arguments; empty with an exception set.
template <Literal name, typename... Arguments>
[[nodiscard]] Ref call_method(PyObject* object, Arguments... arguments) noexcept {
    PyObject* const text = interned<name>();
    if (text == nullptr) return {};
    std::array<PyObject*, 1 + sizeof...(Arguments)> all{object, arguments...};
    return Ref(PyObject_VectorcallMethod(text, all.data(), all.size(), nullptr));
}

}  // namespace millpond::bindings
