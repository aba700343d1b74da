// GhostQueue: remembers the hashes of the last `capacity` evicted entries, in four bytes each.
//
// A hash lives in one bucket of sixteen words, a cache line; a word is 16 bits of the hash and a
// 15-bit age stamp that advances kStampsPerLap times while `capacity` hashes are added. A full
// bucket drops its oldest word. So a few ghosts are forgotten early (about 2 % when the table is as
// full as it gets), about one look-up in 4,096 sees a ghost that never was, and one that has not
// been overwritten for 63 laps may be seen once more: the policy can afford all three.
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
    // Remembers `hash`; `capacity` is how many are to be remembered from now on.
    // O(1); when the capacity outgrows the table a larger, empty one takes its place.
    void push(Hash hash, std::size_t capacity) {
        if (capacity == 0) {
            return;
        }
        if (capacity > words_.size()) {
            words_.assign(std::max(4 * kBucket, std::bit_ceil(capacity + capacity / 8)), Ghost{});
        }
        clock_ += static_cast<double>(kStampsPerLap) / static_cast<double>(capacity);
        if (clock_ >= kStampRange) {
            clock_ -= kStampRange;
        }
        Ghost* const bucket = bucket_of(hash);
        Ghost* oldest = bucket;
        for (Ghost* ghost = bucket; ghost != bucket + kBucket; ++ghost) {
            if (!ghost->used) {
                oldest = ghost;
                break;
            }
            if (age(*ghost) > age(*oldest)) {
                oldest = ghost;
            }
        }
        oldest->mark = mark_of(hash);
        oldest->stamp = stamp() & (kStampRange - 1);
        oldest->used = true;
    }

    // Whether `hash` is remembered; it is forgotten by this.
    [[nodiscard]] bool take(Hash hash) noexcept {
        if (words_.empty()) {
            return false;
        }
        Ghost* const bucket = bucket_of(hash);
        for (Ghost* ghost = bucket; ghost != bucket + kBucket; ++ghost) {
            if (ghost->used && ghost->mark == mark_of(hash)) {
                ghost->used = false;
                return age(*ghost) < kStampsPerLap;
            }
        }
        return false;
    }

    [[nodiscard]] std::size_t allocated_bytes() const noexcept {
        return words_.capacity() * sizeof(Ghost);
    }

  private:
    static constexpr std::size_t kBucket = 16;
    static constexpr std::uint32_t kStampsPerLap = 512;
    static constexpr std::uint32_t kStampRange = 32768;

    struct Ghost {
        std::uint16_t mark;
        std::uint16_t stamp : 15;
        bool used : 1;
    };
    static_assert(sizeof(Ghost) == 4);

    [[nodiscard]] Ghost* bucket_of(Hash hash) noexcept {
        const std::size_t buckets = words_.size() / kBucket;
        return words_.data() + ((hash >> 16) & (buckets - 1)) * kBucket;
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
};

}  // namespace millpond::cache
