// Threads that wait on a flight.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "hot/coroutine.hpp"
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"
#include "hot/interned.hpp"
#include "hot/loops.hpp"
#include "translate_error.hpp"

#if PY_VERSION_HEX < 0x030D0000
#define Py_IsFinalizing _Py_IsFinalizing
#endif

namespace millpond::bindings {
namespace {

constexpr double kForEver = -1.0;

[[noreturn]] void stop_for_good() {
    for (;;) {
        pause();
    }
}

// Takes the GIL back, or stops this thread for good when the interpreter is shutting down. CPython
// would end the thread there by unwinding our frames and our callers', whose destructors would then
// release Python objects without the GIL. (CPython 3.14 stops such threads the same way.)
void resume(PyThreadState* state) {
    if (Py_IsFinalizing() != 0) {
        stop_for_good();
    }
    try {
        PyEval_RestoreThread(state);
    } catch (...) {
        stop_for_good();  // inside the handler: the unwinding must neither pass nor be swallowed
    }
}

PyLockStatus acquire_for(PyThread_type_lock lock, double seconds) {
    const auto microseconds = static_cast<PY_TIMEOUT_T>(std::ceil(seconds * 1e6));
    PyThreadState* state = PyEval_SaveThread();
    const PyLockStatus status = PyThread_acquire_lock_timed(lock, microseconds, 1);
    resume(state);
    return status;
}

double monotonic_seconds() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// What the flight's end means for a thread that waited, or came too late to wait.
WaitResult outcome_of(FlightObject* flight, PyObject** out) {
    switch (flight->state) {
        case FlightState::Landed: *out = Py_NewRef(flight->outcome); return WaitResult::Value;
        case FlightState::Failed: raise_outcome(flight); return WaitResult::Raised;
        case FlightState::GivenUp: return WaitResult::Over;
        case FlightState::InAir: break;
    }
    return WaitResult::Alone;
}

// The thread stops waiting although nobody woke it. True when it left in time; otherwise it has its
// outcome, or leads.
bool leave(FlightObject* flight, ThreadWaiter& waiter) {
    const LeaveOutcome left = flights().leave(waiter.id);
    if (left == LeaveOutcome::LastLeft) {
        stop_unneeded(flight);
    }
    return left != LeaveOutcome::Gone;
}

// Whether the loop that loads `flight` has died on those who wait.
void give_up_with_dead_loop(FlightObject* flight) {
    if (flight->loop != nullptr && loop_is_closed(flight->loop)) {
        hand_over(flight);
    }
}

void raise_timed_out(const FlightObject* flight, double seconds) {
    const Ref given =
        flight->owner == nullptr ? Ref() : attribute_of<"__qualname__">(flight->owner);
    const char* const name = given ? PyUnicode_AsUTF8(given.get()) : nullptr;
    PyErr_Clear();
    raise_error(PythonError::WaitTimeout,
                fmt::format("another caller's load in {} took longer than wait_timeout={:g} s; it "
                            "goes on, and its result is cached when it arrives",
                            name == nullptr ? "the same function" : name, seconds));
}

WaitResult wait_until(FlightObject* flight, ThreadWaiter& waiter, double timeout, PyObject** out) {
    const double deadline = timeout < 0 ? kForEver : monotonic_seconds() + timeout;
    for (;;) {
        const double left =
            deadline == kForEver ? kForEver : std::max(0.0, deadline - monotonic_seconds());
        // Every thread looks up now and then: for the end of the loop that loads, which wakes
        // nobody, or for a signal that came just before the main thread began to wait.
        const bool looks_first = left < 0 || kWatchSeconds < left;
        const PyLockStatus status = acquire_for(waiter.lock, looks_first ? kWatchSeconds : left);
        if (status != PY_LOCK_ACQUIRED && Py_MakePendingCalls() < 0) {
            if (!leave(flight, waiter) && waiter.state == ThreadState::Promoted) {
                flight_abandon(flight);
            }
            return WaitResult::Interrupted;
        }
        if (waiter.state == ThreadState::Promoted) {
            return WaitResult::Lead;
        }
        if (waiter.state == ThreadState::Over) {
            return outcome_of(flight, out);
        }
        if (status == PY_LOCK_FAILURE && !looks_first && monotonic_seconds() >= deadline) {
            leave(flight, waiter);
            raise_timed_out(flight, timeout);
            return WaitResult::TimedOut;
        }
        give_up_with_dead_loop(flight);
    }
}

}  // namespace

WaitResult flight_wait(FlightObject* flight, double timeout_seconds, PyObject** out) {
    *out = nullptr;
    if (flight->state != FlightState::InAir) {
        return outcome_of(flight, out);
    }
    ThreadWaiter waiter;
    waiter.thread = PyThread_get_thread_ident();
    // This thread itself runs the load, somewhere below on its stack, or the loop that does.
    const bool below = flight->loop == nullptr && flight->thread == waiter.thread;
    if (below || runs_in_this_thread(flight->loop)) {
        return WaitResult::Alone;
    }
    waiter.lock = PyThread_allocate_lock();
    if (waiter.lock == nullptr) {
        return WaitResult::Alone;
    }
    PyThread_acquire_lock(waiter.lock, NOWAIT_LOCK);
    WaitResult result = WaitResult::Alone;
    try {
        const auto handle = reinterpret_cast<std::uint64_t>(&waiter) + 1;
        const Join join = flights().join(flight->id, current_flight(), handle);
        waiter.id = join.waiter;
        if (join.outcome == JoinOutcome::Waiting) {
            Py_INCREF(as_object(flight));
            result = wait_until(flight, waiter, timeout_seconds, out);
            Py_DECREF(as_object(flight));
        }
    } catch (const std::bad_alloc&) {
        result = WaitResult::Alone;
    }
    PyThread_free_lock(waiter.lock);
    return result;
}

}  // namespace millpond::bindings
