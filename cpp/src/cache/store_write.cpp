// The part of the store that gives entries their slots and takes them back.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "millpond/base/error.hpp"
#include "millpond/cache/store.hpp"
#include "store_parts.hpp"

namespace millpond::cache {
namespace {

// How many due entries an insertion drops before it looks for room.
constexpr std::size_t kExpiriesPerInsert = 32;

void check_tags(std::span<const TagHash> tags) {
    if (tags.size() > kMostTags) {
        throw Error(ErrorCode::LimitExceeded,
                    fmt::format("an entry carries at most {} tags, and {} were given", kMostTags,
                                tags.size()));
    }
}

}  // namespace

// ---- Writing

Put StoreCore::put(const KeyRef& key, Slot existing, Word value, const Keep& keep,
                   std::span<const TagHash> tags, Instant now) {
    check_tags(tags);
    undo_loads(key);
    if (existing != kNoSlot && entries_[existing].state == EntryState::Pending) {
        remove(existing, Cause::Explicit);
        existing = kNoSlot;
    }
    if (!fits(keep.weight)) {
        if (existing != kNoSlot) {
            remove(existing, Cause::Replaced);
        }
        refuse(key);
        return {Stored::TooHeavy};
    }
    if (existing != kNoSlot) {
        replace(existing, value, keep, tags, now);
        return {Stored::Kept, existing};
    }
    make_room(keep.weight, now);
    const Slot slot = new_entry(key, EntryState::Pending, value);
    try {
        attach(slot, tags);
        index(slot);
        settle(slot, value, keep, now);
    } catch (...) {
        discard(slot);
        throw;
    }
    return {Stored::Kept, slot, true};
}

EntryId StoreCore::begin(const KeyRef& key, Word value, std::span<const TagHash> tags,
                         bool indexed) {
    check_tags(tags);
    const Slot slot = new_entry(key, EntryState::Pending, value);
    try {
        attach(slot, tags);
        if (indexed) {
            index(slot);
        } else {
            loose_.push_back(slot);
        }
    } catch (...) {
        discard(slot);
        throw;
    }
    return id_of(slot);
}

Put StoreCore::finish(EntryId load, Slot existing, Word value, const Keep& keep, Instant now) {
    if (!holds(load)) {
        return {Stored::Undone};
    }
    const Slot slot = load.slot;
    if (spaces_[entries_[slot].space].retired) {
        remove(slot, Cause::Explicit);
        return {Stored::Undone};
    }
    if (existing != kNoSlot && entries_[existing].state == EntryState::Pending) {
        remove(existing, Cause::Explicit);
        existing = kNoSlot;
    }
    if (!fits(keep.weight)) {
        const Entry& entry = entries_[slot];
        const KeyRef key{entry.hash, entry.key, entry.space, entry.kind};
        if (existing != kNoSlot) {
            remove(existing, Cause::Replaced);
        }
        refuse(key);
        remove(slot, Cause::Explicit);
        return {Stored::TooHeavy};
    }
    if (existing != kNoSlot) {
        std::vector<TagHash> tags;
        tags_.for_each(slot, [&tags](TagHash tag) { tags.push_back(tag); });
        replace(existing, value, keep, tags, now);
        remove(slot, Cause::Explicit);
        return {Stored::Kept, existing};
    }
    if (const auto loose = std::ranges::find(loose_, slot); loose != loose_.end()) {
        index(slot);
        loose_.erase(loose);
    }
    make_room(keep.weight, now);
    settle(slot, value, keep, now);
    return {Stored::Kept, slot, true};
}

void StoreCore::abort(EntryId load) noexcept {
    if (holds(load)) {
        remove(load.slot, Cause::Explicit);
    }
}

void StoreCore::undo_loads(const KeyRef& key) noexcept {
    for (std::size_t i = loose_.size(); i-- > 0;) {
        const Entry& entry = entries_[loose_[i]];
        if (entry.hash == key.hash && entry.space == key.space && entry.kind == key.kind) {
            remove(loose_[i], Cause::Explicit);
        }
    }
}

// ---- Making room

bool StoreCore::fits(std::uint64_t weight) const noexcept {
    return options_.max_entries > 0 && weight <= options_.max_bytes && weight <= kHeaviest;
}

void StoreCore::make_room(std::uint64_t weight, Instant now) {
    flush_hits();
    expire_due(now, kExpiriesPerInsert);
    if (dead_ > 0) {
        sweep(kSweepSlots);
    }
    while (resident_ + 1 > options_.max_entries || bytes_ > options_.max_bytes - weight) {
        evict();
    }
}

// Makes a little room: by what a retired space left behind, where that is soon found, else by
// whom the policy names.
void StoreCore::evict() noexcept {
    if (dead_ == 0 || !sweep(16 * kSweepSlots)) {
        remove(policy_->victim(entries_), Cause::Size);
    }
}

// Evicts until the bytes are within their bound, sparing an entry that has just been given another
// value: where the policy names that one, it comes back as a new entry when the others have gone.
void StoreCore::shrink_around(Slot slot) noexcept {
    bool aside = false;
    while (bytes_ > options_.max_bytes) {
        const Slot victim = policy_->victim(entries_);
        if (victim == slot) {
            policy_->remove(entries_, slot);
            aside = true;
        } else {
            remove(victim, Cause::Size);
        }
    }
    if (aside) {
        policy_->insert(entries_, slot);
    }
}

void StoreCore::flush_hits() noexcept {
    const std::size_t count = batched_;
    batched_ = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const Access access = batch_[i];
        const Entry& entry = entries_[access.slot];
        if (entry.generation == access.generation && entry.state == EntryState::Resident) {
            policy_->hit(entries_, access.slot);
        }
    }
}

void StoreCore::expire_due(Instant now, std::size_t limit) noexcept {
    if (now < next_due_) {
        return;
    }
    WheelNodes nodes{*this};
    wheel_.advance(nodes, now, limit, [this](Slot slot) { remove(slot, Cause::Expired); });
    next_due_ = wheel_.next_deadline_hint();
}

// ---- Entries

Slot StoreCore::new_entry(const KeyRef& key, EntryState state, Word value) {
    if (entries_.used() >= kSlotLimit) {
        throw Error(ErrorCode::LimitExceeded, "a store holds at most 2^31 - 2 entries");
    }
    const Slot slot = entries_.acquire();
    try {
        wheel_links_.reserve(std::size_t{slot} + 1);
    } catch (...) {
        entries_.release(slot);
        throw;
    }
    Entry& entry = entries_[slot];
    wheel_links_[slot] = {TimerWheel<WheelNodes>::kNil, TimerWheel<WheelNodes>::kNil};
    entry.hash = key.hash;
    entry.key = key.word;
    entry.value = value;
    entry.deadline = kNever;
    ++entry.generation;
    entry.space = key.space;
    entry.kind = key.kind;
    entry.state = state;
    entry.frequency = 0;
    entry.weight = 0;
    entry.cost = Cost();
    ++spaces_[key.space].tenants;
    ++loads_;
    ++mutations_;
    return slot;
}

// Takes back an entry that never came to be; its words stay the caller's.
void StoreCore::discard(Slot slot) noexcept {
    Entry& entry = entries_[slot];
    tags_.detach_all(slot);
    if (find({entry.hash, entry.key, entry.space, entry.kind}) == slot) {
        unindex(slot);
    }
    std::erase(loose_, slot);
    entry.state = EntryState::Free;
    ++entry.generation;
    --loads_;
    --spaces_[entry.space].tenants;
    release_space(entry.space);
    entries_.release(slot);
}

void StoreCore::index(Slot slot) {
    index_.insert(entries_[slot].hash, slot, [this](Slot at) { return entries_[at].hash; });
}

void StoreCore::unindex(Slot slot) noexcept {
    index_.erase(entries_[slot].hash, slot, [this](Slot at) { return entries_[at].hash; });
}

void StoreCore::attach(Slot slot, std::span<const TagHash> tags) {
    for (const TagHash tag : tags) {
        tags_.attach(slot, tag);
    }
}

// Makes a reservation resident. May throw std::bad_alloc, having changed nothing that counts.
void StoreCore::settle(Slot slot, Word value, const Keep& keep, Instant now) {
    Entry& entry = entries_[slot];
    entry.weight = static_cast<std::uint32_t>(keep.weight);
    policy_->insert(entries_, slot);
    try {
        schedule(slot, keep, now);
    } catch (...) {
        policy_->remove(entries_, slot);
        entry.weight = 0;
        throw;
    }
    entry.value = value;
    entry.cost = Cost(keep.cost);
    entry.stored_at = stamp(now);
    entry.state = EntryState::Resident;
    Space& space = spaces_[entry.space];
    ++space.count;
    space.bytes += entry.weight;
    bytes_ += entry.weight;
    ++resident_;
    --loads_;
    (void)departed_.take(entry.hash);
}

// Gives a resident entry another value. Its key, and what the policy knows of it, stay.
void StoreCore::replace(Slot slot, Word value, const Keep& keep, std::span<const TagHash> tags,
                        Instant now) {
    Entry& entry = entries_[slot];
    flush_hits();  // Hits on the old value are told apart from those on the new one.
    try {
        tags_.detach_all(slot);
        attach(slot, tags);
        schedule(slot, keep, now);
        removed_.push_back({entry.hash, entry.key, entry.value, entry.space, entry.kind, false,
                            true, Cause::Replaced});
    } catch (...) {
        remove(slot, Cause::Size);  // An old value without its tags could not be invalidated.
        throw;
    }
    Space& space = spaces_[entry.space];
    ++space.counters.removals[static_cast<std::size_t>(Cause::Replaced)];
    const std::uint32_t old_weight = entry.weight;
    entry.value = value;
    entry.cost = Cost(keep.cost);
    entry.weight = static_cast<std::uint32_t>(keep.weight);
    entry.stored_at = stamp(now);
    space.bytes += std::uint64_t{entry.weight} - old_weight;
    bytes_ += std::uint64_t{entry.weight} - old_weight;
    policy_->reweigh(entries_, slot, old_weight);
    ++entry.generation;
    ++mutations_;
    used(slot, entry, now);
    flush_hits();
    shrink_around(slot);
}

void StoreCore::schedule(Slot slot, const Keep& keep, Instant now) {
    Entry& entry = entries_[slot];
    if (keep.idle > Nanos::zero()) {
        idle_.reserve(std::size_t{slot} + 1);
        hard_.reserve(std::size_t{slot} + 1);
        has_idle_ = true;
    }
    if (keep.stale > Nanos::zero()) {
        stale_.reserve(std::size_t{slot} + 1);
    }
    entry.deadline = keep.deadline;
    if (keep.idle > Nanos::zero()) {
        entry.deadline = std::min(keep.deadline, after(now, keep.idle));
    }
    if (slot < idle_.reserved()) {
        idle_[slot] = keep.idle;
        hard_[slot] = keep.deadline;
    }
    if (slot < stale_.reserved()) {
        stale_[slot] = keep.stale;
    }
    next_due_ = std::min(next_due_, end(slot));
    WheelNodes nodes{*this};
    wheel_.schedule(nodes, slot);
}

void StoreCore::remove(Slot slot, Cause cause) noexcept {
    Entry& entry = entries_[slot];
    Space& space = spaces_[entry.space];
    const bool pending = entry.state == EntryState::Pending;
    const bool loose = pending && std::erase(loose_, slot) > 0;
    if (!loose) {
        unindex(slot);
    }
    tags_.detach_all(slot);
    if (pending) {
        --loads_;
    } else {
        WheelNodes nodes{*this};
        wheel_.cancel(nodes, slot);
        policy_->remove(entries_, slot);
        --resident_;
        bytes_ -= entry.weight;
        space.bytes -= entry.weight;
        --space.count;
        if (space.retired) {
            --dead_;
        } else {
            ++space.counters.removals[static_cast<std::size_t>(cause)];
            if (cause == Cause::Expired) {
                remember(kExpired, entry.hash);
            } else if (cause == Cause::Explicit) {
                remember(kInvalidated, entry.hash);
            }
        }
    }
    // The policy is done with these fields: they say what hand_over() has to tell.
    entry.state = EntryState::Leaving;
    entry.queue = static_cast<std::uint8_t>(cause);
    entry.frequency = pending ? 1 : 0;
    entry.next = std::exchange(leaving_, slot);
    ++entry.generation;
    ++mutations_;
    --space.tenants;
    release_space(entry.space);
    hand_over();
}

void StoreCore::release_space(SpaceId id) noexcept {
    if (spaces_[id].retired && spaces_[id].tenants == 0) {
        spaces_[id].open = false;
        spaces_.release(id);
    }
}

}  // namespace millpond::cache
