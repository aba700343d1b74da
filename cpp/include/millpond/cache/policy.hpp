// Policy: which entry leaves when a bound is reached. One interface, five exact policies:
//
//   Lru     least recently used first.
//   Lfu     least frequently used first, least recently used among equals. O(1) after Shah, Mitra
//           and Matani, "An O(1) algorithm for implementing the LFU cache eviction scheme" (2010).
//   Fifo    oldest first; hits do not matter.
//   Sieve   Zhang et al., "SIEVE is simpler than LRU", NSDI 2024.
//   S3Fifo  Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
//
// A policy links entries through their prev and next and keeps its notes in frequency and queue. It
// is called when an entry comes, goes or must be chosen; never on the hit path. How a hit reaches it
// is one of three ways: not at all, as a saturating count in the entry (`bump_limit`), or by a
// batch of slots in order of access (`ordered_hits`).
// Not thread-safe: the store's lock covers it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "millpond/cache/entry.hpp"

namespace millpond::cache {

enum class PolicyKind : std::uint8_t { Lru, Lfu, Fifo, Sieve, S3Fifo };

// What an entry counts for against the bounds: its weight where bytes are bounded, else one.
enum class Measure : std::uint8_t { Count, Weight };

class Policy {
  public:
    // A hit raises the entry's frequency by one up to this; zero: hits are not counted there.
    const std::uint8_t bump_limit;
    // Whether hit() wants every access, in order.
    const bool ordered_hits;

    virtual ~Policy() = default;
    Policy(const Policy&) = delete;
    Policy& operator=(const Policy&) = delete;

    // A resident entry appears. May throw std::bad_alloc, having changed nothing.
    virtual void insert(Entries& entries, Slot slot) = 0;
    // A resident entry was used. Called in order of access when ordered_hits.
    virtual void hit(Entries& entries, Slot slot) noexcept = 0;
    // The weight of a resident entry changed from `old_weight`.
    virtual void reweigh(Entries& entries, Slot slot, std::uint32_t old_weight) noexcept {
        (void)entries, (void)slot, (void)old_weight;
    }
    // A resident entry goes: chosen by victim(), or for a reason of its own.
    virtual void remove(Entries& entries, Slot slot) noexcept = 0;
    // The entry to evict. It stays until remove(). Amortised O(1).
    // REQUIRES: at least one resident entry.
    [[nodiscard]] virtual Slot victim(Entries& entries) noexcept = 0;
    [[nodiscard]] virtual std::size_t allocated_bytes() const noexcept = 0;

  protected:
    Policy(std::uint8_t limit, bool ordered) : bump_limit(limit), ordered_hits(ordered) {}
};

[[nodiscard]] std::unique_ptr<Policy> make_policy(PolicyKind kind, Measure measure);

}  // namespace millpond::cache
