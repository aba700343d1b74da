// A load whose loop is closed under it, without its tasks being cancelled, ends nowhere: nothing of
// it runs any more. Its own loop's waiters are gone with it; those of other loops look out for it.
// Each of these loops does, since any of them may be closed as well.
#include <algorithm>
#include <vector>

#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"
#include "hot/loops.hpp"

namespace millpond::bindings {
namespace {

PyObject* look(PyObject* state, PyObject*);
PyMethodDef look_method = {"look", look, METH_NOARGS, nullptr};

// Where `loop` stands in the list of those that look; -1 when it does not.
Py_ssize_t place_of(const FlightObject* flight, PyObject* loop) {
    const Py_ssize_t count = flight->watchers == nullptr ? 0 : PyList_GET_SIZE(flight->watchers);
    for (Py_ssize_t i = 0; i < count; ++i) {
        if (PyList_GET_ITEM(flight->watchers, i) == loop) {
            return i;
        }
    }
    return -1;
}

bool note_watcher(FlightObject* flight, PyObject* loop) {
    if (flight->watchers == nullptr) {
        flight->watchers = PyList_New(0);
    }
    return flight->watchers != nullptr && PyList_Append(flight->watchers, loop) == 0;
}

void forget_watcher(FlightObject* flight, PyObject* loop) {
    const Py_ssize_t place = place_of(flight, loop);
    if (place >= 0 && PyList_SetSlice(flight->watchers, place, place + 1, nullptr) < 0) {
        PyErr_WriteUnraisable(loop);
    }
}

// Has `loop` look, `delayed` or as soon as it can; from any thread then.
void ask_to_look(PyObject* loop, FlightObject* flight, bool delayed) {
    Ref state(PyTuple_Pack(2, loop, as_object(flight)));
    Ref callback(state ? PyCFunction_New(&look_method, state.get()) : nullptr);
    if (!callback || !note_watcher(flight, loop)) {
        PyErr_WriteUnraisable(loop);
        return;
    }
    if (!(delayed ? call_later(loop, kWatchSeconds, callback.get())
                  : call_soon_threadsafe(loop, callback.get()))) {
        forget_watcher(flight, loop);
    }
}

bool waits_on(const FlightObject* flight, PyObject* loop) {
    const AsyncCallObject* call = flight->first;
    while (call != nullptr && call->loop != loop) {
        call = call->next;
    }
    return call != nullptr;
}

// `state` is (loop, flight).
PyObject* look(PyObject* state, PyObject*) {
    Ref keep = Ref::share(state);
    PyObject* loop = PyTuple_GET_ITEM(state, 0);
    auto* flight = reinterpret_cast<FlightObject*>(PyTuple_GET_ITEM(state, 1));
    forget_watcher(flight, loop);
    if (flight->state == FlightState::InAir && flight->loop != nullptr && flight->loop != loop &&
        waits_on(flight, loop)) {
        watch_from(loop, flight);
    }
    Py_RETURN_NONE;
}

}  // namespace

void watch_from(PyObject* loop, FlightObject* flight) {
    if (loop_is_closed(flight->loop)) {
        hand_over(flight);
    } else if (place_of(flight, loop) < 0) {
        ask_to_look(loop, flight, true);
    }
}

void watch_from_waiters(FlightObject* flight) {
    std::vector<Ref> loops;
    for (const AsyncCallObject* call = flight->first; call != nullptr; call = call->next) {
        const bool known =
            call->loop == flight->loop ||
            std::ranges::any_of(loops, [&](const Ref& loop) { return loop.get() == call->loop; });
        if (!known) {
            loops.push_back(Ref::share(call->loop));
        }
    }
    for (const Ref& loop : loops) {
        if (place_of(flight, loop.get()) < 0) {
            ask_to_look(loop.get(), flight, false);
        }
    }
}

}  // namespace millpond::bindings
