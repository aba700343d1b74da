#include "millpond/cache/store.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/base/error.hpp"
#include "millpond/base/hash.hpp"
#include "millpond/base/sync.hpp"

namespace millpond::cache {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Instant at(std::int64_t ms) { return Instant{milliseconds{ms}}; }

// A store with one space, and keys that are numbers.
class StoreTest : public testing::Test {
  protected:
    explicit StoreTest(const StoreOptions& options = {}) : store(options) {}

    [[nodiscard]] KeyRef key(Word word) const { return {mix64(word), word, space, 0}; }
    Put put(Word word, const Keep& keep = {}, std::span<const TagHash> tags = {}) {
        return store.put(key(word), store.find(key(word)), word + 1000, keep, tags, now);
    }
    void hit(Word word) {
        const Slot slot = store.find(key(word));
        store.hit(slot, store[slot], now);
    }
    [[nodiscard]] bool has(Word word) const { return store.find(key(word)) != kNoSlot; }

    StoreCore store;
    SpaceId space = store.open_space();
    Instant now{};
};

struct FifoBytes : StoreTest {
    FifoBytes() : StoreTest({.max_bytes = 100, .policy = PolicyKind::Fifo}) {}
};
struct LfuTwo : StoreTest {
    LfuTwo() : StoreTest({.max_entries = 2, .policy = PolicyKind::Lfu}) {}
};

TEST_F(StoreTest, KeepsWhatMayBeStaleUntilTheEndOfThat) {
    const TagHash tag = 9;
    put(7, {.deadline = at(10), .stale = milliseconds{5}}, {&tag, 1});
    put(8, {.deadline = at(10)});
    const Slot slot = store.find(key(7));
    EXPECT_EQ(store[slot].deadline, at(10));
    EXPECT_EQ(store.end(slot), at(15));
    store.advance(at(14));
    EXPECT_TRUE(has(7));
    EXPECT_FALSE(has(8));
    // What takes its place, or its slot, keeps its own.
    put(7, {.deadline = at(20)}, {&tag, 1});
    EXPECT_EQ(store.end(store.find(key(7))), at(20));
    put(9, {.stale = milliseconds{5}});
    EXPECT_EQ(store.end(store.find(key(9))), kNever);
    put(10, {.deadline = at(16), .stale = milliseconds{100}}, {&tag, 1});
    EXPECT_EQ(store.invalidate(tag), 2U);
    EXPECT_FALSE(has(10));
    put(11, {.deadline = at(20)});
    EXPECT_EQ(store.end(store.find(key(11))), at(20));
    put(12, {.deadline = at(30), .stale = milliseconds{5}});
    store.advance(at(35));
    EXPECT_FALSE(has(12));
}

TEST_F(StoreTest, FindsTheLoadBesideAValue) {
    const auto never = [](const Entry&) { return false; };
    put(7);
    EXPECT_EQ(store.find_beside(key(7), never), kNoSlot);
    const EntryId load = store.begin(key(7), 1, {}, false);
    EXPECT_EQ(store.find_beside(key(7), never), load.slot);
    EXPECT_EQ(store.find_beside(key(8), never), kNoSlot);
    EXPECT_NE(store.find(key(7)), load.slot);
    KeyRef same = key(7);
    same.word = 70;
    EXPECT_EQ(store.find_beside(same, never), kNoSlot);
    EXPECT_EQ(store.find_beside(same, [](const Entry&) { return true; }), load.slot);
    store.abort(load);
    EXPECT_EQ(store.find_beside(key(7), never), kNoSlot);
}

TEST_F(StoreTest, FindsWhatWasPutUntilItsDeadline) {
    const Put done = put(7, {.deadline = at(10)});
    ASSERT_EQ(done.outcome, Stored::Kept);
    EXPECT_TRUE(done.key_taken);
    EXPECT_EQ(store[store.find(key(7))].value, 1007U);
    store.advance(at(9));
    EXPECT_TRUE(has(7));
    store.advance(at(10));
    EXPECT_FALSE(has(7));
    ASSERT_EQ(store.removed().size(), 1U);
    EXPECT_EQ(store.removed()[0].value, 1007U);
    EXPECT_EQ(store.miss(key(7)), MissReason::Expired);
    EXPECT_EQ(store.miss(key(7)), MissReason::ColdOrEvicted);
}

TEST_F(StoreTest, TagsThatCameWithTheValueAreNoneThatWereInvalidatedSinceTheLoadBegan) {
    const std::uint64_t since = store.invalidations();
    const std::vector<TagHash> tags{41, 42};
    const EntryId first = store.begin(key(1), 0, {}, true);
    const EntryId second = store.begin(key(2), 0, {}, true);
    EXPECT_TRUE(store.add_tags(first, tags, since));
    EXPECT_EQ(store.finish(first, kNoSlot, 5, {}, now).outcome, Stored::Kept);
    EXPECT_EQ(store.invalidate(42), 1U);
    EXPECT_FALSE(has(1));
    EXPECT_FALSE(store.add_tags(second, tags, since));
    EXPECT_TRUE(store.add_tags(second, tags, store.invalidations()));
}

TEST_F(StoreTest, AfterTooManyInvalidationsAnyTagMayHaveBeenAmongThem) {
    const std::uint64_t since = store.invalidations();
    const std::vector<TagHash> tags{41};
    const EntryId load = store.begin(key(1), 0, {}, true);
    for (TagHash other = 1000; other < 1256; ++other) {
        store.invalidate(other);
    }
    EXPECT_TRUE(store.add_tags(load, tags, since));
    store.invalidate(2000);
    EXPECT_FALSE(store.add_tags(load, tags, since));
    EXPECT_TRUE(store.add_tags(load, {}, since));
    store.abort(load);
}

TEST_F(StoreTest, AnInvalidationUndoesALoadThatStartedBeforeIt) {
    const TagHash tag = 9;
    const EntryId load = store.begin(key(7), 1, {&tag, 1}, true);
    EXPECT_EQ(store.invalidate(tag), 0U);
    EXPECT_EQ(store.finish(load, kNoSlot, 5, Keep{}, at(0)).outcome, Stored::Undone);
    EXPECT_FALSE(has(7));
    EXPECT_EQ(store.loads(), 0U);
}

TEST_F(StoreTest, ANewerValueUndoesTheLoadOfItsKey) {
    const EntryId load = store.begin(key(7), 1, {}, true);
    put(7);
    EXPECT_FALSE(store.holds(load));
    EXPECT_EQ(store.finish(load, store.find(key(7)), 5, Keep{}, at(0)).outcome, Stored::Undone);
    EXPECT_EQ(store[store.find(key(7))].value, 1007U);
}

TEST_F(LfuTwo, ARefreshedEntryKeepsItsPlaceWithThePolicy) {
    put(1);
    hit(1);
    hit(1);
    put(2);
    hit(2);
    const TagHash tag = 9;
    const EntryId load = store.begin(key(1), 1, {&tag, 1}, false);
    const Slot before = store.find(key(1));
    const Put done = store.finish(load, before, 5, Keep{}, now);
    EXPECT_EQ(done.outcome, Stored::Kept);
    EXPECT_EQ(done.slot, before);
    EXPECT_FALSE(done.key_taken);
    EXPECT_EQ(store[before].value, 5U);
    EXPECT_EQ(store.loads(), 0U);
    put(3);
    EXPECT_TRUE(has(1)) << "it was used more often than the other";
    EXPECT_FALSE(has(2));
    EXPECT_EQ(store.invalidate(tag), 1U) << "the tags are those of the load";
}

TEST_F(FifoBytes, ARefreshThatIsTooHeavyLeavesNeitherValueBehind) {
    put(1, {.weight = 10});
    const EntryId load = store.begin(key(1), 1, {}, false);
    EXPECT_EQ(store.finish(load, store.find(key(1)), 5, {.weight = 101}, now).outcome,
              Stored::TooHeavy);
    EXPECT_FALSE(has(1));
    EXPECT_EQ(store.counters(space).not_stored, 1U);
    EXPECT_EQ(store.counters(space).removals[static_cast<std::size_t>(Cause::Replaced)], 1U);
    EXPECT_EQ(store.removed().size(), 2U);
    EXPECT_EQ(store.miss(key(1)), MissReason::NotStored);
}

TEST_F(StoreTest, TellsTheLatestReasonOfAMiss) {
    put(1, {.deadline = at(5)});
    store.advance(at(5));
    put(1);
    store.erase(store.find(key(1)));
    EXPECT_EQ(store.miss(key(1)), MissReason::Invalidated);
    put(2, {.deadline = at(6)});
    store.advance(at(6));
    put(2);
    store.set_bounds(0, kUnbounded, at(6));
    EXPECT_EQ(store.miss(key(2)), MissReason::ColdOrEvicted);
    EXPECT_EQ(put(3).outcome, Stored::TooHeavy);
    EXPECT_EQ(store.miss(key(3)), MissReason::NotStored);
}

TEST_F(StoreTest, RefusesTooManyTagsAndChangesNothing) {
    const TagHash tag = 9;
    const std::vector<TagHash> many(kMostTags + 1, tag);
    put(1, {}, {&tag, 1});
    const EntryId load = store.begin(key(1), 5, {}, false);
    EXPECT_THROW(put(1, {}, many), Error);
    EXPECT_THROW(put(2, {}, many), Error);
    EXPECT_THROW((void)store.begin(key(3), 1, many, true), Error);
    EXPECT_TRUE(store.holds(load));
    EXPECT_EQ(store[store.find(key(1))].value, 1001U);
    EXPECT_EQ(store.loads(), 1U);
    EXPECT_EQ(store.size(), 1U);
    EXPECT_EQ(store.invalidate(tag), 1U);
    EXPECT_EQ(put(4, {}, std::span(many).first(kMostTags)).outcome, Stored::Kept);
}

TEST_F(FifoBytes, KeepsANewValueThoughItsKeyIsTheOldest) {
    put(1, {.weight = 40});
    put(2, {.weight = 30});
    put(3, {.weight = 30});
    const Put done = put(1, {.weight = 80});
    EXPECT_EQ(done.outcome, Stored::Kept);
    EXPECT_EQ(done.slot, store.find(key(1)));
    EXPECT_FALSE(done.key_taken);
    EXPECT_FALSE(has(2));
    EXPECT_FALSE(has(3));
    EXPECT_EQ(store.bytes(), 80U);
    EXPECT_EQ(store.counters(space).removals[static_cast<std::size_t>(Cause::Size)], 2U);
    put(4, {.weight = 20});
    put(5, {.weight = 1});
    EXPECT_FALSE(has(1)) << "it stands in the queue again";
}

TEST_F(FifoBytes, DropsTheOldValueWhenTheNewOneIsTooHeavy) {
    put(1, {.weight = 40});
    EXPECT_EQ(put(1, {.weight = 101}).outcome, Stored::TooHeavy);
    EXPECT_FALSE(has(1));
    EXPECT_EQ(put(1, {.weight = 100}).outcome, Stored::Kept);
}

TEST_F(LfuTwo, CountsTheHitsBeforeAReplacement) {
    put(1);
    put(2);
    hit(1);
    hit(1);
    hit(1);
    put(1);
    hit(2);
    hit(2);
    hit(2);
    put(3);
    EXPECT_TRUE(has(1)) << "used four times";
    EXPECT_FALSE(has(2)) << "used three times";
}

TEST_F(StoreTest, FindsAnEntryNewByAClockThatIsBehind) {
    now = at(1000);
    put(1);
    const Entry& entry = store[store.find(key(1))];
    EXPECT_EQ(store.age(entry, at(1000)), Nanos{0});
    EXPECT_EQ(store.age(entry, at(990)), Nanos{0});
    EXPECT_EQ(store.age(entry, at(0)), Nanos{0});
    EXPECT_NEAR(static_cast<double>(store.age(entry, at(61'000)).count()), 60e9, 17e6);
    const Nanos year = std::chrono::hours{24 * 365};
    EXPECT_GE(store.age(entry, at(1000) + year), year - kAgeTick);
}

TEST_F(StoreTest, ExtendsAnIdleRuleByHitsAndNeverShortensIt) {
    now = at(100);
    put(1, {.deadline = at(1000), .idle = milliseconds{50}});
    const Entry& entry = store[store.find(key(1))];
    EXPECT_EQ(entry.deadline, at(150));
    now = at(96);
    hit(1);
    EXPECT_EQ(entry.deadline, at(150));
    for (now = at(140); now < at(990); now += milliseconds{40}) {
        store.advance(now);
        ASSERT_TRUE(has(1));
        hit(1);
    }
    EXPECT_EQ(entry.deadline, at(1000)) << "hits do not move the hard deadline";
    store.advance(at(1000));
    EXPECT_FALSE(has(1));
}

TEST_F(StoreTest, FindsAKeyBehindManyLoadsThatAreNotIndexed) {
    std::vector<EntryId> loads;
    for (Word word = 0; word < 1000; ++word) {
        loads.push_back(store.begin(key(word), 0, {}, false));
    }
    for (Word word = 2000; word < 2100; ++word) {
        put(word);
        ASSERT_TRUE(has(word));
    }
    for (const EntryId load : loads) {
        EXPECT_EQ(store.finish(load, kNoSlot, 5, Keep{}, now).outcome, Stored::Kept);
    }
    EXPECT_TRUE(has(0));
    EXPECT_EQ(store.size(), 1100U);
}

TEST_F(StoreTest, EmptiesALargeSpaceAtOnceAndItsMemoryBitByBit) {
    constexpr Word kMany = 20'000;
    for (Word word = 0; word < kMany; ++word) {
        put(word);
    }
    const SpaceId other = store.open_space();
    EXPECT_NE(store.salt(space), store.salt(other));
    store.put({mix64(1), 1, other, 0}, kNoSlot, 7, Keep{}, {}, now);
    store.retire_space(space);
    EXPECT_EQ(store.size(), 1U);
    EXPECT_EQ(store.size(other), 1U);
    EXPECT_LE(store.removed().size(), 64U) << "no more than a share of the sweeping at once";
    std::size_t before = store.removed().size();
    for (int calls = 0; store.removed().size() < kMany; ++calls) {
        ASSERT_LT(calls, 1000);
        store.advance(now);
        ASSERT_LE(store.removed().size(), before + 64);
        before = store.removed().size();
    }
    EXPECT_EQ(store.bytes(), 0U);
    EXPECT_EQ(store.totals().removals[static_cast<std::size_t>(Cause::Explicit)], kMany);
    EXPECT_EQ(store.open_space(), space) << "its number is free again";
    EXPECT_FALSE(has(1)) << "and knows nothing of the old keys";
    EXPECT_NE(store.find({mix64(1), 1, other, 0}), kNoSlot);
}

TEST_F(StoreTest, OffersTheCandidatesOfAHashOneByOne) {
    std::set<Slot> slots;
    for (Word word = 1; word <= 3; ++word) {
        slots.insert(store.put({5, word, space, 0}, kNoSlot, word, Keep{}, {}, now).slot);
    }
    store.put({5, 4, space, 1}, kNoSlot, 4, Keep{}, {}, now);
    std::vector<Slot> tried;
    const KeyRef wanted{5, 99, space, 0};
    for (Slot slot = store.find_candidate(wanted, tried); slot != kNoSlot;
         slot = store.find_candidate(wanted, tried)) {
        tried.push_back(slot);
    }
    EXPECT_EQ(std::set<Slot>(tried.begin(), tried.end()), slots);
    EXPECT_EQ(tried.size(), 3U);
    EXPECT_EQ(store.find(wanted), kNoSlot);
    EXPECT_NE(store.find(wanted, [](const Entry& entry) { return entry.key == 2; }), kNoSlot);
}

TEST_F(StoreTest, TellsOfEveryChangeOfTenants) {
    std::uint64_t seen = store.mutations();
    const auto changed = [&] { return std::exchange(seen, store.mutations()) != seen; };
    put(1);
    EXPECT_TRUE(changed());
    const EntryId id = store.id_of(store.find(key(1)));
    hit(1);
    EXPECT_FALSE(changed());
    put(1);
    EXPECT_TRUE(changed()) << "another value is another tenant";
    EXPECT_FALSE(store.holds(id));
    store.erase(store.find(key(1)));
    EXPECT_TRUE(changed());
    put(2);
    EXPECT_EQ(store.find(key(2)), id.slot);
    EXPECT_FALSE(store.holds(id)) << "the slot has another tenant";
}

TEST_F(StoreTest, ShortensATtlByJitterAsItsSeedSays) {
    StoreCore twin{StoreOptions{}};
    (void)twin.open_space();
    std::set<Instant> drawn;
    for (int i = 0; i < 1000; ++i) {
        const Instant deadline = store.deadline(at(5000), seconds{10}, 0.25);
        EXPECT_EQ(deadline, twin.deadline(at(5000), seconds{10}, 0.25));
        EXPECT_LE(deadline, at(15'000));
        EXPECT_GE(deadline, at(12'500));
        drawn.insert(deadline);
    }
    EXPECT_GT(drawn.size(), 990U);
    EXPECT_LT(*drawn.begin(), at(12'600));
    EXPECT_GT(*drawn.rbegin(), at(14'900));
    EXPECT_EQ(store.deadline(at(5000), seconds{10}, 0), at(15'000));
    EXPECT_EQ(store.deadline(at(5000), Nanos::max(), 0), kNever);
}

// Under the thread sanitizer this shows that the lock covers all there is.
TEST(StoreThreads, ShareAStoreUnderItsLock) {
    constexpr Word kKeys = 500;
    Store<MutexLock> store{{.max_entries = 100, .policy = PolicyKind::Lru}};
    const SpaceId space = store.open_space();
    std::atomic<std::uint64_t> hits = 0;
    std::atomic<std::uint64_t> misses = 0;
    std::atomic<std::uint64_t> given = 0;
    std::atomic<std::uint64_t> returned = 0;
    const auto work = [&](std::uint64_t seed) {
        std::mt19937_64 random{seed};
        for (int i = 0; i < 5000; ++i) {
            const Word word = random() % kKeys;
            const KeyRef key{mix64(word), word, space, 0};
            const auto guard = store.lock();
            const Slot slot = store.find(key);
            if (slot != kNoSlot) {
                EXPECT_EQ(store[slot].value, word * 2);
                store.hit(slot, store[slot], at(i));
                ++hits;
            } else {
                store.miss(key);
                ++misses;
                const TagHash tag = word % 10;
                store.put(key, kNoSlot, word * 2, {.deadline = at(i + 500)}, {&tag, 1}, at(i));
                ++given;
            }
            if (i % 1000 == 999) {
                store.invalidate(random() % 10);
            }
            EXPECT_LE(store.size(), 100U);
            returned += store.removed().size();
            store.removed().clear();
        }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        threads.emplace_back(work, seed);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const auto guard = store.lock();
    EXPECT_EQ(store.counters(space).hits, hits.load());
    EXPECT_EQ(store.counters(space).all_misses(), misses.load());
    EXPECT_EQ(given.load(), returned.load() + store.size());
}

}  // namespace
}  // namespace millpond::cache
