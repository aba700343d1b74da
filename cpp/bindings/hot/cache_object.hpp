// millpond._engine.CacheBase: a store of Python objects, and what the rest of hot/ does with one.
//
// The object owns the engine's Store. Key and value words of the store are Python references (or the
// integer, or half a fingerprint, see KeyKind); what leaves the store is released by drain(), which
// is called when the engine is at rest and may run any code: whoever calls it holds no borrowed
// reference and no slot across the call.
#pragma once

#include <Python.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "hot/cache_lease.hpp"
#include "hot/clock.hpp"
#include "hot/heap_type.hpp"
#include "millpond/base/hash.hpp"
#include "millpond/base/sync.hpp"
#include "millpond/cache/store.hpp"

namespace millpond::bindings {

using cache::EntryId;
using cache::KeyRef;
using cache::SpaceId;

// What the key word of an entry is.
enum class KeyKind : std::uint8_t {
    Int,          // the number itself, of an exact int that fits
    Str,          // an exact str, owned
    Fingerprint,  // the upper half of a fingerprint whose lower half made the hash
    Held,         // a KeyObject, owned: a fingerprint with the key it was made of
    Leaves,       // the same, with opaque leaves that are compared by ==
};

// Whether the key word is a reference that the entry owns.
[[nodiscard]] inline bool owns_object(std::uint8_t kind) noexcept {
    return kind != static_cast<std::uint8_t>(KeyKind::Int) &&
           kind != static_cast<std::uint8_t>(KeyKind::Fingerprint);
}

// "No life given": the value lives until something removes it.
inline constexpr Nanos kForEver = Nanos::max();

using EngineStore = cache::Store<NoLock>;

struct CacheObject {
    PyObject_HEAD EngineStore* store;
    SpaceId space;             // of the mapping's own entries
    std::uint64_t salt;        // of that space
    ManualClockObject* clock;  // owned; null: the system's
    Instant last_tick;         // the coarse time of the last sweep
    bool timed;                // some entry may expire
    bool precise;              // some life is too short for the coarse clock
    bool weighs;               // bytes are bounded or a weigher was given
    Nanos ttl;                 // kForEver: none
    Nanos tti;                 // zero: none
    double jitter;
    PyObject* weigher;   // owned or null
    PyObject* listener;  // owned or null
    PyObject* weak_references;
    // A bit per slot whose value or key the collector has to see. Bits are set when a value is
    // stored and looked at again when read: one may stand for an entry that has gone.
    std::vector<std::uint64_t>* collectable;
    CacheLease* lease;  // owned; null while there is neither an alarm nor a watched word
};

[[nodiscard]] inline CacheObject* as_cache(PyObject* object) noexcept {
    return reinterpret_cast<CacheObject*>(object);
}
[[nodiscard]] PyTypeObject* cache_type() noexcept;

// Adds the types to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_cache(PyObject* module);

// ---- Time

[[nodiscard]] inline Instant store_now(const CacheObject* self) noexcept {
    return self->clock != nullptr ? self->clock->now : precise_now();
}
[[nodiscard]] inline Instant check_now(const CacheObject* self) noexcept {
    if (self->clock == nullptr && !self->precise) [[likely]] {
        return coarse_now();
    }
    return store_now(self);
}
// A time that no clock shows: the short way to a hit is closed.
inline constexpr Instant kNoTick = Instant::min();
// Lets entries expire when the clock has moved since the last call, and calls what is due of the
// lease. Returns the time thereafter. May run any code (drain, the lease), which may clear the space
// that is about to be looked in: so it comes before the key is made.
Instant tick(CacheObject* self, Instant now);
// The time of a look-up, having let time pass. As tick(), it comes before the key is made.
[[nodiscard]] inline Instant look_up_time(CacheObject* self) {
    if (!self->timed) {
        return Instant{};
    }
    const Instant now = check_now(self);
    return now == self->last_tick ? now : tick(self, now);
}
// Lets all entries expire whose time has come, as whoever counts them wants. O(those) and tick().
void expire_all(CacheObject* self);

// ---- Keys

// A key ready for the store. Owns the object behind the key word, if there is one.
struct CacheKey {
    KeyRef ref{};
    Ref owned;

    [[nodiscard]] KeyKind kind() const noexcept { return static_cast<KeyKind>(ref.kind); }
};

[[nodiscard]] inline cache::Hash salted(std::uint64_t value, std::uint64_t salt) noexcept {
    // One multiplication to 128 bits, folded: whoever does not know the salt cannot aim at a bucket.
    const auto product = static_cast<unsigned __int128>(value ^ salt) * 0x9FB21C651E98DF25ULL;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

[[nodiscard, gnu::noinline]] inline bool large_int(PyObject* object, std::int64_t& value) noexcept {
    int overflow = 0;
    value = PyLong_AsLongLongAndOverflow(object, &overflow);
    return overflow == 0;
}

// Whether `object` is an exact int that fits a key word, and its value. Runs no user code.
[[nodiscard]] inline bool small_int(PyObject* object, std::int64_t& value) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    auto* const number = reinterpret_cast<PyLongObject*>(object);
    if (PyUnstable_Long_IsCompact(number)) [[likely]] {
        value = PyUnstable_Long_CompactValue(number);
        return true;
    }
#else
    const Py_ssize_t size = Py_SIZE(object);
    if (size >= -1 && size <= 1) [[likely]] {
        value =
            size * static_cast<std::int64_t>(reinterpret_cast<PyLongObject*>(object)->ob_digit[0]);
        return true;
    }
#endif
    return large_int(object, value);
}

// Out of line: a hit on the very object that is stored, which most are, never comes here.
[[nodiscard, gnu::noinline]] inline bool same_text(PyObject* a, PyObject* b) noexcept {
    const Py_ssize_t length = PyUnicode_GET_LENGTH(a);
    return length == PyUnicode_GET_LENGTH(b) && PyUnicode_KIND(a) == PyUnicode_KIND(b) &&
           std::memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b),
                       static_cast<std::size_t>(length) * PyUnicode_KIND(a)) == 0;
}

[[nodiscard]] inline KeyRef int_key(std::int64_t value, SpaceId space,
                                    std::uint64_t salt) noexcept {
    const auto word = static_cast<std::uint64_t>(value);
    return {salted(word, salt), word, space, static_cast<std::uint8_t>(KeyKind::Int)};
}
// REQUIRES: an exact str.
[[nodiscard]] inline KeyRef text_key(PyObject* text, SpaceId space, std::uint64_t salt) noexcept {
    Py_hash_t hash = reinterpret_cast<PyASCIIObject*>(text)->hash;
    if (hash == -1) [[unlikely]] {
        hash = PyObject_Hash(text);  // Cannot fail for an exact str.
    }
    return {salted(static_cast<std::uint64_t>(hash), salt), reinterpret_cast<std::uintptr_t>(text),
            space, static_cast<std::uint8_t>(KeyKind::Str)};
}

// The key that a Python object is in `space`. `keep` keeps the object itself, so that the keys can
// be listed. False with an exception set.
[[nodiscard]] bool key_of(PyObject* object, SpaceId space, std::uint64_t salt, bool keep,
                          bool typed, CacheKey& key);
// The key of a fingerprint alone.
[[nodiscard]] inline KeyRef fingerprint_ref(const Fingerprint& print, SpaceId space,
                                            std::uint64_t salt) noexcept {
    return {print.lo ^ salt, print.hi, space, static_cast<std::uint8_t>(KeyKind::Fingerprint)};
}
// The key of a fingerprint with its opaque leaves (null: none), and the object it was made of
// (null: not kept). False with MemoryError set.
[[nodiscard]] bool fingerprint_key(const Fingerprint& print, PyObject* leaves, PyObject* object,
                                   SpaceId space, std::uint64_t salt, CacheKey& key);
// The object behind an entry's key, as a new reference; bytes for a bare fingerprint.
[[nodiscard]] PyObject* key_object(KeyKind kind, cache::Hash hash, cache::Word word);
// A new reference to the object that a store's entry of this key owns, to hand over with put().
void own_key(CacheKey& key) noexcept;

// ---- Look-up and storing

[[nodiscard]] inline Slot find_int(const EngineStore& store, const KeyRef& key) noexcept {
    return store.find(key, [](const cache::Entry&) { return false; });
}
[[nodiscard]] inline Slot find_text(const EngineStore& store, const KeyRef& key) noexcept {
    return store.find(key, [&key](const cache::Entry& entry) {
        return same_text(reinterpret_cast<PyObject*>(entry.key),
                         reinterpret_cast<PyObject*>(key.word));
    });
}

// The slot of `key` in any state, kNoSlot, or kFailed with an exception set. Keys with leaves run
// their `==`. What has expired is removed, not found (the value is released by the next drain);
// what is kept past its deadline is found, for callers that stored it so to tell.
inline constexpr Slot kFailed = kNoSlot - 1;
[[nodiscard]] Slot look_up(CacheObject* self, const CacheKey& key, Instant now);

// A new reference to the value of a resident slot, having recorded the hit.
[[nodiscard]] inline PyObject* take_hit(CacheObject* self, Slot slot, Instant now) noexcept {
    cache::Entry& entry = (*self->store)[slot];
    self->store->hit(slot, entry, now);
    return Py_NewRef(reinterpret_cast<PyObject*>(entry.value));
}

// How a value is to be kept: the cache's own rules, unless the caller says otherwise.
struct Life {
    Nanos ttl = kForEver;
    Nanos tti = Nanos::zero();
    double jitter = 0;
    double cost = 0;
    Nanos stale = Nanos::zero();  // kept so long past the ttl
};

// The weight that an entry counts for, or false with an exception set. Runs a user's weigher.
[[nodiscard]] bool weigh_entry(CacheObject* self, const CacheKey& key, PyObject* value,
                               std::uint64_t& weight);
[[nodiscard]] cache::Keep keep_for(CacheObject* self, const Life& life, std::uint64_t weight,
                                   Instant now) noexcept;
// Stores `value` under `key`; returns the outcome, or false with an exception set. `home` is where
// the owner of the key keeps its space: what a weigher clears meanwhile is not stored. Drains.
[[nodiscard]] bool store_value(CacheObject* self, CacheKey& key, const SpaceId& home,
                               PyObject* value, const Life& life,
                               std::span<const cache::TagHash> tags, bool* kept);
// Marks the slot for the collector if its value or key can be part of a cycle.
void mark_collectable(CacheObject* self, Slot slot);

// Releases what left the store and tells the listener. May run any code.
void drain_removed(CacheObject* self);
inline void drain(CacheObject* self) {
    if (!self->store->removed().empty()) {
        drain_removed(self);
    }
}

// ---- Tags

// The hash of a tag's text, the same in every process.
[[nodiscard]] cache::TagHash tag_hash(PyObject* text) noexcept;
// The hashes of an iterable of str, or of one str. False with an exception set.
[[nodiscard]] bool tag_hashes(PyObject* tags, std::vector<cache::TagHash>& hashes);

}  // namespace millpond::bindings
