// Random operations on a store and on the ledger beside it.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "store_ledger.hpp"

namespace millpond::cache {

class StoreModel : public StoreLedger {
  public:
    using StoreLedger::StoreLedger;

    // One random operation, checked.
    void step() {
        const std::uint64_t what = random_() % 1000;
        const int space = pick(kSpaces);
        const int name = pick(kNames);
        if (what < 250) {
            put(space, name);
        } else if (what < 600) {
            get(space, name);
        } else if (what < 680) {
            begin(space, name);
        } else if (what < 760) {
            end_a_load();
        } else if (what < 800) {
            erase(space, name);
        } else if (what < 820) {
            invalidate();
        } else if (what < 900) {
            pass_time();
        } else if (what < 950) {
            touch(space, name);
        } else if (what < 955) {
            retire(space);
        } else if (what < 965) {
            set_bounds();
        } else {
            refuse(space, name);
        }
        check();
    }
    // Everything leaves, and every word given comes back.
    void finish() {
        check_entries();
        for (auto& [slot, held] : held_) {
            held.leaving = true;
        }
        store_.drop_all();
        absorb();
        EXPECT_TRUE(held_.empty());
        EXPECT_TRUE(owned_.empty()) << owned_.size() << " words never came back";
        EXPECT_EQ(store_.loads(), 0U);
        EXPECT_EQ(store_.size(), 0U);
        EXPECT_EQ(store_.bytes(), 0U);
        EXPECT_EQ(store_.tags().tags(), 0U);
    }

  private:
    // ---- The operations

    void put(int space, int name) {
        const KeyRef key = key_of(space, name);
        const Slot existing = find(key, name);
        const auto tags = some_tags();
        const Keep keep = some_keep();
        const Word value = new_word(name);
        undo_loose(space, name);
        const bool fits = fits_in(keep.weight);
        const bool resident = existing != kNoSlot && !held_.at(existing).pending;
        if (existing != kNoSlot && (!resident || !fits)) {
            leave(existing, resident ? Cause::Replaced : Cause::Explicit);
        }
        const Put put = store_.put(key, existing, value, keep, tags, now_);
        if (!fits) {
            EXPECT_EQ(put.outcome, Stored::TooHeavy);
            EXPECT_EQ(put.slot, kNoSlot);
            note("too heavy");
            count_refusal(space, key.hash);
            return absorb();
        }
        EXPECT_EQ(put.outcome, Stored::Kept);
        EXPECT_EQ(put.key_taken, !resident);
        EXPECT_EQ(put.slot, store_.find(key, same(name)));
        own(value);
        if (resident) {
            return replaced(existing, value, keep, tags);
        }
        own(key.word);
        absorb();
        hold(put.slot, space, name, key.word, tags);
        settle(put.slot, value, keep);
    }

    void replaced(Slot slot, Word value, const Keep& keep, const std::vector<TagHash>& tags) {
        Held& held = held_.at(slot);
        note("replaced");
        ++expected_[held.id].removals[static_cast<std::size_t>(Cause::Replaced)];
        const Word old_value = std::exchange(held.value, value);
        held.tags = {tags.begin(), tags.end()};
        keep_as(held, keep);
        policy_->reweigh(slot, keep.weight);
        policy_->hit(slot);
        // The old value comes first; then whom the greater weight drives out, itself never.
        auto& removed = store_.removed();
        const auto old = std::ranges::find_if(
            removed, [&](const Removed& r) { return r.key_kept && r.value == old_value; });
        ASSERT_NE(old, removed.end());
        EXPECT_EQ(old->cause, Cause::Replaced);
        disown(old_value);
        removed.erase(old);
        spared_ = slot;
        absorb();
        if (aside_) {
            note("spared");
            policy_->insert(slot, store_[slot].hash, held.weight);
        }
        spared_ = kNoSlot;
        aside_ = false;
    }

    void get(int space, int name) {
        const KeyRef key = key_of(space, name);
        const Slot slot = find(key, name);
        if (slot != kNoSlot && !held_.at(slot).pending && held_.at(slot).deadline > now_) {
            Held& held = held_.at(slot);
            store_.hit(slot, store_[slot], now_);
            policy_->hit(slot);
            ++expected_[held.id].hits;
            expected_[held.id].cost_saved += held.cost;
            if (held.idle > Nanos::zero()) {
                held.deadline =
                    std::max(held.deadline, std::min(held.hard, after(now_, held.idle)));
            }
            EXPECT_EQ(store_[slot].value, held.value);
            EXPECT_EQ(store_[slot].deadline, held.deadline);
            return note("hit");
        }
        if (slot != kNoSlot && !held_.at(slot).pending) {
            EXPECT_EQ(store_.end(slot), end_of(held_.at(slot)));
            if (end_of(held_.at(slot)) > now_) {
                EXPECT_EQ(store_[slot].value, held_.at(slot).value);
                return note("stale");
            }
            leave(slot, Cause::Expired);
            store_.expire(slot);
            absorb();
            note("expired on read");
        }
        if (slot == kNoSlot || held_.count(slot) == 0) {
            miss(key);
        }
    }

    void miss(const KeyRef& key) {
        MissReason reason = MissReason::ColdOrEvicted;
        const auto known = departures_.find(key.hash);
        if (known != departures_.end() && departed_ - known->second.at < 256) {
            reason = known->second.reason;
            note("explained");
        }
        departures_.erase(key.hash);
        EXPECT_EQ(store_.miss(key), reason);
        ++expected_[key.space].misses[static_cast<std::size_t>(reason)];
    }

    void begin(int space, int name) {
        const KeyRef key = key_of(space, name);
        const Slot existing = find(key, name);
        const bool indexed = existing == kNoSlot;
        if (!indexed && held_.at(existing).pending) {
            return;  // Somebody else's load is under way.
        }
        const Word value = new_word(name);
        const auto tags = some_tags();
        const EntryId id = store_.begin(key, value, tags, indexed);
        own(key.word);
        own(value);
        absorb();
        hold(id.slot, space, name, key.word, tags);
        Held& held = held_.at(id.slot);
        held.pending = true;
        held.indexed = indexed;
        held.value = value;
        loads_.push_back({id, id.slot, false});
        EXPECT_TRUE(store_.holds(id));
        note(indexed ? "load" : "loose load");
    }

    void end_a_load() {
        if (loads_.empty()) {
            return;
        }
        const auto at = loads_.begin() + pick(static_cast<int>(loads_.size()));
        const Load load = *at;
        loads_.erase(at);
        if (random_() % 4 == 0) {
            if (!load.undone) {
                leave(load.slot, Cause::Explicit);
            }
            store_.abort(load.id);
            note("aborted");
            return absorb();
        }
        land(load);
    }

    void land(const Load& load) {
        const Keep keep = some_keep();
        const Held held = load.undone ? Held{} : held_.at(load.slot);
        const Word value = new_word(held.name);
        const Slot existing =
            load.undone || held.indexed ? kNoSlot : find(key_of(held.space, held.name), held.name);
        const bool stored = !load.undone && fits_in(keep.weight);
        const Hash hash = load.undone ? 0 : store_[load.slot].hash;
        const bool resident = existing != kNoSlot && !held_.at(existing).pending;
        const bool in_place = stored && resident;
        if (existing != kNoSlot && !in_place) {
            leave(existing, resident ? Cause::Replaced : Cause::Explicit);
        }
        if (!load.undone && (!stored || in_place)) {
            leave(load.slot, Cause::Explicit);
        }
        const auto [outcome, slot, key_taken] = store_.finish(load.id, existing, value, keep, now_);
        EXPECT_EQ(key_taken, stored && !in_place);
        EXPECT_EQ(slot, !stored ? kNoSlot : in_place ? existing : load.slot);
        if (in_place) {
            EXPECT_EQ(outcome, Stored::Kept);
            own(value);
            replaced(existing, value, keep, {held.tags.begin(), held.tags.end()});
            note("refreshed in place");
        } else if (stored) {
            EXPECT_EQ(outcome, Stored::Kept);
            own(value);
            disown(held.value);
            absorb();
            settle(load.slot, value, keep);
            note("landed");
        } else {
            EXPECT_EQ(outcome, load.undone ? Stored::Undone : Stored::TooHeavy);
            note(load.undone ? "undone" : "load too heavy");
            if (!load.undone) {
                count_refusal(held.space, hash);
            }
            absorb();
        }
    }

    void erase(int space, int name) {
        const KeyRef key = key_of(space, name);
        undo_loose(space, name);
        store_.undo_loads(key);
        const Slot slot = find(key, name);
        if (slot != kNoSlot) {
            leave(slot, Cause::Explicit);
            store_.erase(slot);
        }
        absorb();
    }

    void invalidate() {
        const TagHash tag = some_tag();
        std::size_t resident = 0;
        for (auto& [slot, held] : held_) {
            if (held.tags.contains(tag)) {
                leave(slot, Cause::Explicit);
                resident += !held.pending && !held.retired ? 1U : 0U;
            }
        }
        EXPECT_EQ(store_.invalidate(tag), resident);
        EXPECT_EQ(store_.tags().count(tag), 0U);
        note("invalidated");
        absorb();
    }

    void pass_time() {
        now_ += std::chrono::milliseconds{pick(400) - 40};
        latest_ = std::max(latest_, now_);
        if (random_() % 2 == 0) {
            store_.advance(now_, 1 + random_() % 4);
            return absorb();
        }
        store_.advance(now_, ~std::size_t{0});
        absorb();
        for (const auto& [slot, held] : held_) {
            EXPECT_TRUE(held.pending || end_of(held) > now_ || now_ < latest_)
                << "still here after its time";
        }
    }

    void touch(int space, int name) {
        const Slot slot = find(key_of(space, name), name);
        if (slot != kNoSlot && !held_.at(slot).pending) {
            Keep keep = some_keep();
            keep.stale = Nanos::zero();
            store_.touch(slot, keep.deadline, keep.idle, now_);
            Held& held = held_.at(slot);
            const auto [weight, cost] = std::pair(held.weight, held.cost);
            keep_as(held, keep);
            held.weight = weight;
            held.cost = cost;
            store_.used(slot, store_[slot], now_);
            policy_->hit(slot);
        }
    }

    void retire(int space) {
        const SpaceId id = spaces_[static_cast<std::size_t>(space)];
        for (auto& [slot, held] : held_) {
            if (held.id == id && !held.retired) {
                held.retired = true;
                expected_[id].removals[static_cast<std::size_t>(Cause::Explicit)] +=
                    held.pending ? 0U : 1U;
            }
        }
        for (Load& load : loads_) {
            load.undone |= !load.undone && held_.at(load.slot).id == id;
        }
        closed_ += expected_[id];
        store_.retire_space(id);
        absorb();
        expected_.erase(id);
        spaces_[static_cast<std::size_t>(space)] = store_.open_space();
        expected_[spaces_[static_cast<std::size_t>(space)]] = {};
        note("retired");
    }

    void set_bounds() {
        if (random_() % 4 != 0) {
            max_entries_ = run_.max_entries;
            max_bytes_ = run_.max_bytes;
        } else {
            max_entries_ = std::min<std::uint64_t>(run_.max_entries, random_() % 30);
            max_bytes_ = run_.max_bytes == kUnbounded ? kUnbounded : random_() % run_.max_bytes;
        }
        store_.set_bounds(max_entries_, max_bytes_, now_);
        absorb();
        note("bounds");
    }

    void refuse(int space, int name) {
        const KeyRef key = key_of(space, name);
        store_.refuse(key);
        count_refusal(space, key.hash);
    }
};

}  // namespace millpond::cache
