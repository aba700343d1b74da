#include "millpond/base/resp.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace millpond {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    return {raw.begin(), raw.end()};
}

// The strings at the front of a reply, "~" for the null one; and how many bytes they take.
std::pair<std::vector<std::string>, std::size_t> strings(std::span<const std::byte> data) {
    const Bytes exact(data.begin(), data.end());  // So that a sanitizer sees what is read beyond.
    std::vector<std::string> read;
    std::size_t at = 0;
    RespString found;
    while (read_resp_string(exact, at, found)) {
        std::string text = found.null ? "~" : "";
        for (const std::byte byte : found.bytes) {
            text.push_back(static_cast<char>(byte));
        }
        read.push_back(text);
    }
    return {read, at};
}

const std::string kReply(
    "$3\r\none\r\n$-1\r\n$0\r\n\r\n$12\r\n\r\n$3\r\ntwo\r\n1\r\n$5\r\nthree\r\n");

TEST(Resp, StringsAreReadOneAfterTheOther) {
    const auto [read, used] = strings(bytes_of(kReply));
    EXPECT_EQ(read, (std::vector<std::string>{"one", "~", "", "\r\n$3\r\ntwo\r\n1", "three"}));
    EXPECT_EQ(used, kReply.size());
}

TEST(Resp, WhatHasNotWhollyArrivedIsNotRead) {
    const auto [all, end] = strings(bytes_of(kReply));
    for (std::size_t size = 0; size < kReply.size(); ++size) {
        const auto [read, used] = strings(bytes_of(std::string_view(kReply).substr(0, size)));
        ASSERT_LT(read.size(), all.size());
        EXPECT_TRUE(std::equal(read.begin(), read.end(), all.begin()));
        EXPECT_LE(used, size);
    }
}

TEST(Resp, WithAnyByteChangedItIsReadSafely) {
    for (std::size_t at = 0; at < kReply.size(); ++at) {
        for (unsigned other = 0; other < 256; ++other) {
            Bytes data = bytes_of(kReply);
            data[at] = static_cast<std::byte>(other);
            EXPECT_LE(strings(data).second, data.size());
        }
    }
}

TEST(Resp, WhatIsNoStringIsLeftAlone) {
    for (const std::string_view text : {"",
                                        "$",
                                        "$\r\n\r\n",
                                        "$-\r\n",
                                        "$-2\r\n",
                                        "$-10\r\n",
                                        "$-1\r",
                                        "$-1x\n",
                                        "$+1\r\na\r\n",
                                        "$1 \r\na\r\n",
                                        "$ 1\r\na\r\n",
                                        "$1\na\r\n",
                                        "$1\r\na\rx",
                                        "$1\r\nab\r\n",
                                        "$2\r\na\r\n",
                                        "$x\r\n",
                                        ":1\r\n",
                                        "+OK\r\n",
                                        "*1\r\n$1\r\na\r\n",
                                        "_\r\n",
                                        "$536870913\r\n",
                                        "$9999999999\r\n",
                                        "$18446744073709551615\r\n\r\n",
                                        "$18446744073709551616\r\n\r\n"}) {
        EXPECT_EQ(strings(bytes_of(text)).second, 0U) << text;
    }
}

TEST(Resp, APlaceBeyondTheEndHoldsNothing) {
    const Bytes data = bytes_of("$1\r\na\r\n");
    for (std::size_t at : {data.size(), data.size() + 1, ~std::size_t{0}}) {
        RespString found;
        EXPECT_FALSE(read_resp_string(data, at, found));
    }
}

}  // namespace
}  // namespace millpond
