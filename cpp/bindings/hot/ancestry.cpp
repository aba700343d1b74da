// Which load a caller runs in: what the engine needs to see that a wait would never end.
//
// A context variable says it, so that child tasks and threads that take over a context know it too.
// The task of an asynchronous load has its flight's id there. A synchronous load would pay more for
// setting and resetting the variable (180 ns) than for all the rest of its flight (30 ns), so its
// thread writes into a Scope that the context refers to, and that stays there. Synchronous loads of
// one thread end in the order opposite to that of their beginning, and all that runs in the thread
// meanwhile is inside them, so the innermost is right for every context that shares the Scope. Only
// another thread may read there a load that the thread began after the context was copied: then a
// call runs uncoalesced that could have waited. Nobody misses an ancestor that is still in the air.
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

struct ScopeObject {
    PyObject_HEAD FlightId innermost;
    unsigned long thread;  // the only one that writes
};

PyTypeObject* scope_type = nullptr;
PyObject* flight_variable = nullptr;

FlightId id_in(PyObject* value) {
    if (value == nullptr) {
        return {};
    }
    if (Py_IS_TYPE(value, scope_type)) {
        return reinterpret_cast<ScopeObject*>(value)->innermost;
    }
    const unsigned long long bits = PyLong_AsUnsignedLongLong(value);
    return {static_cast<std::uint32_t>(bits >> 32), static_cast<std::uint32_t>(bits)};
}

// What the context has, or none: nobody but us sets the variable.
Ref value_in_context() {
    PyObject* value = nullptr;
    if (PyContextVar_Get(flight_variable, nullptr, &value) < 0) {
        PyErr_Clear();
    }
    return Ref(value);
}

// A Scope of this thread, made the context's own. Null with an exception set.
Ref new_scope(FlightId around) {
    ScopeObject* scope = PyObject_New(ScopeObject, scope_type);
    if (scope == nullptr) {
        return Ref();
    }
    scope->innermost = around;
    scope->thread = PyThread_get_thread_ident();
    Ref owned(as_object(scope));
    Ref token(PyContextVar_Set(flight_variable, owned.get()));
    return token ? std::move(owned) : Ref();
}

void scope_dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

}  // namespace

FlightId current_flight() {
    const Ref value = value_in_context();
    return id_in(value.get());
}

int flight_enter(FlightObject* flight, PyObject** token) {
    *token = nullptr;
    Ref scope = value_in_context();
    flight->outer = id_in(scope.get());
    const bool ours =
        scope && Py_IS_TYPE(scope.get(), scope_type) &&
        reinterpret_cast<ScopeObject*>(scope.get())->thread == PyThread_get_thread_ident();
    if (!ours) {
        scope = new_scope(flight->outer);
        if (!scope) {
            return -1;
        }
    }
    flight->thread = PyThread_get_thread_ident();
    reinterpret_cast<ScopeObject*>(scope.get())->innermost = flight->id;
    Py_XSETREF(flight->scope, scope.release());
    *token = Py_NewRef(as_object(flight));
    return 0;
}

void flight_exit(PyObject* token) {
    Ref owned(token);
    auto* flight = reinterpret_cast<FlightObject*>(token);
    if (flight != nullptr && flight->scope != nullptr) {
        reinterpret_cast<ScopeObject*>(flight->scope)->innermost = flight->outer;
        Py_CLEAR(flight->scope);
    }
}

PyObject* begin_task_context(FlightId id) {
    const auto bits = static_cast<unsigned long long>(id.slot) << 32 | id.generation;
    Ref packed(PyLong_FromUnsignedLongLong(bits));
    return packed ? PyContextVar_Set(flight_variable, packed.get()) : nullptr;
}

int end_task_context(PyObject* token) {
    Ref owned(token);
    return PyContextVar_Reset(flight_variable, token);
}

int init_ancestry() {
    PyType_Slot slots[] = {slot(Py_tp_dealloc, scope_dealloc), {0, nullptr}};
    PyType_Spec spec = {
        "millpond.Scope", sizeof(ScopeObject), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
    flight_variable = PyContextVar_New("millpond.flight", nullptr);
    scope_type = flight_variable != nullptr ? make_heap_type(nullptr, spec) : nullptr;
    return scope_type != nullptr ? 0 : -1;
}

}  // namespace millpond::bindings
