#include "millpond/cache/cost.hpp"

#include <cmath>
#include <random>
#include <string>

#include <gtest/gtest.h>

namespace millpond::cache {
namespace {

TEST(Cost, GivesBackWhatPeopleWrite) {
    for (const double dollars : {0.002, 0.1, 0.7, 1.0, 2.5, 19.99, 0.00001234, 1e-6, 99'999'999.0,
                                 0.12345678, 123456.78, 1e15, 1e-15, 3e-22}) {
        EXPECT_EQ(Cost(dollars).dollars(), dollars);
        EXPECT_FALSE(Cost(dollars).is_zero());
    }
}

TEST(Cost, GivesBackEveryNumberOfEightDigits) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 100'000; ++i) {
        const auto digits = random() % 100'000'000;
        const int scale = static_cast<int>(random() % 20);
        const double dollars = std::stod(std::to_string(digits) + "e-" + std::to_string(scale));
        ASSERT_EQ(Cost(dollars).dollars(), dollars) << digits << "e-" << scale;
    }
}

TEST(Cost, IsNearOtherNumbers) {
    std::mt19937_64 random(2);
    std::uniform_real_distribution<double> exponent(-14, 15);
    for (int i = 0; i < 100'000; ++i) {
        const double dollars = std::pow(10, exponent(random));
        ASSERT_NEAR(Cost(dollars).dollars() / dollars, 1, 5.1e-8);
    }
}

TEST(Cost, KeepsToItsBounds) {
    EXPECT_TRUE(Cost().is_zero());
    EXPECT_EQ(Cost().dollars(), 0);
    for (const double nothing : {0.0, -0.0, -1.0, 1e-23, std::nan(""), -HUGE_VAL}) {
        EXPECT_TRUE(Cost(nothing).is_zero()) << nothing;
        EXPECT_EQ(Cost(nothing).dollars(), 0) << nothing;
    }
    EXPECT_EQ(Cost(1e300).dollars(), kMostDollars);
    EXPECT_EQ(Cost(HUGE_VAL).dollars(), kMostDollars);
    EXPECT_EQ(Cost(0.999'999'996).dollars(), 1.0) << "rounding may carry over to another digit";
}

}  // namespace
}  // namespace millpond::cache
