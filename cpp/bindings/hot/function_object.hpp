// millpond._engine.Function: a decorated function. Calling it looks its arguments up in a Cache; on
// a hit no Python frame is made. On a miss the first caller leads a flight and the rest wait.
//
//     function_object.cpp    the type, the hit path, the garbage collector
//     function_key.cpp       from arguments to a key and tags
//     function_load.cpp      misses: the decision, and waiting for others
//     function_lead.cpp      leading a synchronous load
//     function_settle.cpp    what a finished load stores
//     function_async.cpp     misses of asynchronous functions
//     function_fresh.cpp     values past their life
//     function_many.cpp      one load of many keys (key_batch.hpp; batch_object.cpp in event loops)
//     function_tiers.cpp     the tiers behind the memory
//     function_control.cpp   calls while cache_control, observe or disabled are in force
//     function_methods.cpp   cache_info, cache_clear and the other methods
#pragma once

#include <Python.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "hot/cache_object.hpp"
#include "hot/call_plan.hpp"
#include "hot/first_look.hpp"
#include "hot/flight_object.hpp"
#include "hot/flight_solo.hpp"
#include "hot/heap_type.hpp"
#include "millpond/base/sha256.hpp"

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
    double wait_timeout = -1;           // seconds; negative: as long as it takes
    Nanos stale_while = Nanos::zero();  // past its life, a value is served while it is loaded
    Nanos stale_if = Nanos::zero();     // and so long where that fails
    Ref revalidate;  // revalidate(function, identity, args, kwargs): has another thread load it
};

// An object on which a method was called: entries of its own, until it dies.
struct Instance {
    Ref reference;  // a weak reference whose callback forgets the instance
    std::uint64_t token;
};

// What a function with tiers behind the memory loads through.
struct Tiers {
    // flow((name, generations), mode, *args, **kwargs) -> Loaded, or an awaitable of it. What the
    // first look has found is the third of the pair.
    Ref flow;
    Ref prefix;  // of the names of its calls, a str
    Ref first;   // FirstLook, or null
};

struct FunctionObject {
    PyObject_HEAD vectorcallfunc vectorcall;
    // What a hit reads.
    CacheObject* cache;  // owned
    SpaceId space;
    std::uint64_t salt;
    cache::Counters* counters;  // of the space
    PyObject* only_name;  // of the single parameter, borrowed from the plan; null: not so simple
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
    Tiers* tiers;  // or null
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
// Of the function's entries, wherever they are now.
[[nodiscard]] inline cache::Counters& counters(FunctionObject* self) noexcept {
    return self->cache->store->counters(space_of(self));
}
[[nodiscard]] PyTypeObject* function_type() noexcept;
[[nodiscard]] int init_function(PyObject* module);

// The single argument of a call that has just one, else null.
// REQUIRES: only_name is set and the parameter can be given by position.
[[nodiscard]] inline PyObject* only_argument(const FunctionObject* self, PyObject* const* args,
                                             std::size_t nargsf, PyObject* kwnames) noexcept {
    const std::size_t count = nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET;
    if (kwnames == nullptr) [[likely]] {
        return count == 1 ? args[0] : nullptr;
    }
    const bool named = count == 0 && PyTuple_GET_SIZE(kwnames) == 1 &&
                       PyTuple_GET_ITEM(kwnames, 0) == self->only_name;
    return named ? args[0] : nullptr;
}

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
[[nodiscard]] Keyed key_call(FunctionObject* self, const Call& call, CacheKey& key);
// What key= returns for a call, asked once where the call keeps it. Null with an exception set.
[[nodiscard]] Ref made_key(FunctionObject* self, const Call& call);
// The key of a call whose arguments are all str, int, float, bool or None, the same that key_call()
// gives, without running any code; false: ask key_call(). For functions without key= that have not
// just one parameter.
[[nodiscard]] bool plain_key(const FunctionObject* self, const Call& call, KeyRef& key) noexcept;
// The tags alone, of a call that has a key: `key=` is not asked again. False with an exception set.
[[nodiscard]] bool call_tags(FunctionObject* self, const Call& call, Tags& tags);
// The texts of the tags of a call. False with an exception set.
[[nodiscard]] bool tag_texts(FunctionObject* self, const Call& call, std::vector<Ref>& texts);

// ---- function_load.cpp, function_lead.cpp, function_settle.cpp

// How a load is to be made and kept: the function's own rules, unless the call or a scope says
// otherwise.
struct Terms {
    Life life;
    bool store = true;
    bool beside = false;       // a refresh: it replaces what is there
    bool revalidates = false;  // what is there is past its life, and may be served all the same
    bool behind = false;       // and whoever began it has that already
    Ref record{};  // of an observer, who wants to know whether a tier has the value; or null
    // EngineStore::mutations() when the key was found to be absent; no number: it was not looked up.
    std::uint64_t seen = ~std::uint64_t{0};
};

// The terms of a call, before any scope. False with an exception set.
[[nodiscard]] bool terms_of(FunctionObject* self, const Call& call, Terms& terms);

// One load on its way: what the end of its flight needs to know.
struct Load : SoloLoad {
    CacheKey key;
    EntryId entry{};
    Instant started{};
    Life life{};
    std::uint32_t followers = 0;
    std::uint64_t seen = ~std::uint64_t{0};  // as in Terms
    std::uint64_t since = 0;                 // EngineStore::invalidations() when it began
    Ref shared;                              // what shared_call() gave, where tiers are to be asked
    bool store = true;
    bool beside = false;
    Ref records;               // a list of those of all who wait, or null
    bool revalidates = false;  // as in Terms
    bool behind = false;       // as in Terms
    bool renews = false;       // its leader goes on with another load: what it has found is past
    bool solo = false;         // its leader gives it back, else the end of its flight does
};

[[nodiscard]] inline Load* load_of(FlightObject* flight) {
    return static_cast<Load*>(static_cast<SoloLoad*>(flight_ticket(flight).extra));
}
// The word of a pending entry: a reference to its flight, or the load itself where no flight has
// been made for it. Objects have even addresses.
[[nodiscard]] inline cache::Word word_of(Load* load) noexcept {
    return reinterpret_cast<std::uintptr_t>(load) | 1;
}
[[nodiscard]] inline Load* load_in(cache::Word word) noexcept {
    return (word & 1) != 0 ? reinterpret_cast<Load*>(word & ~cache::Word{1}) : nullptr;
}
// A load on its way, from a pool; null with MemoryError set.
[[nodiscard]] Load* make_load(FunctionObject* self, CacheKey&& key, Ref&& shared,
                              const Terms& terms);
// Has an observer's record told who had the value. `record` may be null.
void add_record(Load* load, PyObject* record);
void give_back(Load* load);

// Calls the plain function.
[[nodiscard]] inline PyObject* call_through(const FunctionObject* self, const Call& call) {
    return PyObject_Vectorcall(self->wrapped, call.args, call.nargsf, call.kwnames);
}
// A value as it is handed out: copied if asked, raised if it stands for a failure. Steals `value`.
[[nodiscard]] PyObject* hand_out(const FunctionObject* self, PyObject* value);
// What the entry of a load will carry, and what tiers call it.
struct Marks {
    Tags tags;
    Ref shared;
};
// The marks of a call. False with an exception set.
[[nodiscard]] bool marks_for(FunctionObject* self, const Call& call, Marks& marks);
// The whole of a call that the hit path could not answer. Never inlined there, where its frame would
// cost every hit.
[[nodiscard, gnu::noinline]] PyObject* call_slowly(FunctionObject* self, PyObject* const* args,
                                                   std::size_t nargsf, PyObject* kwnames);
// The same of a call of a function with a short way, whose key, of one str or int, has no entry.
// The key comes in registers: read as a whole just after it was written in parts, it would stall.
// REQUIRES: no scope is open.
[[nodiscard, gnu::noinline]] PyObject* call_absent(FunctionObject* self, PyObject* const* args,
                                                   std::size_t nargsf, PyObject* kwnames,
                                                   cache::Hash hash, cache::Word word,
                                                   std::uint8_t kind);
// Leads a synchronous load and returns its value.
[[nodiscard]] PyObject* lead_load(FunctionObject* self, const Call& call, CacheKey&& key,
                                  Marks&& marks, const Terms& terms);
// Reserves the key and opens the flight; new reference, or null with an exception set. Takes over
// `load`, which lives until the flight is settled.
[[nodiscard]] FlightObject* open_flight(FunctionObject* self, Load* load, const Tags& tags);
// Runs the function as the load of `flight`, which it ends.
[[nodiscard]] PyObject* run_load(FunctionObject* self, const Call& call, FlightObject* flight);
// Whether the caller knows what left_out() means: a call of the mapping's loader with a sixth argument.
[[nodiscard]] inline bool takes_left_out(const FunctionObject* self, const Call& call) noexcept {
    return self->mapping && call.positional() > 5;
}
// The flight of a pending entry, a new reference, the caller counted as a follower; null with
// MemoryError set.
[[nodiscard]] FlightObject* join_load(FunctionObject* self, Slot pending);
// Waits for the load of another caller.
[[nodiscard]] PyObject* follow_load(FunctionObject* self, const Call& call, FlightObject* flight);
// What the end of a flight does: stores the value and counts.
void settle_load(FlightObject* flight, LoadTicket& ticket, PyObject* owner, PyObject* value,
                 PyObject* exception);

// ---- function_tiers.cpp

// How a load treats the tiers, as bits of the flow's second argument.
inline constexpr long kRefresh = 1;  // it does not ask them, and what it brings replaces theirs
inline constexpr long kNoStore = 2;  // it stores nothing there
inline constexpr long kAnew = 4;     // what is past its life there is no answer, but for a failure
inline constexpr long kBehind = 8;   // nobody waits for it

// The name of a generation: 32 hexadecimal digits. The first 16 are tag_hash(text), so that whoever
// is told the name alone can find the entries in memory. New reference, or null with an exception.
[[nodiscard]] PyObject* generation_name(const char* kind, PyObject* text);
// The shared key of a call's arguments. False with an exception set.
[[nodiscard]] bool shared_digest(FunctionObject* self, const Call& call, Sha256Digest& digest);
// What a call is called in every process: its prefix and the shared key. Null with an exception set.
// REQUIRES: self->tiers.
[[nodiscard]] Ref shared_name(FunctionObject* self, const Call& call);
// (that name, the generation names of its tags), and the hashes of all of them.
[[nodiscard]] Ref shared_call(FunctionObject* self, const Call& call, Tags& tags);
// Runs a load: through the flow, if there is one. What it returns may be a Loaded. `first` is what the
// first look has found, or null.
[[nodiscard]] PyObject* call_load(FunctionObject* self, const Call& call, const Load* load,
                                  PyObject* first = nullptr);
// The same of a synchronous function: the first look, and then what is left of the flow.
[[nodiscard]] PyObject* make_first_look_and_load(FunctionObject* self, const Call& call,
                                                 const Load* load);
// The first look of a load, if it has one. `waiting`: whether it may ask tiers that have to be waited
// for.
[[nodiscard]] Looked look_first(FunctionObject* self, const Load* load, bool waiting,
                                FirstFound& found);

// ---- function_fresh.cpp

// Whether a resident entry is past its life, and kept all the same.
[[nodiscard]] inline bool is_stale(const cache::Entry& entry, Instant now) noexcept {
    return now >= entry.deadline;
}
// What a caller gets whose load of a stale value has raised `exception`: a Loaded; or null, without
// an exception: what was raised.
[[nodiscard]] PyObject* stale_instead(FunctionObject* self, Load* load, PyObject* exception);
// The awaitable of an asynchronous load, which does the same. Steals `awaitable`, which may be null.
[[nodiscard]] PyObject* guard_awaitable(FunctionObject* self, const Call& call, const Load* load,
                                        PyObject* awaitable);
// _revalidate(*args, **kwargs): loads a call whose value is stale. _stale(*args, **kwargs): what
// stale_instead() gives.
[[nodiscard]] PyObject* function_revalidate(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                            PyObject* kwnames);
[[nodiscard]] PyObject* function_stale(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                       PyObject* kwnames);

// Whether a key whose value is past its life is being loaded, or has been since. `slot` is what
// look_up() found.
[[nodiscard]] bool is_loaded_anew(CacheObject* cache, const CacheKey& key, Slot slot, Instant now);
// A load has brought a value that is past its life, from a tier, and its caller may have it: whether
// it is to be loaded anew.
[[nodiscard]] bool is_to_be_loaded_anew(const Load* load, const LoadedObject* loaded) noexcept;
// How that is loaded, by one whose own load was made so.
[[nodiscard]] Terms anew(const Terms& before);
// Before such a load of a plain function is settled: whether its leader makes the new one, which is
// then the call that is counted and observed.
[[nodiscard]] bool leads_anew(FunctionObject* self, Load* load, const Terms& terms);
// After it: has it loaded anew, and says what the caller gets. Steals `value`, which that has already.
[[nodiscard]] PyObject* load_anew(FunctionObject* self, const Call& call, PyObject* value,
                                  const Terms& terms, bool leads);

// ---- function_async.cpp

[[nodiscard, gnu::noinline]] PyObject* call_asynchronously(FunctionObject* self, const Call& call);

// ---- function_methods.cpp

[[nodiscard]] PyMethodDef* function_method_table() noexcept;
[[nodiscard]] PyObject* function_set_name(PyObject* self, PyObject* const* args, Py_ssize_t count);

}  // namespace millpond::bindings
