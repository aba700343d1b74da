// Each rule by itself, then long random runs: against plain lists, and for what a journal is there
// for: nothing that was invalidated goes untold, and nothing is told again without need.
#include "millpond/cache/journal.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millpond::cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr auto kNames = PendingKind::Names;
constexpr auto kKeys = PendingKind::Keys;
constexpr auto kEverything = PendingKind::Everything;

class JournalTest : public ::testing::Test {
  protected:
    Journal::Batch take(std::size_t most = 100) {
        const auto batch = journal.take(most);
        EXPECT_TRUE(batch);
        return batch.value_or(Journal::Batch{});
    }

    Journal journal{{.items = 6, .bytes = 10'000}};
};

TEST_F(JournalTest, IsEmptyAtFirst) {
    EXPECT_EQ(journal.size(), 0U);
    EXPECT_FALSE(journal.take(1));
    EXPECT_FALSE(journal.done(0));
    EXPECT_FALSE(journal.failed(0));
}

TEST_F(JournalTest, HandsOutEachItemOnceInTheOrderTheyCame) {
    for (const char* const name : {"b", "a", "b", "c", "a"}) {
        journal.add(kNames, name);
    }
    EXPECT_EQ(journal.size(), 3U);
    Journal::Batch batch = take(2);
    EXPECT_EQ(batch.kind, kNames);
    EXPECT_THAT(batch.items, ElementsAre("b", "a"));
    EXPECT_EQ(journal.size(), 3U);
    EXPECT_FALSE(journal.take(2));
    EXPECT_TRUE(journal.done(batch.token));
    EXPECT_FALSE(journal.done(batch.token));
    EXPECT_EQ(journal.size(), 1U);
    batch = take();
    EXPECT_THAT(batch.items, ElementsAre("c"));
    EXPECT_TRUE(journal.done(batch.token));
    EXPECT_EQ(journal.size(), 0U);
    EXPECT_EQ(journal.bytes(), 0U);
    EXPECT_FALSE(journal.take(1));
}

TEST_F(JournalTest, ABatchIsOfTheKindOfTheOldestItem) {
    journal.add(kKeys, "k1");
    journal.add(kNames, "n1");
    journal.add(kKeys, "k2");
    journal.add(kNames, "k2");  // The same text is another item as a name.
    Journal::Batch batch = take();
    EXPECT_EQ(batch.kind, kKeys);
    EXPECT_THAT(batch.items, ElementsAre("k1", "k2"));
    EXPECT_TRUE(journal.done(batch.token));
    batch = take();
    EXPECT_EQ(batch.kind, kNames);
    EXPECT_THAT(batch.items, ElementsAre("n1", "k2"));
}

TEST_F(JournalTest, WhatFailedIsHandedOutAgainInItsOldPlace) {
    for (const char* const key : {"a", "b", "c"}) {
        journal.add(kKeys, key);
    }
    const Journal::Batch first = take(2);
    journal.add(kKeys, "d");
    EXPECT_TRUE(journal.failed(first.token));
    EXPECT_FALSE(journal.done(first.token));
    EXPECT_THAT(take().items, ElementsAre("a", "b", "c", "d"));
}

TEST_F(JournalTest, AfterARefusalNothingIsHandedOutForAWhile) {
    constexpr Instant kStart{std::chrono::seconds{5}};
    constexpr Instant kLater = kStart + std::chrono::milliseconds{75};
    journal.add(kKeys, "a");
    journal.add(kKeys, "b");
    EXPECT_TRUE(journal.failed(take(1).token, kLater));
    EXPECT_EQ(journal.size(), 2U);
    EXPECT_FALSE(journal.take(1, kStart));
    EXPECT_FALSE(journal.take(1, kLater - Nanos{1}));
    const auto batch = journal.take(1, kLater);
    ASSERT_TRUE(batch);
    // One that was not refused is to be had again at once, and so is what follows on success.
    EXPECT_TRUE(journal.failed(batch->token));
    EXPECT_TRUE(journal.done(journal.take(1, kStart).value_or(Journal::Batch{}).token));
    EXPECT_TRUE(journal.take(1, kStart));
}

TEST_F(JournalTest, WhatComesDuringItsOwnReplayIsHeldAgain) {
    journal.add(kKeys, "a");
    journal.add(kKeys, "b");
    Journal::Batch batch = take(1);
    journal.add(kKeys, "a");
    EXPECT_EQ(journal.size(), 3U);
    EXPECT_TRUE(journal.done(batch.token));
    batch = take();
    EXPECT_THAT(batch.items, ElementsAre("b", "a"));
    journal.add(kKeys, "a");
    EXPECT_TRUE(journal.failed(batch.token));
    EXPECT_EQ(journal.size(), 2U);
    batch = take();
    EXPECT_THAT(batch.items, ElementsAre("b", "a"));
    EXPECT_TRUE(journal.done(batch.token));
    EXPECT_EQ(journal.bytes(), 0U);
}

TEST_F(JournalTest, OneTooManyIsEverything) {
    for (const char* const key : {"a", "b", "c", "d", "e", "f"}) {
        journal.add(kKeys, key);
    }
    EXPECT_FALSE(journal.everything());
    journal.add(kKeys, "a");
    EXPECT_FALSE(journal.everything());
    journal.add(kNames, "g");
    EXPECT_TRUE(journal.everything());
    EXPECT_EQ(journal.size(), 1U);
    EXPECT_EQ(journal.bytes(), 0U);
    EXPECT_EQ(journal.overflows(), 1U);
    journal.add(kKeys, "h");  // It is covered.
    EXPECT_EQ(journal.size(), 1U);

    Journal::Batch batch = take();
    EXPECT_EQ(batch.kind, kEverything);
    EXPECT_THAT(batch.items, IsEmpty());
    EXPECT_EQ(journal.size(), 1U);
    journal.add(kKeys, "i");  // It is not: the bump may have been made already.
    EXPECT_EQ(journal.size(), 2U);
    EXPECT_TRUE(journal.done(batch.token));
    EXPECT_THAT(take().items, ElementsAre("i"));
}

TEST_F(JournalTest, TooManyBytesAreEverythingToo) {
    journal.add(kKeys, std::string(9'000, 'a'));
    EXPECT_FALSE(journal.everything());
    EXPECT_EQ(journal.bytes(), 9'000 + Journal::kItemBytes);
    journal.add(kKeys, std::string(900, 'b'));
    EXPECT_TRUE(journal.everything());
}

TEST_F(JournalTest, EverythingThatFailedCoversWhatCameMeanwhile) {
    journal.add_everything();
    const Journal::Batch batch = take();
    journal.add(kKeys, "a");
    EXPECT_TRUE(journal.failed(batch.token));
    EXPECT_EQ(journal.size(), 1U);
    EXPECT_EQ(take().kind, kEverything);
    EXPECT_EQ(journal.overflows(), 0U);
}

TEST_F(JournalTest, ABatchThatFailsIsCoveredByEverything) {
    journal.add(kKeys, "a");
    const Journal::Batch batch = take();
    journal.add_everything();
    EXPECT_EQ(journal.size(), 2U);
    EXPECT_TRUE(journal.failed(batch.token));
    EXPECT_EQ(journal.size(), 1U);
    EXPECT_EQ(journal.bytes(), 0U);
    EXPECT_EQ(take().kind, kEverything);
}

TEST_F(JournalTest, AForkedChildTellsWhatItsParentIsTelling) {
    journal.add(kKeys, "a");
    const Journal::Batch batch = take();
    journal.forked();
    EXPECT_FALSE(journal.done(batch.token));
    EXPECT_THAT(take().items, ElementsAre("a"));
}

// ---- The model: lists, searched from end to end.

struct Model {
    using Item = std::pair<PendingKind, std::string>;
    std::size_t limit = 0;
    std::vector<Item> items;
    std::vector<Item> out;
    bool is_out = false;
    bool everything = false;
    bool everything_out = false;
    std::map<Item, int> came;  // when each was added last
    int adds = 0;

    bool holds(const Item& item) const { return std::ranges::find(items, item) != items.end(); }
    void add(const Item& item) {
        if (everything || holds(item)) {
            return;
        }
        items.push_back(item);
        came[item] = ++adds;
        if (items.size() + out.size() > limit) {
            add_everything();
        }
    }
    void add_everything() {
        everything = true;
        items.clear();
    }
    bool take(std::size_t most) {
        if (is_out || (items.empty() && !everything)) {
            return false;
        }
        is_out = true;
        everything_out = std::exchange(everything, false);
        const PendingKind kind = items.empty() ? kEverything : items.front().first;
        for (auto each = items.begin(); each != items.end() && out.size() < most;) {
            if (each->first == kind) {
                out.push_back(*each);
                each = items.erase(each);
            } else {
                ++each;
            }
        }
        return true;
    }
    void end(bool well) {
        if (!well && (everything || everything_out)) {
            add_everything();
        } else if (!well) {
            std::erase_if(out, [this](const Item& item) { return holds(item); });
            items.insert(items.end(), out.begin(), out.end());
            std::ranges::sort(items, {}, [this](const Item& item) { return came[item]; });
        }
        out.clear();
        is_out = everything_out = false;
    }
    std::size_t size() const {
        return items.size() + out.size() + (everything || everything_out ? 1 : 0);
    }
};

TEST(JournalModel, RandomRunsAgreeAndTellEverythingOnce) {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937_64 random(seed);
        const std::size_t limit = 1 + random() % 30;
        Journal journal({.items = limit, .bytes = 1 << 20});
        Model model;
        model.limit = limit;
        // By our own count of events: when each was invalidated last, and told last (when the batch
        // that told it was taken).
        std::uint64_t events = 1;
        std::map<Model::Item, std::uint64_t> invalidated;
        std::map<Model::Item, std::uint64_t> told;
        std::uint64_t all_invalidated = 0;
        std::uint64_t all_told = 0;
        std::uint64_t taken_at = 0;
        std::optional<Journal::Batch> batch;

        const auto told_at = [&](const Model::Item& item) {
            return std::max(told[item], all_told);
        };
        const auto end = [&](bool well) {
            if (well) {
                for (const std::string& text : batch->items) {
                    told[{batch->kind, text}] = taken_at;
                }
                all_told = batch->kind == kEverything ? taken_at : all_told;
            }
            ASSERT_TRUE(well ? journal.done(batch->token) : journal.failed(batch->token));
            model.end(well);
            batch.reset();
        };
        const auto take = [&](std::size_t most) {
            const auto next = journal.take(most);
            ASSERT_EQ(next.has_value(), model.take(most));
            if (!next) {
                return;
            }
            batch = next;
            taken_at = ++events;
            std::vector<Model::Item> items;
            for (const std::string& text : next->items) {
                items.emplace_back(next->kind, text);
                // Not without need.
                ASSERT_GT(invalidated[items.back()], told_at(items.back()));
            }
            ASSERT_EQ(items, model.out);
            ASSERT_EQ(next->kind == kEverything, model.everything_out);
        };

        for (int step = 0; step < 3000; ++step) {
            const Model::Item item{random() % 2 == 0 ? kNames : kKeys,
                                   std::to_string(random() % 40)};
            switch (random() % 8) {
                case 0: take(1 + random() % 5); break;
                case 1:
                case 2:
                    if (batch) {
                        end(random() % 3 != 0);
                    }
                    break;
                case 3:
                    if (random() % 100 == 0) {
                        all_invalidated = ++events;
                        journal.add_everything();
                        model.add_everything();
                    }
                    break;
                default:
                    if (random() % 4 != 0 || journal.size() < limit / 2) {
                        invalidated[item] = ++events;
                        journal.add(item.first, item.second);
                        model.add(item);
                    }
            }
            ASSERT_EQ(journal.size(), model.size());
            ASSERT_LE(journal.size(), limit + 1);
        }
        // The tier is back: all is told, and then there is nothing more.
        while (journal.size() > 0) {
            if (!batch) {
                take(3);
            }
            end(true);
        }
        ASSERT_FALSE(journal.take(1));
        ASSERT_EQ(journal.bytes(), 0U);
        ASSERT_GE(all_told, all_invalidated);
        for (const auto& [item, when] : invalidated) {
            ASSERT_GT(told_at(item), when);
        }
    }
}

}  // namespace
}  // namespace millpond::cache
