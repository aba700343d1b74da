#include "hot/cache_object.hpp"

#include <algorithm>
#include <new>

#include "hot/cache_methods.hpp"
#include "hot/key_builder.hpp"
#include "hot/key_object.hpp"
#include "hot/negative.hpp"
#include "hot/weigher.hpp"
#include "millpond/base/crc64.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

// What an entry takes beside its value: the engine's own line, links and share of the index.
constexpr std::uint64_t kEntryBytes = 96;

[[nodiscard]] bool owns_object(std::uint8_t kind) noexcept {
    return kind != static_cast<std::uint8_t>(KeyKind::Int) &&
           kind != static_cast<std::uint8_t>(KeyKind::Fingerprint);
}

int cache_traverse(PyObject* object, visitproc visit, void* arg) {
    CacheObject* const self = as_cache(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->weigher);
    Py_VISIT(self->listener);
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
    Py_XDECREF(reinterpret_cast<PyObject*>(removed.value));
}

int cache_clear_references(PyObject* object) {
    CacheObject* const self = as_cache(object);
    Py_CLEAR(self->listener);
    Py_CLEAR(self->weigher);
    if (self->store != nullptr) {
        self->store->drop_all();
        // Not drain(): it holds a reference meanwhile, which a dying object cannot lend.
        while (!self->store->removed().empty()) {
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
    release_object(object);
}

// Calls listener(key, value, cause); what it raises is reported, not passed on.
void tell_listener(PyObject* listener, const cache::Removed& removed) {
    static const char* const kNames[] = {"expired", "explicit", "replaced", "size"};
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

void tick(CacheObject* self, Instant now) {
    self->last_tick = now;
    self->store->advance(now);
    drain(self);
}

// ---- Keys

bool fingerprint_key(const Fingerprint& print, PyObject* leaves, PyObject* object, SpaceId space,
                     std::uint64_t salt, CacheKey& key) {
    const cache::Hash hash = print.lo ^ salt;
    if (leaves == nullptr && object == nullptr) {
        key.ref = {hash, print.hi, space, static_cast<std::uint8_t>(KeyKind::Fingerprint)};
        key.owned = Ref();
        return true;
    }
    key.owned = Ref(make_key_object(print, leaves, object));
    const KeyKind kind = leaves == nullptr ? KeyKind::Held : KeyKind::Leaves;
    key.ref = {hash, reinterpret_cast<std::uintptr_t>(key.owned.get()), space,
               static_cast<std::uint8_t>(kind)};
    return static_cast<bool>(key.owned);
}

bool key_of(PyObject* object, SpaceId space, std::uint64_t salt, bool keep, bool typed,
            CacheKey& key) {
    if (PyUnicode_CheckExact(object)) {
        key.ref = text_key(object, space, salt);
        key.owned = Ref::share(object);
        return true;
    }
    std::int64_t number = 0;
    if (PyLong_CheckExact(object) && small_int(object, number)) {
        key.ref = int_key(number, space, salt);
        return true;
    }
    if (!typed && PyBool_Check(object)) {
        key.ref = int_key(object == Py_True ? 1 : 0, space, salt);
        return true;
    }
    if (!typed && PyFloat_CheckExact(object)) {
        const double real = PyFloat_AS_DOUBLE(object);
        // Within these bounds every integral double is an int64.
        if (real >= -0x1p62 && real <= 0x1p62 &&
            static_cast<double>(static_cast<std::int64_t>(real)) == real) {
            key.ref = int_key(static_cast<std::int64_t>(real), space, salt);
            return true;
        }
    }
    KeyBuilder builder(KeyOptions{.typed = typed});
    if (!builder.add(object)) {
        return false;
    }
    return fingerprint_key(builder.finish(), builder.leaves(), keep ? object : nullptr, space, salt,
                           key);
}

PyObject* key_object(KeyKind kind, cache::Hash hash, cache::Word word) {
    switch (kind) {
        case KeyKind::Int: return PyLong_FromLongLong(static_cast<long long>(word));
        case KeyKind::Str: return Py_NewRef(reinterpret_cast<PyObject*>(word));
        case KeyKind::Fingerprint: {
            const std::uint64_t halves[2] = {word, hash};
            return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(halves), sizeof halves);
        }
        case KeyKind::Held:
        case KeyKind::Leaves: break;
    }
    const KeyObject* const key = reinterpret_cast<KeyObject*>(word);
    return key->object != nullptr ? Py_NewRef(key->object) : fingerprint_bytes(key->print);
}

void own_key(CacheKey& key) noexcept {
    if (owns_object(key.ref.kind)) {
        Py_INCREF(reinterpret_cast<PyObject*>(key.ref.word));
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
    if (store[slot].state == cache::EntryState::Resident && store[slot].deadline <= now) {
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
    if (life.ttl != kForEver) {
        keep.deadline = self->store->deadline(now, life.ttl, life.jitter);
    }
    if (life.ttl != kForEver || life.tti > Nanos::zero()) {
        self->timed = true;
        self->precise |=
            life.ttl < kPreciseBelow || (life.tti > Nanos::zero() && life.tti < kPreciseBelow);
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
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    const Ref keep_alive = Ref::share(as_object(self));
    while (!removed.empty()) {
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
    PyErr_Restore(type, value, traceback);
}

// ---- Tags

cache::TagHash tag_hash(PyObject* text) noexcept {
    Crc64 crc;
    Py_ssize_t length = 0;
    const char* bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (bytes == nullptr) {  // Lone surrogates: their code units will do.
        PyErr_Clear();
        bytes = static_cast<const char*>(PyUnicode_DATA(text));
        length = PyUnicode_GET_LENGTH(text) * PyUnicode_KIND(text);
    }
    crc.update(std::as_bytes(std::span(bytes, static_cast<std::size_t>(length))));
    return mix64(crc.value());
}

bool tag_hashes(PyObject* tags, std::vector<cache::TagHash>& hashes) {
    if (PyUnicode_Check(tags)) {
        hashes.push_back(tag_hash(tags));
        return true;
    }
    const Ref sequence(PySequence_Tuple(tags));
    if (!sequence) {
        return false;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(sequence.get()); ++i) {
        PyObject* const tag = PyTuple_GET_ITEM(sequence.get(), i);
        if (!PyUnicode_Check(tag)) {
            raise_error(PythonError::OptionType,
                        std::string("tags: each tag is a str, not ") + Py_TYPE(tag)->tp_name);
            return false;
        }
        hashes.push_back(tag_hash(tag));
    }
    return true;
}

}  // namespace millpond::bindings
