#include "hot/flight_object.hpp"

#include <exception>
#include <vector>

#include "hot/coroutine.hpp"
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"
#include "hot/loaded.hpp"
#include "hot/loops.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* flight_type = nullptr;
PyObject* g_left_out = nullptr;
FreeList<FlightObject, 64> free_flights;

// The flights in the air by the slot of their id, borrowed: the engine knows ids only.
std::vector<FlightObject*> in_air;

FlightObject* as_flight(PyObject* self) { return reinterpret_cast<FlightObject*>(self); }

void forget(FlightObject* flight) noexcept {
    if (flight->id.slot < in_air.size() && in_air[flight->id.slot] == flight) {
        in_air[flight->id.slot] = nullptr;
    }
}

// The settle hook, once; the owner is not needed after it.
void settle(FlightObject* flight, PyObject* value, PyObject* exception) {
    const SettleHook hook = std::exchange(flight->settle, nullptr);
    Ref owner(std::exchange(flight->owner, nullptr));
    if (hook != nullptr) {
        hook(flight, flight->ticket, owner.get(), value, exception);
    }
}

void drop_load(FlightObject* flight) {
    flight->leader = nullptr;
    Py_CLEAR(flight->task);
    Py_CLEAR(flight->loop);
    Py_CLEAR(flight->watchers);
}

// The engine's land or fail. Out of memory for the list of the woken, they are handed out one by
// one, which needs none.
std::vector<std::uint64_t> end(FlightObject* flight, FlightState state) {
    std::vector<std::uint64_t> woken;
    try {
        if (state == FlightState::Landed) {
            flights().land(flight->id, woken);
        } else {
            flights().fail(flight->id, woken);
        }
    } catch (const std::bad_alloc&) {
        for (;;) {
            const Restart next = flights().restart(flight->id);
            if (next.outcome != RestartOutcome::Promoted) {
                break;
            }
            flight->id = next.flight;
            wake({next.handle});
        }
    }
    return woken;
}

void finish(FlightObject* flight, FlightState state, PyObject* outcome) {
    if (flight->state != FlightState::InAir) {
        return;
    }
    Ref keep = Ref::share(as_object(flight));
    const bool landed = state == FlightState::Landed;
    const Ref whole = Ref::share(outcome);
    if (landed) {
        flight->ticket.loaded = as_loaded(outcome);
        outcome = loaded_value(outcome);
    }
    flight->outcome = Py_NewRef(outcome);
    flight->traceback = landed ? nullptr : PyException_GetTraceback(outcome);
    settle(flight, landed ? outcome : nullptr, landed ? nullptr : outcome);
    flight->ticket.loaded = nullptr;
    forget(flight);
    flight->state = state;
    const std::vector<std::uint64_t> woken = end(flight, state);
    drop_load(flight);
    wake(woken);
}

int flight_traverse(PyObject* self, visitproc visit, void* arg) {
    const FlightObject* flight = as_flight(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(flight->owner);
    Py_VISIT(flight->outcome);
    Py_VISIT(flight->traceback);
    Py_VISIT(flight->loop);
    Py_VISIT(flight->task);
    Py_VISIT(flight->watchers);
    for (AsyncCallObject* call = flight->first; call != nullptr; call = call->next) {
        Py_VISIT(as_object(call));
    }
    return 0;
}

// Nothing reachable refers to the flight any more, so nobody can end it nor hear of its end.
int flight_clear(PyObject* self) {
    FlightObject* flight = as_flight(self);
    flight->settle = nullptr;
    while (flight->first != nullptr) {
        AsyncCallObject* call = flight->first;
        flights().leave(call->waiter);
        call->state = CallState::Orphaned;
        Ref owned(as_object(unlink_call(call)));
    }
    Py_CLEAR(flight->owner);
    Py_CLEAR(flight->outcome);
    Py_CLEAR(flight->traceback);
    Py_CLEAR(flight->scope);
    drop_load(flight);
    return 0;
}

void flight_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    FlightObject* flight = as_flight(self);
    if (flight->state == FlightState::InAir) {
        std::vector<std::uint64_t> nobody;
        flights().fail(flight->id, nobody);
        forget(flight);
    }
    flight_clear(self);
    release_object(flight, free_flights);
}

PyObject* flight_repr(PyObject* self) {
    static constexpr const char* kStates[] = {"in the air", "landed", "failed", "given up"};
    const FlightObject* flight = as_flight(self);
    return PyUnicode_FromFormat("<millpond.Flight %u.%u %s>", flight->id.slot,
                                flight->id.generation, kStates[static_cast<int>(flight->state)]);
}

// In the child of a fork only this thread is left. Waiters in other threads are no more, and what
// other threads led can be started again only by a task that waits for it here.
PyObject* after_fork_in_child(PyObject*, PyObject*) {
    const unsigned long here = PyThread_get_thread_ident();
    lose_solo_loads(here);
    std::vector<Ref> lost;
    for (FlightObject* flight : in_air) {
        if (flight != nullptr && flight->thread != here) {
            lost.push_back(Ref::share(as_object(flight)));
        }
    }
    std::vector<std::uint64_t> dropped;
    flights().abandon(
        [&](FlightId id) { return in_air[id.slot] == nullptr || in_air[id.slot]->thread == here; },
        [&](std::uint64_t handle) {
            const bool is_thread = (handle & 1) != 0;
            return !is_thread || reinterpret_cast<ThreadWaiter*>(handle - 1)->thread == here;
        },
        dropped);
    for (const Ref& gone : lost) {
        FlightObject* flight = as_flight(gone.get());
        forget(flight);
        flight->state = FlightState::GivenUp;
        settle(flight, nullptr, nullptr);  // First: what the task holds may make the same call.
        drop_load(flight);
        while (flight->first != nullptr) {
            AsyncCallObject* call = flight->first;
            call->state = CallState::Orphaned;
            Ref owned(as_object(unlink_call(call)));
            schedule_here(call);
        }
    }
    Py_RETURN_NONE;
}

PyMethodDef fork_handler = {"after_fork_in_child", after_fork_in_child, METH_NOARGS, nullptr};

int register_fork_handler() {
    Ref handler(PyCFunction_New(&fork_handler, nullptr));
    Ref posix(PyImport_ImportModule("posix"));
    Ref function(posix ? PyObject_GetAttrString(posix.get(), "register_at_fork") : nullptr);
    Ref arguments(PyTuple_New(0));
    Ref names(handler ? Py_BuildValue("{sO}", "after_in_child", handler.get()) : nullptr);
    if (!function || !arguments || !names) {
        return -1;
    }
    Ref done(PyObject_Call(function.get(), arguments.get(), names.get()));
    return done ? 0 : -1;
}

}  // namespace

Flights<NoLock>& flights() {
    // Never destroyed: daemon threads may outlive the statics.
    static auto* instance = new Flights<NoLock>();
    return *instance;
}

FlightObject* flight_lead_inside(FlightId around, PyObject* owner, SettleHook hook,
                                 LoadTicket ticket) {
    FlightObject* flight = free_flights.take(flight_type);
    if (flight == nullptr) {
        return nullptr;
    }
    flight->id = {};
    flight->ticket = ticket;
    flight->settle = hook;
    flight->owner = Py_NewRef(owner);
    flight->outcome = flight->traceback = flight->loop = flight->task = flight->watchers =
        flight->scope = nullptr;
    flight->outer_solo = {};
    flight->outer = {};
    flight->first = flight->last = nullptr;
    flight->leader = nullptr;
    flight->group = nullptr;
    flight->thread = PyThread_get_thread_ident();
    flight->state = FlightState::GivenUp;
    flight->joined_by_leader = false;
    try {
        flight->id = flights().lead(around);
        flight->state = FlightState::InAir;
        if (in_air.size() <= flight->id.slot) {
            in_air.resize(flight->id.slot + 1);
        }
        in_air[flight->id.slot] = flight;
    } catch (...) {
        raise_current_exception();
        flight->settle = nullptr;
        Py_DECREF(as_object(flight));
        return nullptr;
    }
    PyObject_GC_Track(as_object(flight));
    return flight;
}

bool is_flight(PyObject* object) noexcept { return Py_IS_TYPE(object, flight_type); }

PyObject* left_out() noexcept { return g_left_out; }

FlightObject* flight_lead(PyObject* owner, SettleHook hook, LoadTicket ticket) {
    try {
        return flight_lead_inside(current_flight(), owner, hook, ticket);
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
}

LoadTicket& flight_ticket(FlightObject* flight) { return flight->ticket; }

bool flight_in_air(FlightObject* flight) { return flight->state == FlightState::InAir; }

bool flight_given_up(FlightObject* flight) { return flight->state == FlightState::GivenUp; }

std::size_t flight_waiters(FlightObject* flight) { return flights().waiters(flight->id); }

void flight_land(FlightObject* flight, PyObject* value) {
    finish(flight, FlightState::Landed, value);
}

void flight_fail(FlightObject* flight, PyObject* exception) {
    finish(flight, FlightState::Failed, exception);
}

void flight_abandon(FlightObject* flight) {
    Ref raised(PyErr_Occurred() != nullptr ? take_raised() : nullptr);
    hand_over(flight);
    if (raised) {
        raise_again(raised.release());
    }
}

bool flight_is_interruption(PyObject* exception) {
    for (PyObject* kind : {PyExc_KeyboardInterrupt, PyExc_SystemExit, PyExc_GeneratorExit}) {
        if (PyErr_GivenExceptionMatches(exception, kind)) {
            return true;
        }
    }
    PyObject* cancelled = cancelled_error_if_imported();
    return cancelled != nullptr && PyErr_GivenExceptionMatches(exception, cancelled);
}

void raise_outcome(FlightObject* flight) {
    raise_with_traceback(flight->outcome, flight->traceback);
}

void hand_over(FlightObject* flight) {
    if (flight->state != FlightState::InAir) {
        return;
    }
    Ref keep = Ref::share(as_object(flight));
    flight->group = nullptr;
    // What ran the load may die with our references to it, and must find the flight changed by then.
    const Ref old_task(std::exchange(flight->task, nullptr));
    for (;;) {
        const Ref old_loop(std::exchange(flight->loop, nullptr));
        flight->leader = nullptr;
        const Restart next = flights().restart(flight->id);
        if (next.outcome != RestartOutcome::Promoted) {
            forget(flight);
            flight->state = FlightState::GivenUp;
            settle(flight, nullptr, nullptr);
            return;
        }
        flight->id = next.flight;
        flight->joined_by_leader = false;
        if ((next.handle & 1) != 0) {
            auto* waiter = reinterpret_cast<ThreadWaiter*>(next.handle - 1);
            flight->thread = waiter->thread;
            waiter->state = ThreadState::Promoted;
            PyThread_release_lock(waiter->lock);
            return;
        }
        auto* call = reinterpret_cast<AsyncCallObject*>(next.handle);
        Ref owned(as_object(unlink_call(call)));
        flight->thread = 0;
        flight->loop = Py_XNewRef(call->loop);
        call->state = CallState::Promoted;
        // A call whose loop is closed may die with its task in here, and pass the lead on itself.
        if (schedule_anywhere(call) || call->state != CallState::Promoted) {
            watch_from_waiters(flight);
            return;
        }
        call->state = CallState::Orphaned;
    }
}

int init_flights() {
    if (flight_type != nullptr) {
        return 0;
    }
    PyType_Slot slots[] = {
        slot(Py_tp_dealloc, flight_dealloc),
        slot(Py_tp_traverse, flight_traverse),
        slot(Py_tp_clear, flight_clear),
        slot(Py_tp_repr, flight_repr),
        {0, nullptr},
    };
    PyType_Spec spec = {"millpond.Flight", sizeof(FlightObject), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};
    flight_type = make_heap_type(nullptr, spec);
    g_left_out = PyObject_CallNoArgs(as_object(&PyBaseObject_Type));
    return flight_type != nullptr && g_left_out != nullptr && init_ancestry() == 0
               ? register_fork_handler()
               : -1;
}

}  // namespace millpond::bindings
