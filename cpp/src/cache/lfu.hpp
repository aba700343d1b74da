// Lfu: buckets of equal frequency in rising order; the victim is the oldest of the lowest bucket.
// Every operation is O(1), after Shah, Mitra and Matani (2010).
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "entry_list.hpp"
#include "millpond/cache/policy.hpp"

namespace millpond::cache {

class Lfu final : public Policy {
  public:
    Lfu() : Policy(0, true) {}

    void insert(Entries& entries, Slot slot) override {
        bucket_of_.reserve(std::size_t{slot} + 1);
        if (lowest_ == kNoSlot || buckets_[lowest_].frequency != 1) {
            try {
                lowest_ = new_bucket(1, kNoSlot, lowest_);
            } catch (const std::bad_alloc&) {
                if (lowest_ == kNoSlot) {
                    throw;
                }  // Else it counts as used as often as the least used one.
            }
        }
        place(entries, slot, lowest_);
    }

    void hit(Entries& entries, Slot slot) noexcept override {
        const Slot from = bucket_of_[slot];
        const std::uint64_t frequency = buckets_[from].frequency + 1;
        const Slot above = buckets_[from].next;
        Slot to = above;
        if (above == kNoSlot || buckets_[above].frequency != frequency) {
            if (buckets_[from].only(slot)) {
                buckets_[from].frequency = frequency;
                return;
            }
            try {
                to = new_bucket(frequency, from, above);
            } catch (const std::bad_alloc&) {
                return;  // The hit goes uncounted.
            }
        }
        take(entries, slot);
        place(entries, slot, to);
    }

    void remove(Entries& entries, Slot slot) noexcept override { take(entries, slot); }
    Slot victim(Entries&) noexcept override { return buckets_[lowest_].list.back(); }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept override {
        return bucket_of_.allocated_bytes() + buckets_.allocated_bytes();
    }

  private:
    struct Bucket {
        std::uint64_t frequency = 0;
        EntryList list;
        Slot prev = kNoSlot;
        Slot next = kNoSlot;
        [[nodiscard]] bool only(Slot slot) const noexcept {
            return list.front() == slot && list.back() == slot;
        }
    };

    Slot new_bucket(std::uint64_t frequency, Slot below, Slot above) {
        const Slot at = buckets_.acquire();
        Bucket& bucket = buckets_[at];
        bucket = Bucket{};
        bucket.frequency = frequency;
        bucket.prev = below;
        bucket.next = above;
        if (below != kNoSlot) {
            buckets_[below].next = at;
        }
        if (above != kNoSlot) {
            buckets_[above].prev = at;
        }
        return at;
    }

    void place(Entries& entries, Slot slot, Slot bucket) noexcept {
        buckets_[bucket].list.push_front(entries, slot);
        bucket_of_[slot] = bucket;
    }

    void take(Entries& entries, Slot slot) noexcept {
        const Slot at = bucket_of_[slot];
        Bucket& bucket = buckets_[at];
        bucket.list.remove(entries, slot);
        if (!bucket.list.empty()) {
            return;
        }
        (bucket.prev == kNoSlot ? lowest_ : buckets_[bucket.prev].next) = bucket.next;
        if (bucket.next != kNoSlot) {
            buckets_[bucket.next].prev = bucket.prev;
        }
        buckets_.release(at);
    }

    Column<Slot> bucket_of_;
    Slab<Bucket, 6> buckets_;
    Slot lowest_ = kNoSlot;
};

}  // namespace millpond::cache
