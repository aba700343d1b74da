#include "hot/cache_methods.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "hot/arguments.hpp"
#include "hot/cache_object.hpp"
#include "hot/info.hpp"
#include "hot/negative.hpp"
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

// ---- Look-up

// A key, a slot and the time of the look-up, as every method starts.
struct Found {
    CacheKey key;
    Slot slot = kNoSlot;
    Instant now{};
};

bool locate(CacheObject* self, PyObject* object, Found& found) {
    found.now = self->timed ? check_now(self) : Instant{};
    if (self->timed && found.now != self->last_tick) {
        tick(self, found.now);
    }
    if (!key_of(object, self->space, self->salt, true, true, found.key)) {
        return false;
    }
    found.slot = look_up(self, found.key, found.now);
    return found.slot != kFailed;
}

[[nodiscard]] bool resident(CacheObject* self, Slot slot) noexcept {
    return slot != kNoSlot && (*self->store)[slot].state == cache::EntryState::Resident;
}

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

PyObject* cache_get(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "get() takes a key and perhaps a default, not %zd arguments",
                     count);
        return nullptr;
    }
    CacheObject* const self = as_cache(object);
    PyObject* const key = args[0];
    Slot slot = kNoSlot;
    std::int64_t number = 0;
    if (PyUnicode_CheckExact(key)) {
        slot = find_text(*self->store, text_key(key, self->space, self->salt));
    } else if (PyLong_CheckExact(key) && small_int(key, number)) {
        slot = find_int(*self->store, int_key(number, self->space, self->salt));
    }
    if (slot != kNoSlot) {
        const cache::Entry& entry = (*self->store)[slot];
        if (entry.state == cache::EntryState::Resident) {
            if (!self->timed) {
                return take_hit(self, slot, Instant{});
            }
            const Instant now = check_now(self);
            if (now == self->last_tick && now < entry.deadline) [[likely]] {
                return take_hit(self, slot, now);
            }
        }
    }
    PyObject* const value = look(self, key);
    if (value != nullptr || PyErr_Occurred() != nullptr) {
        return value;
    }
    return Py_NewRef(count == 2 ? args[1] : Py_None);
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

// ---- Storing

struct Options {
    Life life;
    std::vector<cache::TagHash> tags;
};

bool read_set_options(CacheObject* self, const char* function, PyObject* const* given,
                      PyObject* kwnames, Options& options) {
    options.life = {self->ttl, self->tti, self->jitter, 0};
    if (kwnames == nullptr) {
        return true;
    }
    static constexpr std::array<const char*, 4> kNames = {"ttl", "tti", "tags", "cost"};
    std::array<PyObject*, 4> values{};
    if (!read_options(function, kNames, given, kwnames, values)) {
        return false;
    }
    if (values[0] != nullptr && !read_life(values[0], "ttl", options.life.ttl)) {
        return false;
    }
    if (values[1] != nullptr) {
        if (!read_life(values[1], "tti", options.life.tti)) {
            return false;
        }
        if (options.life.tti == kForEver) {
            options.life.tti = Nanos::zero();
        }
    }
    if (values[2] != nullptr && !tag_hashes(values[2], options.tags)) {
        return false;
    }
    return values[3] == nullptr || read_cost(values[3], options.life.cost);
}

bool two_arguments(const char* function, Py_ssize_t count) {
    if (count == 2) {
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%s() takes a key and a value, not %zd positional arguments",
                 function, count);
    return false;
}

PyObject* cache_set(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    Options options;
    CacheKey key;
    bool kept = false;
    if (!two_arguments("set", count) ||
        !read_set_options(self, "set", args + count, kwnames, options) ||
        !key_of(args[0], self->space, self->salt, true, true, key) ||
        !store_value(self, key, self->space, args[1], options.life, options.tags, &kept)) {
        return nullptr;
    }
    return PyBool_FromLong(kept);
}

// Stores unless there is a live value: returns it (new reference), or null without an exception.
PyObject* store_absent(CacheObject* self, PyObject* object, PyObject* value, const Options& options,
                       bool* kept) {
    Found found;
    if (!locate(self, object, found)) {
        return nullptr;
    }
    if (resident(self, found.slot)) {
        PyObject* const there = take_hit(self, found.slot, found.now);
        drain(self);
        return there;
    }
    self->store->miss(found.key.ref);
    if (!store_value(self, found.key, self->space, value, options.life, options.tags, kept)) {
        return nullptr;
    }
    return nullptr;
}

PyObject* cache_add(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    Options options;
    bool kept = false;
    if (!two_arguments("add", count) ||
        !read_set_options(self, "add", args + count, kwnames, options)) {
        return nullptr;
    }
    const Ref there(store_absent(self, args[0], args[1], options, &kept));
    if (!there && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    return PyBool_FromLong(!there && kept);
}

PyObject* cache_get_or_set(PyObject* object, PyObject* const* args, Py_ssize_t count,
                           PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    Options options;
    bool kept = false;
    if (!two_arguments("get_or_set", count) ||
        !read_set_options(self, "get_or_set", args + count, kwnames, options)) {
        return nullptr;
    }
    PyObject* const there = store_absent(self, args[0], args[1], options, &kept);
    if (there != nullptr || PyErr_Occurred() != nullptr) {
        return there;
    }
    return Py_NewRef(args[1]);
}

PyObject* cache_touch(PyObject* object, PyObject* const* args, Py_ssize_t count,
                      PyObject* kwnames) {
    CacheObject* const self = as_cache(object);
    if (count != 1) {
        PyErr_Format(PyExc_TypeError, "touch() takes a key, not %zd positional arguments", count);
        return nullptr;
    }
    Options options;
    Found found;
    if (!read_set_options(self, "touch", args + count, kwnames, options) ||
        !locate(self, args[0], found)) {
        return nullptr;
    }
    const bool there = resident(self, found.slot);
    if (there) {
        const Instant now = store_now(self);
        const cache::Keep keep = keep_for(self, options.life, 0, now);
        self->store->touch(found.slot, keep.deadline, keep.idle, now);
    }
    drain(self);
    return PyBool_FromLong(there);
}

// Adds `amount` to the whole number under `key`, which starts at 0 and lives from then on.
PyObject* add_amount(CacheObject* self, PyObject* key, PyObject* amount, const Options& options) {
    Found found;
    if (!locate(self, key, found)) {
        return nullptr;
    }
    Options kept_options = options;
    Ref before;
    if (resident(self, found.slot)) {
        const cache::Entry& entry = (*self->store)[found.slot];
        before = Ref::share(reinterpret_cast<PyObject*>(entry.value));
        kept_options.life.cost = entry.cost;
        if (!PyLong_Check(before.get())) {
            raise_error(PythonError::OptionType,
                        std::string("incr: the value under this key is a ") +
                            Py_TYPE(before.get())->tp_name + ", not an int");
            return nullptr;
        }
        // The life goes on: only the first increment sets it.
        const Instant deadline = self->store->hard_deadline(found.slot);
        kept_options.life.tti = self->store->idle(found.slot);
        kept_options.life.ttl = deadline == kNever ? kForEver : deadline - store_now(self);
        kept_options.life.jitter = 0;
        self->store->tags().for_each(
            found.slot, [&kept_options](cache::TagHash tag) { kept_options.tags.push_back(tag); });
    }
    Ref sum(before ? PyNumber_Add(before.get(), amount) : Py_NewRef(amount));
    bool kept = false;
    if (!sum || !store_value(self, found.key, self->space, sum.get(), kept_options.life,
                             kept_options.tags, &kept)) {
        return nullptr;
    }
    return sum.release();
}

PyObject* count_by(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* kwnames,
                   bool down) {
    CacheObject* const self = as_cache(object);
    const char* const name = down ? "decr" : "incr";
    if (count < 1 || count > 2 || (count == 2 && !PyLong_Check(args[1]))) {
        PyErr_Format(PyExc_TypeError, "%s() takes a key and perhaps an int to count by", name);
        return nullptr;
    }
    Options options;
    if (!read_set_options(self, name, args + count, kwnames, options)) {
        return nullptr;
    }
    Ref amount(count == 2 ? Py_NewRef(args[1]) : PyLong_FromLong(1));
    if (amount && down) {
        amount = Ref(PyNumber_Negative(amount.get()));
    }
    return amount ? add_amount(self, args[0], amount.get(), options) : nullptr;
}

PyObject* cache_incr(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    return count_by(self, args, count, kwnames, false);
}
PyObject* cache_decr(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* kwnames) {
    return count_by(self, args, count, kwnames, true);
}

// ---- Removing

// Whether a live value was there; it is handed to `taken` when that is given.
int remove_key(CacheObject* self, PyObject* object, Ref* taken) {
    Found found;
    if (!locate(self, object, found)) {
        return -1;
    }
    const bool there = resident(self, found.slot);
    if (there && taken != nullptr) {
        *taken = Ref::share(reinterpret_cast<PyObject*>((*self->store)[found.slot].value));
    }
    self->store->undo_loads(found.key.ref);
    if (found.slot != kNoSlot) {
        self->store->erase(found.slot);
    }
    drain(self);
    return there ? 1 : 0;
}

PyObject* cache_delete(PyObject* object, PyObject* key) {
    const int there = remove_key(as_cache(object), key, nullptr);
    return there < 0 ? nullptr : PyBool_FromLong(there);
}

PyObject* cache_pop(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "pop() takes a key and perhaps a default, not %zd arguments",
                     count);
        return nullptr;
    }
    Ref value;
    const int there = remove_key(as_cache(object), args[0], &value);
    if (there < 0) {
        return nullptr;
    }
    if (there > 0) {
        return value.release();
    }
    if (count == 2) {
        return Py_NewRef(args[1]);
    }
    PyErr_SetObject(PyExc_KeyError, args[0]);
    return nullptr;
}

PyObject* cache_clear_all(PyObject* object, PyObject*) {
    CacheObject* const self = as_cache(object);
    EngineStore& store = *self->store;
    try {
        const SpaceId fresh = store.open_space();
        std::swap(store.counters(fresh), store.counters(self->space));
        store.retire_space(std::exchange(self->space, fresh));
        self->salt = store.salt(fresh);
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
    drain(self);
    Py_RETURN_NONE;
}

PyObject* cache_invalidate_tag(PyObject* object, PyObject* tag) {
    CacheObject* const self = as_cache(object);
    std::vector<cache::TagHash> hashes;
    if (!tag_hashes(tag, hashes)) {
        return nullptr;
    }
    std::size_t count = 0;
    for (const cache::TagHash hash : hashes) {
        count += self->store->invalidate(hash);
    }
    drain(self);
    return PyLong_FromSize_t(count);
}

PyObject* cache_invalidate_prefix(PyObject* object, PyObject* prefix) {
    CacheObject* const self = as_cache(object);
    if (!PyUnicode_CheckExact(prefix)) {
        raise_error(PythonError::OptionType,
                    std::string("prefix: a str, not ") + Py_TYPE(prefix)->tp_name);
        return nullptr;
    }
    std::vector<Slot> doomed;
    std::size_t live = 0;
    bool refused = false;
    self->store->for_each([&](Slot slot, const cache::Entry& entry) {
        if (entry.space != self->space) {
            return;
        }
        if (entry.kind != static_cast<std::uint8_t>(KeyKind::Str)) {
            refused = true;
            return;
        }
        PyObject* const text = reinterpret_cast<PyObject*>(entry.key);
        if (PyUnicode_Tailmatch(text, prefix, 0, PY_SSIZE_T_MAX, -1) == 1) {
            doomed.push_back(slot);
            live += entry.state == cache::EntryState::Resident ? 1U : 0U;
        }
    });
    if (refused) {
        raise_error(PythonError::Unsupported,
                    "prefix: this cache holds keys that are not str; use tags or predicate=");
        return nullptr;
    }
    for (const Slot slot : doomed) {
        self->store->erase(slot);
    }
    drain(self);
    return PyLong_FromSize_t(live);
}

// ---- All of it

enum class Part { Keys, Values, Items, AllKeys };  // AllKeys: those of loads under way too

PyObject* snapshot(CacheObject* self, Part part) {
    const Instant now = self->timed ? check_now(self) : Instant{};
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
    method("_invalidate_prefix", cache_invalidate_prefix, METH_O, nullptr),
    method("_all_keys", cache_all_keys, METH_NOARGS, nullptr),
    method("_counters", cache_counters, METH_NOARGS, nullptr),
    method("_dump", cache_dump, METH_O, nullptr),
    method("_restore", cache_restore, METH_VARARGS, nullptr),
    method("_set_bounds", cache_set_bounds, METH_VARARGS, nullptr),
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
    if (self->timed) {
        tick(self, check_now(self));
    }
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
