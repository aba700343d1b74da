// Long random runs of a store beside its model, for each policy, bound and lock.
#include <gtest/gtest.h>

#include "millpond/base/sync.hpp"
#include "store_model.hpp"

namespace millpond::cache {
namespace {

constexpr Run kRuns[] = {
    {"lru", PolicyKind::Lru, 50, kUnbounded, 1, 0},
    {"lru_bytes", PolicyKind::Lru, kUnbounded, 2000, 2, 0},
    {"lfu", PolicyKind::Lfu, 50, kUnbounded, 3, 0},
    {"lfu_bytes", PolicyKind::Lfu, 60, 1500, 4, 0},
    {"fifo", PolicyKind::Fifo, 50, kUnbounded, 5, 0},
    {"fifo_bytes", PolicyKind::Fifo, kUnbounded, 1000, 6, 0},
    {"sieve", PolicyKind::Sieve, 40, kUnbounded, 7, 0},
    {"sieve_bytes", PolicyKind::Sieve, 90, 2000, 8, 0},
    {"s3fifo", PolicyKind::S3Fifo, 50, kUnbounded, 9, 0},
    {"s3fifo_bytes", PolicyKind::S3Fifo, kUnbounded, 1800, 10, 0},
    {"unbounded", PolicyKind::S3Fifo, kUnbounded, kUnbounded, 11, 0},
    {"one", PolicyKind::Lru, 1, kUnbounded, 12, 0},
    {"nothing", PolicyKind::Lru, 0, kUnbounded, 13, 0},
    {"swept_bit_by_bit", PolicyKind::Lru, 60, kUnbounded, 14, 6000},
    {"swept_bit_by_bit_bytes", PolicyKind::S3Fifo, 70, 3000, 15, 6000},
};

template <class Lock>
void go(const Run& run) {
    Store<Lock> store{options_of(run)};
    StoreModel model{store, run};
    for (int step = 0; step < 6000; ++step) {
        const auto guard = store.lock();
        model.step();
        if (testing::Test::HasFailure()) {
            FAIL() << "at step " << step;
        }
    }
    const auto guard = store.lock();
    model.finish();
    const auto saw = [&](const char* what) { return model.seen().contains(what); };
    for (const char* what : {"load", "undone", "retired", "bounds", "aborted", "explained"}) {
        EXPECT_TRUE(saw(what)) << "no " << what << " in the whole run";
    }
    if (run.max_entries > 1) {
        for (const char* what :
             {"hit", "replaced", "landed", "loose load", "loose load undone", "refreshed in place",
              "expired on read", "stale", "swept", "invalidated"}) {
            EXPECT_TRUE(saw(what)) << "no " << what << " in the whole run";
        }
    }
    EXPECT_EQ(saw("evicted"), run.max_entries != 0);
    if (run.max_bytes != kUnbounded && run.policy == PolicyKind::Fifo) {
        EXPECT_TRUE(saw("spared"));
    }
}

class StoreRuns : public testing::TestWithParam<Run> {};

TEST_P(StoreRuns, DoWhatThePlainModelDoesWithoutALock) { go<NoLock>(GetParam()); }
TEST_P(StoreRuns, DoWhatThePlainModelDoesUnderAMutex) { go<MutexLock>(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Runs, StoreRuns, testing::ValuesIn(kRuns),
                         [](const auto& run) { return std::string(run.param.name); });

}  // namespace
}  // namespace millpond::cache
