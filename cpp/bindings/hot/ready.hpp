// A finished awaitable: `await` gives the value back at once. What a decorated async function
// returns on a hit, where making and driving a real coroutine would cost more than the look-up.
//
// It behaves as a coroutine that returns without suspending (send, throw, close, awaited once), is
// registered as collections.abc.Coroutine, and never warns when it is dropped: no work was lost.
#pragma once

#include <Python.h>

namespace millpond::bindings {

// A new awaitable of `value`, or null with MemoryError set. Steals `value`, also on failure.
// REQUIRES: the GIL. O(1); the memory comes from a free list.
[[nodiscard]] PyObject* make_ready(PyObject* value);

// Called once at import. 0, or -1 with an exception set.
[[nodiscard]] int init_ready();

}  // namespace millpond::bindings
