// What the monitor adds to its parts: tickets, what each kind of failure means, the second breaker,
// the account of outages. And a random run against plain counts.
#include "millpond/cache/tier_monitor.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millpond::cache {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{std::chrono::hours{1000}};

class TierMonitorTest : public ::testing::Test {
  protected:
    TierNotice call(TierOp op, TierOutcome outcome, Nanos took = 1ms, TierBytes bytes = {}) {
        const std::int64_t ticket = monitor.begin(op, now);
        EXPECT_GE(ticket, 0);
        now += took;
        return monitor.end(ticket, outcome, bytes, now);
    }
    void fail(TierOutcome outcome = TierOutcome::Unavailable) {
        while (call(TierOp::Fetch, outcome) != TierNotice::Opened) {
        }
    }
    TierNotice probe(TierOutcome outcome, Nanos took = 1ms) {
        now = std::max(now, monitor.next_probe());
        const auto probe = monitor.begin_probe(now);
        EXPECT_TRUE(probe);
        now += took;
        return monitor.end_probe(*probe, outcome, now);
    }
    const TierOpStats& of(TierOp op) const {
        return monitor.stats().operations[static_cast<std::size_t>(op)];
    }
    std::uint64_t outcomes(TierOp op, TierOutcome outcome) const {
        return of(op).outcomes[static_cast<std::size_t>(outcome)];
    }

    Instant now = kStart;
    TierMonitor monitor{TierMonitorOptions{}, 1, kStart};
};

TEST_F(TierMonitorTest, ATicketCarriesTheKindAndTheStart) {
    std::vector<std::pair<TierOp, std::int64_t>> tickets;
    for (std::size_t op = 0; op < kTierOps; ++op) {
        tickets.emplace_back(static_cast<TierOp>(op), monitor.begin(static_cast<TierOp>(op), now));
        now += 1ms;
    }
    EXPECT_EQ(monitor.stats().in_flight, kTierOps);
    for (const auto& [op, ticket] : tickets) {
        EXPECT_EQ(monitor.end(ticket, TierOutcome::Ok, {3, 5}, now), TierNotice::None);
        EXPECT_EQ(outcomes(op, TierOutcome::Ok), 1U);
        EXPECT_EQ(of(op).bytes.in, 3U);
        EXPECT_EQ(of(op).bytes.out, 5U);
        const double expected =
            0.001 * static_cast<double>(kTierOps - static_cast<std::size_t>(op));
        EXPECT_NEAR(of(op).latency.max(), expected, 128e-9);
    }
    EXPECT_EQ(monitor.stats().in_flight, 0U);
}

TEST_F(TierMonitorTest, LatencyIsRightForYearsOfRunningAndForClocksThatStepBack) {
    for (int day = 0; day < 400; ++day) {
        now += 24h;
        EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Ok, 1ms), TierNotice::None);
    }
    EXPECT_NEAR(of(TierOp::Fetch).latency.max(), 0.001, 128e-9);
    EXPECT_EQ(call(TierOp::Scan, TierOutcome::Ok, -10ms), TierNotice::None);
    EXPECT_LE(of(TierOp::Scan).latency.max(), 128e-9);
}

TEST_F(TierMonitorTest, EachOfTheseKindsOpensIt) {
    for (const TierOutcome kind :
         {TierOutcome::Timeout, TierOutcome::Unavailable, TierOutcome::NotReady,
          TierOutcome::Configuration, TierOutcome::Damaged}) {
        monitor = TierMonitor(TierMonitorOptions{}, 1, now);
        int calls = 0;
        while (call(TierOp::Fetch, kind, 50ms) != TierNotice::Opened) {
            ASSERT_LT(++calls, 5);
        }
        EXPECT_EQ(monitor.begin(TierOp::Fetch, now), TierMonitor::kOut);
        EXPECT_EQ(monitor.outage()->cause, kind);
        EXPECT_EQ(of(TierOp::Fetch).refused, 1U);
    }
}

TEST_F(TierMonitorTest, ACancelledCallAndATimeoutThatLeftNoTimeSayNothing) {
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Cancelled, 60s), TierNotice::None);
        EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Timeout, 9ms), TierNotice::None);
    }
    EXPECT_EQ(monitor.state(), BreakerState::Closed);
    EXPECT_EQ(of(TierOp::Fetch).latency.count(), 100U);
    EXPECT_LT(of(TierOp::Fetch).latency.max(), 0.01);
}

TEST_F(TierMonitorTest, SlowCallsOpenItWithoutACauseOfTheirOwn) {
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Ok, 101ms), TierNotice::None);
    }
    EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Ok, 101ms), TierNotice::Opened);
    EXPECT_EQ(monitor.outage()->cause, TierOutcome::Ok);
}

TEST_F(TierMonitorTest, WhatWaitsForReplicasOpensItOnlyWhereTheTierItselfFails) {
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(call(TierOp::Confirm, TierOutcome::Ok, 1s), TierNotice::None);
        EXPECT_EQ(call(TierOp::Confirm, TierOutcome::Timeout, 1s), TierNotice::None);
    }
    EXPECT_EQ(call(TierOp::Confirm, TierOutcome::Configuration), TierNotice::Configuration);
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(call(TierOp::Confirm, TierOutcome::Configuration), TierNotice::None);
    }
    EXPECT_EQ(monitor.state(), BreakerState::Closed);
    while (call(TierOp::Confirm, TierOutcome::Unavailable) != TierNotice::Opened) {
        ASSERT_LT(of(TierOp::Confirm).latency.count(), 310U);
    }
}

TEST_F(TierMonitorTest, AFullTierRefusesOnlyWhatNeedsRoom) {
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(call(TierOp::Store, TierOutcome::Full), TierNotice::None);
        EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Ok), TierNotice::None);
    }
    EXPECT_EQ(call(TierOp::Store, TierOutcome::Full), TierNotice::Full);
    EXPECT_TRUE(monitor.full());
    EXPECT_EQ(monitor.state(), BreakerState::Closed);
    for (std::size_t i = 0; i < kTierOps; ++i) {
        const auto op = static_cast<TierOp>(i);
        const std::int64_t ticket = monitor.begin(op, now);
        EXPECT_EQ(ticket < 0, needs_room(op)) << name_of(op);
        if (ticket < 0) {
            EXPECT_EQ(ticket, TierMonitor::kNoRoom);
        } else {
            EXPECT_EQ(monitor.end(ticket, TierOutcome::Ok, {}, now), TierNotice::None);
        }
    }
    EXPECT_EQ(monitor.stats().times_full, 1U);
    EXPECT_EQ(monitor.stats().outages, 0U);

    EXPECT_EQ(probe(TierOutcome::Full), TierNotice::None);
    EXPECT_TRUE(monitor.full());
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::None);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::Room);
    EXPECT_FALSE(monitor.full());
    EXPECT_EQ(call(TierOp::Store, TierOutcome::Ok), TierNotice::None);
}

TEST_F(TierMonitorTest, TheProbeOfAFullTierIsAWriteAndThatOfOneThatIsOutComesFirst) {
    while (call(TierOp::Store, TierOutcome::Full) != TierNotice::Full) {
    }
    fail();
    now = std::max(now, monitor.next_probe());
    const auto read = monitor.begin_probe(now);
    ASSERT_TRUE(read);
    EXPECT_FALSE(read->write);
    // A full tier answers, which is all that a read asks of it.
    EXPECT_EQ(monitor.end_probe(*read, TierOutcome::Full, now), TierNotice::None);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::Closed);
    now = std::max(now, monitor.next_probe());
    const auto write = monitor.begin_probe(now);
    ASSERT_TRUE(write);
    EXPECT_TRUE(write->write);
}

TEST_F(TierMonitorTest, ASlowProbeIsABadOne) {
    fail();
    EXPECT_EQ(probe(TierOutcome::Ok, 101ms), TierNotice::None);
    EXPECT_EQ(monitor.state(), BreakerState::Open);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::None);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::Closed);
    EXPECT_EQ(monitor.stats().probes, 3U);
    EXPECT_EQ(monitor.stats().failed_probes, 1U);
}

TEST_F(TierMonitorTest, AConfigurationErrorIsSaidOnceAnOutage) {
    EXPECT_EQ(call(TierOp::Bump, TierOutcome::Configuration), TierNotice::Configuration);
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Ok), TierNotice::None);
        EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Ok), TierNotice::None);
        EXPECT_EQ(call(TierOp::Bump, TierOutcome::Configuration), TierNotice::None);
    }
    fail();
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::None);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::Closed);
    EXPECT_EQ(call(TierOp::Bump, TierOutcome::Configuration), TierNotice::Configuration);
}

TEST_F(TierMonitorTest, LateResultsFromBeforeAnOutageOnlyCount) {
    std::vector<std::int64_t> late;
    for (int i = 0; i < 200; ++i) {
        late.push_back(monitor.begin(TierOp::Fetch, now));
    }
    fail();
    for (std::size_t i = 0; i < 100; ++i) {
        EXPECT_EQ(monitor.end(late[i], TierOutcome::Ok, {}, now), TierNotice::None);
    }
    EXPECT_EQ(monitor.state(), BreakerState::Open);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::None);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::Closed);
    for (std::size_t i = 100; i < 200; ++i) {
        EXPECT_EQ(monitor.end(late[i], TierOutcome::Unavailable, {}, now), TierNotice::None);
    }
    EXPECT_EQ(monitor.state(), BreakerState::Closed);
    EXPECT_EQ(outcomes(TierOp::Fetch, TierOutcome::Ok), 100U);
    EXPECT_EQ(monitor.stats().in_flight, 0U);
}

TEST_F(TierMonitorTest, OutagesHaveAStartALengthAndACauseAndTheListIsBounded) {
    Nanos total{0};
    for (int i = 0; i < 40; ++i) {
        fail(i == 39 ? TierOutcome::NotReady : TierOutcome::Unavailable);
        const Instant start = now;
        EXPECT_EQ(monitor.outage()->start, start);
        now += 1s * i;
        EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::None);
        EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::Closed);
        EXPECT_FALSE(monitor.outage());
        total += now - start;
        EXPECT_EQ(monitor.stats().recent.back().length, now - start);
    }
    EXPECT_EQ(monitor.stats().outages, 40U);
    EXPECT_EQ(monitor.stats().out, total);
    EXPECT_EQ(monitor.stats().recent.size(), TierMonitor::kRecentOutages);
    EXPECT_EQ(monitor.stats().recent.back().cause, TierOutcome::NotReady);
}

TEST_F(TierMonitorTest, AForkedChildCountsFromZeroAndKnowsThatTheTierIsOut) {
    EXPECT_EQ(call(TierOp::Fetch, TierOutcome::Ok), TierNotice::None);
    monitor.count(TierEvent::Hit, 7);
    const std::int64_t parents = monitor.begin(TierOp::Fetch, now);
    fail();
    now += 100ms;
    monitor.forked(3, now);

    EXPECT_EQ(monitor.begin(TierOp::Fetch, now), TierMonitor::kOut);
    EXPECT_EQ(of(TierOp::Fetch).latency.count(), 0U);
    EXPECT_EQ(monitor.stats().events[static_cast<std::size_t>(TierEvent::Hit)], 0U);
    EXPECT_EQ(monitor.stats().outages, 1U);
    EXPECT_EQ(monitor.outage()->start, now);
    EXPECT_EQ(monitor.end(parents, TierOutcome::Ok, {}, now), TierNotice::None);
    EXPECT_EQ(monitor.stats().in_flight, 0U);
    EXPECT_LE(monitor.next_probe(), now);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::None);
    EXPECT_EQ(probe(TierOutcome::Ok), TierNotice::Closed);
}

TEST(TierMonitorNames, AreAllDifferent) {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < kTierOps; ++i) {
        names.insert(name_of(static_cast<TierOp>(i)));
    }
    EXPECT_EQ(names.size(), kTierOps);
    names.clear();
    for (std::size_t i = 0; i < kTierOutcomes; ++i) {
        names.insert(name_of(static_cast<TierOutcome>(i)));
    }
    EXPECT_EQ(names.size(), kTierOutcomes);
    names.clear();
    for (std::size_t i = 0; i < kTierEvents; ++i) {
        names.insert(name_of(static_cast<TierEvent>(i)));
    }
    EXPECT_EQ(names.size(), kTierEvents);
}

// Whatever happens, the counts are those of a plain list, and every transition is told exactly once.
TEST(TierMonitorModel, RandomRunsAgree) {
    struct Call {
        std::int64_t ticket;
        TierOp op;
        Instant start;
    };
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937_64 random(seed);
        Instant now = kStart;
        TierMonitor monitor({}, seed, now);
        std::vector<Call> calls;
        std::map<std::pair<TierOp, TierOutcome>, std::uint64_t> ended;
        std::map<TierOp, std::uint64_t> refused;
        std::map<TierOp, double> longest;
        bool out = false;
        bool full = false;
        unsigned badness = 10;
        for (int step = 0; step < 5000; ++step) {
            now += Nanos{static_cast<Nanos::rep>(random() % 20'000'000)};
            badness = random() % 100 == 0 ? static_cast<unsigned>(random() % 101) : badness;
            TierOutcome outcome = TierOutcome::Ok;
            if (random() % 100 < badness) {
                outcome = static_cast<TierOutcome>(random() % kTierOutcomes);
            }
            if (random() % 2 == 0) {
                const auto op = static_cast<TierOp>(random() % kTierOps);
                const std::int64_t ticket = monitor.begin(op, now);
                ASSERT_EQ(ticket < 0, out || (full && needs_room(op)));
                if (ticket < 0) {
                    ++refused[op];
                } else {
                    calls.push_back({ticket, op, now});
                }
            } else if (!calls.empty()) {
                const std::size_t at = random() % calls.size();
                const Call call = calls[at];
                calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(at));
                const TierNotice notice = monitor.end(call.ticket, outcome, {}, now);
                ASSERT_NE(notice, TierNotice::Closed);
                ASSERT_NE(notice, TierNotice::Room);
                if (notice == TierNotice::Opened) {
                    ASSERT_FALSE(std::exchange(out, true));
                }
                // Opening and getting full at once is told as opening.
                full = full || monitor.full();
                ++ended[{call.op, outcome}];
                if (outcome != TierOutcome::Cancelled) {
                    const double took = static_cast<double>((now - call.start).count()) * 1e-9;
                    longest[call.op] = std::max(longest[call.op], took);
                }
            }
            if (const auto probe = monitor.begin_probe(now)) {
                ASSERT_EQ(probe->write, !out);
                const TierNotice notice = monitor.end_probe(*probe, outcome, now);
                if (notice == TierNotice::Closed) {
                    ASSERT_TRUE(std::exchange(out, false));
                } else if (notice == TierNotice::Room) {
                    ASSERT_TRUE(std::exchange(full, false));
                } else {
                    ASSERT_EQ(notice, TierNotice::None);
                }
            }
            ASSERT_EQ(monitor.state() != BreakerState::Closed, out);
            ASSERT_EQ(monitor.full(), full);
        }
        ASSERT_EQ(monitor.stats().in_flight, calls.size());
        for (std::size_t op = 0; op < kTierOps; ++op) {
            const TierOpStats& stats = monitor.stats().operations[op];
            const auto which = static_cast<TierOp>(op);
            EXPECT_EQ(stats.refused, refused[which]);
            for (std::size_t i = 0; i < kTierOutcomes; ++i) {
                EXPECT_EQ(stats.outcomes[i], (ended[{which, static_cast<TierOutcome>(i)}]));
            }
            EXPECT_NEAR(stats.latency.max(), longest[which], 256e-9);
        }
    }
}

}  // namespace
}  // namespace millpond::cache
