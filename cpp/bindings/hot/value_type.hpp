// What the cache has to know about the type of a value: may it be cached, how its own bytes are
// found without running a user's code, and whether other objects hang below it.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

namespace millpond::bindings {

// In front of every object that the garbage collector follows; sys.getsizeof counts it too.
#ifdef Py_GIL_DISABLED
inline constexpr std::size_t kCollectorHeaderBytes = 0;
#else
inline constexpr std::size_t kCollectorHeaderBytes = 2 * sizeof(void*);
#endif

// Why values of a type are not cached. They serve only once, or belong to this moment.
enum class Refusal : std::uint8_t { None, Coroutine, Awaitable, AsyncIterator, Iterator, OpenFile };

enum class PartKind : std::uint8_t {
    Free,       // belongs to the program, not to the value: types, modules, functions, frames
    Leaf,       // its own bytes, nothing below
    Traversed,  // what its tp_traverse visits hangs below
    Mapping,    // as Traversed, and a dict: keys and values hang below
    Array,      // numpy.ndarray: its base, or its elements if they are objects
};

struct ValueType {
    PyTypeObject* type = nullptr;  // borrowed; only compared
    unsigned version = 0;          // of the type; a change of the type makes another number
    PartKind kind = PartKind::Leaf;
    Refusal refusal = Refusal::None;
    bool keeps_attributes_inline = false;  // attribute values may sit outside any dict
    std::uint8_t header_bytes = 0;         // in front of the object: GC links, managed dict
    PyCFunction size_of = nullptr;         // a C __sizeof__; null means basic and item size
};

// What is known about the type of `value`. Remembered by type and version, so amortised a few
// nanoseconds; about a microsecond for a type not seen lately. Runs no user code.
// REQUIRES: the GIL, no exception set.
[[nodiscard]] ValueType value_type_of(PyObject* value) noexcept;

// The bytes of the object itself, as sys.getsizeof would say for a builtin.
// REQUIRES: `info` is value_type_of(value).
[[nodiscard]] std::size_t own_bytes(PyObject* value, const ValueType& info) noexcept;

}  // namespace millpond::bindings
