#include "millpond/cache/journal.hpp"

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

namespace millpond::cache {

// ---- Queue

void Journal::Queue::push_back(Item item) {
    items_.push_back(std::move(item));
    try {
        index_.insert(items_.back().text);
    } catch (...) {
        items_.pop_back();
        throw;
    }
}

Journal::Item Journal::Queue::pop_front() {
    index_.erase(items_.front().text);
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
}

void Journal::Queue::clear() noexcept {
    index_.clear();
    items_.clear();
}

bool Journal::Queue::push_front(Item& item) {
    if (index_.contains(item.text)) {
        return false;
    }
    items_.push_front(std::move(item));
    try {
        index_.insert(items_.front().text);
    } catch (...) {
        item = std::move(items_.front());
        items_.pop_front();
        throw;
    }
    return true;
}

// ---- Journal

void Journal::add(PendingKind kind, std::string_view text) {
    assert(kind != PendingKind::Everything);
    Queue& items = queue(kind);
    if (everything_ || items.holds(text)) {
        return;
    }
    const bool room = names_.size() + keys_.size() + out_.size() < limits_.items &&
                      bytes_ + weight(text) <= limits_.bytes;
    if (!room) {
        ++overflows_;
        add_everything();
        return;
    }
    try {
        items.push_back({next_, std::string(text)});
    } catch (...) {
        add_everything();
        throw;
    }
    ++next_;
    bytes_ += weight(text);
}

void Journal::add_everything() noexcept {
    everything_ = true;
    names_.clear();
    keys_.clear();
    bytes_ = 0;
    for (const Item& item : out_) {
        bytes_ += weight(item.text);
    }
}

std::optional<Journal::Batch> Journal::take(std::size_t most, Instant now) {
    assert(most > 0);
    if (is_out_ || now < resting_until_ || (!everything_ && names_.empty() && keys_.empty())) {
        return std::nullopt;
    }
    Batch batch;
    if (!everything_) {
        const bool names =
            keys_.empty() || (!names_.empty() && names_.front().number < keys_.front().number);
        batch.kind = names ? PendingKind::Names : PendingKind::Keys;
        Queue& items = queue(batch.kind);
        // All that may fail for want of memory comes before anything is taken.
        const std::size_t count = std::min(most, items.size());
        batch.items.reserve(count);
        items.for_first(count, [&](const Item& item) { batch.items.push_back(item.text); });
        out_.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
            out_.push_back(items.pop_front());
        }
    }
    everything_ = false;
    is_out_ = true;
    out_kind_ = batch.kind;
    batch.token = ++token_;
    return batch;
}

void Journal::end_batch() noexcept {
    for (const Item& item : out_) {
        bytes_ -= weight(item.text);
    }
    out_.clear();
    is_out_ = false;
}

bool Journal::done(std::uint64_t token) noexcept {
    if (!is_out_ || token != token_) {
        return false;
    }
    end_batch();
    return true;
}

bool Journal::failed(std::uint64_t token, Instant until) noexcept {
    if (!is_out_ || token != token_) {
        return false;
    }
    resting_until_ = until;
    std::vector<Item> items = std::move(out_);
    const PendingKind kind = out_kind_;
    is_out_ = false;
    out_.clear();
    if (everything_ || kind == PendingKind::Everything) {
        add_everything();
        return true;
    }
    try {
        for (auto item = items.rbegin(); item != items.rend(); ++item) {
            const std::size_t bytes = weight(item->text);
            if (!queue(kind).push_front(*item)) {
                bytes_ -= bytes;  // It has come again since, and is held already.
            }
        }
    } catch (const std::bad_alloc&) {
        add_everything();
    }
    return true;
}

}  // namespace millpond::cache
