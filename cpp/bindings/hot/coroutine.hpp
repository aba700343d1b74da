// How an object of ours passes for a coroutine: leaving with a value, taking a thrown exception,
// being accepted by asyncio, anyio and uvloop. Used by every awaitable type in hot/.
//
// All functions need the GIL.
#pragma once

#include <Python.h>

namespace millpond::bindings {

// Leaves a tp_iternext with a return value; always returns null. Steals `value`.
// CPython 3.12 and 3.13 take the result of `await` from here unless the object is a coroutine of
// their own, so no exception is built: a recycled one carries the value. O(1), no allocation.
PyObject* leave_with(PyObject* value);

// Lets go of the value that the recycled exception still holds after the await took it. Called from
// the tp_dealloc of whatever uses leave_with: the interpreter drops it right after the await.
void drop_carried();

// Turns the outcome of an am_send slot into that of a `send()` method; steals `result`.
PyObject* finish_send(PySendResult status, PyObject* result);

// Sets the exception that `throw(type_or_instance[, value[, traceback]])` asks for.
// When the arguments are wrong, sets the TypeError that says so.
void set_thrown(PyObject* const* args, Py_ssize_t count);

// iterator.throw(*args): what it yields, or null with an exception set (StopIteration when it ended
// with a value). An iterator without that method is thrown past.
[[nodiscard]] PyObject* throw_into(PyObject* iterator, PyObject* const* args, Py_ssize_t count);

// Sets `exception` as the raised one with exactly `traceback` (null: none), adding no context.
void raise_with_traceback(PyObject* exception, PyObject* traceback);

// The raised exception, normalised, with its traceback attached, as a new reference; clears the
// error indicator. REQUIRES: an exception is set.
[[nodiscard]] PyObject* take_raised();

// Sets what take_raised took, as it was. Steals `exception`.
void raise_again(PyObject* exception);

// What `await awaitable` iterates over: a coroutine itself, else what its __await__ returns.
// New reference, or null with TypeError set.
[[nodiscard]] PyObject* awaitable_iterator(PyObject* awaitable);

// Registers `type` as collections.abc.Coroutine. 0, or -1 with an exception set.
[[nodiscard]] int register_coroutine(PyTypeObject* type);

}  // namespace millpond::bindings
