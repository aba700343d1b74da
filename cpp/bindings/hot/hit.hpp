// The short way to a hit: what a decorated call and Cache.get do first. It runs no foreign code,
// removes nothing and allocates nothing. Whatever it cannot answer at once (another key type, an
// expired entry, a clock that has ticked, a load under way) is for the long way, which looks again.
//
// What comes next is given as callables, not told by a struct: each becomes a branch of its own, and
// a hit stores nothing but what it counts.
#pragma once

#include "hot/cache_object.hpp"

namespace millpond::bindings {

// Calls one of:
//     on_hit(entry, slot, now)   a resident, live entry
//     on_absent(key)             there is certainly no entry of `key`, in whatever state
//     otherwise()                the long way
// and returns what it does.
template <KeyKind kKind, class OnHit, class OnAbsent, class Otherwise>
[[gnu::always_inline]] inline PyObject* find_live(CacheObject* self, const KeyRef& key,
                                                  const OnHit& on_hit, const OnAbsent& on_absent,
                                                  const Otherwise& otherwise) {
    EngineStore& store = *self->store;
    const Slot slot = store.find_quickly(key);
    if (slot == kNoSlot) {
        return store.growing() ? otherwise() : on_absent(key);
    }
    cache::Entry& entry = store[slot];
    if (entry.key != key.word) [[unlikely]] {
        // Two words of one hash: of an int another key, of a str most likely an equal one.
        if (kKind != KeyKind::Str || !same_text(reinterpret_cast<PyObject*>(entry.key),
                                                reinterpret_cast<PyObject*>(key.word))) {
            return otherwise();
        }
    }
    if (entry.state != cache::EntryState::Resident) [[unlikely]] {
        return otherwise();
    }
    Instant now{};
    if (self->timed) {
        now = check_now(self);
        if (now != self->last_tick || now >= entry.deadline) [[unlikely]] {
            return otherwise();
        }
    }
    return on_hit(entry, slot, now);
}

// The same by the key that `argument` is in a space, where that is a str or an int.
template <class OnHit, class OnAbsent, class Otherwise>
[[gnu::always_inline]] inline PyObject* find_live(CacheObject* self, SpaceId space,
                                                  std::uint64_t salt, PyObject* argument,
                                                  const OnHit& on_hit, const OnAbsent& on_absent,
                                                  const Otherwise& otherwise) {
    if (PyUnicode_CheckExact(argument)) {
        return find_live<KeyKind::Str>(self, text_key(argument, space, salt), on_hit, on_absent,
                                       otherwise);
    }
    std::int64_t number;
    if (PyLong_CheckExact(argument) && small_int(argument, number)) {
        return find_live<KeyKind::Int>(self, int_key(number, space, salt), on_hit, on_absent,
                                       otherwise);
    }
    return otherwise();
}

}  // namespace millpond::bindings
