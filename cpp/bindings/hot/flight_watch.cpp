// A load whose loop is closed under it, without its tasks being cancelled, ends nowhere: nothing of
// it runs any more. Its own loop's waiters are gone with it; those of other loops look out for it.
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"
#include "hot/loops.hpp"

namespace millpond::bindings {
namespace {

PyObject* look(PyObject* state, PyObject*);
PyMethodDef look_method = {"look", look, METH_NOARGS, nullptr};

void look_later(PyObject* loop, PyObject* state, FlightObject* flight) {
    Ref callback(PyCFunction_New(&look_method, state));
    if (!callback) {
        PyErr_WriteUnraisable(loop);
    } else if (call_later(loop, kWatchSeconds, callback.get())) {
        Py_XSETREF(flight->watcher, Py_NewRef(loop));
    }
}

// `state` is (loop, flight).
PyObject* look(PyObject* state, PyObject*) {
    Ref keep = Ref::share(state);
    PyObject* loop = PyTuple_GET_ITEM(state, 0);
    auto* flight = reinterpret_cast<FlightObject*>(PyTuple_GET_ITEM(state, 1));
    Py_CLEAR(flight->watcher);
    if (flight->state != FlightState::InAir || flight->loop == nullptr || flight->loop == loop) {
        Py_RETURN_NONE;
    }
    if (loop_is_closed(flight->loop)) {
        hand_over(flight);
    }
    if (flight->state == FlightState::InAir && flight->first != nullptr) {
        look_later(loop, state, flight);
    }
    Py_RETURN_NONE;
}

}  // namespace

void watch_from(PyObject* loop, FlightObject* flight) {
    if (loop_is_closed(flight->loop)) {
        hand_over(flight);
        return;
    }
    if (flight->watcher != nullptr && !loop_is_closed(flight->watcher)) {
        return;
    }
    Ref state(PyTuple_Pack(2, loop, as_object(flight)));
    if (!state) {
        PyErr_WriteUnraisable(loop);
        return;
    }
    look_later(loop, state.get(), flight);
}

}  // namespace millpond::bindings
