// Entry: one cached value as the engine holds it, a single cache line. Keys and values are opaque
// words (a pointer, an integer or half a fingerprint): what they mean is the caller's business.
#pragma once

#include <cstdint>

#include "millpond/base/clock.hpp"
#include "millpond/base/slab.hpp"
#include "millpond/cache/cost.hpp"

namespace millpond::cache {

using Hash = std::uint64_t;
using Word = std::uint64_t;
using SpaceId = std::uint32_t;

// What an entry is doing. A pending entry reserves its key for a load that is under way: it is found
// by look-ups, but holds no value yet, has no weight and no place in the policy.
// A leaving one has been removed, and waits for memory to be handed back to the caller.
enum class EntryState : std::uint8_t { Free, Pending, Resident, Leaving };

struct alignas(64) Entry {
    Hash hash;
    Word key;
    Word value;
    Instant deadline;          // the value is dead from here on
    std::uint32_t generation;  // changes whenever the slot gets another tenant
    SpaceId space;
    std::uint8_t kind;       // the caller's type tag: keys of two kinds are never equal
    std::uint8_t frequency;  // hits since it mattered, saturating; kept by the policy
    std::uint8_t queue;      // the policy's list this entry stands in
    EntryState state;
    std::uint32_t weight;
    Slot prev;
    Slot next;
    std::uint32_t stored_at;  // kAgeTick units since the store was opened
    Cost cost;                // dollars that a hit saves
};
static_assert(sizeof(Entry) == 64);

// Whether the store has it: it reserves its key or holds a value.
[[nodiscard]] inline bool is_held(const Entry& entry) noexcept {
    return entry.state == EntryState::Pending || entry.state == EntryState::Resident;
}

// The resolution of an entry's age: 2^24 ns, about 17 ms, which 32 bits count for two years.
inline constexpr Nanos kAgeTick{std::int64_t{1} << 24};

// The timer wheel's links, beside the entry in a line of their own.
struct WheelLinks {
    Slot next;
    Slot prev;
};

using Entries = Slab<Entry>;

// Names an entry for as long as its slot keeps this tenant.
struct EntryId {
    Slot slot = kNoSlot;
    std::uint32_t generation = 0;
    [[nodiscard]] explicit operator bool() const noexcept { return slot != kNoSlot; }
    friend bool operator==(const EntryId&, const EntryId&) = default;
};

// A key as it is looked up: equal keys have equal hash, kind and space, and either the same word or
// a caller who says so.
struct KeyRef {
    Hash hash;
    Word word;
    SpaceId space;
    std::uint8_t kind;
};

}  // namespace millpond::cache
