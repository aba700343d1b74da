// Store: the engine of one cache. It decides what is found, what is dead and who leaves; it knows
// neither Python nor a clock, starts no thread and frees nobody's memory.
//
// Keys and values are words of the caller's. What leaves the store is handed back through removed(),
// and the caller releases it when no store is in the middle of anything. A key is compared by the
// caller, inside find() if that runs nothing of a user's, else between two calls: find_candidate(),
// compare, and mutations() unchanged means that the slot still holds what was compared.
//
// A load in flight is an entry too, in state Pending: it reserves its key, and whatever removes it
// (an invalidation, a clear, a newer value) thereby also undoes the load, whose finish() then finds
// its entry gone. So an invalidation always wins over a load that started before it.
//
// Spaces are the functions that share one store: each has its own counters and its own keys, and is
// emptied in O(1) by retiring it; what it held is then found by nobody and swept away bit by bit.
//
// Every call but lock() is made with the guard that lock() returned still held.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "millpond/base/clock.hpp"
#include "millpond/base/slab.hpp"
#include "millpond/base/timer_wheel.hpp"
#include "millpond/cache/entry.hpp"
#include "millpond/cache/ghost_queue.hpp"
#include "millpond/cache/index.hpp"
#include "millpond/cache/policy.hpp"
#include "millpond/cache/stats.hpp"
#include "millpond/cache/tags.hpp"

namespace millpond::cache {

inline constexpr std::uint64_t kUnbounded = std::numeric_limits<std::uint64_t>::max();
// The heaviest entry that can be stored, in bytes; a heavier one counts as over the bound.
inline constexpr std::uint64_t kHeaviest = std::numeric_limits<std::uint32_t>::max();
// Tags one entry can carry.
inline constexpr std::size_t kMostTags = 64;

struct StoreOptions {
    std::uint64_t max_entries = kUnbounded;  // resident entries; 0 stores nothing
    std::uint64_t max_bytes = kUnbounded;    // sum of weights
    PolicyKind policy = PolicyKind::S3Fifo;
    std::uint64_t seed = 0;  // of key hashing and jitter
    Instant start{};         // the time now
};

// What left the store: the caller owns both words again.
struct Removed {
    Hash hash;
    Word key;
    Word value;
    SpaceId space;
    std::uint8_t kind;
    bool pending;   // a load's reservation: the value is whatever begin() was given
    bool key_kept;  // the key word is still the store's: only the value was replaced
    Cause cause;
};

// How a value is to be kept.
struct Keep {
    std::uint64_t weight = 0;    // bytes
    Instant deadline = kNever;   // dead from here on
    Nanos idle = Nanos::zero();  // dead when unused for so long; zero: no such rule
    double cost = 0;             // dollars that a hit saves, up to kMostDollars
    // Kept so long past its deadline, for whoever takes a stale value rather than none. Not together
    // with `idle`.
    Nanos stale = Nanos::zero();
};

enum class Stored : std::uint8_t {
    Kept,      // it is resident now
    TooHeavy,  // heavier than the bounds allow: not stored
    Undone,    // its load was invalidated meanwhile: not stored
};

struct Put {
    Stored outcome;
    Slot slot = kNoSlot;     // where it is, when kept
    bool key_taken = false;  // whether the store owns the given key word
};

class StoreCore {
  public:
    explicit StoreCore(const StoreOptions& options);
    ~StoreCore();
    StoreCore(const StoreCore&) = delete;
    StoreCore& operator=(const StoreCore&) = delete;

    // ---- Spaces
    // A new, empty space. Throws Error(LimitExceeded) beyond 2^31 spaces at once.
    [[nodiscard]] SpaceId open_space();
    // Empties `space` and ends it: its entries are found no more, its id becomes invalid. O(1), plus
    // a bounded share of the sweeping. Its entries count as removed explicitly.
    void retire_space(SpaceId space);
    // The key salt of a space: mix it into the hash of its keys.
    [[nodiscard]] std::uint64_t salt(SpaceId space) const noexcept { return spaces_[space].salt; }
    [[nodiscard]] Counters& counters(SpaceId space) noexcept { return spaces_[space].counters; }
    // Over all spaces, those that were retired included. O(spaces).
    [[nodiscard]] Counters totals() const noexcept;
    [[nodiscard]] std::size_t size(SpaceId space) const noexcept { return spaces_[space].count; }
    [[nodiscard]] std::uint64_t bytes(SpaceId space) const noexcept { return spaces_[space].bytes; }

    // ---- Look-up
    // The entry of `key` in any state, or kNoSlot. match(entry) says whether the entry's key, of the
    // same hash, space and kind but another word, equals the wanted one; it runs no foreign code.
    template <class Match>
    [[nodiscard]] Slot find(const KeyRef& key, Match&& match) const {
        return index_.find(key.hash, [&](Slot slot) {
            const Entry& entry = entries_[slot];
            return entry.hash == key.hash && entry.space == key.space && entry.kind == key.kind &&
                   (entry.key == key.word || match(entry));
        });
    }
    [[nodiscard]] Slot find(const KeyRef& key) const {
        return find(key, [](const Entry&) { return false; });
    }
    // The first entry of the same hash, space and kind, whatever its key and state, or kNoSlot; it
    // may say kNoSlot of one that is there while growing(). For the hit path: no comparing.
    [[nodiscard]] Slot find_quickly(const KeyRef& key) const noexcept {
        return index_.find_quickly(key.hash, [&](Slot slot) {
            const Entry& entry = entries_[slot];
            return entry.hash == key.hash && entry.space == key.space && entry.kind == key.kind;
        });
    }
    // Whether find_quickly() may overlook an entry.
    [[nodiscard]] bool growing() const noexcept { return index_.growing(); }
    // The first entry of the same hash, space and kind that is not in `tried`, or kNoSlot.
    [[nodiscard]] Slot find_candidate(const KeyRef& key, std::span<const Slot> tried) const;
    // Changes whenever an entry enters or leaves a slot.
    [[nodiscard]] std::uint64_t mutations() const noexcept { return mutations_; }

    [[nodiscard]] Entry& operator[](Slot slot) noexcept { return entries_[slot]; }
    [[nodiscard]] const Entry& operator[](Slot slot) const noexcept { return entries_[slot]; }
    [[nodiscard]] EntryId id_of(Slot slot) const noexcept {
        return {slot, entries_[slot].generation};
    }
    [[nodiscard]] bool holds(EntryId id) const noexcept {
        return id.slot < entries_.end() && entries_[id.slot].generation == id.generation &&
               entries_[id.slot].state != EntryState::Free;
    }

    // Records a hit on a resident, live entry. O(1), no allocation.
    void hit(Slot slot, Entry& entry, Instant now) noexcept {
        hit(spaces_[entry.space].counters, slot, entry, now);
    }
    // The same with the counters of the entry's space at hand, which stay where they are.
    void hit(Counters& counters, Slot slot, Entry& entry, Instant now) noexcept {
        ++counters.hits;
        if (!entry.cost.is_zero()) {
            counters.cost_saved += entry.cost.dollars();
        }
        used(slot, entry, now);
    }
    // The same without counting: for what uses an entry but is no look-up.
    void used(Slot slot, Entry& entry, Instant now) noexcept {
        if (entry.frequency < bump_limit_) {
            ++entry.frequency;
        }
        if (ordered_hits_) {
            record(slot, entry.generation);
        }
        if (has_idle_) {
            extend(slot, entry, now);
        }
    }

    // Counts a miss of `key` and says why. A slot whose deadline has passed is to be expire()d first.
    MissReason miss(const KeyRef& key) noexcept;
    // Removes an entry whose deadline has passed.
    void expire(Slot slot) noexcept { remove(slot, Cause::Expired); }

    // Counts a value that is not stored, so that the next miss of its key can say so.
    void refuse(const KeyRef& key) noexcept;

    // ---- Writing
    // Stores `value` under `key`. `existing` is what find() gave for the key (kNoSlot: none; it may
    // be pending). When kept, the store owns both words, unless a resident entry was there: then its
    // key word stays and the given one remains the caller's. Otherwise it owns none.
    // Throws std::bad_alloc or Error(LimitExceeded) and changes nothing but evictions.
    Put put(const KeyRef& key, Slot existing, Word value, const Keep& keep,
            std::span<const TagHash> tags, Instant now);

    // The idle rule of an entry, zero for none, and the deadline that its use cannot move.
    [[nodiscard]] Nanos idle(Slot slot) const noexcept {
        return slot < idle_.reserved() ? idle_[slot] : Nanos::zero();
    }
    [[nodiscard]] Instant hard_deadline(Slot slot) const noexcept {
        return idle(slot) > Nanos::zero() ? hard_[slot] : entries_[slot].deadline;
    }
    // When an entry leaves: its deadline, and the time thereafter for which it is kept.
    [[nodiscard]] Instant end(Slot slot) const noexcept {
        const Instant deadline = entries_[slot].deadline;
        const Nanos more = slot < stale_.reserved() ? stale_[slot] : Nanos::zero();
        return deadline > kNever - more ? kNever : deadline + more;
    }
    // The load of `key` that is under way beside a resident value, or kNoSlot. match(entry) as for
    // find(). O(such loads of all keys).
    template <class Match>
    [[nodiscard]] Slot find_beside(const KeyRef& key, Match&& match) const {
        for (const Slot slot : loose_) {
            const Entry& entry = entries_[slot];
            if (entry.hash == key.hash && entry.space == key.space && entry.kind == key.kind &&
                (entry.key == key.word || match(entry))) {
                return slot;
            }
        }
        return kNoSlot;
    }
    // Changes the deadline and idle rule of a resident entry.
    void touch(Slot slot, Instant deadline, Nanos idle, Instant now);

    // Reserves `key` for a load. `indexed` false keeps it from being found, for a load beside a
    // resident value (a refresh); invalidations reach it all the same. Owns both words from now on.
    [[nodiscard]] EntryId begin(const KeyRef& key, Word value, std::span<const TagHash> tags,
                                bool indexed);
    // Ends a load with a value, as put() would store it, unless the reservation is gone. Where
    // `key_taken` is said, the reservation's key word passes to the entry and its value word to the
    // caller; else what is left of it goes to removed(), as in abort().
    // `existing` is what find() gives for the key of a load that is not indexed, else kNoSlot: a
    // resident entry gets the new value in its place, which what the policy knows of it survives.
    // Throws as put() does; the reservation, if it is still there, is to be abort()ed then.
    Put finish(EntryId load, Slot existing, Word value, const Keep& keep, Instant now);
    // Ends a load without one. The reservation's words, if it is still there, go to removed().
    void abort(EntryId load) noexcept;

    // ---- Invalidation
    void erase(Slot slot, Cause cause = Cause::Explicit) noexcept { remove(slot, cause); }
    // Undoes the loads of `key` that are not indexed.
    void undo_loads(const KeyRef& key) noexcept;
    // Removes the entries that carry `tag`, and the loads; returns how many were resident.
    // O(entries of the tag).
    std::size_t invalidate(TagHash tag) noexcept;
    // Calls of invalidate() so far.
    [[nodiscard]] std::uint64_t invalidations() const noexcept { return invalidations_; }
    // Gives a load tags that were not known when it began, but only now with its value; false, and
    // nothing is changed, if one of them was invalidated after `since` or may have been, which is
    // after kRecentInvalidations others. Throws std::bad_alloc, the load to be abort()ed then.
    // REQUIRES: holds(load).
    [[nodiscard]] bool add_tags(EntryId load, std::span<const TagHash> tags, std::uint64_t since);
    [[nodiscard]] const TagIndex& tags() const noexcept { return tags_; }

    // ---- Time
    // Lets entries expire whose time has come. Bounded: `limit` entries.
    void advance(Instant now, std::size_t limit = 128);
    // The deadline of a value stored now: ttl shortened by up to `jitter` (0 to 1) of itself.
    [[nodiscard]] Instant deadline(Instant now, Nanos ttl, double jitter) noexcept;
    [[nodiscard]] std::uint32_t stamp(Instant now) const noexcept {
        return static_cast<std::uint32_t>((now - start_) / kAgeTick);
    }
    // Time since the value was stored, to kAgeTick. A clock a little behind the one it was stored by
    // (coarse beside precise, or another thread's) finds it new.
    [[nodiscard]] Nanos age(const Entry& entry, Instant now) const noexcept {
        constexpr std::uint32_t kBehind = 0xFFFF0000U;  // up to 18 minutes
        const std::uint32_t ticks = stamp(now) - entry.stored_at;
        return kAgeTick * static_cast<std::int64_t>(ticks < kBehind ? ticks : 0);
    }

    // ---- All of it
    // What has left since it was last emptied. The caller takes from the back or swaps it out.
    [[nodiscard]] std::vector<Removed>& removed() noexcept { return removed_; }
    // Brings there what left when there was no memory for it: such entries keep their slots till
    // then. Every removal tries that too; whoever empties removed() for good calls this until it
    // brings nothing more.
    void hand_over() noexcept;
    // Resident entries that can be found, and the weight of all that is held.
    [[nodiscard]] std::size_t size() const noexcept { return resident_ - dead_; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    // Reservations of loads under way.
    [[nodiscard]] std::size_t loads() const noexcept { return loads_; }
    [[nodiscard]] const StoreOptions& options() const noexcept { return options_; }
    void set_bounds(std::uint64_t max_entries, std::uint64_t max_bytes, Instant now);
    // Visits every entry that is not free, pending and retired ones included (for GC and snapshots).
    template <class Visit>
    void for_each(Visit&& visit) const {
        for (Slot slot = 0; slot < entries_.end(); ++slot) {
            if (is_held(entries_[slot])) {
                visit(slot, entries_[slot]);
            }
        }
    }
    [[nodiscard]] bool retired(SpaceId space) const noexcept { return spaces_[space].retired; }
    // Hands everything to removed(), as the end of the store. Where memory does not suffice for
    // all, the rest comes by hand_over().
    void drop_all() noexcept;
    // Bytes of the store's own structures, for benchmarks.
    [[nodiscard]] std::size_t allocated_bytes() const noexcept;
    // Brings the policy up to date with the hits recorded so far.
    void flush_hits() noexcept;

  private:
    struct Space {
        Counters counters;
        std::uint64_t salt = 0;
        std::uint64_t bytes = 0;
        std::uint32_t count = 0;    // resident entries
        std::uint32_t tenants = 0;  // resident entries and loads
        Slot next = kNoSlot;
        bool open = false;
        bool retired = false;
    };
    struct Access {
        Slot slot;
        std::uint32_t generation;
    };
    struct WheelNodes {
        StoreCore& store;
        std::uint32_t& wheel_next(Slot slot) { return store.wheel_links_[slot].next; }
        std::uint32_t& wheel_prev(Slot slot) { return store.wheel_links_[slot].prev; }
        Instant deadline(Slot slot) { return store.end(slot); }
    };
    static constexpr std::size_t kBatch = 64;
    static constexpr std::size_t kRecentInvalidations = 256;

    void record(Slot slot, std::uint32_t generation) noexcept {
        batch_[batched_] = {slot, generation};
        if (++batched_ == kBatch) [[unlikely]] {
            flush_hits();
        }
    }
    void extend(Slot slot, Entry& entry, Instant now) noexcept;
    [[nodiscard]] Slot new_entry(const KeyRef& key, EntryState state, Word value);
    void discard(Slot slot) noexcept;
    void index(Slot slot);
    void unindex(Slot slot) noexcept;
    void attach(Slot slot, std::span<const TagHash> tags);
    [[nodiscard]] bool fits(std::uint64_t weight) const noexcept;
    void make_room(std::uint64_t weight, Instant now);
    void settle(Slot slot, Word value, const Keep& keep, Instant now);
    void evict() noexcept;
    void replace(Slot slot, Word value, const Keep& keep, std::span<const TagHash> tags,
                 Instant now);
    void shrink_around(Slot slot) noexcept;
    void schedule(Slot slot, const Keep& keep, Instant now);
    void remove(Slot slot, Cause cause) noexcept;
    void expire_due(Instant now, std::size_t limit) noexcept;
    void remember(std::uint8_t note, Hash hash) noexcept;
    bool sweep(std::size_t limit) noexcept;
    void release_space(SpaceId space) noexcept;

    StoreOptions options_;
    const Instant start_;
    std::uint64_t random_;
    Index index_;
    Entries entries_;
    Column<WheelLinks> wheel_links_;
    Column<Nanos> idle_;    // per slot, only once an idle rule was given
    Column<Instant> hard_;  // per slot, the deadline that hits cannot move
    Column<Nanos> stale_;   // per slot, only once one was to be kept past its deadline
    TimerWheel<WheelNodes> wheel_;
    std::unique_ptr<Policy> policy_;
    std::uint8_t bump_limit_;
    bool ordered_hits_;
    bool has_idle_ = false;
    TagIndex tags_;
    Slab<Space, 4> spaces_;
    Counters closed_;  // of spaces that were retired
    std::uint64_t invalidations_ = 0;
    std::array<TagHash, kRecentInvalidations> recent_{};  // by number, modulo its size
    std::vector<Removed> removed_;
    Slot leaving_ = kNoSlot;   // entries on their way there, linked by `next`
    std::vector<Slot> loose_;  // loads that are not indexed
    Access batch_[kBatch];
    std::size_t batched_ = 0;
    std::uint64_t mutations_ = 0;
    std::uint64_t bytes_ = 0;
    std::size_t resident_ = 0;  // retired ones included
    std::size_t dead_ = 0;      // resident in a retired space
    std::size_t loads_ = 0;
    Slot cursor_ = 0;  // of the sweep
    // Nothing is due before this, so that a store need not ask its wheel at every insertion.
    Instant next_due_ = kNever;
    // Why keys that miss may have been here before; a few kilobytes, untouched by hits.
    GhostQueue departed_;
};

// A store with its lock: NoLock where the caller's own lock already serialises, MutexLock elsewhere.
template <class Lock>
class Store : public StoreCore {
  public:
    using StoreCore::StoreCore;
    [[nodiscard]] std::unique_lock<Lock> lock() { return std::unique_lock<Lock>(lock_); }

  private:
    Lock lock_;
};

}  // namespace millpond::cache
