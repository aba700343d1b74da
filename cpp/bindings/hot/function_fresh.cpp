// Values past their life: who loads them anew, who gets them meanwhile, and who if that fails.
//
// Such a value stays where it is found (Keep::stale), so that whatever invalidates it removes it; its
// load runs beside it, as a refresh does, and takes its place.
#include "hot/function_control.hpp"
#include "hot/function_object.hpp"
#include "hot/key_object.hpp"
#include "hot/loaded.hpp"

namespace millpond::bindings {
namespace {

// The load of a key beside its value, or kNoSlot. Keys whose comparing would run a user's code have
// none: such a load is made once more.
Slot find_load(const CacheObject* cache, const CacheKey& key) {
    return cache->store->find_beside(key.ref, [&key](const cache::Entry& entry) {
        switch (key.kind()) {
            case KeyKind::Str:
                return same_text(reinterpret_cast<PyObject*>(entry.key),
                                 reinterpret_cast<PyObject*>(key.ref.word));
            case KeyKind::Held:
                return reinterpret_cast<KeyObject*>(entry.key)->print ==
                       reinterpret_cast<KeyObject*>(key.ref.word)->print;
            case KeyKind::Int:
            case KeyKind::Fingerprint:
            case KeyKind::Leaves: break;
        }
        return false;
    });
}

// (args, kwargs) of a call. Null with an exception set.
Ref arguments_of(const Call& call) {
    const Py_ssize_t count = call.positional();
    const Ref args(PyTuple_New(count));
    const Ref kwargs(PyDict_New());
    if (!args || !kwargs) {
        return Ref();
    }
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyTuple_SET_ITEM(args.get(), i, Py_NewRef(call.args[i]));
    }
    for (Py_ssize_t i = 0; i < call.named(); ++i) {
        if (PyDict_SetItem(kwargs.get(), PyTuple_GET_ITEM(call.kwnames, i), call.args[count + i]) <
            0) {
            return Ref();
        }
    }
    return Ref(PyTuple_Pack(2, args.get(), kwargs.get()));
}

// Has another thread load a call. What that raises is reported: the caller has its value.
void load_elsewhere(FunctionObject* self, const Call& call) {
    const Ref identity(call_identity(self, call));
    const Ref arguments = identity ? arguments_of(call) : Ref();
    const Ref done(!arguments ? nullptr
                              : PyObject_CallFunctionObjArgs(
                                    self->rules->revalidate.get(), as_object(self), identity.get(),
                                    PyTuple_GET_ITEM(arguments.get(), 0),
                                    PyTuple_GET_ITEM(arguments.get(), 1), nullptr));
    if (!done) {
        PyErr_WriteUnraisable(as_object(self));
    }
}

// A Loaded of the value of `key`, if it may be served in place of a failure; else null. No exception
// is set on return.
PyObject* stale_value(FunctionObject* self, const CacheKey& key) {
    CacheObject* const cache = self->cache;
    const Instant now = store_now(cache);
    const Slot slot = look_up(cache, key, now);
    if (slot >= kFailed || (*cache->store)[slot].state != cache::EntryState::Resident ||
        now - (*cache->store)[slot].deadline >= self->rules->stale_if) {
        PyErr_Clear();
        return nullptr;
    }
    const TierValue from{.value = reinterpret_cast<PyObject*>((*cache->store)[slot].value),
                         .tags = nullptr,
                         .left = 0,
                         .fresh = 0,
                         .life = 0,
                         .kept = 0,
                         .cost = 0,
                         .age = 0,
                         .source = kFromStale,
                         .store = false};
    PyObject* const loaded = make_loaded(from);
    PyErr_Clear();
    return loaded;
}

// Calls millpond.cache.freshness.<name>.
template <class... Args>
PyObject* call_python(const char* name, Args... args) {
    const Ref home(PyImport_ImportModule("millpond.cache.freshness"));
    const Ref target(home ? PyObject_GetAttrString(home.get(), name) : nullptr);
    return target ? PyObject_CallFunctionObjArgs(target.get(), args..., nullptr) : nullptr;
}

}  // namespace

Verdict judge_stale(FunctionObject* self, const Call& call, const CacheKey& key, Slot slot,
                    Instant now, Terms& terms) {
    CacheObject* const cache = self->cache;
    const Nanos over = now - (*cache->store)[slot].deadline;
    const Slot pending = find_load(cache, key);
    const bool elsewhere = static_cast<bool>(self->rules->revalidate);
    if (over < self->rules->stale_while &&
        (pending != kNoSlot || elsewhere || self->asynchronous)) {
        PyObject* const value = take_hit(cache, slot, now);
        ++counters(self).stale_hits;
        if (pending == kNoSlot && elsewhere) {
            load_elsewhere(self, call);
        } else if (pending == kNoSlot) {
            terms.beside = terms.revalidates = terms.behind = true;
            return {Verdict::Lead, value};
        }
        return {Verdict::Hit, value};
    }
    ++counters(self).misses[static_cast<std::size_t>(cache::MissReason::Stale)];
    if (pending != kNoSlot) {
        FlightObject* const flight = join_load(self, pending);
        return {flight != nullptr ? Verdict::Join : Verdict::Error, nullptr, flight};
    }
    terms.beside = terms.revalidates = true;
    return {Verdict::Lead};
}

bool is_loaded_anew(CacheObject* cache, const CacheKey& key, Slot slot, Instant now) {
    const bool fresh = slot != kNoSlot && !is_stale((*cache->store)[slot], now);
    return fresh || find_load(cache, key) != kNoSlot;
}

bool is_to_be_loaded_anew(const Load* load, const LoadedObject* loaded) noexcept {
    return loaded != nullptr && loaded->past && loaded->source < cache::kSources &&
           !load->revalidates;
}

Terms anew(const Terms& before) {
    return {.life = before.life, .store = before.store, .beside = true, .revalidates = true};
}

bool leads_anew(FunctionObject* self, Load* load, const Terms& terms) {
    load->renews = !self->rules->revalidate && find_load(self->cache, load->key) == kNoSlot;
    if (load->renews && terms.record && load->records &&
        PySequence_DelItem(load->records.get(), 0) < 0) {
        PyErr_WriteUnraisable(load->records.get());
    }
    return load->renews;
}

PyObject* load_anew(FunctionObject* self, const Call& call, PyObject* value, const Terms& terms,
                    bool leads) {
    if (!leads) {
        if (self->rules->revalidate) {
            load_elsewhere(self, call);
        }
        return value;
    }
    CacheKey key;
    Marks marks;
    if (key_call(self, call, key) != Keyed::Yes || !marks_for(self, call, marks)) {
        if (PyErr_Occurred() != nullptr) {
            PyErr_WriteUnraisable(as_object(self));
        }
        return value;
    }
    const Ref old(value);
    Terms again = anew(terms);
    again.record = Ref::share(terms.record.get());
    return lead_load(self, call, std::move(key), std::move(marks), again);
}

PyObject* stale_instead(FunctionObject* self, Load* load, PyObject* exception) {
    if (self->rules->stale_if == Nanos::zero() ||
        PyErr_GivenExceptionMatches(exception, PyExc_Exception) != 1 ||
        !self->cache->store->holds(load->entry)) {  // Invalidated: there is nothing to serve.
        return nullptr;
    }
    PyObject* const loaded = stale_value(self, load->key);
    if (loaded != nullptr && !Ref(call_python("report", as_object(self), exception))) {
        PyErr_WriteUnraisable(as_object(self));
    }
    return loaded;
}

PyObject* guard_awaitable(FunctionObject* self, const Call& call, const Load* load,
                          PyObject* awaitable) {
    if (awaitable == nullptr || !load->revalidates) {
        return awaitable;
    }
    const Ref inner(awaitable);
    const Ref arguments = arguments_of(call);
    return !arguments
               ? nullptr
               : call_python(
                     "guarded", inner.get(), as_object(self), load->behind ? Py_True : Py_False,
                     PyTuple_GET_ITEM(arguments.get(), 0), PyTuple_GET_ITEM(arguments.get(), 1));
}

PyObject* function_revalidate(PyObject* object, PyObject* const* args, Py_ssize_t count,
                              PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    const Call call{args, static_cast<std::size_t>(count), kwnames};
    CacheKey key;
    Marks marks;
    const Keyed keyed = key_call(self, call, key);
    if (keyed != Keyed::Yes || !marks_for(self, call, marks)) {
        return keyed == Keyed::No ? call_through(self, call) : nullptr;
    }
    const Instant now = store_now(self->cache);
    const Slot slot = look_up(self->cache, key, now);
    if (slot == kFailed) {
        return nullptr;
    }
    if (is_loaded_anew(self->cache, key, slot, now)) {
        Py_RETURN_NONE;  // Somebody was quicker, or is about to be.
    }
    const Terms terms{
        .life = self->rules->life, .beside = true, .revalidates = true, .behind = true};
    return lead_load(self, call, std::move(key), std::move(marks), terms);
}

PyObject* function_stale(PyObject* object, PyObject* const* args, Py_ssize_t count,
                         PyObject* kwnames) {
    FunctionObject* const self = as_function(object);
    CacheKey key;
    if (key_call(self, {args, static_cast<std::size_t>(count), kwnames}, key) != Keyed::Yes) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject* const loaded = stale_value(self, key);
    return loaded == nullptr ? Py_NewRef(Py_None) : loaded;
}

}  // namespace millpond::bindings
