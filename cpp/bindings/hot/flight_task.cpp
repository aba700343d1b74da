// The task that runs an asynchronous load. Its coroutine is a LoadDriver, which drives the user's
// coroutine and ends the flight in the very step in which that ends: no callback, no extra turn of
// the loop, and no exception left in the task that nobody would retrieve.
#include <utility>

#include "hot/async_call.hpp"
#include "hot/coroutine.hpp"
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"
#include "hot/interned.hpp"
#include "hot/loaded.hpp"
#include "hot/loops.hpp"
#include "hot/weigher.hpp"

namespace millpond::bindings {
namespace {

struct DriverObject {
    PyObject_HEAD PyObject* inner;  // null when it is over
    FlightObject* flight;           // null when it is over
    FlightId id;                    // the flight's when the load began: a restart gives it another
    PyObject* interruption;         // that ended the load before its task was there
    bool starting;                  // an eager task takes its first step while it is being made
};

PyTypeObject* driver_type = nullptr;

DriverObject* as_driver(PyObject* self) { return reinterpret_cast<DriverObject*>(self); }

// The flight, if it is still this load's to end; the driver lets go of it. The task is the flight's
// no more, so that nobody cancels what is over.
Ref take_flight(DriverObject* driver) {
    Ref flight(as_object(std::exchange(driver->flight, nullptr)));
    Ref inner(std::exchange(driver->inner, nullptr));
    auto* mine = reinterpret_cast<FlightObject*>(flight.get());
    if (mine == nullptr || mine->state != FlightState::InAir || !(mine->id == driver->id)) {
        return Ref();
    }
    Ref task(std::exchange(mine->task, nullptr));
    return flight;
}

// The load was interrupted. The caller that began it gets the interruption as if it had run the
// coroutine itself; one of the others starts again.
void interrupt(DriverObject* driver, FlightObject* flight, PyObject* exception) {
    AsyncCallObject* leader = flight->leader;
    if (driver->starting) {
        driver->interruption = Py_NewRef(exception);
    } else if (leader != nullptr) {
        Ref keep(as_object(unlink_call(leader)));
        flights().leave(leader->waiter);
        leader->state = CallState::Failed;
        Py_XSETREF(leader->extra, Py_NewRef(exception));
        if (!schedule_anywhere(leader)) {
            leader->state = CallState::Orphaned;
        }
    }
    hand_over(flight);
}

// The load ended with the exception that is set. True when the task is to end as if nothing was.
bool end_with_exception(DriverObject* driver) {
    Ref exception(take_raised());
    Ref flight = take_flight(driver);
    auto* mine = reinterpret_cast<FlightObject*>(flight.get());
    if (!flight_is_interruption(exception.get())) {
        if (mine != nullptr) {
            flight_fail(mine, exception.get());
        }
        return true;
    }
    if (mine != nullptr) {
        interrupt(driver, mine, exception.get());
    }
    raise_again(exception.release());
    return false;
}

void end_with_value(DriverObject* driver, PyObject* value) {
    Ref flight = take_flight(driver);
    if (!flight) {
        return;
    }
    // All waiters are handed the same object, and an iterator serves only one of them.
    if (!check_cacheable(loaded_value(value))) {
        const Ref refusal(take_raised());
        flight_fail(reinterpret_cast<FlightObject*>(flight.get()), refusal.get());
    } else {
        flight_land(reinterpret_cast<FlightObject*>(flight.get()), value);
    }
}

PySendResult driver_am_send(PyObject* self, PyObject* sent, PyObject** result) {
    DriverObject* driver = as_driver(self);
    if (driver->inner == nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        *result = nullptr;
        return PYGEN_ERROR;
    }
    Ref inner = Ref::share(driver->inner);
    const PySendResult status = PyIter_Send(inner.get(), sent, result);
    if (status == PYGEN_NEXT) {
        return status;
    }
    if (status == PYGEN_RETURN) {
        Ref value(std::exchange(*result, nullptr));
        end_with_value(driver, value.get());
    } else if (!end_with_exception(driver)) {
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

PyObject* driver_send(PyObject* self, PyObject* sent) {
    PyObject* result = nullptr;
    const PySendResult status = driver_am_send(self, sent, &result);
    return finish_send(status, result);
}

PyObject* driver_iternext(PyObject* self) { return driver_send(self, Py_None); }

PyObject* driver_throw(PyObject* self, PyObject* const* args, Py_ssize_t count) {
    DriverObject* driver = as_driver(self);
    Ref inner = Ref::share(driver->inner);
    if (!inner) {
        set_thrown(args, count);
        return nullptr;
    }
    PyObject* yielded = throw_into(inner.get(), args, count);
    if (yielded != nullptr) {
        return yielded;
    }
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        Ref stop(take_raised());
        Ref value = attribute_of<"value">(stop.get());
        if (!value) {
            return nullptr;
        }
        end_with_value(driver, value.get());
    } else if (!end_with_exception(driver)) {
        return nullptr;
    }
    PyErr_SetNone(PyExc_StopIteration);
    return nullptr;
}

// The inner coroutine sees its GeneratorExit; whoever waits starts again.
PyObject* driver_close(PyObject* self, PyObject*) {
    DriverObject* driver = as_driver(self);
    Ref inner = Ref::share(driver->inner);
    Ref closed = inner ? call_method<"close">(inner.get()) : Ref::share(Py_None);
    Ref flight = take_flight(driver);
    if (flight) {
        flight_abandon(reinterpret_cast<FlightObject*>(flight.get()));
    }
    return closed.release();
}

// A task that is destroyed before its end (its loop is gone) takes its load with it.
void driver_finalize(PyObject* self) {
    Ref raised(PyErr_Occurred() != nullptr ? take_raised() : nullptr);
    Ref flight = take_flight(as_driver(self));
    if (flight) {
        hand_over(reinterpret_cast<FlightObject*>(flight.get()));
    }
    if (raised) {
        raise_again(raised.release());
    }
}

PyObject* driver_await(PyObject* self) { return Py_NewRef(self); }
PyObject* driver_dunder_await(PyObject* self, PyObject*) { return Py_NewRef(self); }

// Names, frames and code are the inner coroutine's: asyncio's reprs and stacks show the load.
PyObject* driver_getattro(PyObject* self, PyObject* name) {
    PyObject* found = PyObject_GenericGetAttr(self, name);
    PyObject* inner = as_driver(self)->inner;
    if (found != nullptr || inner == nullptr || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return found;
    }
    PyErr_Clear();
    Ref keep = Ref::share(inner);
    return PyObject_GetAttr(inner, name);
}

int driver_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(as_driver(self)->inner);
    Py_VISIT(as_object(as_driver(self)->flight));
    Py_VISIT(as_driver(self)->interruption);
    return 0;
}

int driver_clear(PyObject* self) {
    DriverObject* driver = as_driver(self);
    Py_CLEAR(driver->inner);
    Py_CLEAR(driver->interruption);
    Ref flight(as_object(std::exchange(driver->flight, nullptr)));
    return 0;
}

void driver_dealloc(PyObject* self) {
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    driver_clear(self);
    release_object(as_driver(self));
}

PyMethodDef driver_methods[] = {
    method("send", driver_send, METH_O, "Run the load until it suspends."),
    method("throw", driver_throw, METH_FASTCALL, "Raise the exception inside the load."),
    method("close", driver_close, METH_NOARGS, "Give the load up."),
    method("__await__", driver_dunder_await, METH_NOARGS, "Return self."),
    {nullptr, nullptr, 0, nullptr},
};

DriverObject* make_driver(FlightObject* flight, PyObject* awaitable) {
    Ref inner(awaitable_iterator(awaitable));
    DriverObject* driver = inner ? PyObject_GC_New(DriverObject, driver_type) : nullptr;
    if (driver == nullptr) {
        return nullptr;
    }
    driver->inner = inner.release();
    driver->flight = reinterpret_cast<FlightObject*>(Py_NewRef(as_object(flight)));
    driver->id = flight->id;
    driver->interruption = nullptr;
    driver->starting = true;
    PyObject_GC_Track(as_object(driver));
    return driver;
}

// The task, in whose context the flight is the innermost load. Null with an exception set, which is
// the load's own where an interruption ended its first step: its caller does not wait yet.
PyObject* start_task(FlightObject* flight, PyObject* loop, PyObject* coroutine) {
    PyObject* token = begin_task_context(flight->id);
    if (token == nullptr) {
        return nullptr;
    }
    DriverObject* const driver = make_driver(flight, coroutine);
    const Ref owned(as_object(driver));
    Ref task(driver != nullptr ? create_task(loop, owned.get()) : nullptr);
    Ref raised(task ? nullptr : take_raised());
    if (driver != nullptr) {
        driver->starting = false;
        if (task && driver->interruption != nullptr) {
            raised = Ref(std::exchange(driver->interruption, nullptr));
            task = Ref();
        }
    }
    const bool reset = end_task_context(token) == 0;
    if (raised) {
        PyErr_Clear();
        raise_again(raised.release());
    }
    return reset ? task.release() : nullptr;
}

void close_quietly(PyObject* coroutine) {
    Ref raised(take_raised());
    const Ref closed = call_method<"close">(coroutine);
    PyErr_Clear();
    raise_again(raised.release());
}

}  // namespace

int flight_run_task(FlightObject* flight, PyObject* coroutine) {
    Ref keep = Ref::share(as_object(flight));
    Ref loop(running_loop());
    if (!loop) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
    }
    const FlightId id = flight->id;
    flight->thread = PyThread_get_thread_ident();
    flight->joined_by_leader = false;
    Py_XSETREF(flight->loop, Py_XNewRef(loop.get()));
    Ref task(loop ? start_task(flight, loop.get(), coroutine) : nullptr);
    const bool mine = flight->state == FlightState::InAir && flight->id == id;
    if (!task) {
        close_quietly(coroutine);
        if (mine) {
            flight_abandon(flight);
        }
        return -1;
    }
    if (mine) {
        Py_XSETREF(flight->task, task.release());
    }
    return 0;
}

int init_flight_tasks() {
    PyType_Slot slots[] = {
        slot(Py_tp_dealloc, driver_dealloc),   slot(Py_tp_finalize, driver_finalize),
        slot(Py_tp_traverse, driver_traverse), slot(Py_tp_clear, driver_clear),
        slot(Py_tp_getattro, driver_getattro), slot(Py_tp_iternext, driver_iternext),
        slot(Py_am_await, driver_await),       slot(Py_am_send, driver_am_send),
        {Py_tp_methods, driver_methods},       {0, nullptr},
    };
    PyType_Spec spec = {"millpond.Load", sizeof(DriverObject), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};
    driver_type = make_heap_type(nullptr, spec);
    return driver_type != nullptr ? register_coroutine(driver_type) : -1;
}

}  // namespace millpond::bindings
