// zstd for the bindings: the engine's decoder, one for each thread that has needed it.
#pragma once

#include <Python.h>

#include <cstddef>
#include <span>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

// Contents up to this size are unpacked by the engine; for larger ones a library takes less time.
inline constexpr std::size_t kSmallContent = 2048;

// The content of a frame, bytes of exactly `size`; null without an exception where the engine does
// not read it. Null with an exception set where there is no memory.
[[nodiscard]] Ref unpack_zstd(std::span<const std::byte> frame, std::size_t size) noexcept;

// Adds unpack_zstd() and SMALL_CONTENT to the module. -1 with an exception set.
[[nodiscard]] int init_zstd(PyObject* module);

}  // namespace millpond::bindings
