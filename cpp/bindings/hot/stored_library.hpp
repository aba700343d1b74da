// What the encoder and the decoder of stored values both know of library types.
#pragma once

#include <Python.h>

#include <cstddef>

#include "hot/interned.hpp"

namespace millpond::bindings {

// The names in uuid.SafeUUID, in the order of their numbers in the format.
inline constexpr const char* kUuidSafeties[] = {"unknown", "safe", "unsafe"};
inline constexpr PyObject* (*kUuidSafetyNames[])() noexcept = {
    interned<"unknown">, interned<"safe">, interned<"unsafe">};

// The member of an enum that has a name (a str), borrowed; null without an exception if there is
// none. Runs nothing of the user's.
[[nodiscard]] PyObject* enum_member(PyTypeObject* type, PyObject* name);

// Whether a class is an enum, or an enum of flags. Runs nothing of the user's.
[[nodiscard]] bool is_enum(PyTypeObject* type);
[[nodiscard]] bool is_flag(PyTypeObject* type);

}  // namespace millpond::bindings
