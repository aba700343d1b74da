// Names: the values of an enumeration as Python spells them.
#pragma once

#include <Python.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "hot/heap_type.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {

// Interned, so that one given as a literal is found by its address. name_of(Value) spells them.
template <class Value, std::size_t kCount>
struct Names {
    std::array<PyObject*, kCount> texts{};

    bool make() {
        for (std::size_t i = 0; i < kCount; ++i) {
            // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): of a literal
            texts[i] = PyUnicode_InternFromString(name_of(static_cast<Value>(i)).data());
            if (texts[i] == nullptr) {
                return false;
            }
        }
        return true;
    }

    // False with an exception set that lists what is allowed.
    bool find(PyObject* text, const char* what, Value& value) const {
        for (std::size_t i = 0; i < kCount; ++i) {
            if (texts[i] == text) {
                value = static_cast<Value>(i);
                return true;
            }
        }
        return find_equal(text, what, value);
    }

    [[gnu::noinline]] bool find_equal(PyObject* text, const char* what, Value& value) const {
        std::string allowed;
        for (std::size_t i = 0; i < kCount; ++i) {
            const std::string_view name = name_of(static_cast<Value>(i));
            // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): of a literal
            if (PyUnicode_Check(text) && PyUnicode_CompareWithASCIIString(text, name.data()) == 0) {
                value = static_cast<Value>(i);
                return true;
            }
            allowed += (allowed.empty() ? "\"" : ", \"") + std::string(name) + "\"";
        }
        const Ref shown(PyObject_Repr(text));
        const char* const given = shown ? PyUnicode_AsUTF8(shown.get()) : nullptr;
        PyErr_Clear();
        raise_error(
            PythonError::Configuration,
            std::string(what) + "=" + (given != nullptr ? given : "?") + ": allowed is " + allowed);
        return false;
    }
};

}  // namespace millpond::bindings
