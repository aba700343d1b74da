// `Head`: what the envelope of a stored entry says, as Python sees it; and the two outcomes of
// storing and reading that are no failure of anybody's: Unencodable and Unreadable.
#pragma once

#include <Python.h>

#include <array>
#include <cstddef>
#include <string_view>

#include "millpond/cache/envelope.hpp"

namespace millpond::bindings {

// A value that has no stored form; `reason` is "type", "depth", "changed", "failed" or "oversized".
void raise_unencodable(const char* reason, std::string_view message) noexcept;

// An entry that cannot be read; `kind` says why. Python's codecs know more kinds.
void raise_unreadable(const char* kind) noexcept;
void raise_unreadable(EntryFault fault) noexcept;
// Whether the exception that is set is Unreadable.
[[nodiscard]] bool is_unreadable() noexcept;

// The name of a generation from 32 hexadecimal digits in lower case, as the tiers know it; false
// without an exception for anything else.
[[nodiscard]] bool read_generation(PyObject* text, std::array<std::byte, 16>& name) noexcept;
// And back: a new reference, or null with MemoryError set.
[[nodiscard]] PyObject* generation_text(const std::array<std::byte, 16>& name) noexcept;

// The bytes of a bytes object; false with TypeError for any other type.
[[nodiscard]] bool entry_bytes(PyObject* object, std::span<const std::byte>& bytes) noexcept;

// The head of an entry, a new reference; null with an exception set.
[[nodiscard]] PyObject* read_head(PyObject* entry, std::uint32_t most) noexcept;

// The envelope that a Head stands for, or null with TypeError. Good as long as the Head.
[[nodiscard]] const Envelope* envelope_of(PyObject* head) noexcept;

// Adds Head, Unencodable and Unreadable to the module. -1 with an exception set.
[[nodiscard]] int init_entry_head(PyObject* module);

}  // namespace millpond::bindings
