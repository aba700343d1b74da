#include "millpond/cache/ghost_queue.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/base/hash.hpp"

namespace millpond::cache {
namespace {

TEST(GhostQueue, RemembersNothingAtFirstAndNothingWithoutCapacity) {
    GhostQueue ghosts;
    EXPECT_EQ(ghosts.take(1), 0);
    EXPECT_EQ(ghosts.allocated_bytes(), 0U);
    ghosts.push(1, 0);
    EXPECT_EQ(ghosts.take(1), 0);
    EXPECT_EQ(ghosts.allocated_bytes(), 0U);
}

TEST(GhostQueue, ForgetsWhatWasTaken) {
    GhostQueue ghosts;
    ghosts.push(42, 10);
    EXPECT_EQ(ghosts.take(42), 1);
    EXPECT_EQ(ghosts.take(42), 0);
}

TEST(GhostQueue, KeepsTheLatestNoteOfAHash) {
    GhostQueue ghosts;
    ghosts.push(42, 10, 1);
    ghosts.push(42, 10, 3);
    ghosts.push(42, 10, 2);
    EXPECT_EQ(ghosts.take(42), 2);
    EXPECT_EQ(ghosts.take(42), 0) << "a hash pushed again is still one ghost";
}

TEST(GhostQueue, RemembersTheLastOneWithACapacityOfOne) {
    GhostQueue ghosts;
    for (Hash hash = 1; hash <= 100; ++hash) {
        ghosts.push(hash * 0x9E3779B97F4A7C15U, 1);
    }
    EXPECT_EQ(ghosts.take(100 * 0x9E3779B97F4A7C15U), 1);
    EXPECT_EQ(ghosts.take(99 * 0x9E3779B97F4A7C15U), 0);
}

TEST(GhostQueue, CostsFourToNineBytesAHash) {
    for (const std::size_t capacity : {1000U, 4000U, 14'000U, 15'000U, 1'000'000U}) {
        GhostQueue ghosts;
        ghosts.push(1, capacity);
        EXPECT_GE(ghosts.allocated_bytes(), 4 * capacity);
        EXPECT_LE(ghosts.allocated_bytes(), 9 * capacity + 64);
    }
}

// The queue beside a deque that holds the remembered and, before them, the forgotten.
struct Errors {
    double forgotten = 0;  // share of the remembered that was not found
    double imagined = 0;   // share of what was never pushed that was found
    double stale = 0;      // share of what a plain queue had dropped that was found
};

// `takes` of 100 pushes are followed by a ghost's return, of any age alike.
Errors measure(std::size_t capacity, std::uint64_t takes) {
    std::mt19937_64 random{capacity};
    GhostQueue ghosts;
    std::deque<Hash> pushed;  // the latest last
    std::size_t asked[3] = {};
    std::size_t wrong[3] = {};
    const auto ask = [&](int what, Hash hash, bool expected) {
        ++asked[what];
        wrong[what] += (ghosts.take(hash) != 0) != expected ? 1U : 0U;
    };
    const std::size_t edge = capacity / 25;  // where early or late by a little is right
    for (std::size_t step = 0; step < 8 * capacity; ++step) {
        pushed.push_back(random());
        ghosts.push(pushed.back(), capacity);
        if (pushed.size() > 3 * capacity) {
            pushed.pop_front();
        }
        if (step < 3 * capacity) {
            continue;
        }
        ask(1, random(), false);
        ask(2, pushed[random() % (pushed.size() - capacity - edge)], false);
        if (random() % 100 < takes) {
            const auto at = pushed.end() - 1 - static_cast<std::ptrdiff_t>(random() % capacity);
            const Hash hash = *at;
            if (pushed.end() - at < static_cast<std::ptrdiff_t>(capacity - edge)) {
                ask(0, hash, true);
                pushed.erase(at);
            }
        }
    }
    const auto share = [&](int what) {
        return static_cast<double>(wrong[what]) / static_cast<double>(asked[what]);
    };
    return {share(0), share(1), share(2)};
}

TEST(GhostQueue, ErrsWithinItsStatedBounds) {
    for (const std::size_t capacity : {5000U, 7281U, 8192U, 10'000U, 14'563U}) {
        for (const std::uint64_t takes : {5U, 20U}) {
            const Errors errors = measure(capacity, takes);
            EXPECT_LT(errors.forgotten, 0.055) << capacity << ' ' << takes;
            EXPECT_LT(errors.imagined, 0.0005) << capacity << ' ' << takes;
            EXPECT_LT(errors.stale, 0.002) << capacity << ' ' << takes;
        }
    }
}

TEST(GhostQueue, FollowsACapacityThatChanges) {
    std::mt19937_64 random{9};
    GhostQueue ghosts;
    std::deque<Hash> pushed;
    for (int step = 0; step < 40'000; ++step) {
        // It grows past the table, which starts afresh, and shrinks again.
        const std::size_t capacity = step < 10'000 ? 500 : step < 20'000 ? 5000 : 1000;
        pushed.push_back(random());
        ghosts.push(pushed.back(), capacity);
    }
    std::size_t found = 0;
    std::size_t late = 0;
    for (std::size_t back = 0; back < 3000; ++back) {
        (back < 1000 ? found : late) += ghosts.take(pushed[pushed.size() - 1 - back]) != 0 ? 1 : 0;
    }
    EXPECT_GT(found, 990U);
    EXPECT_LT(late, 20U);
}

// Notes stand above the stamps in one number: who is the oldest must not depend on them.
TEST(GhostQueue, ForgetsTheOldestWhateverItsNote) {
    for (const std::uint8_t note : {std::uint8_t{2}, std::uint8_t{3}}) {
        GhostQueue plain;
        GhostQueue noted;
        std::vector<Hash> hashes;
        for (Hash i = 0; i < 1000; ++i) {
            hashes.push_back(mix64(i + 1));
            plain.push(hashes.back(), 50, 1);
            noted.push(hashes.back(), 50, note);
        }
        std::size_t remembered = 0;
        for (const Hash hash : hashes) {
            const std::uint8_t known = plain.take(hash);
            remembered += known;
            ASSERT_EQ(noted.take(hash), known == 0 ? 0 : note);
        }
        EXPECT_GT(remembered, 40U);
    }
}

// Beside a plain queue, which drops its oldest when there are too many and forgets what is taken.
TEST(GhostQueue, IsAPlainQueueWhileItIsSmall) {
    for (const std::size_t capacity : {1U, 2U, 7U, 45U, 450U, 1800U, 4000U}) {
        std::mt19937_64 random{capacity};
        GhostQueue ghosts;
        std::deque<Hash> plain;
        std::vector<Hash> pushed;
        std::size_t asked = 0;
        std::size_t wrong = 0;
        for (std::size_t step = 0; step < 40 * capacity + 20'000; ++step) {
            if (pushed.empty() || random() % 3 != 0) {
                pushed.push_back(random());
                ghosts.push(pushed.back(), capacity, static_cast<std::uint8_t>(1 + random() % 3));
                plain.push_back(pushed.back());
                if (plain.size() > capacity) {
                    plain.pop_front();
                }
                continue;
            }
            const std::size_t back = random() % std::min(pushed.size(), 3 * capacity);
            const Hash hash = pushed[pushed.size() - 1 - back];
            const auto found = std::ranges::find(plain, hash);
            ++asked;
            wrong += (ghosts.take(hash) != 0) != (found != plain.end()) ? 1U : 0U;
            if (found != plain.end()) {
                plain.erase(found);
            }
        }
        EXPECT_LE(wrong, 1 + asked / 500) << capacity << " of " << asked;
    }
}

}  // namespace
}  // namespace millpond::cache
