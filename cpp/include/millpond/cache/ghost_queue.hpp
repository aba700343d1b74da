// GhostQueue: remembers the hashes of the last `capacity` departed entries, in four bytes each, and
// with each a note of two bits, such as why it left.
//
// A hash lives in one bucket of sixteen ghosts, a cache line; a ghost is 16 bits of the hash, the note
// and a 14-bit stamp of when it came. A full bucket drops its oldest ghost. About one look-up in 4,096
// sees a ghost that never was.
//
// Below kSmall the stamp is the ghost's number, and a bit for each says whether it is still in the
// queue: the oldest goes when there are too many, and one that is taken makes room for one more, as in
// a plain queue. The table is roomy, so that hardly a bucket is ever full.
//
// Above, the stamp is a clock that advances kStampsPerLap times while `capacity` hashes are added. In a
// plain queue a ghost that is taken lengthens the life of those before it and of nobody behind it; here
// all share the clock, so a taken one holds it back by the share of them that came before. A few ghosts
// are forgotten early (5 % at worst, when the table is as full as it gets), and one that has not been
// overwritten for 31 laps may be seen once more: users of so many can afford it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
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
        if (capacity > buckets_.size() * kBucket) {
            enlarge(capacity);
        }
        Bucket& bucket = bucket_of(hash);
        int lane = bucket.find(mark_of(hash));
        if (lane != kBucket) {
            (void)leave(bucket.note(lane));
        }
        turn(capacity);
        if (lane == kBucket) {
            lane = bucket.most_dispensable(stamp());
            (void)leave(bucket.note(lane));
        }
        bucket.set(lane, mark_of(hash),
                   static_cast<std::int16_t>((note & 3) << kNoteShift | stamp()));
        join();
    }

    // The note of `hash`, or zero where it is not remembered; it is forgotten by this. O(1).
    [[nodiscard]] std::uint8_t take(Hash hash) noexcept {
        if (buckets_.empty()) {
            return 0;
        }
        Bucket& bucket = bucket_of(hash);
        const int lane = bucket.find(mark_of(hash));
        if (lane == kBucket) {
            return 0;
        }
        const auto taken = static_cast<std::uint16_t>(bucket.note(lane));
        bucket.set(lane, 0, 0);
        if (!living_.empty()) {
            return leave(static_cast<std::int16_t>(taken))
                       ? static_cast<std::uint8_t>(taken >> kNoteShift)
                       : std::uint8_t{0};
        }
        const int years = (stamp() - taken) & kStampMask;
        if (years >= kStampsPerLap) {
            return 0;
        }
        held_back_ += 1.0 - static_cast<double>(years) / kStampsPerLap;
        return static_cast<std::uint8_t>(taken >> kNoteShift);
    }

    [[nodiscard]] std::size_t allocated_bytes() const noexcept {
        return buckets_.capacity() * sizeof(Bucket) + living_.capacity() * sizeof(living_[0]);
    }

  private:
    static constexpr int kBucket = 16;
    static constexpr std::size_t kSmall = 4096;
    static constexpr std::size_t kFewest = 16;  // buckets, a kilobyte
    static constexpr int kStampsPerLap = 512;
    static constexpr int kNoteShift = 14;
    static constexpr std::int16_t kStampMask = (1 << kNoteShift) - 1;
    static constexpr std::int16_t kNoteMask = ~kStampMask;
    static constexpr std::int16_t kOlderThanAll = kStampMask + 1;

    // Eight 16-bit lanes, a vector register of every machine: where a hash lies is as good as random,
    // and so would the branches be of a search one by one.
    using Lanes = std::int16_t __attribute__((vector_size(16)));

    struct alignas(64) Bucket {
        std::array<Lanes, 2> marks;  // bits of the hashes
        std::array<Lanes, 2> notes;  // the note above the stamp; no note: nothing is remembered

        // The first ghost of this mark, or kBucket.
        [[nodiscard]] int find(std::int16_t mark) const noexcept {
            return first_of((marks[0] == mark) & ((notes[0] & kNoteMask) != 0),
                            (marks[1] == mark) & ((notes[1] & kNoteMask) != 0));
        }
        // The first free lane, else that of the oldest ghost, the first of several.
        [[nodiscard]] int most_dispensable(std::int16_t now) const noexcept {
            const Lanes low = ages(notes[0], now);
            const Lanes high = ages(notes[1], now);
            const std::int16_t most = greatest_of(low > high ? low : high);
            return first_of(low == most, high == most);
        }
        [[nodiscard]] std::int16_t note(int lane) const noexcept {
            return notes[static_cast<unsigned>(lane) / 8][lane % 8];
        }
        void set(int lane, std::int16_t mark, std::int16_t note) noexcept {
            marks[static_cast<unsigned>(lane) / 8][lane % 8] = mark;
            notes[static_cast<unsigned>(lane) / 8][lane % 8] = note;
        }
    };
    static_assert(sizeof(Bucket) == 64);

    [[nodiscard]] static Lanes ages(Lanes notes, std::int16_t now) noexcept {
        const Lanes free = (notes & kNoteMask) == 0;
        return (((now - (notes & kStampMask)) & kStampMask) & ~free) | (free & kOlderThanAll);
    }
    // The first lane that is not zero, or kBucket; lanes are all ones or zero.
    [[nodiscard]] static int first_of(Lanes low, Lanes high) noexcept {
        constexpr Lanes kLow = {1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7};
        constexpr Lanes kHigh = {1 << 8,  1 << 9,  1 << 10, 1 << 11,
                                 1 << 12, 1 << 13, 1 << 14, -32768};
        const Lanes both = (low & kLow) | (high & kHigh);
        const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(both);
        std::uint64_t all = words[0] | words[1];
        all |= all >> 32;
        all |= all >> 16;
        return std::countr_zero(static_cast<std::uint16_t>(all));
    }
    [[nodiscard]] static std::int16_t greatest_of(Lanes lanes) noexcept {
        Lanes other = __builtin_shufflevector(lanes, lanes, 4, 5, 6, 7, 0, 1, 2, 3);
        lanes = lanes > other ? lanes : other;
        other = __builtin_shufflevector(lanes, lanes, 2, 3, 0, 1, 6, 7, 4, 5);
        lanes = lanes > other ? lanes : other;
        return std::max<std::int16_t>(lanes[0], lanes[1]);
    }

    [[nodiscard]] Bucket& bucket_of(Hash hash) noexcept {
        return buckets_[(hash >> 16) & (buckets_.size() - 1)];
    }
    void enlarge(std::size_t capacity) {
        const bool numbered = capacity < kSmall;
        const std::size_t room = numbered ? 2 * capacity : capacity + capacity / 8;
        std::vector<Bucket> buckets(std::max(kFewest, std::bit_ceil(room) / kBucket));
        // Twice as many numbers as there is room for ghosts: those that were taken leave gaps.
        std::vector<std::uint64_t> living(numbered ? buckets.size() * kBucket / 32 : 0);
        buckets_ = std::move(buckets);
        living_ = std::move(living);
        first_ = 0;
        next_ = 0;
        live_ = 0;
    }

    // ---- Numbers, while the table is small

    [[nodiscard]] std::uint32_t numbers() const noexcept {
        return static_cast<std::uint32_t>(living_.size() * 64);
    }
    // Whether the ghost of this number was in the queue, which it is no more.
    bool leave_number(std::uint32_t number) noexcept {
        const std::uint32_t at = number & (numbers() - 1);
        const std::uint64_t bit = std::uint64_t{1} << (at % 64);
        const bool was = (living_[at / 64] & bit) != 0;
        living_[at / 64] &= ~bit;
        live_ -= was ? 1 : 0;
        return was;
    }
    // The same by what a lane says; false of a free one, of one that left before, and of a large table.
    bool leave(std::int16_t note) noexcept {
        const auto age = (next_ - static_cast<std::uint16_t>(note)) & std::uint32_t{kStampMask};
        const bool may_be_there = (note & kNoteMask) != 0 && age != 0 && age <= next_ - first_;
        return !living_.empty() && may_be_there && leave_number(next_ - age);
    }
    void join() noexcept {
        if (!living_.empty()) {
            const std::uint32_t at = next_++ & (numbers() - 1);
            living_[at / 64] |= std::uint64_t{1} << (at % 64);
            ++live_;
        }
    }

    // Makes room for one more in the queue, or advances the clock by one.
    void turn(std::size_t capacity) noexcept {
        if (!living_.empty()) {
            while (live_ >= capacity || next_ - first_ >= numbers() - 1) {
                leave_number(first_++);
            }
            return;
        }
        if (held_back_ >= 1) {
            held_back_ -= 1;
            return;
        }
        if (capacity != capacity_) {
            capacity_ = capacity;
            step_ = static_cast<double>(kStampsPerLap) / static_cast<double>(capacity);
        }
        clock_ += step_;
        if (clock_ >= kStampMask + 1.0) {
            clock_ -= kStampMask + 1.0;
        }
    }
    [[nodiscard]] static std::int16_t mark_of(Hash hash) noexcept {
        return static_cast<std::int16_t>(hash);
    }
    [[nodiscard]] std::int16_t stamp() const noexcept {
        const int now = living_.empty() ? static_cast<int>(clock_) : static_cast<int>(next_);
        return static_cast<std::int16_t>(now & kStampMask);
    }

    std::vector<Bucket> buckets_;
    std::vector<std::uint64_t> living_;  // a bit a number: who is in the queue; empty: too many
    std::uint32_t first_ = 0;            // nobody of a lower number is
    std::uint32_t next_ = 0;
    std::uint32_t live_ = 0;
    double clock_ = 0;
    std::size_t capacity_ = 0;
    double step_ = 0;       // of the clock, for that capacity
    double held_back_ = 0;  // pushes for which the clock stands still
};

}  // namespace millpond::cache
