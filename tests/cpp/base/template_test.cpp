#include "millpond/base/template.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kArguments{"user_id", "locale", "größe"};

std::string render(std::string_view source, std::vector<std::string_view> by_argument) {
    const Template parsed = Template::parse(source, kArguments);
    std::vector<std::string_view> values;
    for (const Template::Piece& piece : parsed.pieces()) {
        values.push_back(by_argument[piece.argument]);
    }
    return parsed.render(values);
}

std::string failure(std::string_view source, const std::vector<std::string>& arguments) {
    try {
        (void)Template::parse(source, arguments);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
        EXPECT_THAT(error.what(), HasSubstr("template \"" + std::string(source) + "\": "));
        return error.what();
    }
    ADD_FAILURE() << source << " was accepted";
    return "";
}

TEST(Template, PutsTheArgumentsWhereTheirNamesStand) {
    EXPECT_EQ(render("user:{user_id}", {"7", "de", "4"}), "user:7");
    EXPECT_EQ(render("{locale}/{user_id}/x", {"7", "de", "4"}), "de/7/x");
    EXPECT_EQ(render("{user_id}{user_id}", {"7", "de", "4"}), "77");
    EXPECT_EQ(render("m:{größe}", {"7", "de", "4"}), "m:4");
}

TEST(Template, PlainTextHasNoPieces) {
    for (const std::string_view source : {"", "users", "a:b.c!d[e]"}) {
        const Template parsed = Template::parse(source, {});
        EXPECT_TRUE(parsed.pieces().empty());
        EXPECT_EQ(parsed.tail(), source);
        EXPECT_EQ(parsed.source(), source);
        EXPECT_EQ(parsed.render({}), source);
    }
}

TEST(Template, DoubledBracesStandForThemselves) {
    EXPECT_EQ(render("{{user_id}}", {"7", "de", "4"}), "{user_id}");
    EXPECT_EQ(render("{{{user_id}}}", {"7", "de", "4"}), "{7}");
    EXPECT_EQ(render("{{{{", {"7", "de", "4"}), "{{");
    EXPECT_EQ(render("}}{user_id}{{", {"7", "de", "4"}), "}7{");
}

TEST(Template, BracesInAValueAreNotReadAgain) {
    EXPECT_EQ(render("user:{user_id}", {"{locale}", "de", "4"}), "user:{locale}");
}

TEST(Template, AValueMayHoldAnyBytes) {
    const std::string_view zero("a\0b", 3);
    EXPECT_EQ(render("{user_id}!", {zero, "", ""}), std::string("a\0b!", 4));
}

TEST(Template, AnUnknownNameListsTheOnesThereAre) {
    EXPECT_THAT(failure("user:{usr_id}", kArguments),
                HasSubstr("no argument is named \"usr_id\"; allowed are user_id, locale, größe"));
    EXPECT_THAT(failure("{ user_id}", kArguments), HasSubstr("\" user_id\""));
    EXPECT_THAT(failure("user:{user_id}", {}), HasSubstr("the function has no named arguments"));
}

TEST(Template, OnlyNamesStandInBraces) {
    EXPECT_THAT(failure("{user_id.name}", kArguments), HasSubstr("asks for an attribute"));
    EXPECT_THAT(failure("{user_id[0]}", kArguments), HasSubstr("asks for an index"));
    EXPECT_THAT(failure("{user_id!r}", kArguments), HasSubstr("asks for a conversion"));
    EXPECT_THAT(failure("{user_id:>8}", kArguments), HasSubstr("asks for a format"));
    EXPECT_THAT(failure("{}", kArguments), HasSubstr("names no argument"));
    EXPECT_THAT(failure("{0}", kArguments), HasSubstr("no argument is named \"0\""));
}

TEST(Template, UnbalancedBracesSayWhereAndWhatToWrite) {
    EXPECT_THAT(failure("user:{user_id", kArguments),
                HasSubstr("the \"{\" at byte 5 is not closed"));
    EXPECT_THAT(failure("{user_id{locale}", kArguments), HasSubstr("at byte 0 is not closed"));
    EXPECT_THAT(failure("{", kArguments), HasSubstr("write \"{{\""));
    EXPECT_THAT(failure("user}", kArguments), HasSubstr("the \"}\" at byte 4 closes nothing"));
    EXPECT_THAT(failure("{user_id}}", kArguments), HasSubstr("at byte 9 closes nothing"));
}

// Builds random templates from pieces whose meaning is known, and compares.
TEST(Template, RandomTemplatesRenderAsTheirPiecesSay) {
    const std::vector<std::pair<std::string, std::string>> pieces{
        {"{{", "{"},      {"}}", "}"},        {"{user_id}", "7"}, {"{locale}", "de"},
        {"{größe}", "4"}, {"text:", "text:"}, {".", "."},         {"水", "水"}};
    std::mt19937 random(7);
    for (int round = 0; round < 2000; ++round) {
        std::string source;
        std::string expected;
        for (std::size_t count = random() % 9; count > 0; --count) {
            const auto& [written, meant] = pieces[random() % pieces.size()];
            source += written;
            expected += meant;
        }
        EXPECT_EQ(render(source, {"7", "de", "4"}), expected) << source;
    }
}

// Whatever is given either parses or fails as an Error; nothing is read out of bounds.
TEST(Template, RandomTextNeverDoesAnythingElse) {
    std::mt19937 random(11);
    const std::string_view alphabet = "{}u.[!:";
    const std::vector<std::string> arguments{"u", "uu"};
    int parsed = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string source;
        for (std::size_t count = random() % 8; count > 0; --count) {
            source += alphabet[random() % alphabet.size()];
        }
        try {
            (void)Template::parse(source, arguments);
            ++parsed;
        } catch (const Error&) {
        }
    }
    EXPECT_GT(parsed, 1000);
    EXPECT_LT(parsed, 19000);
}

}  // namespace
}  // namespace millpond
