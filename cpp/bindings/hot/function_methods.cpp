#include "hot/function_methods.hpp"

#include <algorithm>

#include "hot/function_control.hpp"
#include "hot/info.hpp"
#include "hot/key_builder.hpp"
#include "hot/key_object.hpp"
#include "hot/negative.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

PyObject* function_info(PyObject* object, PyObject*) {
    FunctionObject* const self = as_function(object);
    CacheObject* const cache = self->cache;
    expire_all(cache);
    const EngineStore& store = *cache->store;
    const std::uint64_t bound =
        self->private_cache ? store.options().max_entries : cache::kUnbounded;
    return make_info(cache->store->counters(self->space), bound, store.size(self->space),
                     store.bytes(self->space));
}

PyObject* function_clear_cache(PyObject* object, PyObject*) {
    FunctionObject* const self = as_function(object);
    EngineStore& store = *self->cache->store;
    try {
        const SpaceId fresh = store.open_space();
        store.retire_space(std::exchange(self->space, fresh));
        self->salt = store.salt(fresh);
        self->counters = &store.counters(fresh);
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
    drain(self->cache);
    Py_RETURN_NONE;
}

PyObject* function_parameters(PyObject* self, PyObject*) {
    return PyDict_Copy(as_function(self)->parameters);
}

// The key of a call for a method that takes a call's arguments: those that do not fit are an error.
bool key_arguments(FunctionObject* self, const Call& call, CacheKey& key) {
    switch (key_call(self, call, key)) {
        case Keyed::Yes: return true;
        case Keyed::No:
            PyErr_Format(PyExc_TypeError, "these arguments do not fit the signature of %R",
                         self->wrapped);
            break;
        case Keyed::Failed: break;
    }
    return false;
}

PyObject* function_key(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    const Call call{args, static_cast<std::size_t>(count), kwnames};
    CacheKey key;
    return key_arguments(self, call, key) ? call_identity(self, call) : nullptr;
}

// The slot of a call's live value, kNoSlot, or kFailed.
Slot find_call(FunctionObject* self, const Call& call, CacheKey& key) {
    static_cast<void>(look_up_time(self->cache));
    if (!key_arguments(self, call, key)) {
        return kFailed;
    }
    return look_up(self->cache, key, store_now(self->cache));
}

PyObject* function_contains(PyObject* object, PyObject* const* args, Py_ssize_t count,
                            PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    CacheKey key;
    const Slot slot = find_call(self, {args, static_cast<std::size_t>(count), kwnames}, key);
    if (slot == kFailed) {
        return nullptr;
    }
    const bool there = slot != kNoSlot &&
                       (*self->cache->store)[slot].state == cache::EntryState::Resident &&
                       !is_stale((*self->cache->store)[slot], store_now(self->cache));
    drain(self->cache);
    return PyBool_FromLong(there);
}

PyObject* function_invalidate(PyObject* object, PyObject* const* args, Py_ssize_t count,
                              PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    CacheKey key;
    const Slot slot = find_call(self, {args, static_cast<std::size_t>(count), kwnames}, key);
    if (slot == kFailed) {
        return nullptr;
    }
    EngineStore& store = *self->cache->store;
    const bool there = slot != kNoSlot && store[slot].state == cache::EntryState::Resident;
    store.undo_loads(key.ref);
    if (slot != kNoSlot) {
        store.erase(slot);
    }
    drain(self->cache);
    return PyBool_FromLong(there);
}

PyObject* function_refresh(PyObject* object, PyObject* const* args, Py_ssize_t count,
                           PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    const Call call{args, static_cast<std::size_t>(count), kwnames};
    if (self->asynchronous) {
        return refresh_asynchronously(self, call);
    }
    CacheKey key;
    Marks marks;
    const Keyed keyed = key_call(self, call, key);
    if (keyed != Keyed::Yes) {
        return keyed == Keyed::No ? call_through(self, call) : nullptr;
    }
    if (!marks_for(self, call, marks)) {
        return nullptr;
    }
    count_bypass(self);
    Terms terms{self->rules->life};
    terms.beside = true;
    return lead_load(self, call, std::move(key), std::move(marks), terms);
}

// Stores `given` for a call, for as long as `life` says.
PyObject* set_for(FunctionObject* self, PyObject* given, const Call& call, const Life& life) {
    CacheKey key;
    Marks marks;
    bool kept = false;
    if (!key_arguments(self, call, key) || !marks_for(self, call, marks)) {
        return nullptr;
    }
    // With copy= the caller's object stays the caller's, as it does with a value that was loaded.
    const Ref value(self->rules->copy ? PyObject_CallOneArg(self->rules->copy.get(), given)
                                      : Py_NewRef(given));
    if (!value ||
        !store_value(self->cache, key, self->space, value.get(), life, marks.tags, &kept)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* function_set(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "cache_set() takes a value and a call's arguments");
        return nullptr;
    }
    const Call call{args + 1, static_cast<std::size_t>(count - 1), kwnames};
    return set_for(self, args[0], call, self->rules->life);
}

// _set_here(value, most, /, *args, **kwargs): memory keeps it `most` seconds, unless that is None.
PyObject* function_set_here(PyObject* object, PyObject* const* args, Py_ssize_t count,
                            PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    if (count < 2) {
        PyErr_SetString(PyExc_TypeError, "_set_here() takes value, most and a call's arguments");
        return nullptr;
    }
    Life life = self->rules->life;
    if (args[1] != Py_None) {
        const double seconds = PyFloat_AsDouble(args[1]);
        if (seconds == -1 && PyErr_Occurred() != nullptr) {
            return nullptr;
        }
        // Two centuries are no limit.
        const Nanos most(static_cast<Nanos::rep>(std::clamp(seconds, 0.0, 6e9) * 1e9));
        life.ttl = std::min(life.ttl, most);
        life.stale = std::min(life.stale, most - life.ttl);
    }
    const Call call{args + 2, static_cast<std::size_t>(count - 2), kwnames};
    return set_for(self, args[0], call, life);
}

PyObject* function_bypass(PyObject* object, PyObject* const* args, Py_ssize_t count,
                          PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    count_bypass(self);
    return call_through(self, {args, static_cast<std::size_t>(count), kwnames});
}

// What is Python's: cache_many and cache_warm, and all that reaches the tiers. `name` of `module` is
// called with the function and the arguments.
PyObject* in_python(const char* module, const char* name, PyObject* self, PyObject* const* args,
                    Py_ssize_t count, PyObject* kwnames) {
    const Ref home(PyImport_ImportModule(module));
    const Ref target(home ? PyObject_GetAttrString(home.get(), name) : nullptr);
    if (!target) {
        return nullptr;
    }
    const Py_ssize_t named = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
    std::vector<PyObject*> all{nullptr, self};
    all.insert(all.end(), args, args + count + named);
    return PyObject_Vectorcall(
        target.get(), all.data() + 1,
        (static_cast<std::size_t>(count) + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames);
}
PyObject* function_many(PyObject* self, PyObject* calls) {
    return in_python("millpond.cache.many", "cache_many", self, &calls, 1, nullptr);
}
PyObject* function_warm(PyObject* self, PyObject* calls) {
    return in_python("millpond.cache.many", "cache_warm", self, &calls, 1, nullptr);
}

using Method = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

// A method that does its work `here` alone, unless there are tiers: `name` of cache.shared does it
// in them too.
template <Method here, const char* name>
PyObject* with_tiers(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    return as_function(self)->tiers == nullptr
               ? here(self, args, count, kwnames)
               : in_python("millpond.cache.shared", name, self, args, count, kwnames);
}
template <const char* name>
PyObject* in_shared(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    return in_python("millpond.cache.shared", name, self, args, count, kwnames);
}
constexpr char kInvalidate[] = "invalidate";
constexpr char kAsyncInvalidate[] = "ainvalidate";
constexpr char kSet[] = "set_value";
constexpr char kAsyncSet[] = "aset_value";
constexpr char kClear[] = "clear";
constexpr char kAsyncClear[] = "aclear";

PyObject* function_clear_both(PyObject* self, PyObject*) {
    return as_function(self)->tiers == nullptr
               ? function_clear_cache(self, nullptr)
               : in_python("millpond.cache.shared", kClear, self, nullptr, 0, nullptr);
}

PyObject* function_reduce(PyObject* self, PyObject*) {
    return PyObject_GetAttrString(self, "__qualname__");
}
PyObject* function_copy(PyObject* self, PyObject*) { return Py_NewRef(self); }

PyMethodDef g_methods[] = {
    method("cache_info", function_info, METH_NOARGS,
           "cache_info($self, /)\n--\n\nThe statistics of this function."),
    method("cache_clear", function_clear_both, METH_NOARGS,
           "cache_clear($self, /)\n--\n\nForget this function's entries and statistics. O(1)."),
    method("cache_aclear", in_shared<kAsyncClear>, METH_FASTCALL | METH_KEYWORDS,
           "cache_aclear($self, /)\n--\n\ncache_clear() for an event loop."),
    method("_clear_here", function_clear_cache, METH_NOARGS, nullptr),
    method("cache_parameters", function_parameters, METH_NOARGS,
           "cache_parameters($self, /)\n--\n\nThe options it was decorated with, a new dict."),
    method("cache_key", function_key, METH_FASTCALL | METH_KEYWORDS,
           "cache_key($self, /, *args, **kwargs)\n--\n\nThe bytes that name a call."),
    method("cache_contains", function_contains, METH_FASTCALL | METH_KEYWORDS,
           "cache_contains($self, /, *args, **kwargs)\n--\n\nWhether a call would be a hit."),
    method("cache_invalidate", with_tiers<function_invalidate, kInvalidate>,
           METH_FASTCALL | METH_KEYWORDS,
           "cache_invalidate($self, /, *args, **kwargs)\n--\n\n"
           "Forget a call; whether its value was there."),
    method("cache_ainvalidate", in_shared<kAsyncInvalidate>, METH_FASTCALL | METH_KEYWORDS,
           "cache_ainvalidate($self, /, *args, **kwargs)\n--\n\n"
           "cache_invalidate() for an event loop."),
    method("_invalidate_here", function_invalidate, METH_FASTCALL | METH_KEYWORDS, nullptr),
    method("cache_refresh", function_refresh, METH_FASTCALL | METH_KEYWORDS,
           "cache_refresh($self, /, *args, **kwargs)\n--\n\nLoad a call anew and store it."),
    method("cache_set", with_tiers<function_set, kSet>, METH_FASTCALL | METH_KEYWORDS,
           "cache_set($self, value, /, *args, **kwargs)\n--\n\nStore a value for a call."),
    method("cache_aset", in_shared<kAsyncSet>, METH_FASTCALL | METH_KEYWORDS,
           "cache_aset($self, value, /, *args, **kwargs)\n--\n\n"
           "cache_set() for an event loop."),
    method("_set_here", function_set_here, METH_FASTCALL | METH_KEYWORDS, nullptr),
    method("cache_bypass", function_bypass, METH_FASTCALL | METH_KEYWORDS,
           "cache_bypass($self, /, *args, **kwargs)\n--\n\nCall the plain function."),
    method("cache_many", function_many, METH_O,
           "cache_many($self, calls, /)\n--\n\nThe results of a list of calls, in order."),
    method("cache_warm", function_warm, METH_O,
           "cache_warm($self, calls, /)\n--\n\nLoad those of a list of calls that are not here."),
    method("_revalidate", function_revalidate, METH_FASTCALL | METH_KEYWORDS, nullptr),
    method("_stale", function_stale, METH_FASTCALL | METH_KEYWORDS, nullptr),
    method("_set_flow", function_set_flow, METH_FASTCALL, nullptr),
    method("_flow", function_flow, METH_NOARGS, nullptr),
    method("_is_per_instance", function_is_per_instance, METH_NOARGS, nullptr),
    method("_shared_call", function_shared_call, METH_FASTCALL | METH_KEYWORDS, nullptr),
    method("_drop_entries", function_drop_entries, METH_NOARGS, nullptr),
    method("_load_many", function_load_many, METH_FASTCALL, nullptr),
    method("_follow", function_follow, METH_FASTCALL, nullptr),
    method("_begin_many", function_begin_many, METH_FASTCALL, nullptr),
    method("_await", function_await, METH_FASTCALL, nullptr),
    method("__set_name__", function_set_name, METH_FASTCALL, nullptr),
    method("__reduce__", function_reduce, METH_NOARGS, nullptr),
    method("__copy__", function_copy, METH_NOARGS, nullptr),
    method("__deepcopy__", function_copy, METH_O, nullptr),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* call_identity(FunctionObject* self, const Call& call) {
    Sha256Digest digest;
    if (shared_digest(self, call, digest)) {
        return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(digest.data()),
                                         static_cast<Py_ssize_t>(digest.size()));
    }
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) {
        return nullptr;
    }
    PyErr_Clear();
    CacheKey key;
    if (!key_arguments(self, call, key)) {
        return nullptr;
    }
    if (key.kind() == KeyKind::Leaves) {
        // The key word is the address of this very key object; what it holds is the same each time.
        return fingerprint_bytes(reinterpret_cast<KeyObject*>(key.ref.word)->print);
    }
    return fingerprint_bytes({key.ref.word, key.ref.hash});
}

PyMethodDef* function_method_table() noexcept { return g_methods; }

}  // namespace millpond::bindings
