#include "hot/async_call.hpp"

#include <utility>

#include "hot/coroutine.hpp"
#include "hot/flight_group.hpp"
#include "hot/flight_state.hpp"
#include "hot/future_face.hpp"
#include "hot/heap_type.hpp"
#include "hot/interned.hpp"
#include "hot/loops.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* call_type = nullptr;
FreeList<AsyncCallObject, 256> free_calls;

AsyncCallObject* as_call(PyObject* self) { return reinterpret_cast<AsyncCallObject*>(self); }

// The call is over: what it held is of no more use.
void retire(AsyncCallObject* call) {
    call->state = CallState::Done;
    Py_CLEAR(call->extra);
    Py_CLEAR(call->args);
    Py_CLEAR(call->kwargs);
    Py_CLEAR(call->callback);
    Py_CLEAR(call->context);
    Py_CLEAR(call->owner);
    Py_CLEAR(call->loop);
    Ref flight(as_object(std::exchange(call->flight, nullptr)));
}

PySendResult give(AsyncCallObject* call, PyObject* value, PyObject** result) {
    *result = value;
    retire(call);
    return PYGEN_RETURN;
}

// With the exception set.
PySendResult give_up(AsyncCallObject* call) {
    Ref raised(take_raised());
    retire(call);
    raise_again(raised.release());
    return PYGEN_ERROR;
}

PySendResult start(AsyncCallObject* call, StartMode mode, PyObject** result);

// What the call has got is past its life: has a load of it begun that nobody waits for.
void begin_anew(AsyncCallObject* call) {
    call->state = CallState::Starting;
    PyObject* out = nullptr;
    if (call->hook(call->owner, call->args, call->kwargs, StartMode::Anew, nullptr, &out) ==
        Start::Error) {
        PyErr_WriteUnraisable(call->owner);
    }
    Py_XDECREF(out);
}

// The flight is over: its outcome is this call's.
PySendResult take_outcome(AsyncCallObject* call, PyObject** result) {
    Ref keep = Ref::share(as_object(call->flight));
    FlightObject* flight = call->flight;
    if (flight->state == FlightState::Landed && flight->outcome == left_out()) {
        return start(call, StartMode::LeftOut, result);
    }
    if (flight->state == FlightState::Landed) {
        if (flight->ticket.anew) {
            begin_anew(call);
        }
        return give(call, Py_NewRef(flight->outcome), result);
    }
    if (flight->state == FlightState::Failed) {
        raise_outcome(flight);
        return give_up(call);
    }
    return start(call, StartMode::First, result);
}

// Forwards to what an uncoalesced call drives.
PySendResult drive(AsyncCallObject* call, PyObject* sent, PyObject** result) {
    Ref iterator = Ref::share(call->extra);
    call->state = CallState::Driving;
    const PySendResult status = PyIter_Send(iterator.get(), sent, result);
    if (status == PYGEN_NEXT) {
        call->state = CallState::Alone;
        return status;
    }
    return status == PYGEN_RETURN ? give(call, *result, result) : give_up(call);
}

void link(AsyncCallObject* call, FlightObject* flight) {
    call->next = nullptr;
    call->prev = flight->last;
    (flight->last != nullptr ? flight->last->next : flight->first) = call;
    flight->last = call;
    Py_INCREF(as_object(call));
}

// Whether this thread runs the load itself, below on its stack: then waiting would never end, even
// if the context that says so got lost on the way.
bool runs_below(FlightObject* flight) {
    return flight->loop == nullptr && flight->thread == PyThread_get_thread_ident();
}

// Queues the call on call->flight.
PySendResult join(AsyncCallObject* call, PyObject** result) {
    FlightObject* flight = call->flight;
    if (flight->state != FlightState::InAir) {
        return take_outcome(call, result);
    }
    Ref loop(running_loop());
    if (!loop) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
        return give_up(call);
    }
    Join joined{JoinOutcome::WouldDeadlock, {}};
    if (!runs_below(flight)) {
        try {
            joined =
                flights().join(flight->id, current_flight(), reinterpret_cast<std::uint64_t>(call));
        } catch (...) {
            raise_current_exception();
            return give_up(call);
        }
    }
    if (joined.outcome != JoinOutcome::Waiting) {
        return start(call, StartMode::Alone, result);
    }
    call->waiter = joined.waiter;
    call->state = CallState::Waiting;
    call->blocking = true;
    Py_XSETREF(call->loop, loop.release());
    link(call, flight);
    if (flight->task != nullptr && !flight->joined_by_leader) {
        flights().detach(flight->group == nullptr ? flight->id : flight->group->outermost());
        flight->joined_by_leader = true;
        flight->leader = call;
    }
    if (flight->loop != nullptr && flight->loop != call->loop) {
        watch_from(call->loop, flight);
    }
    *result = Py_NewRef(as_object(call));
    return PYGEN_NEXT;
}

// Asks the hook what to do, and does it.
PySendResult start(AsyncCallObject* call, StartMode mode, PyObject** result) {
    Ref flight(as_object(std::exchange(call->flight, nullptr)));
    auto* promoted = reinterpret_cast<FlightObject*>(flight.get());
    if (mode == StartMode::Restart && promoted->state != FlightState::InAir) {
        mode = StartMode::First;  // given up meanwhile, by a fork
    }
    call->state = CallState::Starting;
    PyObject* out = nullptr;
    const Start decided = call->hook(call->owner, call->args, call->kwargs, mode,
                                     mode == StartMode::Restart ? promoted : nullptr, &out);
    switch (decided) {
        case Start::Error: return give_up(call);
        case Start::Value: return give(call, out, result);
        case Start::Wait:
            call->flight = reinterpret_cast<FlightObject*>(out);
            return join(call, result);
        case Start::Alone: break;
    }
    Ref awaitable(out);
    call->extra = awaitable_iterator(awaitable.get());
    return call->extra != nullptr ? drive(call, Py_None, result) : give_up(call);
}

PySendResult call_am_send(PyObject* self, PyObject* sent, PyObject** result) {
    AsyncCallObject* call = as_call(self);
    *result = nullptr;
    switch (call->state) {
        case CallState::Created:
            if (sent != nullptr && sent != Py_None) {
                PyErr_SetString(PyExc_TypeError,
                                "can't send non-None value to a just-started coroutine");
                return PYGEN_ERROR;
            }
            return start(call, StartMode::First, result);
        case CallState::Waiting:
            PyErr_SetString(PyExc_RuntimeError, "resumed before the load that it waits for ended");
            return PYGEN_ERROR;
        case CallState::Woken: return take_outcome(call, result);
        case CallState::Failed: raise_again(Py_NewRef(call->extra)); return give_up(call);
        case CallState::Promoted: return start(call, StartMode::Restart, result);
        case CallState::Orphaned: return start(call, StartMode::First, result);
        case CallState::Alone: return drive(call, sent != nullptr ? sent : Py_None, result);
        case CallState::Starting:
        case CallState::Driving:
            PyErr_SetString(PyExc_ValueError, "coroutine already executing");
            return PYGEN_ERROR;
        case CallState::Done: break;
    }
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return PYGEN_ERROR;
}

PyObject* call_send(PyObject* self, PyObject* sent) {
    PyObject* result = nullptr;
    const PySendResult status = call_am_send(self, sent, &result);
    return finish_send(status, result);
}

PyObject* call_iternext(PyObject* self) { return call_send(self, Py_None); }

// The call gives up its place, whatever that is, without an outcome.
void withdraw(AsyncCallObject* call) {
    const CallState state = call->state;
    Ref flight = Ref::share(as_object(call->flight));
    if (state == CallState::Waiting) {
        leave_flight(call);
    } else if (state == CallState::Promoted) {
        call->state = CallState::Done;
        flight_abandon(reinterpret_cast<FlightObject*>(flight.get()));
    }
}

PyObject* throw_into_driven(AsyncCallObject* call, PyObject* const* args, Py_ssize_t count) {
    Ref iterator = Ref::share(call->extra);
    call->state = CallState::Driving;
    PyObject* yielded = throw_into(iterator.get(), args, count);
    if (yielded != nullptr) {
        call->state = CallState::Alone;
    } else {
        give_up(call);
    }
    return yielded;
}

PyObject* call_throw(PyObject* self, PyObject* const* args, Py_ssize_t count) {
    AsyncCallObject* call = as_call(self);
    switch (call->state) {
        case CallState::Done:
        case CallState::Starting:
        case CallState::Driving: {
            PyObject* none = nullptr;
            call_am_send(self, Py_None, &none);
            return nullptr;
        }
        case CallState::Alone: return throw_into_driven(call, args, count);
        default: break;
    }
    Ref keep = Ref::share(as_object(call->flight));
    auto* flight = reinterpret_cast<FlightObject*>(keep.get());
    const bool woken = call->state == CallState::Woken;
    withdraw(call);
    set_thrown(args, count);
    Ref raised(take_raised());
    retire(call);
    // What result() told the task comes back here; it must not bring the task's frames along.
    if (woken && flight->state == FlightState::Failed && raised.get() == flight->outcome) {
        raise_outcome(flight);
    } else {
        raise_again(raised.release());
    }
    return nullptr;
}

PyObject* call_close(PyObject* self, PyObject*) {
    AsyncCallObject* call = as_call(self);
    if (call->state == CallState::Starting || call->state == CallState::Driving) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return nullptr;
    }
    if (call->state == CallState::Alone) {
        Ref iterator = Ref::share(call->extra);
        call->state = CallState::Driving;
        Ref method = attribute_of<"close">(iterator.get());
        if (!method) {
            PyErr_Clear();
        } else if (!Ref(PyObject_CallNoArgs(method.get()))) {
            give_up(call);
            return nullptr;
        }
    }
    withdraw(call);
    retire(call);
    Py_RETURN_NONE;
}

PyObject* call_await(PyObject* self) { return Py_NewRef(self); }
PyObject* call_dunder_await(PyObject* self, PyObject*) { return Py_NewRef(self); }

int call_traverse(PyObject* self, visitproc visit, void* arg) {
    const AsyncCallObject* call = as_call(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(call->owner);
    Py_VISIT(call->args);
    Py_VISIT(call->kwargs);
    Py_VISIT(as_object(call->flight));
    Py_VISIT(call->loop);
    Py_VISIT(call->callback);
    Py_VISIT(call->context);
    Py_VISIT(call->extra);
    return 0;
}

void warn_never_awaited(AsyncCallObject* call) {
    Ref raised(PyErr_Occurred() != nullptr ? take_raised() : nullptr);
    Ref name(call_name(as_object(call)));
    if (!name || PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%S' was never awaited",
                                  name.get()) < 0) {
        PyErr_WriteUnraisable(name.get());
    }
    if (raised) {
        raise_again(raised.release());
    }
}

int call_clear(PyObject* self) {
    AsyncCallObject* call = as_call(self);
    if (call->state == CallState::Created) {
        call->state = CallState::Done;
        warn_never_awaited(call);
    }
    withdraw(call);
    retire(call);
    return 0;
}

void call_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    AsyncCallObject* call = as_call(self);
    if (call->weak_references != nullptr) {
        PyObject_ClearWeakRefs(self);
    }
    call_clear(self);
    release_object(call, free_calls);
}

PyObject* call_repr(PyObject* self) {
    Ref name(call_name(self));
    return name ? PyUnicode_FromFormat("<millpond.AsyncCall %S at %p>", name.get(), self) : nullptr;
}

PyMethodDef call_methods[] = {
    method("send", call_send, METH_O, "Run until the next suspension."),
    method("throw", call_throw, METH_FASTCALL, "Raise the exception where the call is suspended."),
    method("close", call_close, METH_NOARGS, "Give the call up."),
    method("__await__", call_dunder_await, METH_NOARGS, "Return self."),
    method("get_loop", call_get_loop, METH_NOARGS, "The loop of the task that waits."),
    method("add_done_callback", call_add_done_callback, METH_FASTCALL | METH_KEYWORDS,
           "Call back, through the loop, when the wait is over."),
    method("remove_done_callback", call_remove_done_callback, METH_O,
           "Forget the callback; how many there were."),
    method("cancel", call_cancel, METH_FASTCALL | METH_KEYWORDS, "Stop waiting."),
    method("cancelled", call_cancelled, METH_NOARGS, "Whether the wait was cancelled."),
    method("done", call_done, METH_NOARGS, "Whether the wait is over."),
    method("result", call_result, METH_NOARGS, "What the wait ended with."),
    method("exception", call_exception, METH_NOARGS, "The exception the wait ended with, if any."),
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef call_members[] = {
    offset_member("__weaklistoffset__", offsetof(AsyncCallObject, weak_references)),
    {nullptr, 0, 0, 0, nullptr},
};

}  // namespace

PyObject* make_async_call(PyObject* owner, StartHook hook, PyObject* args, PyObject* kwargs) {
    AsyncCallObject* call = free_calls.take(call_type);
    if (call == nullptr) {
        return nullptr;
    }
    call->owner = Py_NewRef(owner);
    call->hook = hook;
    call->args = Py_NewRef(args);
    call->kwargs = Py_XNewRef(kwargs);
    call->flight = nullptr;
    call->loop = call->callback = call->context = call->extra = nullptr;
    call->next = call->prev = nullptr;
    call->weak_references = nullptr;
    call->waiter = {};
    call->state = CallState::Created;
    call->blocking = false;
    PyObject_GC_Track(as_object(call));
    return as_object(call);
}

int init_async_calls() {
    if (call_type != nullptr) {
        return 0;
    }
    PyType_Slot slots[] = {
        slot(Py_tp_dealloc, call_dealloc),
        slot(Py_tp_traverse, call_traverse),
        slot(Py_tp_clear, call_clear),
        slot(Py_tp_repr, call_repr),
        slot(Py_tp_iternext, call_iternext),
        slot(Py_tp_getattro, call_getattro),
        slot(Py_tp_setattro, call_setattro),
        slot(Py_am_await, call_await),
        slot(Py_am_send, call_am_send),
        {Py_tp_methods, call_methods},
        {Py_tp_members, call_members},
        {Py_tp_getset, call_getset},
        {0, nullptr},
    };
    PyType_Spec spec = {"millpond.AsyncCall", sizeof(AsyncCallObject), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};
    call_type = make_heap_type(nullptr, spec);
    if (call_type == nullptr || init_future_face() < 0 || init_flight_tasks() < 0) {
        return -1;
    }
    return register_coroutine(call_type);
}

}  // namespace millpond::bindings
