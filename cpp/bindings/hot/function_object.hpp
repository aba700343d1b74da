// millpond._engine.Function: a decorated function. Calling it looks its arguments up in a Cache; on
// a hit no Python frame is made. On a miss the first caller leads a flight and the rest wait.
//
//     function_object.cpp    the type, the hit path, the garbage collector
//     function_key.cpp       from arguments to a key and tags
//     function_load.cpp      misses: synchronous loads, waiting, what a finished load stores
//     function_async.cpp     misses of asynchronous functions
//     function_control.cpp   calls while cache_control, observe or disabled are in force
//     function_methods.cpp   cache_info, cache_clear and the other methods
#pragma once

#include <Python.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "hot/cache_object.hpp"
#include "hot/call_plan.hpp"
#include "hot/flight_object.hpp"
#include "hot/heap_type.hpp"

namespace millpond::bindings {

// What a function does with a value it has loaded.
struct Rules {
    Life life;
    Nanos negative_ttl = Nanos::zero();  // zero: failures are not stored
    Ref exceptions;                      // the classes stored with negative_ttl; a tuple
    Ref condition;                       // condition(value): whether to store it
    Ref cost;                            // cost(value): dollars; null: life.cost
    Ref copy;                            // copy(value): what is stored, and what a hit returns
    bool cache_none = true;
    double wait_timeout = -1;  // seconds; negative: as long as it takes
};

// An object on which a method was called: entries of its own, until it dies.
struct Instance {
    Ref reference;  // a weak reference whose callback forgets the instance
    std::uint64_t token;
};

struct FunctionObject {
    PyObject_HEAD vectorcallfunc vectorcall;
    // What a hit reads.
    CacheObject* cache;  // owned
    SpaceId space;
    std::uint64_t salt;
    PyObject* only_name;  // of the single parameter, borrowed from the plan; null: not so simple
    bool direct;          // a hit may be answered by the short way
    bool asynchronous;
    bool typed;
    bool ordered;
    bool per_instance;
    bool mapping;  // its entries are those of the cache itself: get_or_load
    bool private_cache;
    // The rest.
    PyObject* wrapped;
    PyObject* dictionary;
    PyObject* weak_references;
    PyObject* key_function;  // or null
    PyObject* parameters;    // what cache_parameters() returns
    std::unique_ptr<CallPlan>* plan;
    Rules* rules;
    std::unordered_map<PyObject*, Instance>* instances;
    std::uint64_t next_token;
};

[[nodiscard]] inline FunctionObject* as_function(PyObject* object) noexcept {
    return reinterpret_cast<FunctionObject*>(object);
}
[[nodiscard]] inline const CallPlan& plan_of(const FunctionObject* self) noexcept {
    return **self->plan;
}
// Where its entries are now: clear() moves on to another space.
[[nodiscard]] inline SpaceId space_of(const FunctionObject* self) noexcept {
    return self->mapping ? self->cache->space : self->space;
}
[[nodiscard]] PyTypeObject* function_type() noexcept;
[[nodiscard]] int init_function(PyObject* module);

// How many scopes of cache_control, observe and disabled are open in this process. The hit path
// looks at nothing else of theirs.
extern long g_open_scopes;

// ---- function_key.cpp

using Tags = std::vector<cache::TagHash>;

enum class Keyed {
    Yes,
    No,      // the arguments do not fit: the function itself is to say why
    Failed,  // an exception is set
};
// The key of a call, and the tags of what it will store unless `tags` is null.
[[nodiscard]] Keyed key_call(FunctionObject* self, const Call& call, CacheKey& key, Tags* tags);
// The tags alone, of a call that has a key: `key=` is not asked again. False with an exception set.
[[nodiscard]] bool call_tags(FunctionObject* self, const Call& call, Tags& tags);

// ---- function_load.cpp

// How a load is to be made and kept: the function's own rules, unless the call or a scope says
// otherwise.
struct Terms {
    Life life;
    bool store = true;
    bool beside = false;  // a refresh: it replaces what is there
    // EngineStore::mutations() when the key was found to be absent; no number: it was not looked up.
    std::uint64_t seen = ~std::uint64_t{0};
};

// The terms of a call, before any scope. False with an exception set.
[[nodiscard]] bool terms_of(FunctionObject* self, const Call& call, Terms& terms);

// One load on its way: what the end of its flight needs to know.
struct Load {
    FunctionObject* function;  // kept alive by the flight
    CacheKey key;
    EntryId entry{};
    Instant started{};
    Life life{};
    std::uint32_t followers = 0;
    std::uint64_t seen = ~std::uint64_t{0};  // as in Terms
    bool store = true;
    bool beside = false;
    bool on_heap = false;
};

// Calls the plain function.
[[nodiscard]] inline PyObject* call_through(const FunctionObject* self, const Call& call) {
    return PyObject_Vectorcall(self->wrapped, call.args, call.nargsf, call.kwnames);
}
// A value as it is handed out: copied if asked, raised if it stands for a failure. Steals `value`.
[[nodiscard]] PyObject* hand_out(const FunctionObject* self, PyObject* value);
// The tags of a call; `failed` with an exception set.
[[nodiscard]] Tags tags_for(FunctionObject* self, const Call& call, bool* failed);
// The whole of a call that the hit path could not answer.
[[nodiscard]] PyObject* call_slowly(FunctionObject* self, const Call& call);
// Leads a synchronous load and returns its value.
[[nodiscard]] PyObject* lead_load(FunctionObject* self, const Call& call, CacheKey&& key,
                                  const Tags& tags, const Terms& terms);
// Reserves the key and opens the flight; new reference, or null with an exception set. `load` lives
// until the flight is settled.
[[nodiscard]] FlightObject* open_flight(FunctionObject* self, Load* load, const Tags& tags);
// Runs the function as the load of `flight`, which it ends.
[[nodiscard]] PyObject* run_load(FunctionObject* self, const Call& call, FlightObject* flight);
// The flight of a pending entry, a new reference, the caller counted as a follower.
[[nodiscard]] FlightObject* join_load(FunctionObject* self, Slot pending);
// Waits for the load of another caller.
[[nodiscard]] PyObject* follow_load(FunctionObject* self, const Call& call, FlightObject* flight);
// What the end of a flight does: stores the value and counts.
void settle_load(FlightObject* flight, PyObject* owner, PyObject* value, PyObject* exception);

// ---- function_async.cpp

[[nodiscard]] PyObject* call_asynchronously(FunctionObject* self, const Call& call);

// ---- function_methods.cpp

[[nodiscard]] PyMethodDef* function_method_table() noexcept;
[[nodiscard]] PyObject* function_set_name(PyObject* self, PyObject* const* args, Py_ssize_t count);

}  // namespace millpond::bindings
