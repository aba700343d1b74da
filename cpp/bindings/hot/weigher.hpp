// The default weigher: how many bytes a value keeps alive, deep. And the gate in front of the
// cache, which refuses values that serve only once.
//
// Counted: builtin containers and what is in them, `__dict__`, slots, dataclass and pydantic
// fields, numpy data (through views), and whatever else a type shows the garbage collector. An
// object of a type written in Python or by a foreign extension counts its basic size plus what
// hangs below. Not counted: types, modules, functions, code, frames, None, True, False and small
// integers. A part that is reached twice within one value counts once; parts shared between values
// count for each. For builtins the sum is that of sys.getsizeof; attribute storage outside a dict
// is estimated at one pointer each. No user code runs (no __sizeof__, property or __eq__), and the
// value is not changed.
//
// Past kMaxWeighedParts parts the rest is estimated: siblings not visited are taken to be as heavy
// as the visited ones. Nesting is followed without recursion: depth is bounded by memory only.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

namespace millpond::bindings {

inline constexpr std::size_t kMaxWeighedParts = 100'000;

// Writes the weight of `value`; false with MemoryError set. A few nanoseconds for an int or str,
// about 30 for a container and 4 for each part of it. REQUIRES: the GIL, no exception set.
[[nodiscard]] bool weigh(PyObject* value, std::uint64_t* bytes) noexcept;

// False for coroutines and other awaitables (futures, tasks), generators and other iterators,
// asynchronous ones too, and open files. Looks at the value itself, not below it. A pointer compare
// or a few for the usual builtins. REQUIRES: the GIL, no exception set.
[[nodiscard]] bool is_cacheable(PyObject* value) noexcept;

// As is_cacheable; what is refused raises millpond.errors.ValueRefusedError, saying what to return
// instead.
[[nodiscard]] bool check_cacheable(PyObject* value) noexcept;

}  // namespace millpond::bindings
