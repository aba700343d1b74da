// The five policies at their plainest, written from their papers: a list, a dictionary or a queue of
// each entry, searched from end to end. The engine's must choose the same victim at every step.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "millpond/cache/ghost_queue.hpp"
#include "millpond/cache/policy.hpp"

namespace millpond::cache {

class PolicyModel {
  public:
    virtual ~PolicyModel() = default;
    virtual void insert(Slot slot, Hash hash, std::uint64_t weight) = 0;
    virtual void hit(Slot slot) = 0;
    virtual void remove(Slot slot) = 0;
    virtual void reweigh(Slot, std::uint64_t) {}
    virtual Slot victim() = 0;
};

class LruModel final : public PolicyModel {
  public:
    void insert(Slot slot, Hash, std::uint64_t) override { order_.push_front(slot); }
    void hit(Slot slot) override {
        order_.remove(slot);
        order_.push_front(slot);
    }
    void remove(Slot slot) override { order_.remove(slot); }
    Slot victim() override { return order_.back(); }

  private:
    std::list<Slot> order_;
};

class FifoModel final : public PolicyModel {
  public:
    void insert(Slot slot, Hash, std::uint64_t) override { order_.push_back(slot); }
    void hit(Slot) override {}
    void remove(Slot slot) override { std::erase(order_, slot); }
    Slot victim() override { return order_.front(); }

  private:
    std::deque<Slot> order_;
};

// Least often used first, and among those least recently.
class LfuModel final : public PolicyModel {
  public:
    void insert(Slot slot, Hash, std::uint64_t) override { uses_[slot] = {1, ++time_}; }
    void hit(Slot slot) override { uses_[slot] = {uses_[slot].first + 1, ++time_}; }
    void remove(Slot slot) override { uses_.erase(slot); }
    Slot victim() override {
        return std::min_element(uses_.begin(), uses_.end(),
                                [](auto& a, auto& b) { return a.second < b.second; })
            ->first;
    }

  private:
    std::map<Slot, std::pair<std::uint64_t, std::uint64_t>> uses_;  // how often, when last
    std::uint64_t time_ = 0;
};

// Zhang et al. (NSDI 2024), algorithm 1. Position 0 is the tail, the oldest.
class SieveModel final : public PolicyModel {
  public:
    void insert(Slot slot, Hash, std::uint64_t) override { queue_.push_back({slot, false}); }
    void hit(Slot slot) override { at(slot)->visited = true; }
    void remove(Slot slot) override {
        const auto found = at(slot);
        const auto position = static_cast<std::size_t>(found - queue_.begin());
        queue_.erase(found);
        // If the hand pointed at it, it points at the next newer one now, past the head at the tail.
        hand_ -= position < hand_ ? 1 : 0;
        hand_ = hand_ >= queue_.size() ? 0 : hand_;
    }
    Slot victim() override {
        while (queue_[hand_].visited) {
            queue_[hand_].visited = false;
            hand_ = hand_ + 1 < queue_.size() ? hand_ + 1 : 0;
        }
        return queue_[hand_].slot;
    }

  private:
    struct Object {
        Slot slot;
        bool visited;
    };
    std::vector<Object>::iterator at(Slot slot) {
        return std::ranges::find_if(queue_,
                                    [slot](const Object& object) { return object.slot == slot; });
    }
    std::vector<Object> queue_;
    std::size_t hand_ = 0;
};

// Yang et al. (SOSP 2023), algorithm 1, with small at a tenth and as many ghosts as nine tenths of
// the entries. The ghosts are either exact or the engine's own.
class S3FifoModel final : public PolicyModel {
  public:
    enum class Ghosts { Exact, Engine };
    S3FifoModel(Measure measure, Ghosts ghosts) : measure_(measure), ghosts_(ghosts) {}

    void insert(Slot slot, Hash hash, std::uint64_t weight) override {
        objects_[slot] = {hash, measure_ == Measure::Weight ? weight : 1, 0};
        (take_ghost(hash) ? main_ : small_).push_back(slot);
    }
    void hit(Slot slot) override { objects_[slot].uses = std::min(objects_[slot].uses + 1, 3); }
    void reweigh(Slot slot, std::uint64_t weight) override {
        objects_[slot].units = measure_ == Measure::Weight ? weight : 1;
    }
    void remove(Slot slot) override {
        if (slot == chosen_ && std::erase(small_, slot) > 0) {
            add_ghost(objects_[slot].hash);
        } else {
            std::erase(small_, slot);
            std::erase(main_, slot);
        }
        chosen_ = kNoSlot;
        objects_.erase(slot);
    }
    Slot victim() override {
        const std::uint64_t small = units(small_);
        const std::uint64_t tenth = std::max<std::uint64_t>(1, (small + units(main_)) / 10);
        if (small >= tenth || main_.empty()) {
            while (!small_.empty()) {
                const Slot slot = small_.front();
                if (objects_[slot].uses < 2) {
                    return chosen_ = slot;
                }
                objects_[slot].uses = 0;
                small_.pop_front();
                main_.push_back(slot);
            }
        }
        while (objects_[main_.front()].uses > 0) {
            --objects_[main_.front()].uses;
            main_.push_back(main_.front());
            main_.pop_front();
        }
        return chosen_ = main_.front();
    }

  private:
    struct Object {
        Hash hash;
        std::uint64_t units;
        int uses;
    };
    std::uint64_t units(const std::deque<Slot>& queue) {
        if (measure_ == Measure::Count) {
            return queue.size();
        }
        std::uint64_t sum = 0;
        for (const Slot slot : queue) {
            sum += objects_[slot].units;
        }
        return sum;
    }
    bool take_ghost(Hash hash) {
        return ghosts_ == Ghosts::Exact ? std::erase(exact_, hash) > 0 : engine_.take(hash) != 0;
    }
    void add_ghost(Hash hash) {
        const std::size_t capacity = std::max<std::size_t>(1, objects_.size() * 9 / 10);
        engine_.push(hash, capacity);
        exact_.push_back(hash);
        while (exact_.size() > capacity) {
            exact_.pop_front();
        }
    }

    Measure measure_;
    Ghosts ghosts_;
    std::map<Slot, Object> objects_;
    std::deque<Slot> small_;
    std::deque<Slot> main_;
    std::deque<Hash> exact_;
    GhostQueue engine_;
    Slot chosen_ = kNoSlot;
};

inline std::unique_ptr<PolicyModel> make_model(
    PolicyKind kind, Measure measure, S3FifoModel::Ghosts ghosts = S3FifoModel::Ghosts::Engine) {
    switch (kind) {
        case PolicyKind::Lru: return std::make_unique<LruModel>();
        case PolicyKind::Lfu: return std::make_unique<LfuModel>();
        case PolicyKind::Fifo: return std::make_unique<FifoModel>();
        case PolicyKind::Sieve: return std::make_unique<SieveModel>();
        case PolicyKind::S3Fifo: return std::make_unique<S3FifoModel>(measure, ghosts);
    }
    return nullptr;
}

}  // namespace millpond::cache
