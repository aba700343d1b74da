#include "millpond/cache/tags.hpp"

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace millpond::cache {
namespace {

std::set<Slot> slots_of(const TagIndex& index, TagHash tag) {
    std::vector<Slot> seen;
    index.for_each_slot(tag, [&](Slot slot) { seen.push_back(slot); });
    std::set<Slot> slots(seen.begin(), seen.end());
    EXPECT_EQ(slots.size(), seen.size()) << "a slot was visited twice";
    return slots;
}

std::set<TagHash> tags_of(const TagIndex& index, Slot slot) {
    std::vector<TagHash> seen;
    index.for_each(slot, [&](TagHash tag) { seen.push_back(tag); });
    std::set<TagHash> tags(seen.begin(), seen.end());
    EXPECT_EQ(tags.size(), seen.size()) << "a tag was visited twice";
    return tags;
}

TEST(TagIndex, KnowsNothingAtFirst) {
    const TagIndex index;
    EXPECT_EQ(index.first(1), kNoSlot);
    EXPECT_EQ(index.count(1), 0U);
    EXPECT_EQ(index.tags(), 0U);
    EXPECT_TRUE(tags_of(index, 12345).empty());
    EXPECT_TRUE(slots_of(index, 1).empty());
}

TEST(TagIndex, KeepsATagGivenTwiceOnce) {
    TagIndex index;
    index.attach(3, 9);
    index.attach(3, 9);
    EXPECT_EQ(index.count(9), 1U);
    index.detach_all(3);
    EXPECT_EQ(index.count(9), 0U);
    EXPECT_EQ(index.first(9), kNoSlot);
    EXPECT_EQ(index.tags(), 0U);
}

TEST(TagIndex, SeesTagsWhoseHashesAreExtreme) {
    TagIndex index;
    index.attach(0, 0);
    index.attach(0, ~TagHash{0});
    EXPECT_EQ(tags_of(index, 0), (std::set<TagHash>{0, ~TagHash{0}}));
    EXPECT_EQ(index.first(0), 0U);
    EXPECT_EQ(index.first(~TagHash{0}), 0U);
}

TEST(TagIndex, DetachesASlotThatWasNeverSeen) {
    TagIndex index;
    index.detach_all(0);
    index.attach(1, 5);
    index.detach_all(0);
    index.detach_all(100'000);
    EXPECT_EQ(slots_of(index, 5), std::set<Slot>{1});
}

class TagIndexModel : public testing::TestWithParam<std::uint64_t> {};

TEST_P(TagIndexModel, KnowsWhatAMapOfSetsKnows) {
    std::mt19937_64 random{GetParam()};
    TagIndex index;
    std::map<TagHash, std::set<Slot>> slots;
    std::map<Slot, std::set<TagHash>> tags;
    const auto detach = [&](Slot slot) {
        index.detach_all(slot);
        for (const TagHash tag : tags[slot]) {
            slots[tag].erase(slot);
            if (slots[tag].empty()) {
                slots.erase(tag);
            }
        }
        tags.erase(slot);
    };
    for (int step = 0; step < 20'000; ++step) {
        const auto slot = static_cast<Slot>(random() % 3000);
        // Some tags sit on many slots, most on a few.
        const TagHash tag = random() % 2 == 0 ? random() % 3 : random() % 400;
        if (random() % 3 != 0) {
            index.attach(slot, tag);
            slots[tag].insert(slot);
            tags[slot].insert(tag);
        } else if (random() % 200 == 0) {
            while (index.first(tag) != kNoSlot) {
                ASSERT_TRUE(slots[tag].contains(index.first(tag)));
                detach(index.first(tag));
            }
            ASSERT_FALSE(slots.contains(tag) && !slots[tag].empty());
            slots.erase(tag);
        } else {
            detach(slot);
        }
        ASSERT_EQ(index.tags(), slots.size());
        const auto known = slots.find(tag);
        ASSERT_EQ(index.count(tag), known == slots.end() ? 0 : known->second.size());
        ASSERT_EQ(index.first(tag) == kNoSlot, known == slots.end());
        if (step % 50 == 0) {
            ASSERT_EQ(slots_of(index, tag),
                      known == slots.end() ? std::set<Slot>{} : known->second);
            ASSERT_EQ(tags_of(index, slot), tags.contains(slot) ? tags[slot] : std::set<TagHash>{});
        }
    }
    for (Slot slot = 0; slot < 3000; ++slot) {
        ASSERT_EQ(tags_of(index, slot), tags.contains(slot) ? tags[slot] : std::set<TagHash>{});
        detach(slot);
    }
    EXPECT_EQ(index.tags(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, TagIndexModel, testing::Values(1U, 2U, 3U, 4U));

TEST(TagIndex, ReusesTheMemoryOfWhatWasDetached) {
    TagIndex index;
    std::size_t bytes = 0;
    for (int round = 0; round < 20; ++round) {
        for (Slot slot = 0; slot < 2000; ++slot) {
            index.attach(slot, slot % 100);
            index.attach(slot, 1000 + slot);
        }
        if (round == 0) {
            bytes = index.allocated_bytes();
        }
        EXPECT_EQ(index.allocated_bytes(), bytes);
        for (Slot slot = 0; slot < 2000; ++slot) {
            index.detach_all(slot);
        }
    }
}

}  // namespace
}  // namespace millpond::cache
