// One load in flight: who leads it, who waits on it (threads and tasks of any number of loops), and
// how it ended. The engine's Flights decides; this performs: it blocks threads, wakes tasks through
// their loops, and carries the value or the exception from the leader to the rest.
//
// A synchronous leader:                        Everybody else who finds the flight:
//     flight = flight_lead(owner, settle, t)       switch (flight_wait(flight, timeout, &value))
//     flight_enter(flight, &token)                     Value, Raised, TimedOut, Interrupted: done
//     value = call the function                        Lead: load as the leader does, from enter on
//     flight_exit(token)                               Alone: call the function, tell nobody
//     flight_land / flight_fail / flight_abandon       Over: look up again
//
// An asynchronous one: async_call.hpp. All functions need the GIL; none but flight_wait blocks.
// docs/design/flights.md tells the whole story.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

namespace millpond::bindings {

// A Python object: reference counts are kept with Py_INCREF and Py_DECREF as usual.
struct FlightObject;
struct LoadedObject;  // loaded.hpp

// What the owner wants to find again when the load is over.
struct LoadTicket {
    void* extra = nullptr;
    const LoadedObject* loaded = nullptr;  // while the load is settled: what it returned, if one
    bool anew = false;  // once it is: whoever gets the value is to have it loaded anew
};

// Called exactly once, when the load is over and before anybody is woken: stores the value, counts.
// Both `value` and `exception` are null when the load ended without an outcome and nobody waited to
// start it again. `flight` is null for a load that never had one (flight_solo.hpp). Called with no
// exception set; must not leave one. May run a user's code.
using SettleHook = void (*)(FlightObject* flight, LoadTicket& ticket, PyObject* owner,
                            PyObject* value, PyObject* exception);

// A new flight that the caller leads, inside the load that the current context runs in, if any.
// New reference, or null with MemoryError set. Every flight must be ended by flight_land,
// flight_fail or flight_abandon, or given to flight_run_task. O(1).
[[nodiscard]] FlightObject* flight_lead(PyObject* owner, SettleHook settle, LoadTicket ticket);

// Whether `object` is a FlightObject.
[[nodiscard]] bool is_flight(PyObject* object) noexcept;

// What a load of many keys lands where it brought no value: no outcome of the key's own. Who waited
// and knows nothing of it looks again. Borrowed; the module has it as LEFT_OUT.
[[nodiscard]] PyObject* left_out() noexcept;

// The ticket given to flight_lead; writable, so that a restart can note its own start.
[[nodiscard]] LoadTicket& flight_ticket(FlightObject* flight);

// Whether the load is still to end: false once it has landed, failed or been given up.
[[nodiscard]] bool flight_in_air(FlightObject* flight);
// Whether it is over and has no outcome.
[[nodiscard]] bool flight_given_up(FlightObject* flight);

// How many threads and tasks wait on it.
[[nodiscard]] std::size_t flight_waiters(FlightObject* flight);

// Marks all that this thread, and what copies its context, runs until flight_exit as a part of this
// load, so that a call inside it that would wait for itself is seen. 0, or -1 with an exception set.
// `token` is null or a new reference, which flight_exit takes over; both are called in one thread,
// nested like the loads. flight_exit keeps the exception that may be set. A few ns each, but for the
// first load in a context.
[[nodiscard]] int flight_enter(FlightObject* flight, PyObject** token);
void flight_exit(PyObject* token);

// The load is over: settles, then wakes all who wait, who get `value` (what is in it, if it is a
// Loaded) or raise `exception`.
// `exception` keeps the traceback that it has now, however often it is raised. Does nothing when the
// flight is over. Called with no exception set, and sets none. O(waiters).
void flight_land(FlightObject* flight, PyObject* value);
void flight_fail(FlightObject* flight, PyObject* exception);

// The load was torn down: the one who has waited longest leads from now on and loads again. When
// nobody waits, the flight is settled without an outcome. May be called with an exception set,
// which is kept.
void flight_abandon(FlightObject* flight);

// Whether `exception` concerns only whom it hit (KeyboardInterrupt, SystemExit, GeneratorExit,
// asyncio.CancelledError): such a load is abandoned, any other failure is shared by flight_fail.
[[nodiscard]] bool flight_is_interruption(PyObject* exception);

enum class WaitResult {
    Value,        // *out is the value, a new reference
    Raised,       // the leader's exception is set, with its original traceback
    Lead,         // the caller leads now: flight_enter and load, on this same flight
    Alone,        // waiting would never end: run the function uncoalesced
    Over,         // it was given up, with no outcome for anybody: look up again
    TimedOut,     // WaitTimeoutError is set; the load goes on
    Interrupted,  // a signal handler raised (Ctrl-C): its exception is set
};

// Waits for the flight's end, without the GIL; negative `timeout_seconds`: for ever.
// At interpreter shutdown a daemon thread never comes back from here.
[[nodiscard]] WaitResult flight_wait(FlightObject* flight, double timeout_seconds, PyObject** out);

// Called once at import. 0, or -1 with an exception set.
[[nodiscard]] int init_flights();

}  // namespace millpond::bindings
