// Plays every interleaving of small programs and lets the world (flights_world.hpp) judge each
// step.
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "flights_world.hpp"

namespace millpond::flights_world {
namespace {

// Plays `program` once for each order in which its steps can happen: the first time whatever comes
// first, then again and again with the last choice that had an alternative changed.
Tally explore(const Program& program) {
    Tally tally;
    std::vector<std::pair<std::size_t, std::size_t>> choices;  // taken, of how many
    Flights<NoLock> flights;                                   // each run leaves it empty
    do {
        World world(program, flights, tally);
        std::size_t depth = 0;
        std::string trace;
        for (std::vector<Move> moves = world.moves(); !moves.empty(); moves = world.moves()) {
            if (depth == choices.size()) {
                choices.emplace_back(0, moves.size());
            }
            const Move move = moves[choices[depth++].first];
            trace +=
                (move.kind == Kind::Step ? " step:" : " give-up:") + std::to_string(move.actor);
            world.carry_out(move);
            if (testing::Test::HasFailure()) {
                ADD_FAILURE() << "after" << trace;
                return tally;
            }
        }
        world.check_end();
        if (testing::Test::HasFailure()) {
            ADD_FAILURE() << "after" << trace;
            return tally;
        }
        ++tally.paths;
        while (!choices.empty() && choices.back().first + 1 == choices.back().second) {
            choices.pop_back();
        }
        if (!choices.empty()) {
            ++choices.back().first;
        }
    } while (!choices.empty());
    return tally;
}

// With threads only, with tasks only, and with both by turns.
Tally explore_all(const std::vector<Call>& callers) {
    Tally sum;
    for (const unsigned tasks : {0U, ~0U, 0b0101U, 0b1010U}) {
        Program program{callers, {}};
        for (std::size_t i = 0; i < callers.size(); ++i) {
            program.runs.push_back((tasks >> i & 1) != 0 ? Runs::InTask : Runs::InCaller);
        }
        const Tally tally = explore(program);
        sum.paths += tally.paths;
        sum.refused += tally.refused;
        sum.promoted += tally.promoted;
        sum.cancelled += tally.cancelled;
        if (testing::Test::HasFailure()) {
            ADD_FAILURE() << "with the tasks " << (tasks & 0xFU);
            break;
        }
    }
    testing::Test::RecordProperty("paths", std::to_string(sum.paths));
    return sum;
}

constexpr Patience kTimesOut = Patience::TimesOut;
constexpr Patience kCancelled = Patience::Cancelled;

Call call(std::size_t key, std::vector<Call> body = {}) { return {key, std::move(body)}; }
Call interrupted(std::size_t key, std::vector<Call> body = {}) {
    return {key, std::move(body), Ends::Interrupted};
}
Call impatient(Patience patience, std::size_t key, std::vector<Call> body = {}) {
    return {key, std::move(body), Ends::Lands, patience};
}
Call at_once(std::size_t key, std::vector<Call> body) {
    return {key, std::move(body), Ends::Lands, Patience::Waits, Order::AtOnce};
}

TEST(FlightsInterleavings, CallersOfOneKey) {
    const Tally tally = explore_all({call(0), call(0), {0, {}, Ends::Fails}, call(0)});
    EXPECT_GT(tally.paths, 500U);
    EXPECT_EQ(tally.refused, 0U);
}

TEST(FlightsInterleavings, WaitersThatTimeOut) {
    explore_all(
        {impatient(kTimesOut, 0), impatient(kTimesOut, 0), impatient(kTimesOut, 0), call(0)});
}

TEST(FlightsInterleavings, CancelledLeadersAndFollowers) {
    const Tally tally =
        explore_all({impatient(kCancelled, 0), impatient(kCancelled, 0), impatient(kCancelled, 0)});
    EXPECT_GT(tally.cancelled, 0U);
    EXPECT_GT(tally.promoted, 0U);  // who joins a load that is being cancelled starts it again
}

TEST(FlightsInterleavings, InterruptedLeaders) {
    const Tally tally = explore_all({interrupted(0), interrupted(0), call(0), call(0)});
    EXPECT_GT(tally.promoted, 0U);
}

TEST(FlightsInterleavings, InterruptedLeadersWhoseSuccessorsGiveUp) {
    const Tally tally =
        explore_all({interrupted(0), impatient(kTimesOut, 0), impatient(kCancelled, 0)});
    EXPECT_GT(tally.promoted, 0U);
}

TEST(FlightsInterleavings, AFunctionThatCallsItself) {
    const Tally tally = explore_all({call(0, {call(0)}), call(0, {call(0)})});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, TwoFunctionsThatCallEachOther) {
    const Tally tally = explore_all({call(0, {call(1)}), call(1, {call(0)}), call(0)});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, ThreeFunctionsInACircle) {
    const Tally tally = explore_all({call(0, {call(1)}), call(1, {call(2)}), call(2, {call(0)})});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, NestedLoadsThatMeetBelow) {
    const Tally tally = explore_all({call(0, {call(1, {call(2)})}), call(2, {call(0)}), call(1)});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, AnInterruptInsideANestedLoad) {
    const Tally tally = explore_all({call(0, {interrupted(1)}), call(1, {call(0)}), call(0)});
    EXPECT_GT(tally.promoted, 0U);
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, CancellationThatReachesANestedLoad) {
    const Tally tally =
        explore_all({impatient(kCancelled, 0, {call(1)}), call(1, {call(0)}), call(1)});
    EXPECT_GT(tally.cancelled, 0U);
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, ACircleThatATimeOutOpens) {
    const Tally tally =
        explore_all({call(0, {impatient(kTimesOut, 1), call(2)}), call(1, {call(0)})});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, ALoadThatCallsSeveralAtOnce) {
    const Tally tally = explore_all({at_once(0, {call(1), call(2)}), call(1, {call(0)})});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, SiblingsThatWaitOnEachOther) {
    const Tally tally = explore_all({at_once(0, {call(1, {call(2)}), call(2, {call(1)})})});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, BystandersOfACircle) {
    const Tally tally = explore_all({call(0, {call(1)}), call(1, {call(0)}), call(0), call(1)});
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, InterruptsAndTimeOutsInACircle) {
    const Tally tally = explore_all(
        {call(0, {interrupted(1)}), impatient(kTimesOut, 1, {call(2)}), call(2, {call(0)})});
    EXPECT_GT(tally.promoted, 0U);
    EXPECT_GT(tally.refused, 0U);
}

TEST(FlightsInterleavings, AGatheringLoadThatIsCancelled) {
    Call gathering = at_once(0, {call(1), call(2)});
    gathering.patience = kCancelled;
    const Tally tally = explore_all({gathering, call(1)});
    EXPECT_GT(tally.cancelled, 0U);
}

}  // namespace
}  // namespace millpond::flights_world
