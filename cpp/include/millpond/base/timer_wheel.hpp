// A five-level hierarchical timing wheel: who is due, without sorting anybody.
// Use it where very many entries carry deadlines that mostly move or vanish before they are due
// (cache entries, idle sessions): schedule and cancel are O(1), each entry is touched at most once
// a level on its way down, and one operation never does more work than its caller allows.
//
// G. Varghese and T. Lauck, "Hashed and hierarchical timing wheels", SOSP 1987. Each level has 64
// buckets; a bucket of the finest level spans one tick of 2^20 ns (1.05 ms), one of the next level
// 64 ticks, and so on up to 4.9 h for each bucket of the top level, 13 days for all of them. What
// is further away waits in the last bucket of the top level and is placed again when that comes
// round. A bitmap a level names the buckets in use, so idle time, however long, is skipped and not
// walked.
//
// The wheel owns no entries. Its owner keeps them in slots (below 2^31) and lends two link words
// for each through the template parameter:
//
//     struct Nodes {
//         std::uint32_t& wheel_next(std::uint32_t slot);   // both kNil at first
//         std::uint32_t& wheel_prev(std::uint32_t slot);
//         Instant deadline(std::uint32_t slot);
//     };
//
// So an entry costs 8 bytes, and the wheel itself 2.6 KB. The list heads live in the wheel: a link
// whose high bit is set names one of them. Links are re-read after every callback, so the owner may
// move its slots in memory at any time.
//
// Lateness: an entry is reported by the first advance() whose `now` has reached its deadline, to
// the nanosecond, and never by an earlier one. Only the order is coarse: by tick, then as they
// came.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "millpond/base/clock.hpp"

namespace millpond {

// Not thread-safe: the owner's lock covers the wheel as well as the slots.
template <class Nodes>
class TimerWheel {
  public:
    // The link of a slot that is not scheduled.
    static constexpr std::uint32_t kNil = 0xFFFF'FFFF;

    explicit TimerWheel(Instant start) noexcept : now_(start), tick_(tick_of(start)) { clear(); }

    // Puts `slot` where its deadline belongs; call it again when the deadline moves. A deadline in
    // the past is due at the next advance(); a slot with kNever is left unscheduled. A deadline
    // that only moves later may be changed without this call: the wheel looks again before it
    // reports. O(1). REQUIRES: slot < 2^31.
    void schedule(Nodes& nodes, std::uint32_t slot) {
        assert(!is_head(slot));
        cancel(nodes, slot);
        place(nodes, slot);
    }

    // Takes `slot` out; harmless when it is not scheduled. O(1).
    void cancel(Nodes& nodes, std::uint32_t slot) {
        if (nodes.wheel_next(slot) != kNil) {
            unlink(nodes, slot);
        }
    }

    // Calls expired(slot) for the slots whose deadline is not after `now`, each already unlinked,
    // and returns the work done: slots reported, moved to a finer level or looked at. At `limit` it
    // stops and the next call goes on; less than `limit` means that nothing due is left. The
    // callback may schedule and cancel any slot; what it throws passes through and leaves the wheel
    // consistent. `now` may lie before the last one seen, where the clock has stepped back.
    template <class F>
    std::size_t advance(Nodes& nodes, Instant now, std::size_t limit, F&& expired) {
        now_ = std::min(now, kNever - Nanos{1});  // kNever itself never comes
        std::size_t work = 0;
        while (work < limit) {
            if (const std::uint32_t bucket = bucket_to_cascade(); bucket != kNil) {
                ++work;
                place(nodes, pop_front(nodes, bucket));
            } else if (!is_empty(kReady)) {
                ++work;
                const std::uint32_t slot = pop_front(nodes, kReady);
                if (nodes.deadline(slot) <= now_) {
                    expired(slot);
                } else {
                    place(nodes, slot);
                }
            } else if (waiting_min_ <= now_) {
                // Every slot that goes back to waiting is later than now_: one pass is enough.
                waiting_min_ = kNever;
                splice(nodes, kWaiting, kReady);
            } else if (!step(nodes)) {
                break;
            }
        }
        return work;
    }

    // A time before which advance() has nothing to report: never later than the earliest deadline,
    // nor than the last `now` while work is left over from it; kNever for an empty wheel.
    // O(levels).
    [[nodiscard]] Instant next_deadline_hint() const noexcept {
        if (!is_empty(kReady) || bucket_to_cascade() != kNil) {
            return now_;
        }
        const Bucket next = next_bucket();
        const Instant coming = next.head == kNil ? kNever : Instant{Nanos{next.tick << kTickBits}};
        return std::min(coming, waiting_min_);
    }

    // Forgets everything without touching a slot. O(buckets). REQUIRES: the owner drops or resets
    // the links of all slots, since they still name this wheel.
    void clear() noexcept {
        for (std::uint32_t i = 0; i < kHeads; ++i) {
            heads_[i] = {kHeadBit | i, kHeadBit | i};
        }
        used_.fill(0);
        waiting_min_ = kNever;
    }

  private:
    static constexpr int kTickBits = 20;
    static constexpr int kLevelBits = 6;
    static constexpr int kLevels = 5;
    static constexpr int kTop = kLevels - 1;
    static constexpr std::int64_t kBuckets = 1 << kLevelBits;
    static constexpr std::uint32_t kHeads = kLevels * kBuckets + 2;
    static constexpr std::uint32_t kHeadBit = 0x8000'0000;
    // Two lists beside the buckets, both of the current tick. Ready: to be looked at. Waiting:
    // looked at and found to be due later within the tick, not before waiting_min_.
    static constexpr std::uint32_t kReady = kHeadBit | (kHeads - 2);
    static constexpr std::uint32_t kWaiting = kHeadBit | (kHeads - 1);

    struct Links {
        std::uint32_t next;
        std::uint32_t prev;
    };
    struct Bucket {
        std::uint32_t head;  // kNil: there is none
        std::int64_t tick;   // its first tick
    };

    static constexpr std::int64_t tick_of(Instant at) noexcept {
        return at.time_since_epoch().count() >> kTickBits;
    }
    // Which bucket of `level` a tick falls into.
    static constexpr std::uint32_t index_at(std::int64_t tick, int level) noexcept {
        return static_cast<std::uint32_t>((tick >> (kLevelBits * level)) & (kBuckets - 1));
    }
    static constexpr std::uint32_t head_of(int level, std::uint32_t index) noexcept {
        return kHeadBit | (static_cast<std::uint32_t>(level) << kLevelBits) | index;
    }
    static constexpr bool is_head(std::uint32_t link) noexcept { return (link & kHeadBit) != 0; }

    std::uint32_t& next(Nodes& nodes, std::uint32_t link) {
        return is_head(link) ? heads_[link & ~kHeadBit].next : nodes.wheel_next(link);
    }
    std::uint32_t& prev(Nodes& nodes, std::uint32_t link) {
        return is_head(link) ? heads_[link & ~kHeadBit].prev : nodes.wheel_prev(link);
    }
    [[nodiscard]] bool is_empty(std::uint32_t head) const noexcept {
        return heads_[head & ~kHeadBit].next == head;
    }

    // Links `slot`, which is in no list, where its deadline belongs as seen from the current tick:
    // at the level of the highest group of bits in which the two differ. Therefore all slots of a
    // level lie ahead of the current bucket of that level and share everything above it, and a
    // finer level is always due before a coarser one.
    void place(Nodes& nodes, std::uint32_t slot) {
        const Instant at = nodes.deadline(slot);
        const std::int64_t tick = tick_of(at);
        if (at == kNever) {
            return;
        }
        if (tick > tick_) {
            append(nodes, bucket_for(tick), slot);
        } else if (at <= now_) {
            append(nodes, kReady, slot);
        } else {
            append(nodes, kWaiting, slot);
            waiting_min_ = std::min(waiting_min_, at);
        }
    }

    // REQUIRES: tick > tick_.
    [[nodiscard]] std::uint32_t bucket_for(std::int64_t tick) const noexcept {
        constexpr int kShift = kLevelBits * kTop;
        const std::int64_t ahead = (tick >> kShift) - (tick_ >> kShift);
        if (ahead > 0) {
            // The top level is a circle; too far ahead means as far as it goes.
            const std::int64_t reach = std::min(ahead, kBuckets - 1);
            return head_of(kTop, index_at((tick_ >> kShift) + reach, 0));
        }
        const auto differing = static_cast<std::uint64_t>(tick ^ tick_);
        const int level = (63 - std::countl_zero(differing)) / kLevelBits;
        return head_of(level, index_at(tick, level));
    }

    // The bucket that began with the current tick and still holds slots for finer levels, or kNil.
    [[nodiscard]] std::uint32_t bucket_to_cascade() const noexcept {
        for (int level = kTop; level > 0; --level) {
            const std::uint32_t index = index_at(tick_, level);
            if ((used_[static_cast<std::size_t>(level)] >> index & 1) != 0) {
                return head_of(level, index);
            }
        }
        return kNil;
    }

    // The earliest bucket in use after the current tick.
    [[nodiscard]] Bucket next_bucket() const noexcept {
        for (int level = 0; level < kLevels; ++level) {
            const std::uint32_t index = index_at(tick_, level);
            // Bit i of `ahead` is the bucket i steps on. Below the top nothing lies behind `index`.
            const std::uint64_t ahead =
                std::rotr(used_[static_cast<std::size_t>(level)], static_cast<int>(index));
            if (ahead != 0) {
                const int shift = kLevelBits * level;
                const std::int64_t tick = ((tick_ >> shift) + std::countr_zero(ahead)) << shift;
                return {head_of(level, index_at(tick, level)), tick};
            }
        }
        return {kNil, 0};
    }

    // Moves the current tick on to the next bucket in use, or to the tick of now_ when none is due.
    // Returns whether there is something to do there.
    // REQUIRES: nothing is left to do in the current tick.
    bool step(Nodes& nodes) {
        const std::int64_t target = tick_of(now_);
        const Bucket bucket = next_bucket();
        if (bucket.head == kNil || bucket.tick > target) {
            tick_ =
                std::max(tick_, target);  // The clock may have stepped back, the wheel does not.
            return false;
        }
        tick_ = bucket.tick;
        if (bucket.head < head_of(1, 0)) {
            splice(nodes, bucket.head, kReady);
        }
        return true;
    }

    void append(Nodes& nodes, std::uint32_t head, std::uint32_t slot) {
        const std::uint32_t last = prev(nodes, head);
        nodes.wheel_next(slot) = head;
        nodes.wheel_prev(slot) = last;
        next(nodes, last) = slot;
        prev(nodes, head) = slot;
        mark(head, true);
    }

    void unlink(Nodes& nodes, std::uint32_t slot) {
        const std::uint32_t after = nodes.wheel_next(slot);
        const std::uint32_t before = nodes.wheel_prev(slot);
        next(nodes, before) = after;
        prev(nodes, after) = before;
        nodes.wheel_next(slot) = kNil;
        nodes.wheel_prev(slot) = kNil;
        if (after == before && is_head(after)) {
            mark(after, false);
        }
    }

    std::uint32_t pop_front(Nodes& nodes, std::uint32_t head) {
        const std::uint32_t slot = heads_[head & ~kHeadBit].next;
        unlink(nodes, slot);
        return slot;
    }

    // Moves the whole list of `from` to the empty list of `to`. O(1).
    void splice(Nodes& nodes, std::uint32_t from, std::uint32_t to) {
        if (is_empty(from)) {
            return;
        }
        Links& source = heads_[from & ~kHeadBit];
        heads_[to & ~kHeadBit] = source;
        prev(nodes, source.next) = to;
        next(nodes, source.prev) = to;
        source = {from, from};
        mark(from, false);
    }

    // Notes in the bitmap whether a bucket is in use.
    void mark(std::uint32_t head, bool used) noexcept {
        const std::uint32_t number = head & ~kHeadBit;
        if (number >= kHeads - 2) {
            return;
        }
        std::uint64_t& bits = used_[number >> kLevelBits];
        const std::uint64_t bit = std::uint64_t{1} << (number & (kBuckets - 1));
        bits = used ? bits | bit : bits & ~bit;
    }

    std::array<Links, kHeads> heads_;
    std::array<std::uint64_t, kLevels> used_;
    Instant now_;          // the time seen last
    Instant waiting_min_;  // not later than any deadline in kWaiting
    std::int64_t tick_;    // how far the wheel has turned: no slot in a bucket is before it
};

}  // namespace millpond
