// What a decorated async function returns on a miss: an awaitable that looks up, joins or leads at
// its first send, and then waits on the flight. It is a coroutine to those who await it and a future
// to the task that drives it, in one object: a waiter costs no other.
//
// All functions need the GIL.
#pragma once

#include <Python.h>

#include "hot/flight_object.hpp"

namespace millpond::bindings {

enum class Start {
    Error,  // an exception is set; a flight that the hook had begun or taken over has been ended
    Value,  // *out is the value
    Wait,   // *out is the FlightObject to wait on, for the leader and the followers alike
    Alone,  // *out is an awaitable, to be driven uncoalesced by the caller's own task
};

enum class StartMode {
    First,    // look up; a miss leads (flight_lead, then flight_run_task) or waits
    Restart,  // `promoted` is to be loaded again: flight_run_task on it, then Wait
    Alone,    // waiting would never end: return Alone (or a Value that is there by now)
    LeftOut,  // it waited for a load of many keys that had no value for its own: look up again
    Anew,     // it has a value that is past its life: begin to load it anew; *out does not matter
};

// Decides what a call does. *out is a new reference. `promoted` is null but for Restart.
using StartHook = Start (*)(PyObject* owner, PyObject* args, PyObject* kwargs, StartMode mode,
                            FlightObject* promoted, PyObject** out);

// A new awaitable, or null with MemoryError set. Shares `owner`, `args` (a tuple) and `kwargs` (a
// dict or null), and gives them up when the call is over. `owner`'s __qualname__ names the call in
// reprs and in the warning that it was never awaited. O(1).
[[nodiscard]] PyObject* make_async_call(PyObject* owner, StartHook hook, PyObject* args,
                                        PyObject* kwargs);

// Runs `coroutine` (any awaitable) as the load of `flight`, from its first step, in a task of the
// running loop and in a copy of the current context; its end ends the flight. With CPython 3.12 and
// later the first step runs at once, so the flight may be over on return.
// 0, or -1 with an exception set; then the flight has been given up and the coroutine closed.
[[nodiscard]] int flight_run_task(FlightObject* flight, PyObject* coroutine);

// Called once at import, after init_flights. 0, or -1 with an exception set.
[[nodiscard]] int init_async_calls();

}  // namespace millpond::bindings
