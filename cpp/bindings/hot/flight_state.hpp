// The insides of flights and of the calls that wait on them, shared by the sources behind
// flight_object.hpp and async_call.hpp; nobody else includes this.
//
// Who owns whom: a waiting AsyncCall and its flight own each other, until the flight hands the call
// out or the call leaves. A waiting thread owns its ThreadWaiter (on its stack) and a reference to
// the flight. The engine knows both by a handle: the address, odd for threads.
#pragma once

#include <Python.h>

#include <cstdint>
#include <vector>

#include "hot/async_call.hpp"
#include "hot/flight_object.hpp"
#include "hot/flight_solo.hpp"
#include "millpond/cache/flights.hpp"

namespace millpond::bindings {

struct AsyncCallObject;
class FlightGroup;  // flight_group.hpp

enum class FlightState : std::uint8_t { InAir, Landed, Failed, GivenUp };

struct FlightObject {
    PyObject_HEAD FlightId id;
    LoadTicket ticket;
    SettleHook settle;
    PyObject* owner;
    PyObject* outcome;       // the value, or the exception
    PyObject* traceback;     // the exception's, as it was when the load failed
    PyObject* loop;          // that runs the load, or is to start it again; null for a thread
    PyObject* task;          // runs the load
    AsyncCallObject* first;  // those that wait in tasks, owned, the longest waiting first
    AsyncCallObject* last;
    PyObject* watchers;       // the loops that will look whether `loop` still lives; a list or null
    AsyncCallObject* leader;  // whose task's context the load has; null once it left. Borrowed
    FlightGroup* group;       // whose load ends it with others; null: none. Borrowed
    PyObject* scope;          // between flight_enter and flight_exit
    SoloRef outer_solo;       // what `scope` said before, one of the two
    FlightId outer;
    unsigned long thread;  // that leads
    FlightState state;
    bool joined_by_leader;  // whether Flights::detach has been called since the last start
};

enum class ThreadState : std::uint8_t { Waiting, Over, Promoted };

struct ThreadWaiter {
    PyThread_type_lock lock = nullptr;
    unsigned long thread = 0;
    WaiterId id;
    ThreadState state = ThreadState::Waiting;
};

enum class CallState : std::uint8_t {
    Created,   // nothing has happened yet
    Starting,  // inside the hook
    Waiting,   // on the flight
    Woken,     // the flight is over: its outcome is the call's
    Failed,    // `extra` is the exception that this call alone gets
    Promoted,  // leads the flight from now on; it starts again when its task resumes it
    Orphaned,  // its flight is gone: it looks up again when its task resumes it
    Alone,     // drives `extra`
    Driving,   // inside what it drives
    Done,
};

struct AsyncCallObject {
    PyObject_HEAD PyObject* owner;
    StartHook hook;
    PyObject* args;
    PyObject* kwargs;
    FlightObject* flight;
    PyObject* loop;
    PyObject* callback;  // of the task that waits; a list of (callback, context) with null context
    PyObject* context;
    PyObject* extra;  // by state: the exception (Failed), the iterator (Alone, Driving)
    AsyncCallObject* next;
    AsyncCallObject* prev;
    PyObject* weak_references;
    WaiterId waiter;
    CallState state;
    bool blocking;  // _asyncio_future_blocking
};

// The engine's state machine: one a process, serialised by the GIL.
[[nodiscard]] Flights<NoLock>& flights();

// The innermost load that the current context runs in; none outside. Throws std::bad_alloc.
[[nodiscard]] FlightId current_flight();

// In the child of a fork: ends the solo loads of threads that are no more.
void lose_solo_loads(unsigned long here);

// flight_lead inside the load `around` (none: on its own). `settle` may be null.
[[nodiscard]] FlightObject* flight_lead_inside(FlightId around, PyObject* owner, SettleHook settle,
                                               LoadTicket ticket);

// Between the two, what copies the current context (a new task) runs in the load `id`. New reference
// to the token for the second, or null with an exception set; the second gives 0, or -1 likewise.
[[nodiscard]] PyObject* begin_task_context(FlightId id);
[[nodiscard]] int end_task_context(PyObject* token);

// Called once at import. 0, or -1 with an exception set.
[[nodiscard]] int init_ancestry();

// Sets the flight's exception, with its own traceback and no other.
void raise_outcome(FlightObject* flight);

// Gives the flight to whoever has waited longest, or settles it without an outcome.
void hand_over(FlightObject* flight);

// Wakes the waiters behind the handles, in their order: threads at once, tasks through their loops.
void wake(const std::vector<std::uint64_t>& handles);

// Takes the call out of its flight's list; the reference that the flight had is the caller's now.
[[nodiscard]] AsyncCallObject* unlink_call(AsyncCallObject* call);

// The call no longer waits. When it was the last, the task that loads is cancelled.
void leave_flight(AsyncCallObject* call);

// The last who waited on the flight has left it: the task that loads is cancelled, unless others of
// the flights that it loads are waited for.
void stop_unneeded(FlightObject* flight);

// Tells the task behind a call that is no longer waiting to go on. From the loop's own thread;
// false when the loop did not take it.
bool schedule_here(AsyncCallObject* call);
// From any thread.
bool schedule_anywhere(AsyncCallObject* call);

// Looks now and then, on `loop` (where somebody waits), whether the loop that loads still lives.
// In the thread of `loop`.
void watch_from(PyObject* loop, FlightObject* flight);
// The same on every loop on which somebody waits but the one that loads. From any thread.
void watch_from_waiters(FlightObject* flight);

// Called once at import. 0, or -1 with an exception set.
[[nodiscard]] int init_flight_tasks();

// How long between two such looks. Long against a load, short against a person's patience.
inline constexpr double kWatchSeconds = 0.25;

}  // namespace millpond::bindings
