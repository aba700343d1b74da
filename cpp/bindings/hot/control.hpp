// What the scopes `cache_control`, `observe` and `disabled` say about a call. They live in a context
// variable of millpond.cache.control; one count of open scopes keeps them off the hit path.
#pragma once

#include <Python.h>

#include "hot/cache_object.hpp"
#include "hot/heap_type.hpp"
#include "millpond/cache/stats.hpp"

namespace millpond::bindings {

struct Control {
    bool disabled = false;
    bool no_cache = false;  // take no stored value
    bool no_store = false;
    bool refresh = false;  // load and replace
    bool has_ttl = false;
    Nanos ttl = kForEver;
    Nanos max_age = kForEver;
    Ref observers;  // a tuple of lists, or none
};

// One call as an observer is told of it. The key is given as the object it is made of.
struct Observation {
    bool hit;
    Nanos age;
    cache::MissReason reason;
    bool coalesced;
};

// Whether a scope is open in this context, and what it says. An exception may be set on false.
[[nodiscard]] bool read_control(Control& control);
// Tells the observers; what they raise is reported, not passed on. The record of the call, or none.
Ref tell_observers(const Control& control, PyObject* function, PyObject* key,
                   const Observation& observation);
// Tells those who have `records` that the misses in this list were hits of a tier after all.
void tell_landed(PyObject* records, std::uint8_t source, double age);

// Adds set_scopes(variable, record, landed) and open_scope(), close_scope() to the module.
[[nodiscard]] int init_control(PyObject* module);

}  // namespace millpond::bindings
