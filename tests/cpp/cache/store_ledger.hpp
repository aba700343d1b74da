// A plain ledger of what a store holds, kept beside it: maps and sets searched from end to end. It
// knows each word that was given, foretells who is evicted by the policy's own model, and compares
// what the store hands back, counts and still finds.
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

inline constexpr Instant kStart{std::chrono::hours{1}};

inline StoreOptions options_of(const Run& run) {
    return {.max_entries = run.max_entries,
            .max_bytes = run.max_bytes,
            .policy = run.policy,
            .seed = run.seed,
            .start = kStart};
}

class StoreLedger {
  public:
    static constexpr int kNames = 40;  // keys of a space
    static constexpr int kSpaces = 3;  // spaces at a time

    StoreLedger(StoreCore& store, const Run& run)
        : run_(run),
          random_(run.seed),
          policy_(make_model(run.policy,
                             run.max_bytes == kUnbounded ? Measure::Count : Measure::Weight)),
          store_(store) {
        for (SpaceId& space : spaces_) {
            space = store_.open_space();
            expected_[space] = {};
        }
        take_ballast();
    }

    // What came to pass, to see that a run was worth it.
    [[nodiscard]] const std::map<std::string, int>& seen() const { return seen_; }

  protected:
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
        Nanos stale{};
        double cost = 0;
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

    // ---- What the operations share

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
        if (keep.idle == Nanos::zero() && random_() % 2 == 0) {
            keep.stale = std::chrono::milliseconds{pick(500)};
        }
        keep.cost = static_cast<double>(pick(8)) * 0.25;  // exact, in whatever order it is added up
        return keep;
    }
    static Instant end_of(const Held& held) {
        return held.deadline == kNever ? kNever : held.deadline + held.stale;
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
        const auto held = std::ranges::find_if(held_, [&](const auto& pair) {
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
        held.stale = keep.stale;
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
            const auto found = std::ranges::find_if(
                held_, [&](const auto& pair) { return pair.second.key == removed.key; });
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
            EXPECT_LE(end_of(held), latest_) << "before its time";
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
    Instant now_ = kStart;
    Instant latest_ = now_;
    std::unique_ptr<PolicyModel> policy_;
    StoreCore& store_;
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
