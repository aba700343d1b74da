#include "millpond/cache/store.hpp"

#include <algorithm>
#include <cassert>

#include "millpond/base/error.hpp"
#include "millpond/base/hash.hpp"
#include "store_parts.hpp"

namespace millpond::cache {
namespace {

// A cleared cache of up to this many slots is emptied at once.
constexpr std::size_t kSweepAtOnce = 4096;
// How many departed keys of each kind are remembered to explain a later miss.
constexpr std::size_t kRemembered = 8192;

MissReason reason_of(std::uint8_t note) noexcept {
    constexpr MissReason kReasons[] = {MissReason::ColdOrEvicted, MissReason::Expired,
                                       MissReason::Invalidated, MissReason::NotStored};
    return kReasons[note];
}

std::uint64_t splitmix(std::uint64_t& state) noexcept {
    state += 0x9E3779B97F4A7C15ULL;
    return mix64(state);
}

}  // namespace

StoreCore::StoreCore(const StoreOptions& options)
    : options_(options),
      start_(options.start),
      random_(options.seed),
      wheel_(options.start),
      policy_(make_policy(options.policy,
                          options.max_bytes == kUnbounded ? Measure::Count : Measure::Weight)),
      bump_limit_(policy_->bump_limit),
      ordered_hits_(policy_->ordered_hits) {
    removed_.reserve(kAtOnce);
}

StoreCore::~StoreCore() = default;

// ---- Spaces

SpaceId StoreCore::open_space() {
    if (spaces_.used() >= kSlotLimit) {
        throw Error(ErrorCode::LimitExceeded, "a store holds at most 2^31 spaces");
    }
    const SpaceId id = spaces_.acquire();
    spaces_[id] = Space{};
    spaces_[id].open = true;
    spaces_[id].salt = splitmix(random_);
    return id;
}

void StoreCore::retire_space(SpaceId id) {
    Space& space = spaces_[id];
    assert(!space.retired);
    space.retired = true;
    space.counters.removals[static_cast<std::size_t>(Cause::Explicit)] += space.count;
    dead_ += space.count;
    closed_ += space.counters;
    release_space(id);
    if (dead_ > 0 || loads_ > 0) {
        sweep(entries_.end() <= kSweepAtOnce ? kSweepAtOnce : kSweepSlots);
    }
}

// Removes what retired spaces left behind, `limit` slots further; whether anything went.
bool StoreCore::sweep(std::size_t limit) noexcept {
    bool found = false;
    const Slot end = entries_.end();
    for (std::size_t i = std::min<std::size_t>(limit, end); i-- > 0;) {
        cursor_ = cursor_ + 1 < end ? cursor_ + 1 : 0;
        const Entry& entry = entries_[cursor_];
        if (is_held(entry) && spaces_[entry.space].retired) {
            remove(cursor_, Cause::Explicit);
            found = true;
        }
    }
    return found;
}

// ---- Look-up

Slot StoreCore::find_candidate(const KeyRef& key, std::span<const Slot> tried) const {
    return index_.find(key.hash, [&](Slot slot) {
        const Entry& entry = entries_[slot];
        return entry.hash == key.hash && entry.space == key.space && entry.kind == key.kind &&
               std::ranges::find(tried, slot) == tried.end();
    });
}

MissReason StoreCore::miss(const KeyRef& key) noexcept {
    const auto reason = reason_of(departed_.take(key.hash));
    ++spaces_[key.space].counters.misses[static_cast<std::size_t>(reason)];
    return reason;
}

void StoreCore::refuse(const KeyRef& key) noexcept {
    ++spaces_[key.space].counters.not_stored;
    remember(kNotStored, key.hash);
}

void StoreCore::remember(std::uint8_t note, Hash hash) noexcept {
    try {
        departed_.push(hash, std::clamp<std::size_t>(resident_, 256, kRemembered), note);
    } catch (const std::bad_alloc&) {
        return;  // The next miss is called cold.
    }
}

// ---- Invalidation

bool StoreCore::add_tags(EntryId load, std::span<const TagHash> tags, std::uint64_t since) {
    if (invalidations_ - since > kRecentInvalidations) {
        return tags.empty();
    }
    for (std::uint64_t i = since; i != invalidations_; ++i) {
        if (std::ranges::find(tags, recent_[i % kRecentInvalidations]) != tags.end()) {
            return false;
        }
    }
    attach(load.slot, tags);
    return true;
}

std::size_t StoreCore::invalidate(TagHash tag) noexcept {
    recent_[invalidations_++ % kRecentInvalidations] = tag;
    std::size_t count = 0;
    for (Slot slot = tags_.first(tag); slot != kNoSlot; slot = tags_.first(tag)) {
        const Entry& entry = entries_[slot];
        count += entry.state == EntryState::Resident && !spaces_[entry.space].retired ? 1U : 0U;
        remove(slot, Cause::Explicit);
    }
    return count;
}

// ---- Time

void StoreCore::touch(Slot slot, Instant deadline, Nanos idle, Instant now) {
    Keep keep;
    keep.deadline = deadline;
    keep.idle = idle;
    schedule(slot, keep, now);
}

void StoreCore::advance(Instant now, std::size_t limit) {
    expire_due(now, limit);
    if (dead_ > 0) {
        sweep(kSweepSlots);
    }
}

Instant StoreCore::deadline(Instant now, Nanos ttl, double jitter) noexcept {
    if (jitter > 0) {
        const double share = static_cast<double>(splitmix(random_) >> 11) * 0x1p-53;
        ttl -= Nanos(static_cast<Nanos::rep>(static_cast<double>(ttl.count()) * jitter * share));
    }
    return after(now, ttl);
}

void StoreCore::extend(Slot slot, Entry& entry, Instant now) noexcept {
    if (slot < idle_.reserved() && idle_[slot] > Nanos::zero()) {
        // The wheel finds the old time and looks again: moving later needs no re-scheduling.
        // Never earlier, though a clock behind another's says so.
        const Instant until = std::min(hard_[slot], after(now, idle_[slot]));
        entry.deadline = std::max(entry.deadline, until);
    }
}

// ---- All of it

Counters StoreCore::totals() const noexcept {
    Counters sum = closed_;
    for (SpaceId id = 0; id < spaces_.end(); ++id) {
        if (spaces_[id].open && !spaces_[id].retired) {
            sum += spaces_[id].counters;
        }
    }
    return sum;
}

void StoreCore::set_bounds(std::uint64_t max_entries, std::uint64_t max_bytes, Instant now) {
    options_.max_entries = max_entries;
    options_.max_bytes = max_bytes;
    flush_hits();
    advance(now);
    while (resident_ > max_entries || bytes_ > max_bytes) {
        evict();
    }
}

void StoreCore::hand_over() noexcept {
    while (leaving_ != kNoSlot) {
        const Slot slot = leaving_;
        Entry& entry = entries_[slot];
        try {
            removed_.push_back({entry.hash, entry.key, entry.value, entry.space, entry.kind,
                                entry.frequency != 0, false, static_cast<Cause>(entry.queue)});
        } catch (const std::bad_alloc&) {
            return;  // It waits where it is.
        }
        leaving_ = entry.next;
        entry.state = EntryState::Free;
        entries_.release(slot);
    }
}

void StoreCore::drop_all() noexcept {
    for (Slot slot = 0; slot < entries_.end(); ++slot) {
        if (is_held(entries_[slot])) {
            remove(slot, Cause::Explicit);
        }
    }
}

std::size_t StoreCore::allocated_bytes() const noexcept {
    return index_.allocated_bytes() + entries_.allocated_bytes() + wheel_links_.allocated_bytes() +
           idle_.allocated_bytes() + hard_.allocated_bytes() + stale_.allocated_bytes() +
           policy_->allocated_bytes() + tags_.allocated_bytes() + spaces_.allocated_bytes() +
           departed_.allocated_bytes() + sizeof(*this);
}

}  // namespace millpond::cache
