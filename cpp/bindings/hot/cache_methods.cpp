#include "hot/cache_methods.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "hot/hit.hpp"
#include "hot/info.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

// ---- Making one

bool read_policy(const char* name, cache::PolicyKind& kind) {
    static constexpr std::array<const char*, 5> kNames = {"lru", "lfu", "fifo", "sieve", "s3fifo"};
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        if (std::strcmp(kNames[i], name) == 0) {
            kind = static_cast<cache::PolicyKind>(i);
            return true;
        }
    }
    raise_error(PythonError::Configuration,
                std::string("policy=\"") + name +
                    "\": the policies are \"lru\", \"lfu\", \"fifo\", \"sieve\" and \"s3fifo\"");
    return false;
}

}  // namespace

// ---- Look-up

bool locate(CacheObject* self, PyObject* object, Found& found) {
    found.now = look_up_time(self);
    if (!key_of(object, self->space, self->salt, true, true, found.key)) {
        return false;
    }
    found.slot = look_up(self, found.key, found.now);
    return found.slot != kFailed;
}

namespace {

// New reference to the value, having counted the hit; null without an exception: a miss, counted.
PyObject* look(CacheObject* self, PyObject* object) {
    Found found;
    if (!locate(self, object, found)) {
        return nullptr;
    }
    PyObject* value = nullptr;
    if (resident(self, found.slot)) {
        value = take_hit(self, found.slot, found.now);
    } else {
        self->store->miss(found.key.ref);
    }
    drain(self);
    return value;
}

[[gnu::noinline]] PyObject* get_slowly(CacheObject* self, PyObject* const* args, Py_ssize_t count) {
    PyObject* const value = look(self, args[0]);
    if (value != nullptr || PyErr_Occurred() != nullptr) {
        return value;
    }
    return Py_NewRef(count == 2 ? args[1] : Py_None);
}

PyObject* cache_get(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "get() takes a key and perhaps a default, not %zd arguments",
                     count);
        return nullptr;
    }
    CacheObject* const self = as_cache(object);
    PyObject* const key = args[0];
    const auto otherwise = [=] { return get_slowly(self, args, count); };
    return find_live(
        self, self->space, self->salt, key,
        [=](cache::Entry& entry, Slot slot, Instant now) {
            self->store->hit(self->store->counters(self->space), slot, entry, now);
            return Py_NewRef(reinterpret_cast<PyObject*>(entry.value));
        },
        [=](const KeyRef&) { return otherwise(); }, otherwise);
}

PyObject* cache_peek_ttl(PyObject* object, PyObject* key) {
    CacheObject* const self = as_cache(object);
    Found found;
    if (!locate(self, key, found)) {
        return nullptr;
    }
    double seconds = -1;
    if (resident(self, found.slot)) {
        const Instant deadline = (*self->store)[found.slot].deadline;
        const Nanos left = deadline - store_now(self);
        seconds = deadline == kNever ? std::numeric_limits<double>::infinity()
                                     : std::max(0.0, static_cast<double>(left.count()) * 1e-9);
    }
    drain(self);
    if (seconds < 0) {
        Py_RETURN_NONE;
    }
    return PyFloat_FromDouble(seconds);
}

// ---- All of it

enum class Part { Keys, Values, Items, AllKeys };  // AllKeys: those of loads under way too

PyObject* snapshot(CacheObject* self, Part part) {
    const Instant now = look_up_time(self);
    Ref list(PyList_New(0));
    if (!list) {
        return nullptr;
    }
    // Collected first: making the objects can start the collector, which can run anything.
    std::vector<EntryId> ids;
    self->store->for_each([&](Slot slot, const cache::Entry& entry) {
        if (entry.space == self->space && now < entry.deadline &&
            (part == Part::AllKeys || entry.state == cache::EntryState::Resident)) {
            ids.push_back(self->store->id_of(slot));
        }
    });
    for (const EntryId id : ids) {
        if (!self->store->holds(id)) {
            continue;
        }
        const cache::Entry& entry = (*self->store)[id.slot];
        const Ref value = Ref::share(reinterpret_cast<PyObject*>(entry.value));
        const Ref key(key_object(static_cast<KeyKind>(entry.kind), entry.hash, entry.key));
        if (!key) {
            return nullptr;
        }
        const Ref item(part == Part::Values  ? Py_NewRef(value.get())
                       : part == Part::Items ? PyTuple_Pack(2, key.get(), value.get())
                                             : Py_NewRef(key.get()));
        if (!item || PyList_Append(list.get(), item.get()) < 0) {
            return nullptr;
        }
    }
    return list.release();
}

PyObject* cache_keys(PyObject* self, PyObject*) { return snapshot(as_cache(self), Part::Keys); }
PyObject* cache_values(PyObject* self, PyObject*) { return snapshot(as_cache(self), Part::Values); }
PyObject* cache_items(PyObject* self, PyObject*) { return snapshot(as_cache(self), Part::Items); }

PyObject* cache_all_keys(PyObject* self, PyObject*) {
    return snapshot(as_cache(self), Part::AllKeys);
}

PyObject* cache_counters(PyObject* object, PyObject*) {
    CacheObject* const self = as_cache(object);
    expire_all(self);
    const cache::StoreOptions& options = self->store->options();
    return make_info(self->store->totals(), options.max_entries, self->store->size(),
                     self->store->bytes());
}

PyObject* cache_set_bounds(PyObject* object, PyObject* args) {
    CacheObject* const self = as_cache(object);
    long long entries = 0;
    long long bytes = 0;
    if (!PyArg_ParseTuple(args, "LL", &entries, &bytes)) {
        return nullptr;
    }
    const auto bound = [](long long given) {
        return given < 0 ? cache::kUnbounded : static_cast<std::uint64_t>(given);
    };
    self->store->set_bounds(bound(entries), bound(bytes), store_now(self));
    drain(self);
    Py_RETURN_NONE;
}

PyObject* cache_metadata_bytes(PyObject* object, PyObject*) {
    return PyLong_FromSize_t(as_cache(object)->store->allocated_bytes());
}

PyMethodDef g_methods[] = {
    method("get", cache_get, METH_FASTCALL,
           "get($self, key, default=None, /)\n--\n\nThe live value of `key`, or `default`."),
    method("set", cache_set, METH_FASTCALL | METH_KEYWORDS,
           "set($self, key, value, /, **options)\n--\n\nStore a value; False if it is too heavy."),
    method("add", cache_add, METH_FASTCALL | METH_KEYWORDS,
           "add($self, key, value, /, **options)\n--\n\nStore unless there is a live value."),
    method("get_or_set", cache_get_or_set, METH_FASTCALL | METH_KEYWORDS,
           "get_or_set($self, key, value, /, **options)\n--\n\nThe live value, or store this one."),
    method("touch", cache_touch, METH_FASTCALL | METH_KEYWORDS,
           "touch($self, key, /, **options)\n--\n\nStart the life of a live entry anew."),
    method("incr", cache_incr, METH_FASTCALL | METH_KEYWORDS,
           "incr($self, key, amount=1, /, **options)\n--\n\nCount up; the first sets the life."),
    method("decr", cache_decr, METH_FASTCALL | METH_KEYWORDS,
           "decr($self, key, amount=1, /, **options)\n--\n\nCount down; the first sets the life."),
    method("delete", cache_delete, METH_O,
           "delete($self, key, /)\n--\n\nRemove a key; whether a live value was there."),
    method("pop", cache_pop, METH_FASTCALL,
           "pop($self, key, default=..., /)\n--\n\nRemove a key and return its live value."),
    method("ttl", cache_peek_ttl, METH_O,
           "ttl($self, key, /)\n--\n\nSeconds of life left; inf without limit, None if absent."),
    method("clear", cache_clear_all, METH_NOARGS,
           "clear($self, /)\n--\n\nForget all entries of this mapping. O(1)."),
    method("keys", cache_keys, METH_NOARGS, "keys($self, /)\n--\n\nThe live keys, as a list."),
    method("values", cache_values, METH_NOARGS,
           "values($self, /)\n--\n\nThe live values, as a list."),
    method("items", cache_items, METH_NOARGS,
           "items($self, /)\n--\n\nThe live (key, value) pairs, as a list."),
    method("_invalidate_tags", cache_invalidate_tag, METH_O, nullptr),
    method("_invalidate_hash", cache_invalidate_hash, METH_O, nullptr),
    method("_held_under", cache_held_under, METH_O, nullptr),
    method("_invalidate_prefix", cache_invalidate_prefix, METH_O, nullptr),
    method("_all_keys", cache_all_keys, METH_NOARGS, nullptr),
    method("_counters", cache_counters, METH_NOARGS, nullptr),
    method("_dump", cache_dump, METH_O, nullptr),
    method("_restore", cache_restore, METH_VARARGS, nullptr),
    method("_set_bounds", cache_set_bounds, METH_VARARGS, nullptr),
    method("_set_alarm", cache_set_alarm, METH_FASTCALL, nullptr),
    method("_watch_word", cache_watch_word, METH_FASTCALL, nullptr),
    method("_metadata_bytes", cache_metadata_bytes, METH_NOARGS, nullptr),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* cache_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
    long long entries, bytes, ttl, tti;
    unsigned long long seed;
    const char* policy = nullptr;
    double jitter = 0;
    PyObject *weigher, *listener, *clock;
    if (kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "CacheBase() takes no keyword arguments");
        return nullptr;
    }
    if (!PyArg_ParseTuple(args, "LLsLLdOOOK", &entries, &bytes, &policy, &ttl, &tti, &jitter,
                          &weigher, &listener, &clock, &seed)) {
        return nullptr;
    }
    cache::StoreOptions options;
    options.seed = seed;
    options.max_entries = entries < 0 ? cache::kUnbounded : static_cast<std::uint64_t>(entries);
    options.max_bytes = bytes < 0 ? cache::kUnbounded : static_cast<std::uint64_t>(bytes);
    if (!read_policy(policy, options.policy)) {
        return nullptr;
    }
    if (clock != Py_None && Py_TYPE(clock) != manual_clock_type()) {
        raise_error(PythonError::OptionType,
                    std::string("clock: a ManualClock or None, not ") + Py_TYPE(clock)->tp_name);
        return nullptr;
    }
    CacheObject* const self = as_cache(type->tp_alloc(type, 0));
    if (self == nullptr) {
        return nullptr;
    }
    Ref owner(as_object(self));
    self->clock =
        clock == Py_None ? nullptr : reinterpret_cast<ManualClockObject*>(Py_NewRef(clock));
    self->last_tick = store_now(self);
    self->ttl = ttl < 0 ? kForEver : Nanos{ttl};
    self->tti = tti < 0 ? Nanos::zero() : Nanos{tti};
    self->jitter = jitter;
    self->weigher = weigher == Py_None ? nullptr : Py_NewRef(weigher);
    self->listener = listener == Py_None ? nullptr : Py_NewRef(listener);
    self->weighs = bytes >= 0 || self->weigher != nullptr;
    options.start = store_now(self);
    try {
        self->collectable = new std::vector<std::uint64_t>();
        self->store = new EngineStore(options);
        self->space = self->store->open_space();
        self->salt = self->store->salt(self->space);
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
    return owner.release();
}

Py_ssize_t cache_length(PyObject* object) {
    CacheObject* const self = as_cache(object);
    expire_all(self);
    return static_cast<Py_ssize_t>(self->store->size(self->space));
}

PyObject* cache_subscript(PyObject* object, PyObject* key) {
    PyObject* const value = look(as_cache(object), key);
    if (value == nullptr && PyErr_Occurred() == nullptr) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    return value;
}

int cache_assign(PyObject* object, PyObject* key, PyObject* value) {
    CacheObject* const self = as_cache(object);
    if (value == nullptr) {
        const int there = remove_key(self, key, nullptr);
        if (there == 0) {
            PyErr_SetObject(PyExc_KeyError, key);
        }
        return there == 1 ? 0 : -1;
    }
    CacheKey made;
    bool kept = false;
    const Life life{self->ttl, self->tti, self->jitter, 0};
    return key_of(key, self->space, self->salt, true, true, made) &&
                   store_value(self, made, self->space, value, life, {}, &kept)
               ? 0
               : -1;
}

int cache_contains(PyObject* object, PyObject* key) {
    CacheObject* const self = as_cache(object);
    Found found;
    if (!locate(self, key, found)) {
        return -1;
    }
    const bool there = resident(self, found.slot);
    drain(self);
    return there ? 1 : 0;
}

PyObject* cache_iterate(PyObject* self) {
    const Ref keys(snapshot(as_cache(self), Part::Keys));
    return keys ? PyObject_GetIter(keys.get()) : nullptr;
}

PyMethodDef* cache_method_table() noexcept { return g_methods; }

}  // namespace millpond::bindings
