#include "millpond/cache/tags.hpp"

#include <cassert>

namespace millpond::cache {

Slot TagIndex::record_of(TagHash tag) {
    const auto found = by_tag_.find(tag);
    if (found != by_tag_.end()) {
        return found->second;
    }
    const Slot at = records_.acquire();
    records_[at] = Record{};
    records_[at].tag = tag;
    try {
        by_tag_.emplace(tag, at);
    } catch (...) {
        records_.release(at);
        throw;
    }
    return at;
}

void TagIndex::attach(Slot slot, TagHash tag) {
    for (Slot at = head(slot); at != kNoSlot; at = nodes_[at].sibling) {
        if (records_[nodes_[at].record].tag == tag) {
            return;
        }
    }
    heads_.reserve(std::size_t{slot} + 1);
    const Slot at = nodes_.acquire();
    Slot owner = kNoSlot;
    try {
        owner = record_of(tag);
    } catch (...) {
        nodes_.release(at);
        throw;
    }
    Record& record = records_[owner];
    Node& node = nodes_[at];
    node = Node{};
    node.slot = slot;
    node.record = owner;
    node.next = record.first;
    node.sibling = head(slot);
    if (record.first != kNoSlot) {
        nodes_[record.first].prev = at;
    }
    record.first = at;
    ++record.count;
    heads_[slot] = at + 1;
}

void TagIndex::detach_all(Slot slot) noexcept {
    Slot at = head(slot);
    if (at == kNoSlot) {
        return;
    }
    heads_[slot] = 0;
    while (at != kNoSlot) {
        const Node& node = nodes_[at];
        const Slot sibling = node.sibling;
        Record& record = records_[node.record];
        (node.prev == kNoSlot ? record.first : nodes_[node.prev].next) = node.next;
        if (node.next != kNoSlot) {
            nodes_[node.next].prev = node.prev;
        }
        if (--record.count == 0) {
            by_tag_.erase(record.tag);
            records_.release(node.record);
        }
        nodes_.release(at);
        at = sibling;
    }
}

Slot TagIndex::first(TagHash tag) const noexcept {
    const auto found = by_tag_.find(tag);
    return found == by_tag_.end() ? kNoSlot : nodes_[records_[found->second].first].slot;
}

std::size_t TagIndex::count(TagHash tag) const noexcept {
    const auto found = by_tag_.find(tag);
    return found == by_tag_.end() ? 0 : records_[found->second].count;
}

std::size_t TagIndex::allocated_bytes() const noexcept {
    // A node of the map: its link, the pair and the allocator's header.
    constexpr std::size_t kMapNode = sizeof(void*) * 2 + sizeof(std::pair<TagHash, Slot>);
    return by_tag_.bucket_count() * sizeof(void*) + by_tag_.size() * kMapNode +
           records_.allocated_bytes() + nodes_.allocated_bytes() + heads_.allocated_bytes();
}

}  // namespace millpond::cache
