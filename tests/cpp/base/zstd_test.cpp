#include "millpond/base/zstd.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millpond {
namespace {

using Bytes = std::vector<std::byte>;

// Frames that libzstd 1.5.7 made of the contents below.
// Literals as they are, and one match; the usual tables.
constexpr std::string_view kAlphabet =
    "28b52ffd6000035508000410000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d"
    "1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f4041424344454647"
    "48494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f7071"
    "72737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b"
    "9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5"
    "c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
    "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff010000fd06aa3505";
// Literals in one Huffman stream, and tables of its own.
constexpr std::string_view kRows =
    "28b52ffd602c037d070022891511d0153a653d14346952ca94524a63022b040087c0083d6d4c795bbe89"
    "e76b86e3a9314b46ea7f1231e5455b4d34f3e9c26e49592b2f417f623125e9dab9cdb4e384a417d59ff6"
    "7a61ad22613004001102238830188279a82175be7f06402311893c1030e624c2735044cc627d184e2b6d"
    "69ddbfd69159b4d055ec22c0c372ff8587104ba4519c7842a1d9aacfcb02ef25a5b4820fcd75664f2bad"
    "a852f5e4155cf4ab16d80ce357b70ea46419f57b9c427f5245a2fe7f58c3995521dea5c5dd43ca3d5f95"
    "d497796182c56b21169f803d3003bddcd3d304827db70ceaf968d8e3f0dbea7274da6490ec6a15";
// Level 19.
constexpr std::string_view kLetters =
    "28b52ffd20c88d0300824c1b0ed0b5018410115ab9b9723300808bf8f9d91d1a6b03b9cd708526325999"
    "11fe90b2bd6ba271ef2dda82efc317a64d7624bf061827dd2974e7090a860614a520d1b73786d62f6523"
    "d02a2d64eb88101901389a49e035ffa47911fa737e9e307f66d5f970e8d93782559850e6b300";
// Literals in four Huffman streams.
constexpr std::string_view kFour =
    "28b52ffd60bc01750b0046e85110b0256db611115ad9bd539a19866114044c004b004b0053f6637f9735"
    "a49544a7652376ed69ec1d71a8f94a8b959e0b0cbe83fcc607879c9a203b01210f23391247a903fe5a08"
    "63d40f2bdeccdd23b78eab7373bb2922a127a860b51508126121d4a22f43c98afad90ec95db78808384e"
    "242116c5290128084d956a77b763415465f8bb097e38597e42ab9aa2a1d87695a038f3106510299c1088"
    "41882eb1f1544bdf448a973c5162fd7b12a25b65f2abbb0d1590c5bb4af70fcc9b12c002f2aac48c84e1"
    "7b29a9f0b506756a7562ab5c59b7010fc16fd28ed4ec59725e9ca429a313cb9025128fda17580a467c32"
    "25cee99af4470a6524131df9b81a84eb1fc3aa721098101a153749a0d050dc43d65a84b11ae480322178"
    "49549c2195060e15408e055a5b324348c6a81ee04c2ba6d8bf420e782b703d6a9d8b139936c9c3c4d720"
    "4dc1e6050e04014dc3695728be46555db8640b5b86b4a0d45b09ad8ac22cbbe4acba658b1c244801";
// A block as it is.
constexpr std::string_view kNoise =
    "28b52ffd202841010000040f233e618cbef93b84d62f90f969e262e97910af5604bb793e0ce1bea38f84"
    "80838fa2bde00a";
// One literal, and a match that repeats itself.
constexpr std::string_view kZeros = "28b52ffd60d0064d00001000000100cbff000b";

Bytes from_hex(std::string_view text) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
        bytes.push_back(
            static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
    }
    return bytes;
}

Bytes bytes_of(std::string_view text) {
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    return {raw.begin(), raw.end()};
}

Bytes alphabet() {
    Bytes bytes;
    for (unsigned i = 0; i < 1024; ++i) {
        bytes.push_back(static_cast<std::byte>(i));
    }
    return bytes;
}

Bytes rows() {
    std::string text;
    for (int i = 0; i < 90; ++i) {
        text += "row " + std::to_string(i * i % 97) + " of " + std::to_string(i % 7) + ";";
    }
    return bytes_of(text);
}

Bytes letters(std::size_t count) {
    std::uint32_t state = 1;
    std::string text;
    while (text.size() < count) {
        state = (state * 1103515245U + 12345U) & 0x7FFF'FFFFU;
        text.push_back(static_cast<char>('a' + std::min(state >> 16 & 15U, state >> 20 & 15U)));
    }
    return bytes_of(text);
}

Bytes noise() {
    Bytes bytes;
    for (unsigned i = 0; i < 40; ++i) {
        bytes.push_back(static_cast<std::byte>((i * i * 31 + i) >> 3));
    }
    return bytes;
}

struct Sample {
    Bytes frame;
    Bytes content;
};

std::vector<Sample> samples() {
    return {{from_hex(kAlphabet), alphabet()},   {from_hex(kRows), rows()},
            {from_hex(kLetters), letters(200)},  {from_hex(kFour), letters(700)},
            {from_hex(kNoise), noise()},         {from_hex(kZeros), Bytes(2000)},
            {from_hex("28b52ffd2000010000"), {}}};
}

std::optional<Bytes> decoded(std::span<const std::byte> frame, std::size_t size) {
    static const auto decoder = std::make_unique<ZstdDecoder>();
    const Bytes exact(frame.begin(), frame.end());  // So that a sanitizer sees what is read beyond.
    Bytes content(size);
    return decoder->decode(exact, content) ? std::optional(content) : std::nullopt;
}

TEST(Zstd, EveryKindOfBlockIsRead) {
    for (const Sample& sample : samples()) {
        EXPECT_EQ(decoded(sample.frame, sample.content.size()), sample.content);
    }
}

TEST(Zstd, AFrameOfAnotherSizeIsDeclined) {
    for (const Sample& sample : samples()) {
        const std::size_t size = sample.content.size();
        EXPECT_EQ(decoded(sample.frame, size + 1), std::nullopt);
        EXPECT_TRUE(ZstdDecoder::states(sample.frame, size));
        EXPECT_FALSE(ZstdDecoder::states(sample.frame, size + 1));
        if (size > 0) {
            EXPECT_EQ(decoded(sample.frame, size - 1), std::nullopt);
        }
    }
}

TEST(Zstd, AFrameThatIsCutOffAnywhereIsDeclined) {
    for (const Sample& sample : samples()) {
        for (std::size_t size = 0; size < sample.frame.size(); ++size) {
            EXPECT_EQ(decoded(std::span(sample.frame).first(size), sample.content.size()),
                      std::nullopt);
        }
    }
}

TEST(Zstd, WhatFollowsAFrameIsDeclined) {
    for (const Sample& sample : samples()) {
        Bytes longer = sample.frame;
        longer.push_back(std::byte{0});
        EXPECT_EQ(decoded(longer, sample.content.size()), std::nullopt);
        longer.insert(longer.end(), sample.frame.begin(), sample.frame.end());
        EXPECT_EQ(decoded(longer, sample.content.size()), std::nullopt);
    }
}

// Whatever comes out of it: the sanitizers see what is read or written where it must not be.
TEST(Zstd, AFrameWithAnyByteChangedIsReadSafely) {
    for (const Sample& sample : samples()) {
        for (std::size_t at = 0; at < sample.frame.size(); ++at) {
            for (unsigned other = 0; other < 256; ++other) {
                Bytes frame = sample.frame;
                frame[at] = static_cast<std::byte>(other);
                const auto content = decoded(frame, sample.content.size());
                if (frame == sample.frame) {
                    EXPECT_EQ(content, sample.content);
                }
            }
        }
    }
}

TEST(Zstd, ADecoderServesAfterAFrameThatWasDamaged) {
    const auto decoder = std::make_unique<ZstdDecoder>();
    for (const Sample& sample : samples()) {
        Bytes content(sample.content.size());
        EXPECT_FALSE(
            decoder->decode(std::span(sample.frame).first(sample.frame.size() - 1), content));
        EXPECT_TRUE(decoder->decode(sample.frame, content));
        EXPECT_EQ(content, sample.content);
    }
}

TEST(Zstd, WhatALibraryMayReadIsDeclined) {
    // A dictionary, a checksum, a bit that no release writes, no size.
    for (const unsigned head : {0x21U, 0x24U, 0x28U, 0x00U}) {
        Bytes frame = from_hex("28b52ffd2000010000");
        frame[4] = static_cast<std::byte>(head);
        EXPECT_FALSE(ZstdDecoder::states(frame, 0));
        EXPECT_EQ(decoded(frame, 0), std::nullopt);
    }
}

TEST(Zstd, ARunOfOneByteIsRead) {
    // 5 bytes in a last block of type 1.
    EXPECT_EQ(decoded(from_hex("28b52ffd20052b000078"), 5), bytes_of("xxxxx"));
    EXPECT_EQ(decoded(from_hex("28b52ffd20052b0000"), 5), std::nullopt);
    EXPECT_EQ(decoded(from_hex("28b52ffd200533000078"), 5), std::nullopt);  // 6 of them
}

TEST(Zstd, BlocksFollowEachOther) {
    // "ab", then a run of c, then nothing more.
    EXPECT_EQ(decoded(from_hex("28b52ffd20051000006162"
                               "1b000063"),
                      5),
              bytes_of("abccc"));
    EXPECT_EQ(decoded(from_hex("28b52ffd20051000006162"
                               "1a000063"
                               "010000"),
                      5),
              bytes_of("abccc"));
    EXPECT_EQ(decoded(from_hex("28b52ffd20051000006162"
                               "1a000063"),
                      5),
              std::nullopt);
}

TEST(Zstd, TablesOfABlockBeforeAreNotThereInAFramesFirst) {
    // Treeless literals, and sequences by the tables of before.
    EXPECT_EQ(decoded(from_hex("28b52ffd2005"
                               "3d0000"
                               "13400061626300"),
                      5),
              std::nullopt);
    EXPECT_EQ(decoded(from_hex("28b52ffd2005"
                               "2d0000"
                               "0861"
                               "01fc01"),
                      5),
              std::nullopt);
}

}  // namespace
}  // namespace millpond
