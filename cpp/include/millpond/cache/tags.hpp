// TagIndex: which entries carry a tag, so that a tag is invalidated in time proportional to its own
// entries. A tag is known by a 64-bit hash of its text: two texts that share one are invalidated
// together, which costs a miss and is never wrong.
// Not thread-safe: the store's lock covers it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "millpond/base/slab.hpp"

namespace millpond::cache {

using TagHash = std::uint64_t;

class TagIndex {
  public:
    // Adds `tag` to `slot`; a tag given twice is kept once. O(tags of the slot).
    // Throws std::bad_alloc and changes nothing.
    void attach(Slot slot, TagHash tag);

    // Takes every tag off `slot`. O(tags of the slot).
    void detach_all(Slot slot) noexcept;

    // Some slot that carries `tag`, or kNoSlot. O(1).
    [[nodiscard]] Slot first(TagHash tag) const noexcept;

    // How many slots carry `tag`. O(1).
    [[nodiscard]] std::size_t count(TagHash tag) const noexcept;

    // Calls visit(tag) for each tag of `slot`.
    template <class Visit>
    void for_each(Slot slot, Visit&& visit) const {
        for (Slot at = head(slot); at != kNoSlot; at = nodes_[at].sibling) {
            visit(records_[nodes_[at].record].tag);
        }
    }

    // Calls visit(slot) for each slot that carries `tag`. `visit` must not change the index.
    template <class Visit>
    void for_each_slot(TagHash tag, Visit&& visit) const {
        const auto found = by_tag_.find(tag);
        if (found != by_tag_.end()) {
            for (Slot at = records_[found->second].first; at != kNoSlot; at = nodes_[at].next) {
                visit(nodes_[at].slot);
            }
        }
    }

    // Tags that some slot carries.
    [[nodiscard]] std::size_t tags() const noexcept { return by_tag_.size(); }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept;

  private:
    // One tag on one slot: a link in the list of the tag and in the list of the slot.
    struct Node {
        Slot slot = kNoSlot;
        Slot prev = kNoSlot;
        Slot next = kNoSlot;
        Slot sibling = kNoSlot;
        Slot record = kNoSlot;
    };
    struct Record {
        TagHash tag = 0;
        Slot first = kNoSlot;
        std::uint32_t count = 0;
        Slot next = kNoSlot;
    };

    [[nodiscard]] Slot head(Slot slot) const noexcept {
        return slot < heads_.reserved() ? heads_[slot] - 1 : kNoSlot;
    }
    [[nodiscard]] Slot record_of(TagHash tag);

    std::unordered_map<TagHash, Slot> by_tag_;
    Slab<Record, 6> records_;
    Slab<Node, 8> nodes_;
    Column<Slot> heads_;  // per slot, one past its first node: zero is kNoSlot + 1
};

}  // namespace millpond::cache
