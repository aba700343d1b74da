#include "hot/control.hpp"

#include "hot/function_object.hpp"
#include "hot/info.hpp"
#include "hot/interned.hpp"

namespace millpond::bindings {
namespace {

PyObject* g_variable = nullptr;  // the context variable
PyObject* g_record = nullptr;    // record(observers, function, key, hit, age, reason, coalesced)
PyObject* g_landed = nullptr;    // landed(records, tier, age)

template <Literal name>
bool flag(PyObject* scope, bool& value) {
    const Ref given = attribute_of<name>(scope);
    const int truth = given ? PyObject_IsTrue(given.get()) : -1;
    value = truth == 1;
    return truth >= 0;
}

// A number of nanoseconds, or None for none (kForEver).
template <Literal name>
bool span(PyObject* scope, bool& given, Nanos& value) {
    const Ref number = attribute_of<name>(scope);
    if (!number) {
        return false;
    }
    given = number.get() != Py_None;
    value = kForEver;
    if (given) {
        value = Nanos{PyLong_AsLongLong(number.get())};
    }
    return PyErr_Occurred() == nullptr;
}

PyObject* set_scopes(PyObject*, PyObject* args) {
    PyObject *variable, *record, *landed;
    if (!PyArg_ParseTuple(args, "OOO", &variable, &record, &landed)) {
        return nullptr;
    }
    Py_XSETREF(g_variable, Py_NewRef(variable));
    Py_XSETREF(g_record, Py_NewRef(record));
    Py_XSETREF(g_landed, Py_NewRef(landed));
    Py_RETURN_NONE;
}

PyObject* open_scope(PyObject*, PyObject*) {
    ++g_open_scopes;
    Py_RETURN_NONE;
}

PyObject* close_scope(PyObject*, PyObject*) {
    --g_open_scopes;
    Py_RETURN_NONE;
}

PyMethodDef g_functions[] = {
    method("set_scopes", set_scopes, METH_VARARGS, nullptr),
    method("open_scope", open_scope, METH_NOARGS, nullptr),
    method("close_scope", close_scope, METH_NOARGS, nullptr),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool read_control(Control& control) {
    PyObject* found = nullptr;
    // No default given: the variable's own says that MILLPOND_DISABLED is set.
    if (g_variable == nullptr || PyContextVar_Get(g_variable, nullptr, &found) < 0) {
        return false;
    }
    const Ref scope(found);
    if (!scope || scope.get() == Py_None) {
        return false;
    }
    bool has_max_age = false;
    if (!flag<"disabled">(scope.get(), control.disabled) ||
        !flag<"no_cache">(scope.get(), control.no_cache) ||
        !flag<"no_store">(scope.get(), control.no_store) ||
        !flag<"refresh">(scope.get(), control.refresh) ||
        !span<"ttl">(scope.get(), control.has_ttl, control.ttl) ||
        !span<"max_age">(scope.get(), has_max_age, control.max_age)) {
        return false;
    }
    control.observers = attribute_of<"observers">(scope.get());
    return static_cast<bool>(control.observers);
}

Ref tell_observers(const Control& control, PyObject* function, PyObject* key,
                   const Observation& observation) {
    if (PyTuple_GET_SIZE(control.observers.get()) == 0) {
        return Ref();
    }
    const double age = static_cast<double>(observation.age.count()) * 1e-9;
    Ref record(PyObject_CallFunction(g_record, "OOOOdzO", control.observers.get(), function, key,
                                     observation.hit ? Py_True : Py_False, age,
                                     observation.hit ? nullptr : reason_name(observation.reason),
                                     observation.coalesced ? Py_True : Py_False));
    if (!record) {
        PyErr_WriteUnraisable(function);
    }
    return record;
}

void tell_landed(PyObject* records, std::uint8_t source, double age) {
    if (!Ref(PyObject_CallFunction(g_landed, "Osd", records, source_name(source), age))) {
        PyErr_WriteUnraisable(g_landed);
    }
}

int init_control(PyObject* module) { return PyModule_AddFunctions(module, g_functions); }

}  // namespace millpond::bindings
