// asyncio's event loops, seen from C: bound at the first use, since importing millpond must not
// import asyncio. Any loop with asyncio's interface will do (uvloop too).
//
// All functions need the GIL. Those that call into a loop run Python code.
#pragma once

#include <Python.h>

namespace millpond::bindings {

// The loop that runs in this thread, as a new reference; null, without an exception, when none does.
// Does not import asyncio: before somebody else has, no loop can run.
[[nodiscard]] PyObject* running_loop();

// The same as a yes or no for one loop. False for null.
[[nodiscard]] bool runs_in_this_thread(PyObject* loop);

// Whether the loop will run nothing any more. A loop that cannot even say counts as closed.
// Keeps the exception that may be set.
[[nodiscard]] bool loop_is_closed(PyObject* loop);

// Whether the loop is running, in whichever thread. Keeps the exception that may be set.
[[nodiscard]] bool loop_is_running(PyObject* loop);

// loop.call_soon(callback, argument, context=context). False when the loop did not take it: it is
// closed, or broken, which is reported as unraisable. No exception is left set.
[[nodiscard]] bool call_soon(PyObject* loop, PyObject* callback, PyObject* argument,
                             PyObject* context);

// loop.call_soon_threadsafe(callback). As above.
[[nodiscard]] bool call_soon_threadsafe(PyObject* loop, PyObject* callback);

// loop.call_later(seconds, callback). As above.
[[nodiscard]] bool call_later(PyObject* loop, double seconds, PyObject* callback);

// A task of the running loop `loop` for `coroutine`, in a copy of the current context. Eager where
// Python and the loop allow, so it may be done. New reference, or null with an exception set.
[[nodiscard]] PyObject* create_task(PyObject* loop, PyObject* coroutine);

// asyncio.CancelledError and asyncio.InvalidStateError, borrowed for ever; null with an exception
// set when asyncio cannot be imported.
[[nodiscard]] PyObject* cancelled_error();
[[nodiscard]] PyObject* invalid_state_error();
// The first, or null without an exception as long as nobody has imported asyncio.
[[nodiscard]] PyObject* cancelled_error_if_imported();

}  // namespace millpond::bindings
