#include "millpond/base/clock.hpp"

#include <gtest/gtest.h>

namespace millpond {
namespace {

TEST(Clock, AddsASpanToAnInstant) {
    EXPECT_EQ(after(Instant{Nanos{5}}, Nanos{7}), Instant{Nanos{12}});
}

TEST(Clock, SaturatesInsteadOfWrapping) {
    EXPECT_EQ(after(Instant{Nanos{5}}, Nanos::max()), kNever);
    EXPECT_EQ(after(kNever, Nanos{1}), kNever);
}

}  // namespace
}  // namespace millpond
