// Journal: what was invalidated while a tier could not hear it. The tier is told before it is read
// again; until then its journal is not empty, and nothing of it may be served.
//
// An item is a generation name, to be bumped, or a key, to be deleted. Each is held once, however
// often it was invalidated, since one bump after the last of them covers all. What is added while
// its own replay is under way is held again: the replay may have reached the tier before.
//
//     while (const auto batch = journal.take(500)) {
//         ... tell the tier; then
//         journal.done(batch->token);       // or failed(): it is handed out again
//     }
//
// Batches are handed out one at a time, each of one kind, that of the oldest item, and within a kind
// in the order in which the items came. What is done is not handed out again.
//
// The journal is bounded. One item too many, and all of them give way to a single one: "everything",
// which stands for the bump of the tier's whole namespace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "millpond/base/clock.hpp"

namespace millpond::cache {

enum class PendingKind : std::uint8_t { Everything, Names, Keys };

struct JournalLimits {
    std::size_t items = 10'000;
    std::size_t bytes = std::size_t{4} << 20;  // of their texts, with kItemBytes for each
};

// Not thread-safe: the owner's lock (the GIL) covers it.
class Journal {
  public:
    // What an item takes beside its text, about.
    static constexpr std::size_t kItemBytes = 100;

    explicit Journal(const JournalLimits& limits = {}) : limits_(limits) {}

    // A generation name or a key was invalidated. O(1). Throws std::bad_alloc; then everything is
    // held to be invalidated, so that nothing is lost.
    void add(PendingKind kind, std::string_view text);
    // Anything may have been. O(items).
    void add_everything() noexcept;

    struct Batch {
        std::uint64_t token = 0;
        PendingKind kind = PendingKind::Everything;
        std::vector<std::string> items;  // none for Everything
    };
    // Up to `most` items to tell the tier now; nothing while a batch is out, before the time that
    // the last failure named, or if there are none. O(items of the batch). REQUIRES: most > 0.
    [[nodiscard]] std::optional<Batch> take(std::size_t most, Instant now = kNever);
    // The batch has been told, or not. False for one that is not out any longer. A tier that has
    // refused it is to be left alone until some time: else every call would try it again.
    bool done(std::uint64_t token) noexcept;
    bool failed(std::uint64_t token, Instant until = {}) noexcept;
    // For the child of a fork, in which nobody tells what was taken: it is handed out again.
    void forked() noexcept { failed(token_); }

    // Items that the tier has not heard of, those of the batch that is out too. Zero: it may be read.
    [[nodiscard]] std::size_t size() const noexcept {
        return names_.size() + keys_.size() + out_.size() +
               (everything_ || (is_out_ && out_kind_ == PendingKind::Everything) ? 1 : 0);
    }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
    // Whether everything is to be invalidated, what is out not counted.
    [[nodiscard]] bool everything() const noexcept { return everything_; }
    // How often it was too much to be held one by one.
    [[nodiscard]] std::uint64_t overflows() const noexcept { return overflows_; }

  private:
    struct Item {
        std::uint64_t number;  // by which the oldest is known
        std::string text;
    };
    // Items of one kind in their order, and what is in it. The texts are the queue's: an element of
    // a deque stays where it is while others come and go at the ends.
    class Queue {
      public:
        [[nodiscard]] bool holds(std::string_view text) const { return index_.contains(text); }
        // Throws std::bad_alloc and changes nothing.
        void push_back(Item item);
        [[nodiscard]] Item pop_front();
        [[nodiscard]] const Item& front() const { return items_.front(); }
        [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
        [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
        void clear() noexcept;
        // Puts back what was popped. False, and nothing is changed, if it has come again since.
        // Throws std::bad_alloc and changes nothing.
        [[nodiscard]] bool push_front(Item& item);
        template <class Visit>
        void for_first(std::size_t count, Visit&& visit) const {
            for (std::size_t i = 0; i < count; ++i) {
                visit(items_[i]);
            }
        }

      private:
        std::deque<Item> items_;
        std::unordered_set<std::string_view> index_;
    };

    [[nodiscard]] Queue& queue(PendingKind kind) noexcept {
        return kind == PendingKind::Names ? names_ : keys_;
    }
    [[nodiscard]] static std::size_t weight(std::string_view text) noexcept {
        return text.size() + kItemBytes;
    }
    void end_batch() noexcept;

    JournalLimits limits_;
    Queue names_;
    Queue keys_;
    std::vector<Item> out_;  // the batch that is out
    PendingKind out_kind_ = PendingKind::Everything;
    bool is_out_ = false;
    Instant resting_until_{};
    bool everything_ = false;
    std::size_t bytes_ = 0;
    std::uint64_t next_ = 1;
    std::uint64_t token_ = 0;
    std::uint64_t overflows_ = 0;
};

}  // namespace millpond::cache
