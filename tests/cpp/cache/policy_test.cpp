#include "millpond/cache/policy.hpp"

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/base/hash.hpp"
#include "policy_model.hpp"

namespace millpond::cache {
namespace {

const char* name_of(PolicyKind kind) {
    switch (kind) {
        case PolicyKind::Lru: return "lru";
        case PolicyKind::Lfu: return "lfu";
        case PolicyKind::Fifo: return "fifo";
        case PolicyKind::Sieve: return "sieve";
        case PolicyKind::S3Fifo: return "s3fifo";
    }
    return "";
}

// A policy with the entries it orders, used as the store uses it.
class Driver {
  public:
    Driver(PolicyKind kind, Measure measure) : policy(make_policy(kind, measure)) {}

    Slot insert(Hash hash, std::uint32_t weight) {
        const Slot slot = entries.acquire();
        entries[slot].hash = hash;
        entries[slot].weight = weight;
        entries[slot].frequency = 0;
        policy->insert(entries, slot);
        return slot;
    }
    // By the way that the policy asked for.
    void hit(Slot slot) {
        Entry& entry = entries[slot];
        if (entry.frequency < policy->bump_limit) {
            ++entry.frequency;
        }
        if (policy->ordered_hits) {
            policy->hit(entries, slot);
        }
    }
    void remove(Slot slot) {
        policy->remove(entries, slot);
        entries.release(slot);
    }
    void reweigh(Slot slot, std::uint32_t weight) {
        const std::uint32_t old_weight = std::exchange(entries[slot].weight, weight);
        policy->reweigh(entries, slot, old_weight);
    }

    Entries entries;
    std::unique_ptr<Policy> policy;
};

using Param = std::tuple<PolicyKind, Measure, std::size_t>;

class PolicyTest : public testing::TestWithParam<Param> {};

// Keys repeat, so that ghosts are met; hits, removals and new weights fall between evictions.
TEST_P(PolicyTest, ChoosesTheVictimsOfItsPaper) {
    const auto [kind, measure, capacity] = GetParam();
    std::mt19937_64 random{capacity};
    Driver driver{kind, measure};
    const auto model = make_model(kind, measure);
    std::vector<Slot> resident;
    const auto remove = [&](Slot slot) {
        driver.remove(slot);
        model->remove(slot);
        std::erase(resident, slot);
    };
    const int steps = capacity > 100 ? 20'000 : 60'000;
    for (int step = 0; step < steps; ++step) {
        const std::uint64_t what = random() % 100;
        const auto weight = static_cast<std::uint32_t>(1 + random() % 1000);
        if (what < 40 || resident.empty()) {
            while (resident.size() >= capacity) {
                const Slot victim = driver.policy->victim(driver.entries);
                ASSERT_EQ(victim, model->victim()) << "at step " << step;
                remove(victim);
            }
            const Hash hash = mix64(1 + random() % (3 * capacity));
            const Slot slot = driver.insert(hash, weight);
            model->insert(slot, hash, weight);
            resident.push_back(slot);
            continue;
        }
        // Rather the older ones, so that frequencies spread.
        const std::size_t at = random() % (1 + random() % resident.size());
        const Slot slot = resident[at];
        if (what < 96) {
            driver.hit(slot);
            model->hit(slot);
        } else if (what < 98) {
            driver.reweigh(slot, weight);
            model->reweigh(slot, weight);
        } else {
            remove(slot);
        }
    }
    while (!resident.empty()) {
        const Slot victim = driver.policy->victim(driver.entries);
        ASSERT_EQ(victim, model->victim());
        remove(victim);
    }
}

INSTANTIATE_TEST_SUITE_P(Policies, PolicyTest,
                         testing::Combine(testing::Values(PolicyKind::Lru, PolicyKind::Lfu,
                                                          PolicyKind::Fifo, PolicyKind::Sieve,
                                                          PolicyKind::S3Fifo),
                                          testing::Values(Measure::Count, Measure::Weight),
                                          testing::Values(1U, 2U, 3U, 10U, 64U, 300U)),
                         [](const auto& param) {
                             return std::string(name_of(std::get<0>(param.param))) +
                                    (std::get<1>(param.param) == Measure::Count ? "_by_count_"
                                                                                : "_by_weight_") +
                                    std::to_string(std::get<2>(param.param));
                         });

TEST(Policy, AsksForNoMoreOfAHitThanItNeeds) {
    const auto made = [](PolicyKind kind) { return make_policy(kind, Measure::Count); };
    EXPECT_TRUE(made(PolicyKind::Lru)->ordered_hits);
    EXPECT_TRUE(made(PolicyKind::Lfu)->ordered_hits);
    EXPECT_FALSE(made(PolicyKind::Fifo)->ordered_hits);
    EXPECT_EQ(made(PolicyKind::Fifo)->bump_limit, 0);
    EXPECT_FALSE(made(PolicyKind::Sieve)->ordered_hits);
    EXPECT_EQ(made(PolicyKind::Sieve)->bump_limit, 1);
    EXPECT_FALSE(made(PolicyKind::S3Fifo)->ordered_hits);
    EXPECT_EQ(made(PolicyKind::S3Fifo)->bump_limit, 3);
}

// An entry used more often than any counter of a byte could say still outlives one used less.
TEST(Policy, LfuCountsFurtherThanAByte) {
    Driver driver{PolicyKind::Lfu, Measure::Count};
    const Slot often = driver.insert(1, 1);
    const Slot oftener = driver.insert(2, 1);
    for (int i = 0; i < 70'000; ++i) {
        driver.hit(oftener);
    }
    for (int i = 0; i < 69'999; ++i) {
        driver.hit(often);
    }
    EXPECT_EQ(driver.policy->victim(driver.entries), often);
    driver.hit(often);
    EXPECT_EQ(driver.policy->victim(driver.entries), oftener);
}

// Hits of skewed traffic, counted once with the engine's ghosts and once with
// exact ones: what the ghosts forget or imagine costs next to nothing.
TEST(Policy, S3FifoLosesNextToNothingByItsGhosts) {
    constexpr std::size_t kCapacity = 505;  // 454 ghosts: a table as full as it gets
    Driver driver{PolicyKind::S3Fifo, Measure::Count};
    S3FifoModel exact{Measure::Count, S3FifoModel::Ghosts::Exact};
    std::mt19937_64 random{11};
    std::size_t hits = 0;
    std::size_t exact_hits = 0;
    constexpr std::size_t kKeys = 3000;
    std::vector<Slot> held(kKeys, kNoSlot);
    std::vector<Slot> key_of;
    std::vector<bool> exactly_held(kKeys);
    std::size_t used = 0;
    std::size_t exactly_used = 0;
    constexpr int kSteps = 40'000;
    for (int step = 0; step < kSteps; ++step) {
        const double draw = static_cast<double>(random() >> 11) * 0x1p-53;
        const auto key = static_cast<Slot>(static_cast<double>(kKeys) * draw * draw * draw);
        const Hash hash = mix64(key + 1);
        if (held[key] != kNoSlot) {
            ++hits;
            driver.hit(held[key]);
        } else {
            if (used == kCapacity) {
                const Slot victim = driver.policy->victim(driver.entries);
                held[key_of[victim]] = kNoSlot;
                driver.remove(victim);
                --used;
            }
            held[key] = driver.insert(hash, 1);
            key_of.resize(driver.entries.end());
            key_of[held[key]] = key;
            ++used;
        }
        if (exactly_held[key]) {
            ++exact_hits;
            exact.hit(key);
        } else {
            if (exactly_used == kCapacity) {
                const Slot victim = exact.victim();
                exactly_held[victim] = false;
                exact.remove(victim);
                --exactly_used;
            }
            exact.insert(key, hash, 1);
            exactly_held[key] = true;
            ++exactly_used;
        }
    }
    const auto percent = [](std::size_t n) { return 100.0 * static_cast<double>(n) / kSteps; };
    EXPECT_GT(percent(exact_hits), 20.0);
    EXPECT_NEAR(percent(hits), percent(exact_hits), 0.3);
}

}  // namespace
}  // namespace millpond::cache
