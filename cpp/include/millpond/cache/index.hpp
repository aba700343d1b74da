// Index: from a hash to a slot. Open addressing over 32-bit words, each a slot and as many bits of
// the hash as fit beside it, so that a probe that goes on rarely touches an entry.
//
// Growing never stalls: a full table is kept beside its successor, and every insertion or removal
// moves a bounded run of its words, so the move ends long before the successor is full. Its memory
// goes bit by bit as well: giving back tens of megabytes at once takes milliseconds.
// Not thread-safe: the store's lock covers it.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "millpond/base/slab.hpp"
#include "millpond/cache/entry.hpp"

namespace millpond::cache {

class Index {
  public:
    static constexpr std::size_t kMovedPerOperation = 16;

    Index() : current_(kFirstCapacity) {}

    // The first slot of `hash` for which match(slot) holds, or kNoSlot. `match` sees every slot with
    // this hash and a few others, and must not change the index.
    template <class Match>
    [[nodiscard]] Slot find(Hash hash, Match&& match) const {
        const Slot slot = current_.find(hash, match);
        if (slot != kNoSlot || previous_.empty()) [[likely]] {
            return slot;
        }
        return previous_.find_left(hash, match);
    }

    // The same, but while the table grows it may say kNoSlot of what find() would find: for callers
    // that then look again.
    template <class Match>
    [[nodiscard]] Slot find_quickly(Hash hash, Match&& match) const {
        return current_.find(hash, match);
    }

    // Adds `slot`, which must not be in the index. hash_of(slot) gives the hash of any slot in it.
    // Throws std::bad_alloc and changes nothing.
    template <class HashOf>
    void insert(Hash hash, Slot slot, HashOf&& hash_of) {
        if (needs_room(slot)) {
            grow(slot, hash_of);
        }
        move_some(hash_of);
        current_.insert(hash, slot);
        ++count_;
    }

    // Removes `slot`, which must be in the index under `hash`.
    template <class HashOf>
    void erase(Hash hash, Slot slot, HashOf&& hash_of) noexcept {
        move_some(hash_of);
        if (!current_.erase(hash, slot, hash_of)) {
            const bool found = previous_.bury(hash, slot);
            assert(found);
            (void)found;
        }
        --count_;
    }

    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept {
        return (current_.words() + previous_.words()) * sizeof(std::uint32_t);
    }
    [[nodiscard]] bool growing() const noexcept { return !previous_.empty(); }

  private:
    static constexpr std::size_t kFirstCapacity = 16;
    // How many words of the older table are given back at a time.
    static constexpr std::size_t kTrimmed = std::size_t{1} << 16;
    static constexpr std::uint32_t kEmpty = 0;
    // Stands where a word was moved away or removed from the older table: probes go on past it.
    static constexpr std::uint32_t kBuried = 0xFFFFFFFFU;

    // A word is (slot + 1) in the low bits and a piece of the hash above them. The older table is
    // emptied from its end and loses its tail; what it has lost counts as buried.
    class Table {
      public:
        Table() = default;
        explicit Table(std::size_t capacity)
            : words_(static_cast<std::uint32_t*>(std::calloc(capacity, sizeof(std::uint32_t)))),
              mask_(capacity - 1),
              left_(capacity),
              slot_mask_(static_cast<std::uint32_t>(2 * capacity - 1)) {
            if (words_ == nullptr) {
                throw std::bad_alloc();
            }
        }

        [[nodiscard]] bool empty() const noexcept { return words_ == nullptr; }
        [[nodiscard]] std::size_t capacity() const noexcept { return empty() ? 0 : mask_ + 1; }
        // Words that are still there.
        [[nodiscard]] std::size_t words() const noexcept { return left_; }
        // Slots up to here fit into a word, whatever the hash, without making a grave of it.
        [[nodiscard]] static std::size_t slot_limit(std::size_t capacity) noexcept {
            return 2 * capacity - 3;
        }

        // REQUIRES: no graves, the tail is there.
        template <class Match>
        [[nodiscard]] Slot find(Hash hash, Match&& match) const {
            const std::uint32_t* const words = words_.get();
            const std::uint32_t tag = tag_of(hash);
            for (std::size_t at = hash & mask_;; at = (at + 1) & mask_) {
                const std::uint32_t word = words[at];
                if (word == kEmpty) {
                    return kNoSlot;
                }
                if ((word & ~slot_mask_) == tag) {
                    const Slot slot = (word & slot_mask_) - 1;
                    if (match(slot)) {
                        return slot;
                    }
                }
            }
        }

        // The same in a table that may have lost its tail.
        template <class Match>
        [[nodiscard]] Slot find_left(Hash hash, Match&& match) const {
            Slot found = kNoSlot;
            walk(hash, [&](std::size_t at) {
                const std::uint32_t word = words_.get()[at];
                const Slot slot = (word & slot_mask_) - 1;
                if ((word & ~slot_mask_) == tag_of(hash) && word != kBuried && match(slot)) {
                    found = slot;
                }
                return found != kNoSlot;
            });
            return found;
        }

        void insert(Hash hash, Slot slot) noexcept {
            std::size_t at = hash & mask_;
            while (words_.get()[at] != kEmpty) {
                at = (at + 1) & mask_;
            }
            words_.get()[at] = tag_of(hash) | (slot + 1);
        }

        // Closes the gap by moving later words of the run back, so that no grave is left behind.
        template <class HashOf>
        bool erase(Hash hash, Slot slot, HashOf&& hash_of) noexcept {
            std::uint32_t* const words = words_.get();
            std::size_t gap = 0;
            if (!locate(hash, slot, gap)) {
                return false;
            }
            for (std::size_t at = (gap + 1) & mask_; words[at] != kEmpty; at = (at + 1) & mask_) {
                const Slot moved = (words[at] & slot_mask_) - 1;
                const std::size_t home = hash_of(moved) & mask_;
                if (((at - home) & mask_) >= ((at - gap) & mask_)) {
                    words[gap] = words[at];
                    gap = at;
                }
            }
            words[gap] = kEmpty;
            return true;
        }

        bool bury(Hash hash, Slot slot) noexcept {
            const std::uint32_t wanted = tag_of(hash) | (slot + 1);
            return walk(hash, [&](std::size_t at) {
                if (words_.get()[at] != wanted) {
                    return false;
                }
                words_.get()[at] = kBuried;
                return true;
            });
        }

        // Takes the slot at `at` out, leaving a grave, or returns kNoSlot where there is none.
        [[nodiscard]] Slot take(std::size_t at) noexcept {
            const std::uint32_t word = words_.get()[at];
            if (word == kEmpty || word == kBuried) {
                return kNoSlot;
            }
            words_.get()[at] = kBuried;
            return (word & slot_mask_) - 1;
        }

        // Gives the words from `left` on back; they have all been taken. Where there is no memory
        // even for less memory, they stay.
        void trim(std::size_t left) noexcept {
            void* const smaller = std::realloc(words_.get(), left * sizeof(std::uint32_t));
            if (smaller != nullptr) {
                (void)words_.release();
                words_.reset(static_cast<std::uint32_t*>(smaller));
                left_ = left;
            }
        }

      private:
        struct Free {
            void operator()(std::uint32_t* words) const noexcept { std::free(words); }
        };

        [[nodiscard]] std::uint32_t tag_of(Hash hash) const noexcept {
            return static_cast<std::uint32_t>(hash >> 32) & ~slot_mask_;
        }

        // Calls visit(position) along the run of `hash` until it says that this is it; whether it
        // did. Ends even where no word is empty.
        template <class Visit>
        bool walk(Hash hash, Visit&& visit) const {
            const std::size_t home = std::min<std::size_t>(hash & mask_, left_);
            for (std::size_t step = 0; step < left_; ++step) {
                const std::size_t at = home + step < left_ ? home + step : home + step - left_;
                if (words_.get()[at] == kEmpty) {
                    return false;
                }
                if (visit(at)) {
                    return true;
                }
            }
            return false;
        }

        [[nodiscard]] bool locate(Hash hash, Slot slot, std::size_t& at) const noexcept {
            const std::uint32_t wanted = tag_of(hash) | (slot + 1);
            at = hash & mask_;
            while (words_.get()[at] != wanted) {
                if (words_.get()[at] == kEmpty) {
                    return false;
                }
                at = (at + 1) & mask_;
            }
            return true;
        }

        std::unique_ptr<std::uint32_t, Free> words_;
        std::size_t mask_ = 0;
        std::size_t left_ = 0;
        std::uint32_t slot_mask_ = 0;
    };

    [[nodiscard]] bool needs_room(Slot slot) const noexcept {
        return (count_ + 1) * 4 > current_.capacity() * 3 ||
               slot > Table::slot_limit(current_.capacity());
    }

    template <class HashOf>
    void grow(Slot slot, HashOf&& hash_of) {
        while (!previous_.empty()) {  // Only when the table is tiny or slots outran entries.
            move_some(hash_of);
        }
        std::size_t capacity = current_.capacity() * 2;
        while (slot > Table::slot_limit(capacity)) {
            capacity *= 2;
        }
        Table larger(capacity);
        previous_ = std::exchange(current_, std::move(larger));
        cursor_ = previous_.capacity();
    }

    template <class HashOf>
    void move_some(HashOf&& hash_of) noexcept {
        if (previous_.empty()) [[likely]] {
            return;
        }
        const std::size_t stop = cursor_ - std::min(cursor_, kMovedPerOperation);
        while (cursor_ > stop) {
            const Slot slot = previous_.take(--cursor_);
            if (slot != kNoSlot) {
                current_.insert(hash_of(slot), slot);
            }
        }
        if (cursor_ == 0) {
            previous_ = Table();
        } else if (cursor_ % kTrimmed == 0) {
            previous_.trim(cursor_);
        }
    }

    Table current_;
    Table previous_;
    std::size_t cursor_ = 0;  // words of the older table that are still to be moved
    std::size_t count_ = 0;
};

}  // namespace millpond::cache
