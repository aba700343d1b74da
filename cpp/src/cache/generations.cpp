#include "millpond/cache/generations.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace millpond::cache {

GenerationTable::GenerationTable(std::size_t limit, std::uint64_t seed, Instant now)
    : limit_(limit),
      seed_(mix64(seed)),
      pushes_(std::bit_ceil(std::min(limit, kMostBuckets))),
      since_(now) {
    assert(limit > 0);
}

void GenerationTable::link_up(Instant now) noexcept {
    floor_ = ++sequence_;
    if (++link_ == kFree) {
        ++link_;
    }
    up_ = true;
    since_ = now;
}

void GenerationTable::link_down(Instant now) noexcept {
    ++sequence_;
    up_ = false;
    since_ = now;
}

bool GenerationTable::learn(const GenerationName& name, Stamp stamp, std::uint64_t since) {
    if (!up_ || since < floor_ || pushed(name) > since) {
        return false;
    }
    if (Slot* const slot = find(name)) {
        slot->used = true;
        if (slot->link == link_ && stamp < slot->stamp) {
            return false;
        }
        slot->link = link_;
        slot->stamp = stamp;
        return true;
    }
    if (count_ == limit_) {
        evict();
    } else if ((count_ + 1) * 4 > slots_.size() * 3) {
        grow();
    }
    insert({name, stamp, link_, false});
    ++count_;
    return true;
}

bool GenerationTable::forget(const GenerationName& name) noexcept {
    pushed(name) = ++sequence_;
    const Slot* const slot = find(name);
    if (slot == nullptr) {
        return false;
    }
    remove(static_cast<std::size_t>(slot - slots_.data()));
    return true;
}

void GenerationTable::forget_all() noexcept {
    floor_ = ++sequence_;
    slots_.clear();
    count_ = 0;
    hand_ = 0;
}

std::optional<Stamp> GenerationTable::known(const GenerationName& name) noexcept {
    Slot* const slot = up_ ? find(name) : nullptr;
    if (slot == nullptr || slot->link != link_) {
        return std::nullopt;
    }
    slot->used = true;
    return slot->stamp;
}

GenerationTable::Slot* GenerationTable::find(const GenerationName& name) noexcept {
    if (slots_.empty()) {
        return nullptr;
    }
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash_of(name) & mask; slots_[at].link != kFree; at = (at + 1) & mask) {
        if (slots_[at].name == name) {
            return &slots_[at];
        }
    }
    return nullptr;
}

// REQUIRES: it is not there, and a slot is free.
void GenerationTable::insert(const Slot& slot) noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = home(slot);
    while (slots_[at].link != kFree) {
        at = (at + 1) & mask;
    }
    slots_[at] = slot;
}

// Frees a slot, and moves back what comes after it and could not have its place (D. Knuth, TAOCP 3,
// 6.4, algorithm R).
void GenerationTable::remove(std::size_t at) noexcept {
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t next = (at + 1) & mask; slots_[next].link != kFree; next = (next + 1) & mask) {
        if (((next - home(slots_[next])) & mask) >= ((next - at) & mask)) {
            slots_[at] = slots_[next];
            at = next;
        }
    }
    slots_[at] = {};
    --count_;
}

void GenerationTable::grow() {
    std::vector<Slot> larger(std::max<std::size_t>(slots_.size() * 2, 16));
    slots_.swap(larger);
    for (const Slot& slot : larger) {
        if (slot.link != kFree) {
            insert(slot);
        }
    }
    hand_ = 0;
}

// REQUIRES: something is held.
void GenerationTable::evict() noexcept {
    for (;; ++hand_) {
        hand_ &= slots_.size() - 1;
        Slot& slot = slots_[hand_];
        if (slot.link != kFree && !std::exchange(slot.used, false)) {
            remove(hand_);
            return;
        }
    }
}

}  // namespace millpond::cache
