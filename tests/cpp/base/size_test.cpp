#include "millpond/base/size.hpp"

#include <limits>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

using testing::HasSubstr;

// The message of the refusal, or "" when there was none.
std::string refusal(std::string_view text) {
    try {
        (void)parse_size(text);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
        EXPECT_THAT(error.what(), HasSubstr(std::string(kSizeGrammar)));
        return error.what();
    }
    return "";
}

TEST(Size, TellsThousandsFrom1024s) {
    EXPECT_EQ(parse_size("512B"), 512U);
    EXPECT_EQ(parse_size("3KB"), 3'000U);
    EXPECT_EQ(parse_size("3KiB"), 3'072U);
    EXPECT_EQ(parse_size("10MB"), 10'000'000U);
    EXPECT_EQ(parse_size("256MiB"), 268'435'456U);
    EXPECT_EQ(parse_size("2GB"), 2'000'000'000U);
    EXPECT_EQ(parse_size("1GiB"), 1'073'741'824U);
    EXPECT_EQ(parse_size("4TB"), 4'000'000'000'000U);
    EXPECT_EQ(parse_size("4TiB"), 4'398'046'511'104U);
    EXPECT_EQ(parse_size("0B"), 0U);
}

TEST(Size, TakesAFractionThatComesToWholeBytes) {
    EXPECT_EQ(parse_size("1.5GB"), 1'500'000'000U);
    EXPECT_EQ(parse_size("0.5KiB"), 512U);
    EXPECT_EQ(parse_size("0.0009765625KiB"), 1U);
    EXPECT_THAT(refusal("0.1KiB"), HasSubstr("not a whole number of bytes"));
    EXPECT_THAT(refusal("1.5B"), HasSubstr("not a whole number of bytes"));
}

TEST(Size, ReadsTheLargestAndRefusesOneByteMore) {
    EXPECT_EQ(parse_size("18446744073709551615B"), std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(parse_size("16777215TiB"), 16'777'215ULL << 40);
    for (const char* text : {"18446744073709551616B", "16777216TiB", "99999999999999999999999GB"}) {
        EXPECT_THAT(refusal(text), HasSubstr("16777216TiB or more")) << text;
    }
}

TEST(Size, SaysWhatIsWrongWithTheText) {
    EXPECT_THAT(refusal("90"), HasSubstr("\"90\" is not a size: it has no unit"));
    EXPECT_THAT(refusal(""), HasSubstr("it is empty"));
    EXPECT_THAT(refusal("-1MiB"), HasSubstr("it is negative"));
    EXPECT_THAT(refusal("MiB"), HasSubstr("does not start with a number"));
    EXPECT_THAT(refusal("10mb"), HasSubstr("there is no unit \"mb\""));
    EXPECT_THAT(refusal("10 MB"), HasSubstr("there is no unit \" MB\""));
    EXPECT_THAT(refusal("1GiB512MiB"), HasSubstr("there is no unit \"GiB512MiB\""));
    EXPECT_THAT(refusal("1\xE2\x82\xAC"), HasSubstr("there is no unit \"\\xe2\\x82\\xac\""));
    EXPECT_LT(refusal(std::string(100'000, '9')).size(), 400U);
}

TEST(Size, ShowsTheLargestUnitThatDivides) {
    EXPECT_EQ(format_size(268'435'456), "256MiB");
    EXPECT_EQ(format_size(1'000), "1000B");
    EXPECT_EQ(format_size(1536), "1536B");
    EXPECT_EQ(format_size(2048), "2KiB");
    EXPECT_EQ(format_size(0), "0B");
}

TEST(Size, ReadsBackWhatItShows) {
    std::mt19937_64 random{7};
    for (int i = 0; i < 10'000; ++i) {
        const std::uint64_t bytes = random() >> (random() % 64) << (random() % 20);
        ASSERT_EQ(parse_size(format_size(bytes)), bytes);
    }
}

}  // namespace
}  // namespace millpond
