// Random runs against a plain model, then what must hold of any run: it closes soon after the server
// is back, never sooner than its wait, and never opens more often than so.
#include <deque>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/base/breaker.hpp"

namespace millpond {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{std::chrono::hours{1000}};

BreakerOptions without_jitter() {
    BreakerOptions options;
    options.jitter = 0;
    return options;
}

// ---- The model: a list of all calls, and the rules as sentences.

struct Model {
    BreakerOptions options;
    BreakerState state = BreakerState::Closed;
    int epoch = 0;
    std::vector<std::pair<std::int64_t, CallResult>> calls;  // of this closed time: bucket, result
    Nanos wait{0};
    Instant closed_at{};
    Instant next = kNever;
    int good = 0;
    bool probing = false;

    [[nodiscard]] bool too_bad(Instant now) const {
        const std::int64_t bucket = now.time_since_epoch() / options.bucket;
        double all = 0;
        double bad = 0;
        for (const auto& [when, result] : calls) {
            if (when > bucket - 10) {
                ++all;
                bad += result != CallResult::Good ? 1 : 0;
            }
        }
        std::uint32_t row = 0;
        for (auto each = calls.rbegin(); each != calls.rend(); ++each) {
            if (each->second == CallResult::Good) {
                break;
            }
            row += each->second == CallResult::Failed ? 1 : 0;
        }
        return (all >= 5 && bad / all >= 0.5) || row >= 5;
    }
    bool record(CallResult result, int of, Instant now) {
        if (of != epoch || state != BreakerState::Closed || result == CallResult::Void) {
            return false;
        }
        calls.emplace_back(now.time_since_epoch() / options.bucket, result);
        if (result == CallResult::Good || !too_bad(now)) {
            return false;
        }
        if (now - closed_at >= options.steady) {
            wait = Nanos{0};
        }
        open(now);
        return true;
    }
    void open(Instant now) {
        wait = wait == Nanos{0} ? options.first_wait : std::min(2 * wait, options.longest_wait);
        state = BreakerState::Open;
        next = now + wait;
        good = 0;
        probing = false;
        calls.clear();
        ++epoch;
    }
    bool begin_probe(Instant now) {
        if (now < next) {
            return false;
        }
        good = probing ? 0 : good;
        probing = true;
        state = BreakerState::HalfOpen;
        next = now + options.probe_lease;
        ++epoch;
        return true;
    }
    bool end_probe(CallResult result, int of, Instant now) {
        if (of != epoch || state != BreakerState::HalfOpen) {
            return false;
        }
        probing = false;
        if (result != CallResult::Good) {
            open(now);
            return false;
        }
        if (++good < 2) {
            next = now;
            return false;
        }
        state = BreakerState::Closed;
        next = kNever;
        closed_at = now;
        good = 0;
        calls.clear();
        ++epoch;
        return true;
    }
};

TEST(BreakerModel, RandomRunsAgree) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937_64 random(seed);
        Breaker breaker(without_jitter(), seed);
        Model model;
        model.options = without_jitter();
        Instant now = kStart;
        std::deque<std::pair<std::uint32_t, int>> open_calls;
        std::deque<std::pair<std::uint32_t, int>> probes;
        unsigned badness = 50;
        int transitions = 0;
        for (int step = 0; step < 3000; ++step) {
            now += Nanos{static_cast<Nanos::rep>(random() % 300'000'000)} *
                   (random() % 40 == 0 ? 60 : 1);
            badness = random() % 100 == 0 ? static_cast<unsigned>(random() % 101) : badness;
            const auto result = random() % 100 >= badness ? CallResult::Good
                                : random() % 4 == 0       ? CallResult::Slow
                                : random() % 9 == 0       ? CallResult::Void
                                                          : CallResult::Failed;
            switch (random() % 4) {
                case 0:
                case 1: open_calls.emplace_back(breaker.epoch(), model.epoch); break;
                case 2: {
                    // Late, or not at all, as it comes.
                    const std::size_t at = random() % (open_calls.size() + 1);
                    if (at < open_calls.size()) {
                        const auto [epoch, of] = open_calls[at];
                        open_calls.erase(open_calls.begin() + static_cast<std::ptrdiff_t>(at));
                        const bool opened = breaker.record(result, epoch, now);
                        ASSERT_EQ(opened, model.record(result, of, now));
                        transitions += opened ? 1 : 0;
                    }
                    break;
                }
                default: {
                    const auto epoch = breaker.begin_probe(now);
                    ASSERT_EQ(epoch.has_value(), model.begin_probe(now));
                    if (epoch) {
                        probes.emplace_back(*epoch, model.epoch);
                    }
                    if (!probes.empty() && random() % 3 != 0) {
                        const auto [of_probe, of] = probes.front();
                        probes.pop_front();
                        const bool closed = breaker.end_probe(result, of_probe, now);
                        ASSERT_EQ(closed, model.end_probe(result, of, now));
                        transitions += closed ? 1 : 0;
                    }
                }
            }
            ASSERT_EQ(breaker.state(), model.state);
            ASSERT_EQ(breaker.next_probe(), model.next);
            ASSERT_EQ(breaker.admits(), model.state == BreakerState::Closed);
        }
        EXPECT_GT(transitions, 4);
    }
}

// ---- Properties: a server that comes and goes, callers, and a prober that keeps its word.

struct World {
    std::mt19937_64 random;
    Breaker breaker{BreakerOptions{}, random()};
    Instant now = kStart;
    Instant opened_at{};
    bool up = true;
    // Ends of calls and probes under way: when, epoch, whether a probe, whether it will do well.
    struct Call {
        Instant end;
        std::uint32_t epoch;
        bool probe;
        bool good;
    };
    std::vector<Call> calls;

    explicit World(std::uint64_t seed) : random(seed) {}

    void step() {
        now += 1ms;
        if (const auto probe = breaker.begin_probe(now)) {
            start(*probe, true);
        }
        if (random() % 5 == 0 && breaker.admits()) {
            start(breaker.epoch(), false);
        }
        std::erase_if(calls, [this](const Call& call) {
            if (call.end > now) {
                return false;
            }
            const CallResult result = call.good ? CallResult::Good : CallResult::Failed;
            if (!call.probe && breaker.record(result, call.epoch, now)) {
                opened_at = now;
            } else if (call.probe && breaker.end_probe(result, call.epoch, now)) {
                // Never open for less than the shortest wait.
                EXPECT_GE(now - opened_at, 400ms);
            }
            return true;
        });
    }
    // A call takes 1 ms of a server that is up, and its whole deadline of one that is not.
    void start(std::uint32_t epoch, bool probe) {
        calls.push_back({now + (up ? 1ms : 250ms), epoch, probe, up});
    }
};

TEST(BreakerProperties, ClosesWithinTwoSecondsOfTheServersReturnAndOpensSoonAfterItsEnd) {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        SCOPED_TRACE(seed);
        World world(seed);
        for (int outage = 0; outage < 5; ++outage) {
            for (int i = 0; i < 3000; ++i) {
                world.step();
            }
            ASSERT_TRUE(world.breaker.admits());
            world.up = false;
            for (auto ms = static_cast<int>(500 + world.random() % 10'000); ms > 0; --ms) {
                world.step();
            }
            ASSERT_FALSE(world.breaker.admits());
            world.up = true;
            for (int ms = 0; ms < 2000; ++ms) {
                world.step();
            }
            ASSERT_TRUE(world.breaker.admits());
        }
    }
}

TEST(BreakerProperties, HoweverTheServerFlapsItOpensLessThanThreeTimesASecond) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        World world(seed);
        std::deque<Instant> openings;
        Instant last{};
        for (int ms = 0; ms < 60'000; ++ms) {
            if (world.random() % 100 == 0) {
                world.up = !world.up;
            }
            world.step();
            if (world.opened_at != last) {
                last = world.opened_at;
                openings.push_back(last);
                while (openings.front() + 1s <= last) {
                    openings.pop_front();
                }
                ASSERT_LT(openings.size(), 4U);
            }
        }
    }
}

}  // namespace
}  // namespace millpond
