// GhostQueue: remembers the hashes of the last `capacity` departed entries, in four bytes each, and
// with each a note of two bits, such as why it left.
//
// A hash lives in one bucket of sixteen words, a cache line; a word is 16 bits of the hash, the note
// and a 14-bit age stamp that advances kStampsPerLap times while `capacity` hashes are added. A full
// bucket drops its oldest word. So a few ghosts are forgotten early (5 % at worst, when the table
// is as full as it gets), about one look-up in 4,096 sees a ghost that never was, and one that has
// not been overwritten for 31 laps may be seen once more: its users can afford all three.
//
// In a plain queue a ghost that is taken makes room for one more, which lengthens the life of those
// before it and of nobody behind it. Here all ghosts share a clock, so a taken one holds it back by
// the share of them that came before.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "millpond/cache/entry.hpp"

namespace millpond::cache {

class GhostQueue {
  public:
    // Remembers `hash` with `note` (1 to 3), in place of an earlier note; `capacity` is how many are
    // to be remembered from now on. O(1); when the capacity outgrows the table a larger, empty one
    // takes its place. Throws std::bad_alloc and changes nothing.
    void push(Hash hash, std::size_t capacity, std::uint8_t note = 1) {
        if (capacity == 0) {
            return;
        }
        if (capacity > words_.size()) {
            words_ =
                std::vector<Ghost>(std::max(4 * kBucket, std::bit_ceil(capacity + capacity / 8)));
        }
        turn(capacity);
        Ghost& ghost = place_for(hash);
        ghost.mark = mark_of(hash);
        ghost.stamp = stamp() & (kStampRange - 1);
        ghost.note = note & 3;
    }

    // The note of `hash`, or zero where it is not remembered; it is forgotten by this. O(1).
    [[nodiscard]] std::uint8_t take(Hash hash) noexcept {
        if (words_.empty()) {
            return 0;
        }
        Ghost* const bucket = bucket_of(hash);
        for (Ghost* ghost = bucket; ghost != bucket + kBucket; ++ghost) {
            if (ghost->note != 0 && ghost->mark == mark_of(hash)) {
                const std::uint8_t note = ghost->note;
                ghost->note = 0;
                const std::uint32_t years = age(*ghost);
                if (years >= kStampsPerLap) {
                    return 0;
                }
                held_back_ += 1.0 - static_cast<double>(years) / kStampsPerLap;
                return note;
            }
        }
        return 0;
    }

    [[nodiscard]] std::size_t allocated_bytes() const noexcept {
        return words_.capacity() * sizeof(Ghost);
    }

  private:
    static constexpr std::size_t kBucket = 16;
    static constexpr std::uint32_t kStampsPerLap = 512;
    static constexpr std::uint32_t kStampRange = 16384;

    struct Ghost {
        std::uint16_t mark;
        std::uint16_t stamp : 14;
        std::uint16_t note : 2;  // zero: nothing is remembered here
    };
    static_assert(sizeof(Ghost) == 4);

    [[nodiscard]] Ghost* bucket_of(Hash hash) noexcept {
        const std::size_t buckets = words_.size() / kBucket;
        return words_.data() + ((hash >> 16) & (buckets - 1)) * kBucket;
    }
    void turn(std::size_t capacity) noexcept {
        if (held_back_ >= 1) {
            held_back_ -= 1;
            return;
        }
        clock_ += static_cast<double>(kStampsPerLap) / static_cast<double>(capacity);
        if (clock_ >= kStampRange) {
            clock_ -= kStampRange;
        }
    }
    // The word of the same mark, else one that is free, else the oldest.
    [[nodiscard]] Ghost& place_for(Hash hash) noexcept {
        Ghost* const bucket = bucket_of(hash);
        Ghost* oldest = bucket;
        std::uint32_t most = 0;
        for (Ghost* ghost = bucket; ghost != bucket + kBucket; ++ghost) {
            if (ghost->note != 0 && ghost->mark == mark_of(hash)) {
                return *ghost;
            }
            const std::uint32_t years = ghost->note == 0 ? kStampRange : age(*ghost);
            if (years > most) {
                most = years;
                oldest = ghost;
            }
        }
        return *oldest;
    }
    [[nodiscard]] static std::uint16_t mark_of(Hash hash) noexcept {
        return static_cast<std::uint16_t>(hash);
    }
    [[nodiscard]] std::uint16_t stamp() const noexcept {
        return static_cast<std::uint16_t>(static_cast<std::uint32_t>(clock_));
    }
    [[nodiscard]] std::uint32_t age(const Ghost& ghost) const noexcept {
        return (std::uint32_t{stamp()} - ghost.stamp) & (kStampRange - 1);
    }

    std::vector<Ghost> words_;
    double clock_ = 0;
    double held_back_ = 0;  // pushes for which the clock stands still
};

}  // namespace millpond::cache
