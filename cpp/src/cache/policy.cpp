#include "millpond/cache/policy.hpp"

#include <algorithm>
#include <new>

#include "entry_list.hpp"
#include "lfu.hpp"
#include "millpond/base/error.hpp"
#include "millpond/cache/ghost_queue.hpp"

namespace millpond::cache {
namespace {

class Lru final : public Policy {
  public:
    Lru() : Policy(0, true) {}
    void insert(Entries& entries, Slot slot) override { list_.push_front(entries, slot); }
    void hit(Entries& entries, Slot slot) noexcept override { list_.move_to_front(entries, slot); }
    void remove(Entries& entries, Slot slot) noexcept override { list_.remove(entries, slot); }
    Slot victim(Entries&) noexcept override { return list_.back(); }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept override { return 0; }

  private:
    EntryList list_;
};

class Fifo final : public Policy {
  public:
    Fifo() : Policy(0, false) {}
    void insert(Entries& entries, Slot slot) override { list_.push_front(entries, slot); }
    void hit(Entries&, Slot) noexcept override {}
    void remove(Entries& entries, Slot slot) noexcept override { list_.remove(entries, slot); }
    Slot victim(Entries&) noexcept override { return list_.back(); }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept override { return 0; }

  private:
    EntryList list_;
};

// One queue and a hand that goes from old to new, sparing what was used since it last came by.
class Sieve final : public Policy {
  public:
    Sieve() : Policy(1, false) {}
    void insert(Entries& entries, Slot slot) override {
        entries[slot].frequency = 0;
        list_.push_front(entries, slot);
    }
    void hit(Entries& entries, Slot slot) noexcept override { entries[slot].frequency = 1; }
    void remove(Entries& entries, Slot slot) noexcept override {
        if (hand_ == slot) {
            hand_ = entries[slot].prev;
        }
        list_.remove(entries, slot);
    }
    Slot victim(Entries& entries) noexcept override {
        Slot at = hand_ == kNoSlot ? list_.back() : hand_;
        while (entries[at].frequency != 0) {
            entries[at].frequency = 0;
            at = entries[at].prev == kNoSlot ? list_.back() : entries[at].prev;
        }
        hand_ = at;
        return at;
    }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept override { return 0; }

  private:
    EntryList list_;
    Slot hand_ = kNoSlot;
};

// A small queue for newcomers and a main one for those that were used twice there or came back soon
// after leaving it. As in the paper, small is a tenth and there are as many ghosts as main has room.
class S3Fifo final : public Policy {
  public:
    explicit S3Fifo(Measure measure) : Policy(3, false), measure_(measure) {}

    void insert(Entries& entries, Slot slot) override {
        Entry& entry = entries[slot];
        entry.frequency = 0;
        enter(entries, slot, ghosts_.take(entry.hash) != 0 ? kMain : kSmall);
    }

    void hit(Entries& entries, Slot slot) noexcept override {
        Entry& entry = entries[slot];
        if (entry.frequency < bump_limit) {
            ++entry.frequency;
        }
    }

    void remove(Entries& entries, Slot slot) noexcept override {
        const Entry& entry = entries[slot];
        if (slot == chosen_) {
            chosen_ = kNoSlot;
            if (entry.queue == kSmall) {
                remember(entry.hash);
            }
        }
        leave(entries, slot);
    }

    Slot victim(Entries& entries) noexcept override {
        const std::uint64_t total = queues_[kSmall].units + queues_[kMain].units;
        const bool small_is_full = queues_[kSmall].units >= std::max<std::uint64_t>(1, total / 10);
        chosen_ = kNoSlot;
        if (small_is_full || queues_[kMain].list.empty()) {
            chosen_ = victim_of_small(entries);
        }
        if (chosen_ == kNoSlot) {
            chosen_ = victim_of_main(entries);
        }
        return chosen_;
    }

    void reweigh(Entries& entries, Slot slot, std::uint32_t old_weight) noexcept override {
        const Entry& entry = entries[slot];
        if (measure_ == Measure::Weight) {
            queues_[entry.queue].units += std::uint64_t{entry.weight} - old_weight;
        }
    }

    [[nodiscard]] std::size_t allocated_bytes() const noexcept override {
        return ghosts_.allocated_bytes();
    }

  private:
    static constexpr std::uint8_t kSmall = 0;
    static constexpr std::uint8_t kMain = 1;

    struct Queue {
        EntryList list;
        std::uint64_t units = 0;
    };

    [[nodiscard]] std::uint64_t units_of(const Entry& entry) const noexcept {
        return measure_ == Measure::Weight ? entry.weight : 1;
    }
    void enter(Entries& entries, Slot slot, std::uint8_t queue) noexcept {
        entries[slot].queue = queue;
        queues_[queue].list.push_front(entries, slot);
        queues_[queue].units += units_of(entries[slot]);
        ++count_;
    }
    void leave(Entries& entries, Slot slot) noexcept {
        Queue& queue = queues_[entries[slot].queue];
        queue.list.remove(entries, slot);
        queue.units -= units_of(entries[slot]);
        --count_;
    }
    // Promotes what was used twice, down to the first that was not; kNoSlot when all were.
    [[nodiscard]] Slot victim_of_small(Entries& entries) noexcept {
        for (;;) {
            const Slot slot = queues_[kSmall].list.back();
            if (slot == kNoSlot || entries[slot].frequency < 2) {
                return slot;
            }
            leave(entries, slot);
            entries[slot].frequency = 0;
            enter(entries, slot, kMain);
        }
    }
    // Spares what was used, at the price of one use.
    [[nodiscard]] Slot victim_of_main(Entries& entries) noexcept {
        for (;;) {
            const Slot slot = queues_[kMain].list.back();
            if (entries[slot].frequency == 0) {
                return slot;
            }
            --entries[slot].frequency;
            queues_[kMain].list.move_to_front(entries, slot);
        }
    }
    void remember(Hash hash) noexcept {
        try {
            ghosts_.push(hash, std::max<std::size_t>(1, count_ * 9 / 10));
        } catch (const std::bad_alloc&) {
            return;  // Without room for ghosts the policy is merely less clever.
        }
    }

    Measure measure_;
    Queue queues_[2];
    std::size_t count_ = 0;
    Slot chosen_ = kNoSlot;
    GhostQueue ghosts_;
};

}  // namespace

std::unique_ptr<Policy> make_policy(PolicyKind kind, Measure measure) {
    switch (kind) {
        case PolicyKind::Lru: return std::make_unique<Lru>();
        case PolicyKind::Lfu: return std::make_unique<Lfu>();
        case PolicyKind::Fifo: return std::make_unique<Fifo>();
        case PolicyKind::Sieve: return std::make_unique<Sieve>();
        case PolicyKind::S3Fifo: return std::make_unique<S3Fifo>(measure);
    }
    throw Error(ErrorCode::InvalidArgument, "policy: not one of the PolicyKind values");
}

}  // namespace millpond::cache
