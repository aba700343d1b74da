// Counters of a space (a cache, or one function in it): plain numbers, added up by whoever reads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace millpond::cache {

// Why an entry left. The first four are told to listeners.
enum class Cause : std::uint8_t {
    Expired,   // its deadline passed
    Explicit,  // deleted or invalidated
    Replaced,  // another value was stored under its key
    Size,      // evicted to keep a bound
};
inline constexpr std::size_t kCauses = 4;

// Why a look-up missed.
enum class MissReason : std::uint8_t {
    ColdOrEvicted,  // never stored, or evicted to keep a bound
    Expired,        // its deadline passed
    Stale,          // resident, but older than the caller takes
    Invalidated,    // deleted or invalidated
    Bypass,         // the caller asked to go past the cache
    Disabled,       // caching is switched off
    NotStored,      // its last load was not stored: too heavy, or refused by a rule
};
inline constexpr std::size_t kMissReasons = 7;

// Where else values may come from than memory: 0 is the function itself, the rest are tiers.
inline constexpr std::size_t kSources = 9;

struct Counters {
    std::uint64_t hits = 0;
    std::uint64_t stale_hits = 0;  // calls that got a value past its life
    std::array<std::uint64_t, kMissReasons> misses{};
    // Misses of memory that a tier answered, by its number.
    std::array<std::uint64_t, kSources> hits_from{};
    std::uint64_t loads = 0;
    std::uint64_t load_errors = 0;
    std::uint64_t coalesced = 0;
    std::array<std::uint64_t, kCauses> removals{};
    std::uint64_t not_stored = 0;
    std::uint64_t load_nanos = 0;
    double cost_spent = 0;  // dollars
    double cost_saved = 0;

    [[nodiscard]] std::uint64_t all_misses() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t count : misses) {
            sum += count;
        }
        return sum;
    }

    [[nodiscard]] std::uint64_t tier_hits() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t count : hits_from) {
            sum += count;
        }
        return sum;
    }

    Counters& operator+=(const Counters& other) noexcept;
};

inline Counters& Counters::operator+=(const Counters& other) noexcept {
    hits += other.hits;
    stale_hits += other.stale_hits;
    for (std::size_t i = 0; i < kMissReasons; ++i) {
        misses[i] += other.misses[i];
    }
    for (std::size_t i = 0; i < kSources; ++i) {
        hits_from[i] += other.hits_from[i];
    }
    loads += other.loads;
    load_errors += other.load_errors;
    coalesced += other.coalesced;
    for (std::size_t i = 0; i < kCauses; ++i) {
        removals[i] += other.removals[i];
    }
    not_stored += other.not_stored;
    load_nanos += other.load_nanos;
    cost_spent += other.cost_spent;
    cost_saved += other.cost_saved;
    return *this;
}

}  // namespace millpond::cache
