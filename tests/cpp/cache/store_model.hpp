// A store beside a plain model of it: maps and sets searched from end to end. Each operation is done
// to both, and what the store hands back, counts and still finds must be what the model says. Which
// entry is evicted is foretold by the policy's own model.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/base/hash.hpp"
#include "millpond/cache/store.hpp"
#include "policy_model.hpp"

namespace millpond::cache {

// What a run looks like.
struct Run {
    const char* name;
    PolicyKind policy;
    std::uint64_t max_entries;
    std::uint64_t max_bytes;
    std::uint64_t seed;
    Slot ballast;  // slots taken up at first, so that sweeping a space takes many calls
};

template <class Lock>
class StoreModel {
  public:
    static constexpr int kNames = 40;  // keys of a space
    static constexpr int kSpaces = 3;  // spaces at a time

    explicit StoreModel(const Run& run)
        : run_(run),
          random_(run.seed),
          policy_(make_model(run.policy, measure())),
          store_({.max_entries = run.max_entries,
                  .max_bytes = run.max_bytes,
                  .policy = run.policy,
                  .seed = run.seed,
                  .start = now_}) {
        for (SpaceId& space : spaces_) {
            space = store_.open_space();
            expected_[space] = {};
        }
        take_ballast();
    }

    // One random operation, checked.
    void step() {
        const auto guard = store_.lock();
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
        const auto guard = store_.lock();
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
    // That the run was worth it.
    [[nodiscard]] const std::map<std::string, int>& seen() const { return seen_; }

  private:
    struct Held {
        int space = 0;
        int name = 0;
        SpaceId id = 0;
        Word key = 0;
        Word value = 0;
        std::uint64_t weight = 0;
        Instant deadline = kNever;
        Instant hard = kNever;
        Nanos idle{};
        float cost = 0;
        std::set<TagHash> tags;
        bool pending = false;
        bool indexed = true;
        bool retired = false;
        bool leaving = false;  // expected in removed()
        Cause cause = Cause::Explicit;
    };
    struct Load {
        EntryId id;
        Slot slot;
        bool undone;
    };
    struct Departure {
        MissReason reason;
        std::uint64_t at;
    };

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
        const auto old = std::find_if(removed.begin(), removed.end(), [&](const Removed& r) {
            return r.key == 0 && r.value == old_value;
        });
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
            expected_[held.id].cost_saved += static_cast<double>(held.cost);
            if (held.idle > Nanos::zero()) {
                held.deadline =
                    std::max(held.deadline, std::min(held.hard, after(now_, held.idle)));
            }
            EXPECT_EQ(store_[slot].value, held.value);
            EXPECT_EQ(store_[slot].deadline, held.deadline);
            return note("hit");
        }
        if (slot != kNoSlot && !held_.at(slot).pending) {
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
        if (!load.undone && !stored) {
            leave(load.slot, Cause::Explicit);
        } else if (stored && existing != kNoSlot) {
            leave(existing, Cause::Replaced);
        }
        const Stored outcome = store_.finish(load.id, existing, value, keep, now_);
        if (stored) {
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
            EXPECT_TRUE(held.pending || held.deadline > now_ || now_ < latest_)
                << "still here after its time";
        }
    }

    void touch(int space, int name) {
        const Slot slot = find(key_of(space, name), name);
        if (slot != kNoSlot && !held_.at(slot).pending) {
            const Keep keep = some_keep();
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

    // ---- What the operations share

    [[nodiscard]] Measure measure() const {
        return run_.max_bytes == kUnbounded ? Measure::Count : Measure::Weight;
    }
    int pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }
    Word new_word(int name) { return static_cast<Word>(name + 1) << 40 | ++words_; }
    // Neighbours share a hash, as keys may.
    KeyRef key_of(int space, int name) {
        const auto n = static_cast<Hash>(space * kNames + name / 2);
        return {mix64(n + 1) << 32 | n << 16 | n, new_word(name),
                spaces_[static_cast<std::size_t>(space)], static_cast<std::uint8_t>(name / 2 % 2)};
    }
    static auto same(int name) {
        return
            [name](const Entry& entry) { return entry.key >> 40 == static_cast<Word>(name + 1); };
    }
    TagHash some_tag() { return random_() % 25; }
    std::vector<TagHash> some_tags() {
        std::vector<TagHash> tags(random_() % 2 == 0 ? 0 : random_() % 4);
        std::generate(tags.begin(), tags.end(), [this] { return some_tag(); });
        return tags;
    }
    Keep some_keep() {
        Keep keep;
        keep.weight = random_() % 50 == 0 ? 1 + random_() % 2000 : 1 + random_() % 100;
        keep.deadline = random_() % 3 == 0 ? kNever : now_ + std::chrono::milliseconds{pick(2000)};
        keep.idle = std::chrono::milliseconds{random_() % 4 == 0 ? pick(500) : 0};
        keep.cost = static_cast<float>(pick(8)) * 0.25F;
        return keep;
    }
    [[nodiscard]] bool fits_in(std::uint64_t weight) const {
        return max_entries_ > 0 && weight <= max_bytes_;
    }
    void note(const char* what) { ++seen_[what]; }
    void own(Word word) { EXPECT_TRUE(owned_.insert(word).second); }
    void disown(Word word) { EXPECT_EQ(owned_.erase(word), 1U) << "a word came back twice"; }

    // What the store finds under a key is what the model holds there.
    Slot find(const KeyRef& key, int name) {
        const Slot slot = store_.find(key, same(name));
        const auto held = std::find_if(held_.begin(), held_.end(), [&](const auto& pair) {
            return pair.second.id == key.space && pair.second.name == name && pair.second.indexed &&
                   !pair.second.retired;
        });
        EXPECT_EQ(slot, held == held_.end() ? kNoSlot : held->first);
        return slot;
    }
    void hold(Slot slot, int space, int name, Word key, const std::vector<TagHash>& tags) {
        Held held;
        held.space = space;
        held.name = name;
        held.id = spaces_[static_cast<std::size_t>(space)];
        held.key = key;
        held.tags = {tags.begin(), tags.end()};
        EXPECT_TRUE(held_.emplace(slot, held).second) << "the slot is somebody else's";
    }
    void keep_as(Held& held, const Keep& keep) {
        held.weight = keep.weight;
        held.cost = keep.cost;
        held.hard = keep.deadline;
        held.idle = keep.idle;
        held.deadline =
            keep.idle > Nanos::zero() ? std::min(held.hard, after(now_, held.idle)) : held.hard;
    }
    void settle(Slot slot, Word value, const Keep& keep) {
        Held& held = held_.at(slot);
        held.pending = false;
        held.indexed = true;
        held.value = value;
        keep_as(held, keep);
        policy_->insert(slot, store_[slot].hash, keep.weight);
        departures_.erase(store_[slot].hash);
    }
    void leave(Slot slot, Cause cause) {
        held_.at(slot).leaving = true;
        held_.at(slot).cause = cause;
    }
    void undo_loose(int space, int name) {
        const SpaceId id = spaces_[static_cast<std::size_t>(space)];
        for (auto& [slot, held] : held_) {
            if (!held.indexed && !held.retired && held.id == id && held.name / 2 == name / 2) {
                leave(slot, Cause::Explicit);
                note("loose load undone");
            }
        }
    }
    void count_refusal(int space, Hash hash) {
        ++expected_[spaces_[static_cast<std::size_t>(space)]].not_stored;
        departures_[hash] = {MissReason::NotStored, ++departed_};
    }

    // ---- What left

    void absorb() {
        for (const Removed& removed : store_.removed()) {
            const auto found = std::find_if(held_.begin(), held_.end(), [&](const auto& pair) {
                return pair.second.key == removed.key;
            });
            ASSERT_NE(found, held_.end()) << "something left that was not there";
            const auto [slot, held] = *found;
            held_.erase(found);
            EXPECT_EQ(removed.value, held.value);
            EXPECT_EQ(removed.space, held.id);
            EXPECT_EQ(removed.pending, held.pending);
            disown(removed.key);
            disown(removed.value);
            if (held.pending) {
                EXPECT_TRUE(held.leaving || held.retired);
                for (Load& load : loads_) {
                    load.undone |= load.slot == slot;
                }
            } else {
                departed(slot, held, removed.cause);
            }
        }
        store_.removed().clear();
    }
    void departed(Slot slot, const Held& held, Cause cause) {
        if (cause == Cause::Size) {
            foretell(slot);
            evicted_ = held.weight;
        } else if (cause == Cause::Expired) {
            EXPECT_LE(held.deadline, latest_) << "before its time";
        } else {
            EXPECT_TRUE(held.retired || (held.leaving && held.cause == cause));
        }
        policy_->remove(slot);
        if (held.retired) {
            evicted_ = 0;  // What it frees comes on top of what was evicted.
            return note("swept");
        }
        ++expected_[held.id].removals[static_cast<std::size_t>(cause)];
        note(cause == Cause::Size ? "evicted" : "left");
        if (cause == Cause::Expired || cause == Cause::Explicit) {
            const KeyRef key = key_of(held.space, held.name);
            departures_[key.hash] = {
                cause == Cause::Expired ? MissReason::Expired : MissReason::Invalidated,
                ++departed_};
        }
    }
    void foretell(Slot slot) {
        Slot victim = policy_->victim();
        if (victim == spared_ && victim != kNoSlot) {
            policy_->remove(victim);
            aside_ = true;
            victim = policy_->victim();
        }
        EXPECT_EQ(slot, victim) << "not the one that the policy names";
    }

    // ---- The checks after each operation

    void check() {
        std::uint64_t bytes = 0;
        std::size_t resident = 0;
        std::size_t live = 0;
        std::map<SpaceId, std::pair<std::size_t, std::uint64_t>> spaces;
        for (const auto& [slot, held] : held_) {
            EXPECT_FALSE(held.leaving) << "it should have left";
            if (!held.pending) {
                bytes += held.weight;
                ++resident;
                live += held.retired ? 0U : 1U;
                auto& [count, weight] = spaces[held.id];
                count += held.retired ? 0U : 1U;
                weight += held.retired ? 0U : held.weight;
            }
        }
        EXPECT_LE(resident, max_entries_);
        EXPECT_LE(bytes, max_bytes_);
        EXPECT_EQ(store_.bytes(), bytes);
        EXPECT_EQ(store_.size(), live);
        EXPECT_EQ(store_.loads(), held_.size() - resident);
        if (evicted_ > 0) {
            EXPECT_TRUE(resident + 1 > max_entries_ || bytes + evicted_ > max_bytes_)
                << "more was evicted than the bounds ask for";
        }
        evicted_ = 0;
        Counters total = closed_;
        for (const SpaceId id : spaces_) {
            EXPECT_EQ(store_.size(id), spaces[id].first);
            EXPECT_EQ(store_.bytes(id), spaces[id].second);
            check_counters(store_.counters(id), expected_[id]);
            total += expected_[id];
        }
        check_counters(store_.totals(), total);
        if (++steps_ % 64 == 0) {
            check_entries();
        }
    }
    static void check_counters(const Counters& actual, const Counters& expected) {
        EXPECT_EQ(actual.hits, expected.hits);
        EXPECT_EQ(actual.misses, expected.misses);
        EXPECT_EQ(actual.removals, expected.removals);
        EXPECT_EQ(actual.not_stored, expected.not_stored);
        EXPECT_EQ(actual.cost_saved, expected.cost_saved);
    }
    void check_entries() {
        std::size_t visited = 0;
        store_.for_each([&](Slot slot, const Entry& entry) {
            ++visited;
            ASSERT_TRUE(held_.contains(slot));
            const Held& held = held_.at(slot);
            EXPECT_EQ(entry.key, held.key);
            EXPECT_EQ(entry.value, held.value);
            EXPECT_EQ(entry.space, held.id);
            EXPECT_EQ(entry.state == EntryState::Pending, held.pending);
            EXPECT_EQ(store_.retired(entry.space), held.retired);
            EXPECT_EQ(entry.weight, held.pending ? 0 : held.weight);
            EXPECT_EQ(entry.deadline, held.pending ? kNever : held.deadline);
            std::set<TagHash> tags;
            store_.tags().for_each(slot, [&](TagHash tag) { tags.insert(tag); });
            EXPECT_EQ(tags, held.tags);
        });
        EXPECT_EQ(visited, held_.size());
    }
    void take_ballast() {
        std::vector<EntryId> ballast;
        for (Slot i = 0; i < run_.ballast; ++i) {
            ballast.push_back(store_.begin({i, i, spaces_[0], 0}, i, {}, false));
        }
        std::shuffle(ballast.begin(), ballast.end(), random_);
        for (const EntryId id : ballast) {
            store_.abort(id);
        }
        EXPECT_EQ(store_.removed().size(), run_.ballast);
        store_.removed().clear();
    }

    const Run run_;
    std::mt19937_64 random_;
    Instant now_{std::chrono::hours{1}};
    Instant latest_ = now_;
    std::unique_ptr<PolicyModel> policy_;
    Store<Lock> store_;
    std::array<SpaceId, kSpaces> spaces_{};
    std::uint64_t max_entries_ = run_.max_entries;
    std::uint64_t max_bytes_ = run_.max_bytes;
    std::map<Slot, Held> held_;
    std::vector<Load> loads_;
    std::set<Word> owned_;  // words given to the store and not come back
    std::map<SpaceId, Counters> expected_;
    Counters closed_;
    std::map<Hash, Departure> departures_;
    std::uint64_t departed_ = 0;
    std::uint64_t words_ = 0;
    std::uint64_t evicted_ = 0;  // the weight of the last one evicted by this operation
    Slot spared_ = kNoSlot;      // the entry that is being given another value
    bool aside_ = false;         // its policy named it meanwhile
    int steps_ = 0;
    std::map<std::string, int> seen_;
};

}  // namespace millpond::cache
