// Each rule by itself; breaker_model_test.cpp has the random runs.
#include "millpond/base/breaker.hpp"

#include <algorithm>
#include <utility>

#include <gtest/gtest.h>

namespace millpond {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{std::chrono::hours{1000}};

BreakerOptions without_jitter() {
    BreakerOptions options;
    options.jitter = 0;
    return options;
}

class BreakerTest : public ::testing::Test {
  protected:
    bool record(CallResult result) { return breaker.record(result, breaker.epoch(), now); }
    void open() {
        while (!record(CallResult::Failed)) {
        }
    }
    // Makes the probe that is due, or fails.
    bool probe(CallResult result) {
        const auto epoch = breaker.begin_probe(now);
        EXPECT_TRUE(epoch);
        return epoch && breaker.end_probe(result, *epoch, now);
    }

    Breaker breaker{without_jitter(), 1};
    Instant now = kStart;
};

TEST_F(BreakerTest, FailuresInARowOpenItHoweverManyWentWellBefore) {
    for (int i = 0; i < 1000; ++i) {
        EXPECT_FALSE(record(CallResult::Good));
    }
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(record(CallResult::Failed));
    }
    EXPECT_TRUE(record(CallResult::Failed));
    EXPECT_EQ(breaker.state(), BreakerState::Open);
    EXPECT_FALSE(breaker.admits());
}

TEST_F(BreakerTest, AGoodCallEndsTheRowAndASlowOneDoesNot) {
    for (int i = 0; i < 100; ++i) {
        EXPECT_FALSE(record(CallResult::Good));
    }
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(record(CallResult::Failed));
    }
    EXPECT_FALSE(record(CallResult::Good));
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(record(CallResult::Failed));
    }
    EXPECT_FALSE(record(CallResult::Slow));
    EXPECT_TRUE(record(CallResult::Failed));
}

TEST_F(BreakerTest, HalfOfTheWindowOpensItOnceThereAreFiveCalls) {
    EXPECT_FALSE(record(CallResult::Slow));
    EXPECT_FALSE(record(CallResult::Good));
    EXPECT_FALSE(record(CallResult::Slow));
    EXPECT_FALSE(record(CallResult::Good));
    EXPECT_TRUE(record(CallResult::Slow));
}

TEST_F(BreakerTest, JustLessThanHalfDoesNot) {
    for (int i = 0; i < 50; ++i) {
        EXPECT_FALSE(record(CallResult::Good));
    }
    for (int i = 0; i < 49; ++i) {
        EXPECT_FALSE(record(CallResult::Slow));
    }
    EXPECT_TRUE(record(CallResult::Slow));
}

TEST_F(BreakerTest, WhatIsOlderThanTheWindowIsForgotten) {
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(record(CallResult::Slow));
    }
    now += 10s;
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(record(CallResult::Slow));
    }
    now += 9s;
    EXPECT_TRUE(record(CallResult::Slow));
}

TEST_F(BreakerTest, VoidCallsSayNothing) {
    for (int i = 0; i < 100; ++i) {
        EXPECT_FALSE(record(CallResult::Void));
    }
    EXPECT_EQ(breaker.state(), BreakerState::Closed);
}

TEST_F(BreakerTest, WaitsDoubleUpToTheLongest) {
    open();
    for (const Nanos wait : {Nanos{500ms}, Nanos{1s}, Nanos{1s}, Nanos{1s}}) {
        EXPECT_EQ(breaker.next_probe() - now, wait);
        EXPECT_FALSE(breaker.begin_probe(breaker.next_probe() - 1ns));
        now = breaker.next_probe();
        EXPECT_FALSE(probe(CallResult::Failed));
    }
}

TEST_F(BreakerTest, TwoGoodProbesCloseIt) {
    open();
    now += 500ms;
    EXPECT_FALSE(probe(CallResult::Good));
    EXPECT_EQ(breaker.state(), BreakerState::HalfOpen);
    EXPECT_LE(breaker.next_probe(), now);
    EXPECT_TRUE(probe(CallResult::Good));
    EXPECT_EQ(breaker.state(), BreakerState::Closed);
    EXPECT_EQ(breaker.next_probe(), kNever);
}

TEST_F(BreakerTest, ASecondProbeThatFailsBeginsAnew) {
    open();
    now += 500ms;
    EXPECT_FALSE(probe(CallResult::Good));
    EXPECT_FALSE(probe(CallResult::Slow));
    EXPECT_EQ(breaker.state(), BreakerState::Open);
    now += 1s;
    EXPECT_FALSE(probe(CallResult::Good));
    EXPECT_TRUE(probe(CallResult::Good));
}

TEST_F(BreakerTest, OneProbeAtATimeAndALostOneIsMadeAgain) {
    open();
    now += 500ms;
    const auto lost = breaker.begin_probe(now);
    ASSERT_TRUE(lost);
    EXPECT_FALSE(breaker.begin_probe(now + 999ms));
    now += 1s;
    const auto next = breaker.begin_probe(now);
    ASSERT_TRUE(next);
    EXPECT_FALSE(breaker.end_probe(CallResult::Good, *lost, now));
    EXPECT_FALSE(breaker.end_probe(CallResult::Good, *next, now));
    EXPECT_TRUE(probe(CallResult::Good));
}

TEST_F(BreakerTest, AGoodProbeBeforeALostOneDoesNotCount) {
    open();
    now += 500ms;
    EXPECT_FALSE(probe(CallResult::Good));
    EXPECT_TRUE(breaker.begin_probe(now));
    now += 1s;
    EXPECT_FALSE(probe(CallResult::Good));
    EXPECT_TRUE(probe(CallResult::Good));
}

TEST_F(BreakerTest, LateResultsOfCallsFromBeforeChangeNothing) {
    const std::uint32_t before = breaker.epoch();
    open();
    for (const CallResult result : {CallResult::Good, CallResult::Failed}) {
        EXPECT_FALSE(breaker.record(result, before, now));
        EXPECT_EQ(breaker.state(), BreakerState::Open);
    }
    now += 500ms;
    EXPECT_FALSE(probe(CallResult::Good));
    EXPECT_TRUE(probe(CallResult::Good));
    for (int i = 0; i < 100; ++i) {
        EXPECT_FALSE(breaker.record(CallResult::Failed, before, now));
    }
    EXPECT_EQ(breaker.state(), BreakerState::Closed);
}

TEST_F(BreakerTest, TheBackoffIsForgottenOnlyAfterASteadyTime) {
    for (const auto& [steady, wait] :
         {std::pair{Nanos{9999ms}, Nanos{1s}}, std::pair{Nanos{10s}, Nanos{500ms}}}) {
        Breaker fresh(without_jitter(), 1);
        std::swap(breaker, fresh);
        open();
        now += 500ms;
        EXPECT_FALSE(probe(CallResult::Good));
        EXPECT_TRUE(probe(CallResult::Good));
        now += steady;
        open();
        EXPECT_EQ(breaker.next_probe() - now, wait);
    }
}

TEST_F(BreakerTest, JitterShortensByAtMostItsShareAndDiffersBySeed) {
    BreakerOptions options;
    Nanos least = 1s;
    Nanos most = 0s;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        Breaker one(options, seed);
        for (int i = 0; i < 5; ++i) {
            one.record(CallResult::Failed, one.epoch(), now);
        }
        least = std::min(least, one.next_probe() - now);
        most = std::max(most, one.next_probe() - now);
    }
    EXPECT_GE(least, 400ms);
    EXPECT_LT(least, 405ms);
    EXPECT_LE(most, 500ms);
    EXPECT_GT(most, 495ms);
}

TEST_F(BreakerTest, AForkedChildProbesAtOnceAndHearsNothingOfTheParentsProbe) {
    open();
    now += 500ms;
    const auto parents = breaker.begin_probe(now);
    ASSERT_TRUE(parents);
    breaker.forked(2, now);
    EXPECT_FALSE(breaker.end_probe(CallResult::Good, *parents, now));
    EXPECT_FALSE(probe(CallResult::Good));
    EXPECT_TRUE(probe(CallResult::Good));
}

TEST_F(BreakerTest, AForkedChildOfAClosedOneStaysClosed) {
    breaker.forked(2, now);
    EXPECT_TRUE(breaker.admits());
    EXPECT_EQ(breaker.next_probe(), kNever);
}

TEST_F(BreakerTest, TimeThatStepsBackStandsStill) {
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(record(CallResult::Slow));
    }
    now -= 1h;
    EXPECT_TRUE(record(CallResult::Slow));
}

}  // namespace
}  // namespace millpond
