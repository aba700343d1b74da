#include "hot/clock.hpp"

#include <cmath>

#include "hot/heap_type.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

// Far from both ends of the time line, so that no test steps over one.
constexpr double kMostSeconds = 3e9;

bool seconds_of(PyObject* object, Nanos& span) {
    const double seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        return false;
    }
    if (!(std::fabs(seconds) <= kMostSeconds)) {
        raise_error(PythonError::Configuration, "ManualClock: seconds must lie within +-3e9");
        return false;
    }
    span = Nanos{static_cast<Nanos::rep>(std::llround(seconds * 1e9))};
    return true;
}

PyObject* clock_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
    static const char* names[] = {"start", nullptr};
    PyObject* start = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:ManualClock", const_cast<char**>(names),
                                     &start)) {
        return nullptr;
    }
    Nanos span{0};
    if (start != nullptr && !seconds_of(start, span)) {
        return nullptr;
    }
    PyObject* self = type->tp_alloc(type, 0);
    if (self != nullptr) {
        // Not zero, so that a clock may also be stepped back.
        reinterpret_cast<ManualClockObject*>(self)->now =
            Instant{std::chrono::hours{24 * 365 * 100}} + span;
    }
    return self;
}

PyObject* clock_advance(PyObject* self, PyObject* seconds) {
    Nanos span{0};
    if (!seconds_of(seconds, span)) {
        return nullptr;
    }
    reinterpret_cast<ManualClockObject*>(self)->now += span;
    Py_RETURN_NONE;
}

void clock_dealloc(PyObject* self) { release_object(self); }

PyMethodDef g_methods[] = {
    method("advance", clock_advance, METH_O,
           "advance($self, seconds, /)\n--\n\nMove the time; a negative number steps it back."),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, clock_new),
    slot(Py_tp_dealloc, clock_dealloc),
    {Py_tp_methods, g_methods},
    {Py_tp_doc, const_cast<char*>("ManualClock(start=0.0)\n--\n\n"
                                  "A clock for tests: it stands still until `advance` moves it.")},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.ManualClock", sizeof(ManualClockObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

PyTypeObject* manual_clock_type() noexcept { return g_type; }

int init_manual_clock(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "ManualClock", as_object(g_type));
}

}  // namespace millpond::bindings
