// The one place where a failure of the engine becomes a Python exception of millpond.errors.
// pybind11 functions need nothing: the registered translator serves them. Raw C-API code wraps
// what can throw and returns nullptr after raise_current_exception():
//
//     try { ... } catch (...) { raise_current_exception(); return nullptr; }
//
// All functions need the GIL and leave exactly one Python exception set. The classes are looked up
// when raised, not kept: errors are rare, sys.modules is the cache, and nothing has to be freed.
#pragma once

#include <Python.h>

#include <string_view>

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

// The classes of millpond.errors that the extension raises, by the names they have there.
enum class PythonError {
    Configuration,
    Keying,
    Limit,
    OptionType,
    Snapshot,
    Unsupported,
    ValueRefused,
    WaitTimeout,
    Weight,
};

// Raises the class with `message` (UTF-8; other bytes are shown as \x escapes).
// REQUIRES: no Python exception is set.
void raise_error(PythonError kind, std::string_view message) noexcept;
// Whether an exception is of the class. REQUIRES: no Python exception is set.
[[nodiscard]] bool is_error(PyObject* exception, PythonError kind) noexcept;

// Raises what is being handled: millpond::Error by its code, bad_alloc as MemoryError, a pybind11
// exception as itself, anything else as RuntimeError. REQUIRES: called inside a catch block.
void raise_current_exception() noexcept;

// Registers the translator for every function bound by pybind11 in this extension, and the door
// through which the tests see it. Called once, from module.cpp.
void bind_errors(pybind11::module_& m);

}  // namespace millpond::bindings
