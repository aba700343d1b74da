#include "hot/cache_object.hpp"

#include <algorithm>
#include <new>

#include "hot/cache_methods.hpp"
#include "hot/key_object.hpp"
#include "hot/negative.hpp"
#include "hot/weigher.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

// What an entry takes beside its value: the engine's own line, links and share of the index.
constexpr std::uint64_t kEntryBytes = 96;

int cache_traverse(PyObject* object, visitproc visit, void* arg) {
    CacheObject* const self = as_cache(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->weigher);
    Py_VISIT(self->listener);
    if (self->lease != nullptr) {
        if (const int stop = traverse_lease(*self->lease, visit, arg)) {
            return stop;
        }
    }
    if (self->store == nullptr || self->collectable == nullptr) {
        return 0;
    }
    const EngineStore& store = *self->store;
    for (std::size_t i = 0; i < self->collectable->size(); ++i) {
        for (std::uint64_t bits = (*self->collectable)[i]; bits != 0; bits &= bits - 1) {
            const auto slot =
                static_cast<Slot>(i * 64 + static_cast<unsigned>(std::countr_zero(bits)));
            const cache::Entry& entry = store[slot];
            if (entry.state != cache::EntryState::Resident) {
                continue;
            }
            Py_VISIT(reinterpret_cast<PyObject*>(entry.value));
            if (owns_object(entry.kind)) {
                Py_VISIT(reinterpret_cast<PyObject*>(entry.key));
            }
        }
    }
    return 0;
}

void release(const cache::Removed& removed) {
    if (owns_object(removed.kind) && !removed.key_kept) {
        Py_XDECREF(reinterpret_cast<PyObject*>(removed.key));
    }
    // A pending entry without a flight refers to its load, an odd word, and owns nothing by it.
    if ((removed.value & 1) == 0) {
        Py_XDECREF(reinterpret_cast<PyObject*>(removed.value));
    }
}

int cache_clear_references(PyObject* object) {
    CacheObject* const self = as_cache(object);
    Py_CLEAR(self->listener);
    Py_CLEAR(self->weigher);
    if (self->lease != nullptr) {
        clear_lease(*self->lease);
    }
    if (self->store != nullptr) {
        self->store->drop_all();
        // Not drain(): it holds a reference meanwhile, which a dying object cannot lend.
        while (self->store->hand_over(), !self->store->removed().empty()) {
            const cache::Removed last = self->store->removed().back();
            self->store->removed().pop_back();
            release(last);
        }
    }
    return 0;
}

void cache_dealloc(PyObject* object) {
    CacheObject* const self = as_cache(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    cache_clear_references(object);
    Py_CLEAR(self->clock);
    delete std::exchange(self->store, nullptr);
    delete std::exchange(self->collectable, nullptr);
    delete std::exchange(self->lease, nullptr);
    release_object(object);
}

// Calls listener(key, value, cause); what it raises is reported, not passed on.
void tell_listener(PyObject* listener, const cache::Removed& removed) {
    static constexpr const char* kNames[] = {"expired", "explicit", "replaced", "size"};
    const Ref key(key_object(static_cast<KeyKind>(removed.kind), removed.hash, removed.key));
    const Ref cause(PyUnicode_InternFromString(kNames[static_cast<std::size_t>(removed.cause)]));
    if (key && cause) {
        PyObject* const value = reinterpret_cast<PyObject*>(removed.value);
        const Ref done(
            PyObject_CallFunctionObjArgs(listener, key.get(), value, cause.get(), nullptr));
        if (done) {
            return;
        }
    }
    PyErr_WriteUnraisable(listener);
}

PyType_Slot g_slots[] = {
    slot(Py_tp_new, cache_new),
    slot(Py_tp_dealloc, cache_dealloc),
    slot(Py_tp_traverse, cache_traverse),
    slot(Py_tp_clear, cache_clear_references),
    slot(Py_tp_iter, cache_iterate),
    slot(Py_mp_length, cache_length),
    slot(Py_mp_subscript, cache_subscript),
    slot(Py_mp_ass_subscript, cache_assign),
    slot(Py_sq_contains, cache_contains),
    {Py_tp_methods, cache_method_table()},
    {Py_tp_members, nullptr},
    {Py_tp_doc,
     const_cast<char*>("The engine's half of millpond.Cache, which documents the methods.")},
    {0, nullptr},
};

PyMemberDef g_members[] = {
    offset_member("__weaklistoffset__", offsetof(CacheObject, weak_references)),
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Spec g_spec = {
    "millpond._engine.CacheBase", sizeof(CacheObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    g_slots};

}  // namespace

PyTypeObject* cache_type() noexcept { return g_type; }

int init_cache(PyObject* module) {
    for (PyType_Slot& row : g_slots) {
        if (row.slot == Py_tp_members) {
            row.pfunc = g_members;
        }
    }
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "CacheBase", as_object(g_type));
}

Instant tick(CacheObject* self, Instant now) {
    if (self->lease != nullptr) {
        now = run_lease(self, now);
        // While one of the lease's functions runs, everybody comes here.
        self->last_tick = self->lease->inside.empty() ? now : kNoTick;
    } else {
        self->last_tick = now;
    }
    self->store->advance(now);
    drain(self);
    return now;
}

void expire_all(CacheObject* self) {
    if (self->timed) {
        const Instant now = tick(self, check_now(self));
        self->store->advance(now, ~std::size_t{0});
        drain(self);
    }
}

// ---- Look-up and storing

namespace {

Slot find_leaves(CacheObject* self, const CacheKey& key) {
    // An `==` that changes the store starts the search anew; one that always does ends as a miss.
    constexpr int kRestarts = 16;
    EngineStore& store = *self->store;
    const KeyObject* const wanted = reinterpret_cast<KeyObject*>(key.ref.word);
    std::vector<Slot> tried;
    for (int restarts = 0; restarts < kRestarts;) {
        const Slot slot = store.find_candidate(key.ref, tried);
        if (slot == kNoSlot) {
            return kNoSlot;
        }
        const Ref held = Ref::share(reinterpret_cast<PyObject*>(store[slot].key));
        const KeyObject* const other = reinterpret_cast<KeyObject*>(held.get());
        if (other == wanted) {
            return slot;
        }
        if (!(other->print == wanted->print)) {
            tried.push_back(slot);
            continue;
        }
        const std::uint64_t before = store.mutations();
        const int same = PyObject_RichCompareBool(other->leaves, wanted->leaves, Py_EQ);
        if (same < 0) {
            return kFailed;
        }
        if (store.mutations() != before) {
            tried.clear();
            ++restarts;
        } else if (same == 1) {
            return slot;
        } else {
            tried.push_back(slot);
        }
    }
    return kNoSlot;
}

}  // namespace

Slot look_up(CacheObject* self, const CacheKey& key, Instant now) {
    EngineStore& store = *self->store;
    Slot slot = kNoSlot;
    switch (key.kind()) {
        case KeyKind::Int:
        case KeyKind::Fingerprint: slot = find_int(store, key.ref); break;
        case KeyKind::Str: slot = find_text(store, key.ref); break;
        case KeyKind::Held:
            slot = store.find(key.ref, [&key](const cache::Entry& entry) {
                return reinterpret_cast<KeyObject*>(entry.key)->print ==
                       reinterpret_cast<KeyObject*>(key.ref.word)->print;
            });
            break;
        case KeyKind::Leaves: slot = find_leaves(self, key); break;
    }
    if (slot >= kFailed) {
        return slot;
    }
    if (store[slot].state == cache::EntryState::Resident && store[slot].deadline <= now &&
        store.end(slot) <= now) {
        store.expire(slot);
        return kNoSlot;
    }
    return slot;
}

bool weigh_entry(CacheObject* self, const CacheKey& key, PyObject* value, std::uint64_t& weight) {
    weight = 0;
    if (!self->weighs) {
        return true;
    }
    if (self->weigher == nullptr) {
        std::uint64_t own = 0;
        if (key.owned && !weigh(key.owned.get(), &own)) {
            return false;
        }
        if (!weigh(value, &weight)) {
            return false;
        }
        weight += own + kEntryBytes;
        return true;
    }
    const Ref result(PyObject_CallOneArg(self->weigher, value));
    if (!result) {
        return false;
    }
    weight =
        PyLong_Check(result.get()) ? PyLong_AsUnsignedLongLong(result.get()) : ~std::uint64_t{0};
    if (!PyLong_Check(result.get()) || PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        const Ref text(PyObject_Repr(result.get()));
        const char* const shown = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
        PyErr_Clear();
        raise_error(PythonError::Weight, std::string("weigher returned ") +
                                             (shown != nullptr ? shown : "something unprintable") +
                                             "; it must return a whole number of bytes, 0 or more");
        return false;
    }
    return true;
}

cache::Keep keep_for(CacheObject* self, const Life& life, std::uint64_t weight,
                     Instant now) noexcept {
    cache::Keep keep;
    keep.weight = weight;
    keep.idle = life.tti;
    keep.cost = life.cost;
    keep.stale = life.stale;
    if (life.ttl != kForEver) {
        keep.deadline = self->store->deadline(now, life.ttl, life.jitter);
    }
    if (life.ttl != kForEver || life.tti > Nanos::zero()) {
        self->timed = true;
        self->precise |= (life.ttl >= Nanos::zero() && life.ttl < kPreciseBelow) ||
                         (life.tti > Nanos::zero() && life.tti < kPreciseBelow);
    }
    return keep;
}

void mark_collectable(CacheObject* self, Slot slot) {
    const cache::Entry& entry = (*self->store)[slot];
    const bool seen = PyObject_IS_GC(reinterpret_cast<PyObject*>(entry.value)) != 0 ||
                      entry.kind >= static_cast<std::uint8_t>(KeyKind::Held);
    std::vector<std::uint64_t>& bits = *self->collectable;
    if (slot / 64 >= bits.size()) {
        if (!seen) {
            return;
        }
        bits.resize(std::max<std::size_t>(slot / 64 + 1, bits.size() * 2));
    }
    const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
    bits[slot / 64] = seen ? bits[slot / 64] | bit : bits[slot / 64] & ~bit;
}

bool store_value(CacheObject* self, CacheKey& key, const SpaceId& home, PyObject* value,
                 const Life& life, std::span<const cache::TagHash> tags, bool* kept) {
    std::uint64_t weight = 0;
    if (!check_cacheable(value) || !weigh_entry(self, key, value, weight)) {
        return false;
    }
    const Instant now = store_now(self);
    // Looked up last: the weigher, and the `==` of leaves, may have changed the store.
    const Slot existing = look_up(self, key, now);
    if (existing == kFailed) {
        return false;
    }
    if (key.ref.space != home) {
        *kept = false;
        return true;
    }
    try {
        const cache::Put put =
            self->store->put(key.ref, existing, reinterpret_cast<std::uintptr_t>(value),
                             keep_for(self, life, weight, now), tags, now);
        *kept = put.outcome == cache::Stored::Kept;
        if (*kept) {
            Py_INCREF(value);
            if (put.key_taken) {
                own_key(key);
            }
            mark_collectable(self, put.slot);
        }
    } catch (...) {
        raise_current_exception();
        return false;
    }
    drain(self);
    return true;
}

void drain_removed(CacheObject* self) {
    std::vector<cache::Removed>& removed = self->store->removed();
    const bool raising = PyErr_Occurred() != nullptr;
    PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
    if (raising) {
        PyErr_Fetch(&type, &value, &traceback);
    }
    const Ref keep_alive = Ref::share(as_object(self));
    while (self->store->hand_over(), !removed.empty()) {
        if (self->listener == nullptr) {
            const cache::Removed last = removed.back();
            removed.pop_back();
            release(last);
            continue;
        }
        const Ref listener = Ref::share(self->listener);
        std::vector<cache::Removed> batch;
        batch.swap(removed);
        for (const cache::Removed& one : batch) {
            if (!one.pending && !is_negative(reinterpret_cast<PyObject*>(one.value))) {
                tell_listener(listener.get(), one);
            }
            release(one);
        }
    }
    if (raising) {
        PyErr_Restore(type, value, traceback);
    }
}

}  // namespace millpond::bindings
