#include "millpond/cache/store.hpp"

#include <gtest/gtest.h>

namespace millpond::cache {
namespace {

Instant at(std::int64_t ms) { return Instant{std::chrono::milliseconds{ms}}; }

TEST(Store, FindsWhatWasPutUntilItsDeadline) {
    StoreCore store{StoreOptions{}};
    const SpaceId space = store.open_space();
    const KeyRef key{42, 7, space, 0};
    Keep keep;
    keep.deadline = at(10);
    const Put put = store.put(key, store.find(key), 100, keep, {}, at(0));
    ASSERT_EQ(put.outcome, Stored::Kept);
    EXPECT_TRUE(put.key_taken);
    EXPECT_EQ(store[store.find(key)].value, 100U);
    store.advance(at(9));
    EXPECT_NE(store.find(key), kNoSlot);
    store.advance(at(10));
    EXPECT_EQ(store.find(key), kNoSlot);
    ASSERT_EQ(store.removed().size(), 1U);
    EXPECT_EQ(store.removed()[0].value, 100U);
    EXPECT_EQ(store.miss(key), MissReason::Expired);
    EXPECT_EQ(store.miss(key), MissReason::ColdOrEvicted);
}

TEST(Store, AnInvalidationUndoesALoadThatStartedBeforeIt) {
    StoreCore store{StoreOptions{}};
    const SpaceId space = store.open_space();
    const KeyRef key{42, 7, space, 0};
    const TagHash tag = 9;
    const EntryId load = store.begin(key, 1, {&tag, 1}, true);
    EXPECT_EQ(store.invalidate(tag), 0U);
    EXPECT_EQ(store.finish(load, kNoSlot, 5, Keep{}, at(0)), Stored::Undone);
    EXPECT_EQ(store.find(key), kNoSlot);
    EXPECT_EQ(store.loads(), 0U);
}

}  // namespace
}  // namespace millpond::cache
