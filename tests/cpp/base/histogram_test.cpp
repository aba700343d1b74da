// Against sorted arrays: the error of quantiles, and the laws of merging, for values that are kind
// to the buckets and for values that are not.
#include "millpond/base/histogram.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millpond {
namespace {

using Values = std::vector<double>;
using Random = std::mt19937_64;

constexpr double kAccuracy = 0.010831;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kMost = std::numeric_limits<double>::max();

ExponentialHistogram histogram_of(const Values& values) {
    ExponentialHistogram histogram;
    for (const double value : values) {
        EXPECT_TRUE(histogram.record(value));
    }
    return histogram;
}

ExponentialHistogram merged(ExponentialHistogram a, const ExponentialHistogram& b) {
    a.merge(b);
    return a;
}

// The value that at least q of all do not exceed, by sorting.
double exact_quantile(Values values, double q) {
    std::ranges::sort(values);
    const double rank = std::ceil(q * static_cast<double>(values.size()));
    return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

void expect_quantiles(const Values& values, double accuracy) {
    const ExponentialHistogram histogram = histogram_of(values);
    EXPECT_LE(histogram.relative_accuracy(), accuracy);
    for (const double q : {0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0}) {
        const double exact = exact_quantile(values, q);
        const double error = std::fabs(exact) * histogram.relative_accuracy() * (1 + 1e-9) +
                             ExponentialHistogram::kZeroThreshold;
        EXPECT_NEAR(histogram.quantile(q), exact, error) << "q = " << q;
    }
}

struct Distribution {
    const char* name;
    double accuracy;
    std::function<double(Random&)> draw;
};

const std::vector<Distribution>& distributions() {
    static const std::vector<Distribution> all = {
        {"constant", kAccuracy, [](Random&) { return 0.0123; }},
        {"uniform", kAccuracy,
         [](Random& random) { return std::uniform_real_distribution(0.0, 1.0)(random); }},
        {"lognormal", kAccuracy,
         [](Random& random) { return std::lognormal_distribution(-6.0, 1.0)(random); }},
        {"powers of two", kAccuracy,
         [](Random& random) { return std::ldexp(1.0, static_cast<int>(random() % 31) - 15); }},
        {"just above powers of two", kAccuracy,
         [](Random& random) {
             return std::nextafter(std::ldexp(1.0, static_cast<int>(random() % 31) - 15), kMost);
         }},
        {"two far apart", kAccuracy,
         [](Random& random) { return random() % 100 == 0 ? 4e3 : 1e-6; }},
        {"both signs and zeros", kAccuracy,
         [](Random& random) {
             return static_cast<double>(static_cast<int>(random() % 21) - 10) * 0.3;
         }},
        {"all below zero", kAccuracy,
         [](Random& random) { return -std::exponential_distribution(10.0)(random) - 1e-6; }},
        {"nearly zero", kAccuracy,
         [](Random& random) { return static_cast<double>(random() % 100) * 2e-11; }},
        {"pareto, 50 powers of two", 0.022,
         [](Random& random) {
             return std::ldexp(1 + static_cast<double>(random() % 1000) / 1000,
                               static_cast<int>(random() % 50));
         }},
        {"every magnitude", 0.6,
         [](Random& random) {
             return std::ldexp(1.5, static_cast<int>(random() % 1053) - 29) *
                    (random() % 2 == 0 ? 1 : -1);
         }},
    };
    return all;
}

Values draw(const Distribution& distribution, Random& random, std::size_t count) {
    Values values(count);
    std::ranges::generate(values, [&] { return distribution.draw(random); });
    return values;
}

TEST(Histogram, IsEmptyAtFirst) {
    const ExponentialHistogram histogram;
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_EQ(histogram.sum(), 0);
    EXPECT_EQ(histogram.allocated_bytes(), 0U);
    EXPECT_TRUE(std::isnan(histogram.quantile(0.5)));
    EXPECT_TRUE(std::isnan(histogram.min()));
    EXPECT_TRUE(std::isnan(histogram.max()));
}

TEST(Histogram, BoundsAreThePowersOfTheBaseAndBelongToTheBucketBelow) {
    // The bounds to more digits than a double has, by the long double's logarithm.
    static_assert(std::numeric_limits<long double>::digits >= 53);
    for (int index = -900; index <= 900; ++index) {
        const double bound = static_cast<double>(std::exp2(static_cast<long double>(index) / 32));
        for (const double value : {std::nextafter(bound, 0), bound, std::nextafter(bound, kMost)}) {
            const long double exact = std::exp2(static_cast<long double>(index) / 32);
            const int expected = static_cast<long double>(value) > exact ? index : index - 1;
            EXPECT_EQ(ExponentialHistogram::bucket_of(value), expected) << value;
        }
    }
    EXPECT_EQ(ExponentialHistogram::bucket_of(1.0), -1);
    EXPECT_EQ(ExponentialHistogram::bucket_of(kMost), 1024 * 32 - 1);
}

TEST(Histogram, EveryValueLiesInItsBucket) {
    Random random(7);
    for (int i = 0; i < 100'000; ++i) {
        const double value = std::exp2(std::uniform_real_distribution(-29.0, 1000.0)(random));
        const int index = ExponentialHistogram::bucket_of(value);
        const double slack = value * 1e-12;
        EXPECT_GE(value, ExponentialHistogram::lower_bound(index, 5) - slack);
        EXPECT_LE(value, ExponentialHistogram::lower_bound(index + 1, 5) + slack);
    }
}

TEST(Histogram, QuantilesAreWithinTheStatedErrorOfSortedValues) {
    for (const Distribution& distribution : distributions()) {
        SCOPED_TRACE(distribution.name);
        Random random(11);
        for (const std::size_t count : {1U, 2U, 3U, 10U, 5000U}) {
            expect_quantiles(draw(distribution, random, count), distribution.accuracy);
        }
    }
}

TEST(Histogram, KeepsItsAccuracyWhileTheRangeIsBelowTwoToThe32) {
    ExponentialHistogram histogram = histogram_of({1.5, 1.5 * 0x1p32 * 0.97});
    EXPECT_EQ(histogram.scale(), 5);
    EXPECT_NEAR(histogram.relative_accuracy(), 0.01083, 1e-5);

    EXPECT_TRUE(histogram.record(1.5 * 0x1p32 * 1.03));
    EXPECT_EQ(histogram.scale(), 4);
    EXPECT_NEAR(histogram.relative_accuracy(), 0.02166, 1e-5);
}

TEST(Histogram, EitherSideLowersTheScaleOfBoth) {
    const ExponentialHistogram histogram = histogram_of({1, 2, 3, -1, -0x1p40});
    EXPECT_EQ(histogram.scale(), 4);
    EXPECT_EQ(histogram.positive()[-1], 1U);
    EXPECT_EQ(histogram.positive()[15], 1U);
}

TEST(Histogram, TheWidestRangeStillFits) {
    const ExponentialHistogram histogram = histogram_of({1.1e-9, kMost, -1.1e-9, -kMost});
    EXPECT_EQ(histogram.scale(), -1);
    EXPECT_NEAR(histogram.relative_accuracy(), 0.6, 1e-9);
    EXPECT_EQ(histogram.quantile(1), kMost);
    EXPECT_EQ(histogram.quantile(0), -kMost);
    EXPECT_LE(histogram.allocated_bytes(), 2U * 1024);
}

TEST(Histogram, RefusesWhatIsNotAFiniteNumber) {
    ExponentialHistogram histogram;
    EXPECT_FALSE(histogram.record(std::nan("")));
    EXPECT_FALSE(histogram.record(kInfinity));
    EXPECT_FALSE(histogram.record(-kInfinity));
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_TRUE(histogram.record(kMost));
}

TEST(Histogram, ZeroIsWhatLiesWithinTheThreshold) {
    const ExponentialHistogram histogram =
        histogram_of({0.0, -0.0, 1e-9, -1e-9, 5e-324, std::nextafter(1e-9, 1.0)});
    EXPECT_EQ(histogram.zeros(), 5U);
    EXPECT_EQ(histogram.positive()[ExponentialHistogram::bucket_of(1e-9)], 1U);
}

TEST(Histogram, CountsManyAtOnceAsOneByOne) {
    ExponentialHistogram at_once;
    ExponentialHistogram one_by_one;
    for (const double value : {0.25, 3.0, -7.0, 0.0}) {
        EXPECT_TRUE(at_once.record(value, 1000));
        for (int i = 0; i < 1000; ++i) {
            EXPECT_TRUE(one_by_one.record(value));
        }
    }
    EXPECT_EQ(at_once, one_by_one);
    EXPECT_DOUBLE_EQ(at_once.sum(), one_by_one.sum());
    EXPECT_TRUE(at_once.record(1.0, 0));
    EXPECT_EQ(at_once, one_by_one);
}

TEST(Histogram, CountsPastEveryWidthOfItsCounters) {
    for (const std::uint64_t most :
         {std::uint64_t{0xFF}, std::uint64_t{0xFFFF}, std::uint64_t{0xFFFF'FFFF}}) {
        ExponentialHistogram histogram;
        EXPECT_TRUE(histogram.record(2.0, 3));
        EXPECT_TRUE(histogram.record(8.0, most));
        EXPECT_TRUE(histogram.record(8.0));
        EXPECT_EQ(histogram.positive()[ExponentialHistogram::bucket_of(8.0)], most + 1);
        EXPECT_EQ(histogram.positive()[ExponentialHistogram::bucket_of(2.0)], 3U);

        const ExponentialHistogram twice = merged(histogram, histogram);
        EXPECT_EQ(twice.positive()[ExponentialHistogram::bucket_of(8.0)], 2 * most + 2);
    }
}

// ---- Merging

TEST(HistogramMerge, IsWhatOneHistogramOfAllValuesWouldBe) {
    Random random(13);
    for (int round = 0; round < 300; ++round) {
        const auto& all = distributions();
        const Values a = draw(all[random() % all.size()], random, random() % 300);
        const Values b = draw(all[random() % all.size()], random, random() % 300);
        Values both = a;
        both.insert(both.end(), b.begin(), b.end());

        const ExponentialHistogram together = merged(histogram_of(a), histogram_of(b));
        EXPECT_EQ(together, histogram_of(both));
        EXPECT_EQ(together, merged(histogram_of(b), histogram_of(a)));
    }
}

TEST(HistogramMerge, IsAssociative) {
    Random random(17);
    const auto& all = distributions();
    for (int round = 0; round < 200; ++round) {
        std::vector<ExponentialHistogram> parts;
        for (int i = 0; i < 3; ++i) {
            parts.push_back(histogram_of(draw(all[random() % all.size()], random, random() % 100)));
        }
        EXPECT_EQ(merged(merged(parts[0], parts[1]), parts[2]),
                  merged(parts[0], merged(parts[1], parts[2])));
    }
}

TEST(HistogramMerge, TheEmptyOneIsNeutral) {
    const ExponentialHistogram some = histogram_of({1, 2, -0x1p50, 3, 0});
    EXPECT_EQ(merged(some, {}), some);
    EXPECT_EQ(merged({}, some), some);
    EXPECT_EQ(merged({}, {}), ExponentialHistogram());
}

TEST(HistogramMerge, WithItselfDoubles) {
    ExponentialHistogram some = histogram_of({1, 2, -3, 0});
    some.merge(some);
    EXPECT_EQ(some, histogram_of({1, 2, -3, 0, 1, 2, -3, 0}));
}

TEST(HistogramMerge, TheOrderOfValuesDoesNotMatter) {
    Random random(19);
    Values values;
    for (const Distribution& distribution : distributions()) {
        const Values some = draw(distribution, random, 100);
        values.insert(values.end(), some.begin(), some.end());
    }
    const ExponentialHistogram histogram = histogram_of(values);
    for (int i = 0; i < 20; ++i) {
        std::ranges::shuffle(values, random);
        EXPECT_EQ(histogram_of(values), histogram);
    }
}

TEST(HistogramMerge, CountsAreThoseOfAMapOfBuckets) {
    Random random(23);
    for (const Distribution& distribution : distributions()) {
        SCOPED_TRACE(distribution.name);
        const Values values = draw(distribution, random, 2000);
        const ExponentialHistogram histogram = histogram_of(values);
        std::map<int, std::uint64_t> expected;
        for (const double value : values) {
            if (value > ExponentialHistogram::kZeroThreshold) {
                ++expected[ExponentialHistogram::bucket_of(value) >> (5 - histogram.scale())];
            }
        }
        std::map<int, std::uint64_t> counted;
        histogram.positive().for_each(
            [&](int index, std::uint64_t count) { counted[index] = count; });
        EXPECT_EQ(counted, expected);
    }
}

TEST(HistogramMemory, IsAByteABucketWhileCountsAreSmall) {
    ExponentialHistogram histogram;
    for (int i = 0; i < 1000; ++i) {
        EXPECT_TRUE(histogram.record(std::exp2(static_cast<double>(i) * 0.01)));  // ten octaves
    }
    EXPECT_LE(histogram.allocated_bytes(), 12U * 32);
}

TEST(HistogramMemory, IsBounded) {
    Random random(29);
    ExponentialHistogram histogram;
    for (int i = 0; i < 20'000; ++i) {
        const double value = std::exp2(std::uniform_real_distribution(-29.0, 1000.0)(random));
        EXPECT_TRUE(histogram.record(i % 2 == 0 ? value : -value, std::uint64_t{1} << 33));
    }
    EXPECT_LE(histogram.allocated_bytes(), 17U * 1024);
}

}  // namespace
}  // namespace millpond
