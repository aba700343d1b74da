// EntryList: a doubly linked list through Entry::prev and Entry::next; the front is the newest.
#pragma once

#include "millpond/cache/entry.hpp"

namespace millpond::cache {

class EntryList {
  public:
    void push_front(Entries& entries, Slot slot) noexcept {
        Entry& entry = entries[slot];
        entry.prev = kNoSlot;
        entry.next = front_;
        (front_ == kNoSlot ? back_ : entries[front_].prev) = slot;
        front_ = slot;
    }

    void remove(Entries& entries, Slot slot) noexcept {
        const Entry& entry = entries[slot];
        (entry.prev == kNoSlot ? front_ : entries[entry.prev].next) = entry.next;
        (entry.next == kNoSlot ? back_ : entries[entry.next].prev) = entry.prev;
    }

    void move_to_front(Entries& entries, Slot slot) noexcept {
        if (slot != front_) {
            remove(entries, slot);
            push_front(entries, slot);
        }
    }

    [[nodiscard]] Slot front() const noexcept { return front_; }
    [[nodiscard]] Slot back() const noexcept { return back_; }
    [[nodiscard]] bool empty() const noexcept { return front_ == kNoSlot; }

  private:
    Slot front_ = kNoSlot;
    Slot back_ = kNoSlot;
};

}  // namespace millpond::cache
