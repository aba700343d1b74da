#include "bind_flights.hpp"

#include <pybind11/pybind11.h>

#include <string>

#include "hot/async_call.hpp"
#include "hot/flight_object.hpp"
#include "hot/ready.hpp"

namespace py = pybind11;

namespace millpond::bindings {
namespace {

// The tests' owner is any Python object with the methods of these names: see
// tests/python/flights/flight_store.py.

// owner.settled(flight, "landed" | "failed" | "given up", value or exception or None).
void settled(FlightObject* flight, LoadTicket&, PyObject* owner, PyObject* value,
             PyObject* exception) {
    const char* how = value != nullptr ? "landed" : exception != nullptr ? "failed" : "given up";
    PyObject* outcome = value != nullptr ? value : exception != nullptr ? exception : Py_None;
    PyObject* done = PyObject_CallMethod(owner, "settled", "OsO", flight, how, outcome);
    if (done == nullptr) {
        PyErr_WriteUnraisable(owner);
    }
    Py_XDECREF(done);
}

// owner.start(mode, promoted, args, kwargs) returns ("value" | "wait" | "alone", object).
Start started(PyObject* owner, PyObject* args, PyObject* kwargs, StartMode mode,
              FlightObject* promoted, PyObject** out) {
    static constexpr const char* kModes[] = {"first", "restart", "alone", "left out"};
    PyObject* flight = promoted != nullptr ? reinterpret_cast<PyObject*>(promoted) : Py_None;
    PyObject* decided = PyObject_CallMethod(owner, "start", "sOOO", kModes[static_cast<int>(mode)],
                                            flight, args, kwargs != nullptr ? kwargs : Py_None);
    if (decided == nullptr) {
        return Start::Error;
    }
    const py::object owned = py::reinterpret_steal<py::object>(decided);
    const std::string what = py::str(owned[py::int_(0)]);
    *out = py::object(owned[py::int_(1)]).release().ptr();
    return what == "value" ? Start::Value : what == "wait" ? Start::Wait : Start::Alone;
}

FlightObject* flight_of(const py::object& object) {
    return reinterpret_cast<FlightObject*>(object.ptr());
}

py::object owned_or_throw(void* object) {
    if (object == nullptr) {
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
}

void check(int status) {
    if (status < 0) {
        throw py::error_already_set();
    }
}

py::object enter(const py::object& flight) {
    PyObject* token = nullptr;
    check(flight_enter(flight_of(flight), &token));
    return py::reinterpret_steal<py::object>(token);
}

// ("value", value), ("lead", None), ("alone", None) or ("over", None); else raises.
py::tuple wait(const py::object& flight, double timeout) {
    PyObject* out = nullptr;
    switch (flight_wait(flight_of(flight), timeout, &out)) {
        case WaitResult::Value: return py::make_tuple("value", owned_or_throw(out));
        case WaitResult::Lead: return py::make_tuple("lead", py::none());
        case WaitResult::Alone: return py::make_tuple("alone", py::none());
        case WaitResult::Over: return py::make_tuple("over", py::none());
        case WaitResult::Raised:
        case WaitResult::TimedOut:
        case WaitResult::Interrupted: break;
    }
    throw py::error_already_set();
}

void bind_testing(py::module_ m) {
    m.doc() = "What single-flight is made of, for the tests.";
    m.def("ready", [](const py::object& value) {
        return owned_or_throw(make_ready(value.inc_ref().ptr()));
    });
    m.def("lead", [](const py::object& owner) {
        return owned_or_throw(flight_lead(owner.ptr(), settled, {}));
    });
    m.def("enter", enter);
    m.def("leave", [](const py::object& token) { flight_exit(token.inc_ref().ptr()); });
    m.def("land", [](const py::object& flight, const py::object& value) {
        flight_land(flight_of(flight), value.ptr());
    });
    m.def("fail", [](const py::object& flight, const py::object& exception) {
        flight_fail(flight_of(flight), exception.ptr());
    });
    m.def("abandon", [](const py::object& flight) { flight_abandon(flight_of(flight)); });
    m.def("in_air", [](const py::object& flight) { return flight_in_air(flight_of(flight)); });
    m.def("is_interruption",
          [](const py::object& error) { return flight_is_interruption(error.ptr()); });
    m.def("wait", wait, py::arg("flight"), py::arg("timeout") = -1.0);
    m.def("waiters", [](const py::object& flight) { return flight_waiters(flight_of(flight)); });
    m.def("run_task", [](const py::object& flight, const py::object& coroutine) {
        check(flight_run_task(flight_of(flight), coroutine.ptr()));
    });
    m.def("async_call", [](const py::object& owner, const py::args& args, const py::kwargs& names) {
        return owned_or_throw(make_async_call(owner.ptr(), started, args.ptr(),
                                              names.empty() ? nullptr : names.ptr()));
    });
}

}  // namespace

void bind_flights(py::module_& m) {
    if (init_ready() < 0 || init_flights() < 0 || init_async_calls() < 0) {
        throw py::error_already_set();
    }
    m.attr("LEFT_OUT") = py::reinterpret_borrow<py::object>(left_out());
    bind_testing(m.def_submodule("_testing").def_submodule("flights"));
}

}  // namespace millpond::bindings
