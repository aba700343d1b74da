#include "millpond/base/sha256.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace millpond {
namespace {

std::string hex(const Sha256Digest& digest) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : digest) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

std::vector<Sha256Lanes> lanes_to_test() {
    std::vector<Sha256Lanes> lanes{Sha256Lanes::Portable};
    if (best_sha256_lanes() == Sha256Lanes::Instructions) lanes.push_back(best_sha256_lanes());
    return lanes;
}

std::string digest_of(std::string_view text, Sha256Lanes lanes) {
    Sha256 hasher(lanes);
    hasher.update(text.data(), text.size());
    return hex(hasher.finish());
}

// The examples that NIST publishes with FIPS 180-4, and its empty message.
TEST(Sha256, GivesThePublishedDigests) {
    const std::string million(1'000'000, 'a');
    for (const Sha256Lanes lanes : lanes_to_test()) {
        EXPECT_EQ(digest_of("", lanes),
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        EXPECT_EQ(digest_of("abc", lanes),
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        EXPECT_EQ(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", lanes),
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        EXPECT_EQ(digest_of("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                            "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                            lanes),
                  "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
        EXPECT_EQ(digest_of(million, lanes),
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
}

TEST(Sha256, DoesNotDependOnHowTheMessageIsCut) {
    std::string message;
    for (int i = 0; i < 300; ++i) message += static_cast<char>(i * 7);
    for (const Sha256Lanes lanes : lanes_to_test()) {
        for (std::size_t size = 0; size <= message.size(); ++size) {
            const std::string expected =
                digest_of(std::string_view(message).substr(0, size), Sha256Lanes::Portable);
            for (const std::size_t piece : {std::size_t{1}, std::size_t{17}, std::size_t{64}}) {
                Sha256 hasher(lanes);
                for (std::size_t at = 0; at < size; at += piece) {
                    hasher.update(message.data() + at, std::min(piece, size - at));
                }
                ASSERT_EQ(hex(hasher.finish()), expected) << size << " bytes by " << piece;
            }
        }
    }
}

}  // namespace
}  // namespace millpond
