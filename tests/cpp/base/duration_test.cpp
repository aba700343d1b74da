#include "millpond/base/duration.hpp"

#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;

// The message of the refusal, or "" when there was none.
std::string refusal(std::string_view text) {
    try {
        (void)parse_duration(text);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
        EXPECT_THAT(error.what(), HasSubstr(std::string(kDurationGrammar)));
        return error.what();
    }
    return "";
}

TEST(Duration, ReadsEveryUnit) {
    EXPECT_EQ(parse_duration("3ns"), Nanos{3});
    EXPECT_EQ(parse_duration("3us"), Nanos{3'000});
    EXPECT_EQ(parse_duration("250ms"), milliseconds{250});
    EXPECT_EQ(parse_duration("90s"), seconds{90});
    EXPECT_EQ(parse_duration("10m"), minutes{10});
    EXPECT_EQ(parse_duration("2h"), hours{2});
    EXPECT_EQ(parse_duration("7d"), hours{24 * 7});
    EXPECT_EQ(parse_duration("2w"), hours{24 * 14});
    EXPECT_EQ(parse_duration("0s"), Nanos{0});
    EXPECT_EQ(parse_duration("007m"), minutes{7});
}

TEST(Duration, AddsSeveralFromTheLargestUnitToTheSmallest) {
    EXPECT_EQ(parse_duration("1h30m"), minutes{90});
    EXPECT_EQ(parse_duration("1w2d3h4m5s6ms7us8ns"),
              hours{24 * 9 + 3} + minutes{4} + seconds{5} + milliseconds{6} + Nanos{7'008});
}

TEST(Duration, ReadsFractionsExactly) {
    EXPECT_EQ(parse_duration("1.5s"), milliseconds{1500});
    EXPECT_EQ(parse_duration("0.1s"), milliseconds{100});
    EXPECT_EQ(parse_duration("1.000000001s"), Nanos{1'000'000'001});
    EXPECT_EQ(parse_duration("1.50000000000000000000000000000000s"), milliseconds{1500});
    EXPECT_EQ(parse_duration("0.0000000000025h"), Nanos{9});
    EXPECT_EQ(parse_duration("1h0.5m"), hours{1} + seconds{30});
    EXPECT_EQ(parse_duration("0.12345678901d"), Nanos{10'666'666'570'464});
}

TEST(Duration, ReadsTheLongestAndRefusesOneNanosecondMore) {
    EXPECT_EQ(parse_duration("9223372036854775807ns"), Nanos::max());
    EXPECT_EQ(parse_duration("9223372036s854775807ns"), Nanos::max());
    EXPECT_EQ(parse_duration("9223372036.854775807s"), Nanos::max());
    for (const char* text : {"9223372036854775808ns", "9223372036s854775808ns",
                             "9223372036.854775808s", "15251w", "99999999999999999999999999d"}) {
        EXPECT_THAT(refusal(text), HasSubstr("longer than 292 years")) << text;
    }
}

TEST(Duration, SaysWhatIsWrongWithTheText) {
    EXPECT_THAT(refusal("90"), HasSubstr("\"90\" is not a duration: \"90\" has no unit"));
    EXPECT_THAT(refusal("1h30"), HasSubstr("\"30\" has no unit"));
    EXPECT_THAT(refusal("1.5"), HasSubstr("has no unit"));
    EXPECT_THAT(refusal(""), HasSubstr("it is empty"));
    EXPECT_THAT(refusal("-5m"), HasSubstr("it is negative"));
    EXPECT_THAT(refusal("10x"), HasSubstr("there is no unit \"x\""));
    EXPECT_THAT(refusal("10M"), HasSubstr("there is no unit \"M\""));
    EXPECT_THAT(refusal("10minutes"), HasSubstr("there is no unit \"minutes\""));
    EXPECT_THAT(refusal("1m1m"), HasSubstr("behind the same or a smaller one"));
    EXPECT_THAT(refusal("30m1h"), HasSubstr("\"h\" stands behind"));
    EXPECT_THAT(refusal("1.5h30m"), HasSubstr("only the last number"));
    EXPECT_THAT(refusal("1.5ns"), HasSubstr("finer than a nanosecond"));
    EXPECT_THAT(refusal("0.3333333333s"), HasSubstr("finer than a nanosecond"));
    EXPECT_THAT(refusal("0.123456789012d"), HasSubstr("finer than a nanosecond"));
    for (const char* text : {"m", "h1", " 1m", "1 m", "1m ", "+1m", ".5s", "1.s", "1..5s", "1e3s",
                             "1h-30m", "0x10s", "1,5s", "@", "nan", "inf"}) {
        EXPECT_NE(refusal(text), "") << text;
    }
}

TEST(Duration, EscapesAndShortensWhatItQuotes) {
    EXPECT_THAT(refusal("5\xC2\xB5s"), HasSubstr("\"5\\xc2\\xb5s\" is not a duration"));
    EXPECT_THAT(refusal("\xD9\xA5m"), HasSubstr("\"\\xd9\\xa5m\""));
    EXPECT_THAT(refusal(std::string_view("1\0m", 3)), HasSubstr("\"1\\x00m\""));
    EXPECT_THAT(refusal("\"\\\n"), HasSubstr("\"\\\"\\\\\\x0a\""));
    EXPECT_LT(refusal(std::string(100'000, '9')).size(), 400U);
    EXPECT_LT(refusal(std::string(100'000, 'x')).size(), 400U);
}

TEST(Duration, ShowsADurationInTheUnitsItIsMadeOf) {
    EXPECT_EQ(format_duration(minutes{90}), "1h30m");
    EXPECT_EQ(format_duration(milliseconds{1500}), "1s500ms");
    EXPECT_EQ(format_duration(hours{24 * 7}), "7d");
    EXPECT_EQ(format_duration(Nanos{0}), "0s");
    EXPECT_EQ(format_duration(-minutes{90}), "-1h30m");
    EXPECT_EQ(format_duration(Nanos{1'002'003}), "1ms2us3ns");
    EXPECT_EQ(format_duration(Nanos::min()), "-106751d23h47m16s854ms775us808ns");
}

TEST(Duration, ReadsBackWhatItShows) {
    std::mt19937_64 random{7};
    for (int i = 0; i < 10'000; ++i) {
        const Nanos duration{static_cast<std::int64_t>(random() >> (1 + random() % 63))};
        ASSERT_EQ(parse_duration(format_duration(duration)), duration);
    }
}

}  // namespace
}  // namespace millpond
