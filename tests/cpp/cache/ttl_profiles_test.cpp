#include "millpond/cache/ttl_profiles.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

TEST(TtlProfiles, KnowsEachByItsName) {
    EXPECT_EQ(parse_ttl("@user_data"), seconds{300});
    EXPECT_EQ(parse_ttl("@learning_metrics"), seconds{600});
    EXPECT_EQ(parse_ttl("@static_patterns"), seconds{3600});
    EXPECT_EQ(parse_ttl("@session_data"), seconds{1800});
    EXPECT_EQ(parse_ttl("@dashboard_stats"), seconds{300});
}

TEST(TtlProfiles, ReadsAnythingElseAsADuration) {
    EXPECT_EQ(parse_ttl("1h30m"), seconds{5400});
    EXPECT_THROW((void)parse_ttl("user_data"), Error);
}

TEST(TtlProfiles, ListsTheKnownNamesForAnUnknownOne) {
    for (const char* text : {"@users", "@", "@user_data ", "@USER_DATA"}) {
        try {
            (void)parse_ttl(text);
            FAIL() << text;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
            EXPECT_THAT(error.what(), HasSubstr("\"" + std::string(text) + "\""));
            for (const TtlProfile& profile : kTtlProfiles) {
                EXPECT_THAT(error.what(), HasSubstr(std::string(profile.name)));
            }
            EXPECT_THAT(error.what(), HasSubstr("@static_patterns (1h)"));
        }
    }
}

}  // namespace
}  // namespace millpond
