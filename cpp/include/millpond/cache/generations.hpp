// GenerationTable: the stamps of generations that this process may rely on without asking the server,
// because the server has promised over a link to say when one changes (a "push").
//
// Two things can make a stamp wrong: a push that overtook the reply which brought it, since replies
// come over other connections, and a link that was lost meanwhile, over which pushes do not come. So
// whoever asks the server notes the sequence() before, and hands it to learn() with the answer:
//
//     const std::uint64_t since = table.sequence();
//     ... ask the server for the stamp of `name` ...
//     table.learn(name, stamp, since);           // refused if a push or a loss came between
//
// What learn() accepts is what the server had at some time after `since`, during which the link was
// up, and of whose change a push is still to come. Therefore a stamp that is known is either the
// present one, or its push is on the way, or the link is down and nobody here has noticed yet.
//
// When the link goes down nothing is known any longer, but names and stamps are kept: names() after
// the next link_up() is what to compare with the server, and learn() makes each known again.
//
// Pushes are remembered by a number a bucket of names, so that a push may refuse an answer about
// another name as well: one of a thousand or more, and it costs no more than asking again.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "millpond/base/clock.hpp"
#include "millpond/base/hash.hpp"

namespace millpond::cache {

using Stamp = std::uint64_t;

// 16 bytes of a digest.
struct GenerationName {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    friend bool operator==(const GenerationName&, const GenerationName&) = default;
};

// Not thread-safe: the owner's lock (the GIL) covers it. Holds `limit` names, those used last
// (second chance); 32 bytes each, 64 at the most, and 8 KiB.
class GenerationTable {
  public:
    // The link is down at first. REQUIRES: limit > 0.
    GenerationTable(std::size_t limit, std::uint64_t seed, Instant now);

    // What a request that is sent now hands to learn() later. Grows with each push and link.
    [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }

    // ---- The link
    // From now on the server tells every change. To be called once it has said that it will.
    void link_up(Instant now) noexcept;
    void link_down(Instant now) noexcept;
    [[nodiscard]] bool up() const noexcept { return up_; }
    // Since when the link has been as it is.
    [[nodiscard]] Instant since() const noexcept { return since_; }

    // ---- Stamps
    // The server's answer to a request that was sent at `since`. False if it may be outdated: the
    // link is down or was, or a push came. Of two answers the greater stamp is the later one. O(1)
    // amortised. Throws std::bad_alloc and changes nothing.
    bool learn(const GenerationName& name, Stamp stamp, std::uint64_t since);
    // A push: the name has another stamp. True if it was held. O(1).
    bool forget(const GenerationName& name) noexcept;
    // The server has forgotten all its names, or said that any may have changed. O(1) names held.
    void forget_all() noexcept;
    // The present stamp as far as the server has told; nothing while the link is down. O(1).
    [[nodiscard]] std::optional<Stamp> known(const GenerationName& name) noexcept;

    // Calls visit(name, stamp) for all that is held, known or not.
    template <class Visit>
    void for_each(Visit&& visit) const {
        for (const Slot& slot : slots_) {
            if (slot.link != kFree) {
                visit(slot.name, slot.stamp);
            }
        }
    }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] std::size_t limit() const noexcept { return limit_; }

  private:
    static constexpr std::uint32_t kFree = 0;
    static constexpr std::size_t kMostBuckets = 1024;

    struct Slot {
        GenerationName name;
        Stamp stamp = 0;
        std::uint32_t link = kFree;  // the number of the link that it was learnt over
        bool used = false;           // since the hand passed it
    };
    static_assert(sizeof(Slot) == 32);

    [[nodiscard]] Hash hash_of(const GenerationName& name) const noexcept {
        return mix64(name.low ^ seed_) ^ name.high;
    }
    [[nodiscard]] std::size_t home(const Slot& slot) const noexcept {
        return hash_of(slot.name) & (slots_.size() - 1);
    }
    [[nodiscard]] std::uint64_t& pushed(const GenerationName& name) noexcept {
        return pushes_[(hash_of(name) >> 40) & (pushes_.size() - 1)];
    }
    [[nodiscard]] Slot* find(const GenerationName& name) noexcept;
    void insert(const Slot& slot) noexcept;
    void remove(std::size_t at) noexcept;
    void grow();
    void evict() noexcept;

    std::size_t limit_;
    std::uint64_t seed_;
    std::vector<Slot> slots_;            // open addressing; a power of two, a quarter of it free
    std::vector<std::uint64_t> pushes_;  // the sequence of the last push of each bucket of names
    std::size_t count_ = 0;
    std::size_t hand_ = 0;
    std::uint64_t sequence_ = 1;
    std::uint64_t floor_ = 1;  // answers to what was sent before say nothing
    std::uint32_t link_ = 0;   // the number of the latest link
    bool up_ = false;
    Instant since_;
};

}  // namespace millpond::cache
