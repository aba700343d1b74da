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
//
// A load that nobody has joined has no flight, and the Scope refers to the load itself: whoever has
// to name it makes the flight then.
#include <new>
#include <utility>

#include "hot/flight_solo.hpp"
#include "hot/flight_state.hpp"
#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

struct ScopeObject {
    PyObject_HEAD FlightId innermost;
    SoloRef solo;          // the innermost load where it was entered as one, else none
    unsigned long thread;  // the only one that writes
};

SoloLoad* g_under_way = nullptr;  // the first of the solo loads

PyTypeObject* scope_type = nullptr;
PyObject* flight_variable = nullptr;

[[nodiscard]] ScopeObject* as_scope(PyObject* value) noexcept {
    const bool is_scope = value != nullptr && Py_IS_TYPE(value, scope_type);
    return is_scope ? reinterpret_cast<ScopeObject*>(value) : nullptr;
}

// The flight of a solo load. Throws std::bad_alloc.
FlightId id_of(SoloLoad* load) {
    const FlightObject* const flight = solo_flight(load);
    if (flight == nullptr) {
        PyErr_Clear();
        throw std::bad_alloc();
    }
    return flight->id;
}

FlightId id_in(PyObject* value) {
    if (value == nullptr) {
        return {};
    }
    if (const ScopeObject* const scope = as_scope(value)) {
        SoloLoad* const solo = scope->solo.get();
        return solo != nullptr ? id_of(solo) : scope->innermost;
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
    scope->solo = {};
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

namespace {

// The Scope that this thread writes into in this context, a new reference, and what it says now: the
// load around. Null with an exception set.
Ref own_scope(SoloRef& outer, FlightId& outer_flight) {
    Ref value = value_in_context();
    const ScopeObject* const scope = as_scope(value.get());
    if (scope != nullptr && scope->thread == PyThread_get_thread_ident()) {
        outer = scope->solo;
        outer_flight = scope->innermost;
        return value;
    }
    try {
        outer_flight = id_in(value.get());
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
        return Ref();
    }
    outer = {};
    return new_scope(outer_flight);
}

void put_back(PyObject*& scope, const SoloRef& outer, FlightId outer_flight) {
    if (scope != nullptr) {
        reinterpret_cast<ScopeObject*>(scope)->solo = outer;
        reinterpret_cast<ScopeObject*>(scope)->innermost = outer_flight;
        Py_CLEAR(scope);
    }
}

}  // namespace

int flight_enter(FlightObject* flight, PyObject** token) {
    *token = nullptr;
    Ref scope = own_scope(flight->outer_solo, flight->outer);
    if (!scope) {
        return -1;
    }
    flight->thread = PyThread_get_thread_ident();
    reinterpret_cast<ScopeObject*>(scope.get())->solo = {};
    reinterpret_cast<ScopeObject*>(scope.get())->innermost = flight->id;
    Py_XSETREF(flight->scope, scope.release());
    *token = Py_NewRef(as_object(flight));
    return 0;
}

void flight_exit(PyObject* token) {
    Ref owned(token);
    auto* flight = reinterpret_cast<FlightObject*>(token);
    if (flight != nullptr) {
        put_back(flight->scope, flight->outer_solo, flight->outer);
    }
}

int solo_enter(SoloLoad* load) {
    Ref scope = own_scope(load->outer, load->outer_flight);
    if (!scope) {
        return -1;
    }
    auto* const own = reinterpret_cast<ScopeObject*>(scope.get());
    own->solo = {load, load->generation};
    load->scope = scope.release();
    load->thread = own->thread;
    load->prev = nullptr;
    load->next = g_under_way;
    if (g_under_way != nullptr) {
        g_under_way->prev = load;
    }
    g_under_way = load;
    return 0;
}

void solo_exit(SoloLoad* load) {
    if (load->scope == nullptr) {
        return;
    }
    put_back(load->scope, load->outer, load->outer_flight);
    (load->prev == nullptr ? g_under_way : load->prev->next) = load->next;
    if (load->next != nullptr) {
        load->next->prev = load->prev;
    }
}

FlightObject* solo_flight(SoloLoad* load) {
    if (load->flight == nullptr) {
        SoloLoad* const around = load->outer.get();
        const FlightObject* const outer = around != nullptr ? solo_flight(around) : nullptr;
        if (around != nullptr && outer == nullptr) {
            return nullptr;
        }
        load->flight = flight_lead_inside(outer != nullptr ? outer->id : load->outer_flight,
                                          load->owner, load->settle, LoadTicket{.extra = load});
        if (load->flight != nullptr) {
            load->flight->thread = load->thread;
        }
    }
    return load->flight;
}

void solo_forget(SoloLoad* load) {
    solo_exit(load);
    ++load->generation;
    FlightObject* const flight = std::exchange(load->flight, nullptr);
    PyObject* const owner = std::exchange(load->owner, nullptr);
    Py_XDECREF(as_object(flight));
    Py_XDECREF(owner);
}

void lose_solo_loads(unsigned long here) {
    for (SoloLoad* load = g_under_way; load != nullptr;) {
        SoloLoad* const next = load->next;
        if (load->thread != here) {
            solo_exit(load);
            const SettleHook hook = std::exchange(load->settle, nullptr);
            if (load->flight == nullptr && hook != nullptr) {
                LoadTicket ticket{.extra = load};
                hook(nullptr, ticket, load->owner, nullptr, nullptr);
            }
            ++load->generation;
        }
        load = next;
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
