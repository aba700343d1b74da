// Each rule by itself; all interleavings of requests, replies, pushes, losses and reconnections of a
// small world; and long random runs against a plain map.
#include "millpond/cache/generations.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace millpond::cache {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{std::chrono::hours{1000}};

GenerationName name_of(std::uint64_t number) {
    return {mix64(number), mix64(number + 1'000'000'007)};
}
const GenerationName kName = name_of(1);

class GenerationTableTest : public ::testing::Test {
  protected:
    GenerationTable table{100, 1, kStart};
};

TEST_F(GenerationTableTest, NothingIsKnownWithoutALink) {
    EXPECT_FALSE(table.up());
    EXPECT_FALSE(table.learn(kName, 5, table.sequence()));
    EXPECT_EQ(table.known(kName), std::nullopt);
    table.link_up(kStart + 3s);
    EXPECT_TRUE(table.up());
    EXPECT_EQ(table.since(), kStart + 3s);
    EXPECT_TRUE(table.learn(kName, 5, table.sequence()));
    EXPECT_EQ(table.known(kName), 5U);
}

TEST_F(GenerationTableTest, APushForgetsAndRefusesAnswersFromBefore) {
    table.link_up(kStart);
    const std::uint64_t before = table.sequence();
    EXPECT_TRUE(table.learn(kName, 5, before));
    EXPECT_TRUE(table.forget(kName));
    EXPECT_EQ(table.known(kName), std::nullopt);
    EXPECT_FALSE(table.learn(kName, 5, before));
    EXPECT_EQ(table.known(kName), std::nullopt);
    EXPECT_TRUE(table.learn(kName, 6, table.sequence()));
    EXPECT_EQ(table.known(kName), 6U);
    EXPECT_EQ(table.size(), 1U);
}

TEST_F(GenerationTableTest, APushOfANameThatIsNotHeldCountsToo) {
    table.link_up(kStart);
    const std::uint64_t before = table.sequence();
    EXPECT_FALSE(table.forget(kName));
    EXPECT_FALSE(table.learn(kName, 5, before));
}

TEST_F(GenerationTableTest, OfTwoAnswersTheGreaterIsTheLater) {
    table.link_up(kStart);
    const std::uint64_t before = table.sequence();
    EXPECT_TRUE(table.learn(kName, 6, before));
    EXPECT_FALSE(table.learn(kName, 5, before));
    EXPECT_EQ(table.known(kName), 6U);
    EXPECT_TRUE(table.learn(kName, 6, before));
}

TEST_F(GenerationTableTest, ALossMakesAllUnknownUntilEachIsLearntAgain) {
    table.link_up(kStart);
    const std::uint64_t before = table.sequence();
    EXPECT_TRUE(table.learn(kName, 5, before));
    EXPECT_TRUE(table.learn(name_of(2), 7, before));
    table.link_down(kStart + 1s);
    EXPECT_EQ(table.known(kName), std::nullopt);
    EXPECT_FALSE(table.learn(kName, 5, before));
    EXPECT_FALSE(table.learn(kName, 5, table.sequence()));
    const std::uint64_t while_down = table.sequence();
    table.link_up(kStart + 2s);
    EXPECT_EQ(table.known(kName), std::nullopt);
    EXPECT_FALSE(table.learn(kName, 5, before));
    EXPECT_FALSE(table.learn(kName, 5, while_down));

    std::map<std::uint64_t, Stamp> held;
    table.for_each([&held](const GenerationName& name, Stamp stamp) { held[name.low] = stamp; });
    EXPECT_EQ(held, (std::map<std::uint64_t, Stamp>{{kName.low, 5}, {name_of(2).low, 7}}));
    // A server whose clock was set back is right all the same: this is another link.
    EXPECT_TRUE(table.learn(kName, 4, table.sequence()));
    EXPECT_EQ(table.known(kName), 4U);
    EXPECT_EQ(table.known(name_of(2)), std::nullopt);
}

TEST_F(GenerationTableTest, AllAreForgottenAtOnce) {
    table.link_up(kStart);
    const std::uint64_t before = table.sequence();
    EXPECT_TRUE(table.learn(kName, 5, before));
    table.forget_all();
    EXPECT_EQ(table.known(kName), std::nullopt);
    EXPECT_EQ(table.size(), 0U);
    EXPECT_FALSE(table.learn(kName, 5, before));
    EXPECT_TRUE(table.learn(kName, 4, table.sequence()));
}

TEST_F(GenerationTableTest, HoldsNoMoreThanItsLimitAndKeepsWhatIsUsed) {
    for (const std::size_t limit : {1U, 2U, 7U, 100U, 1000U}) {
        GenerationTable small(limit, 1, kStart);
        small.link_up(kStart);
        for (std::uint64_t i = 0; i < 10 * limit; ++i) {
            EXPECT_TRUE(small.learn(name_of(i), i, small.sequence()));
            EXPECT_EQ(small.known(name_of(i)), i);
            EXPECT_LE(small.size(), limit);
            if (limit >= 7) {
                EXPECT_EQ(small.known(name_of(0)), 0U);
            }
        }
        EXPECT_EQ(small.size(), limit);
    }
}

TEST_F(GenerationTableTest, APushRefusesFewAnswersOfOtherNames) {
    GenerationTable large(100'000, 1, kStart);
    large.link_up(kStart);
    const std::uint64_t before = large.sequence();
    large.forget(kName);
    int refused = 0;
    for (std::uint64_t i = 10; i < 100'010; ++i) {
        refused += large.learn(name_of(i), 1, before) ? 0 : 1;
    }
    EXPECT_LT(refused, 200);
}

// ---- All interleavings

// One name at a server, which sends a push down the link when it is bumped. The client has two
// connections for requests; replies come over them in any order, pushes in theirs.
struct World {
    GenerationTable table{2, 1, kStart};
    // The server's.
    Stamp stamp = 1;
    bool tracked = true;  // over a link that is whole
    int pushes = 0;       // on their way
    // The client's requests: not sent, sent, answered (with what), done.
    struct Request {
        std::optional<std::uint64_t> since;
        std::optional<Stamp> reply;
        bool done = false;
    };
    std::array<Request, 2> requests;
    int bumps = 2;
    int losses = 1;
    bool lost = false;  // the link is broken, whether the client knows it or not
    bool noticed = false;

    World() { table.link_up(kStart); }

    // What can happen next: one number for each, see act().
    std::vector<int> possible() const {
        std::vector<int> out;
        for (int i = 0; i < 2; ++i) {
            const Request& request = requests[static_cast<std::size_t>(i)];
            if (!request.since) {
                if (i == 0 || requests[0].since) {  // They are alike: one goes first.
                    out.push_back(i);
                }
            } else if (!request.reply) {
                out.push_back(2 + i);
            } else if (!request.done) {
                out.push_back(4 + i);
            }
        }
        if (bumps > 0) {
            out.push_back(6);
        }
        if (pushes > 0 && !noticed) {
            out.push_back(7);
        }
        if (losses > 0) {
            out.push_back(8);
        }
        if (lost && !noticed) {
            out.push_back(9);
        }
        if (noticed) {
            out.push_back(tracked ? 11 : 10);
        }
        return out;
    }
    void act(int what) {
        Request& request = requests[static_cast<std::size_t>(what % 2)];
        switch (what) {
            case 0:
            case 1: request.since = table.sequence(); break;
            case 2:
            case 3: request.reply = stamp; break;
            case 4:
            case 5:
                table.learn(kName, *request.reply, *request.since);
                request.done = true;
                break;
            case 6:
                --bumps;
                ++stamp;
                pushes += tracked ? 1 : 0;
                break;
            case 7:
                --pushes;
                table.forget(kName);
                break;
            case 8:  // What was on its way may still come, what is pushed later does not.
                --losses;
                lost = true;
                tracked = false;
                break;
            case 9:
                noticed = true;
                pushes = 0;
                table.link_down(kStart);
                break;
            case 10: tracked = true; break;  // The server has agreed to track again,
            default:                         // and the client has read that.
                lost = false;
                noticed = false;
                table.link_up(kStart);
        }
    }
    // What is known is true, or the client can be told no sooner.
    bool sound() {
        const std::optional<Stamp> known = table.known(kName);
        return !known || *known == stamp || (lost && !noticed) || pushes > 0;
    }
};

long explore(const World& world) {
    long ends = 0;
    for (const int what : world.possible()) {
        World next = world;
        next.act(what);
        if (!next.sound()) {
            ADD_FAILURE() << "a stamp is known that is not the present one";
            return 1;
        }
        ends += explore(next);
    }
    return ends == 0 ? 1 : ends;
}

TEST(GenerationInterleavings, NoneLeavesAnOldStampKnown) { EXPECT_GT(explore(World()), 10'000); }

TEST(GenerationInterleavings, TheTestSeesAnAnswerThatAPushOvertook) {
    // The same world without learn()'s rule: the older stamp would stay.
    World world;
    for (const int what : {0, 2, 6, 7}) {
        world.act(what);
    }
    EXPECT_TRUE(world.table.learn(kName, *world.requests[0].reply, world.table.sequence()));
    EXPECT_FALSE(world.sound());
}

// ---- The model

TEST(GenerationModel, RandomRunsNeverKnowMoreThanAMap) {
    struct Known {
        Stamp stamp;
        int link;
    };
    int accepted = 0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937_64 random(seed);
        const std::size_t limit = 1 + random() % 64;
        GenerationTable table(limit, seed, kStart);
        std::map<std::uint64_t, Known> model;  // all that was ever learnt and not forgotten
        std::map<std::uint64_t, std::uint64_t> pushed;  // by our own count of events
        std::uint64_t events = 1;
        std::uint64_t floor = 2;
        int link = 0;
        bool up = false;
        std::deque<std::pair<std::uint64_t, std::uint64_t>> sent;  // the table's sequence, ours
        bool whole = true;                                         // nothing has been evicted
        for (int step = 0; step < 20'000; ++step) {
            const std::uint64_t number = random() % 100;
            const GenerationName name = name_of(number);
            switch (random() % 16) {
                case 0:
                    if (random() % 20 == 0) {
                        up = !up;
                        link += up ? 1 : 0;
                        floor = ++events;
                        up ? table.link_up(kStart) : table.link_down(kStart);
                    } else if (random() % 50 == 0) {
                        floor = ++events;
                        model.clear();
                        whole = true;
                        table.forget_all();
                    }
                    break;
                case 1:
                case 2:
                    pushed[number] = ++events;
                    model.erase(number);
                    table.forget(name);
                    break;
                case 3:
                case 4:
                case 5:
                case 6: sent.emplace_back(table.sequence(), events); break;
                case 7:
                case 8:
                case 9:
                    if (!sent.empty()) {
                        const std::size_t at = random() % sent.size();
                        const auto [since, ours] = sent[at];
                        sent.erase(sent.begin() + static_cast<std::ptrdiff_t>(at));
                        const Stamp stamp = random() % 1000;
                        const bool may = up && ours >= floor && pushed[number] <= ours;
                        const auto there = model.find(number);
                        const bool older = there != model.end() && there->second.link == link &&
                                           stamp < there->second.stamp;
                        const std::size_t before = table.size();
                        if (table.learn(name, stamp, since)) {
                            ASSERT_TRUE(may);
                            ASSERT_FALSE(older && whole);
                            ++accepted;
                            whole = whole && !(before == limit && there == model.end());
                            model[number] = {stamp, link};
                        }
                    }
                    break;
                default: {
                    const std::optional<Stamp> known = table.known(name);
                    if (known) {
                        ASSERT_TRUE(up);
                        ASSERT_TRUE(model.contains(number));
                        ASSERT_EQ(*known, model[number].stamp);
                        ASSERT_EQ(model[number].link, link);
                    } else if (whole && up && model.contains(number)) {
                        ASSERT_NE(model[number].link, link);
                    }
                }
            }
            ASSERT_LE(table.size(), std::min(limit, model.size()));
            std::size_t held = 0;
            table.for_each([&held](const GenerationName&, Stamp) { ++held; });
            ASSERT_EQ(held, table.size());
            if (sent.size() > 50) {
                sent.pop_front();
            }
        }
    }
    EXPECT_GT(accepted, 20'000);
}

}  // namespace
}  // namespace millpond::cache
