#include "millpond/cache/envelope.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millpond/base/crc64.hpp"

namespace millpond {
namespace {

using testing::AnyOf;

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    return {raw.begin(), raw.end()};
}

EntryStamp stamp(char letter, std::uint64_t value) {
    EntryStamp made;
    made.name.fill(static_cast<std::byte>(letter));
    made.value = value;
    return made;
}

Bytes sealed(EnvelopeHeader header, const std::vector<EntryStamp>& stamps, const Bytes& payload) {
    header.payload_size = static_cast<std::uint32_t>(payload.size());
    if (header.content_size == 0) {
        header.content_size = header.payload_size;
    }
    Bytes entry(envelope_size(header, stamps.size()));
    write_envelope(entry, header, stamps);
    entry.insert(entry.end(), payload.begin(), payload.end());
    seal_envelope(entry);
    return entry;
}

constexpr std::uint64_t kFresh = 1'700'000'200'000'000;

// An entry of version 1, or of version 2.
Bytes sample(std::uint64_t fresh = 0) {
    return sealed({.codec = EntryCodec::Msgpack,
                   .flags = kEntryNegative,
                   .schema = 0x0123'4567'89AB'CDEF,
                   .stored_us = 1'700'000'000'000'000,
                   .expires_us = 1'700'000'300'000'000,
                   .fresh_us = fresh,
                   .cost = 0.002,
                   .load_seconds = 1.5},
                  {stamp('f', 7), stamp('t', std::numeric_limits<std::uint64_t>::max())},
                  bytes_of("a payload"));
}

std::size_t header_size(std::size_t stamps, std::uint64_t fresh = 0) {
    return envelope_size({.fresh_us = fresh}, stamps);
}

EntryFault fault(std::span<const std::byte> entry, std::uint32_t most = kMostEntryBytes) {
    Envelope found;
    return read_envelope(entry, found, most);
}

std::uint64_t checksum(std::span<const std::byte> bytes) {
    Crc64 crc;
    crc.update(bytes);
    return crc.value();
}

// Puts the header's checksum right again, as a careful forger would.
Bytes resealed(Bytes entry, std::size_t stamps, std::uint64_t fresh = 0) {
    const std::size_t at = header_size(stamps, fresh) - 8;
    const std::uint64_t value = checksum(std::span(entry).first(at));
    for (std::size_t i = 0; i < 8; ++i) {
        entry[at + i] = static_cast<std::byte>(value >> (8 * i));
    }
    return entry;
}

// What both versions promise.
class EnvelopeOf : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Versions, EnvelopeOf, testing::Values(0, kFresh));

TEST_P(EnvelopeOf, GivesBackWhatWasWritten) {
    const Bytes entry = sample(GetParam());
    Envelope found;
    ASSERT_EQ(read_envelope(entry, found), EntryFault::None);
    EXPECT_EQ(found.header.codec, EntryCodec::Msgpack);
    EXPECT_EQ(found.header.flags, kEntryNegative);
    EXPECT_EQ(found.header.schema, 0x0123'4567'89AB'CDEFU);
    EXPECT_EQ(found.header.stored_us, 1'700'000'000'000'000U);
    EXPECT_EQ(found.header.expires_us, 1'700'000'300'000'000U);
    EXPECT_EQ(found.header.fresh_us, GetParam());
    EXPECT_EQ(entry[3], GetParam() == 0 ? std::byte{1} : std::byte{2});
    EXPECT_EQ(found.header.cost, 0.002);
    EXPECT_EQ(found.header.load_seconds, 1.5);
    EXPECT_EQ(found.header.payload_size, 9U);
    EXPECT_EQ(found.header.content_size, 9U);
    ASSERT_EQ(found.stamps.size(), 2 * kStampBytes);
    EXPECT_EQ(stamp_at(found, 0).name, stamp('f', 0).name);
    EXPECT_EQ(stamp_at(found, 0).value, 7U);
    EXPECT_EQ(stamp_at(found, 1).name, stamp('t', 0).name);
    EXPECT_EQ(stamp_at(found, 1).value, std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(Bytes(found.payload.begin(), found.payload.end()), bytes_of("a payload"));
    EXPECT_EQ(found.associated.size(), header_size(2, GetParam()) - kEnvelopeChecksumBytes);
    EXPECT_TRUE(payload_is_whole(found));
}

TEST(Envelope, HasTheBytesOfItsFormatOnEveryMachine) {
    using std::string_literals::operator""s;
    const Bytes entry = sealed({.codec = EntryCodec::Tagged,
                                .flags = kEntryCompressed,
                                .schema = 0x0807'0605'0403'0201,
                                .stored_us = 258,
                                .expires_us = 259,
                                .cost = 1,
                                .load_seconds = 2,
                                .content_size = 515},
                               {stamp('n', 260)}, bytes_of("vw"));
    const Bytes expected = bytes_of(
        "\x89ME\1\1\1\1\0"s  // magic, version, codec, flags, number of stamps
        "\2\0\0\0\3\2\0\0"s  // sizes of the payload and of the content
        "\1\2\3\4\5\6\7\10"s
        "\2\1\0\0\0\0\0\0"s  // stored
        "\3\1\0\0\0\0\0\0"s  // expires
        "\0\0\0\0\0\0\xF0\x3F"s
        "\0\0\0\0\0\0\0\x40"s
        "nnnnnnnnnnnnnnnn\4\1\0\0\0\0\0\0"s);
    ASSERT_EQ(entry.size(), expected.size() + 16 + 2);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), entry.begin()));
    const auto word = [&](std::size_t at) {
        std::uint64_t value = 0;
        for (std::size_t i = 8; i-- > 0;) {
            value = value << 8 | std::to_integer<std::uint64_t>(entry[at + i]);
        }
        return value;
    };
    EXPECT_EQ(word(expected.size()), checksum(bytes_of("vw")));
    EXPECT_EQ(word(expected.size() + 8), checksum(std::span(entry).first(expected.size() + 8)));
}

TEST(Envelope, PutsTheEndOfFreshnessBeforeTheStamps) {
    using std::string_literals::operator""s;
    const Bytes entry = sealed({.expires_us = 600, .fresh_us = 258}, {stamp('n', 4)}, {});
    const Bytes tail = bytes_of("\2\1\0\0\0\0\0\0nnnnnnnnnnnnnnnn\4\0\0\0\0\0\0\0"s);
    ASSERT_EQ(entry.size(), kEnvelopeFixedBytes + tail.size() + kEnvelopeChecksumBytes);
    EXPECT_EQ(entry[3], std::byte{2});
    EXPECT_TRUE(std::equal(tail.begin(), tail.end(), entry.begin() + kEnvelopeFixedBytes));
}

TEST_P(EnvelopeOf, FindsEveryFlippedBit) {
    const Bytes good = sample(GetParam());
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            Bytes bad = good;
            bad[at] ^= static_cast<std::byte>(1 << bit);
            Envelope found;
            const EntryFault why = read_envelope(bad, found);
            if (at >= header_size(2, GetParam())) {  // the payload
                ASSERT_EQ(why, EntryFault::None);
                EXPECT_FALSE(payload_is_whole(found)) << at;
            } else if (at < 3) {
                EXPECT_EQ(why, EntryFault::Foreign);
            } else if (at == 3) {
                EXPECT_THAT(why, AnyOf(EntryFault::Version, EntryFault::Damaged));
            } else if (at < 8) {  // more stamps than fit look like an end that came too early
                EXPECT_THAT(why, AnyOf(EntryFault::Damaged, EntryFault::Truncated));
            } else {
                EXPECT_EQ(why, EntryFault::Damaged) << at;
            }
        }
    }
}

TEST_P(EnvelopeOf, FindsEveryByteThatIsAnother) {
    const Bytes good = sample(GetParam());
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (int value = 0; value < 256; ++value) {
            Bytes bad = good;
            bad[at] = static_cast<std::byte>(value);
            Envelope found;
            const bool whole =
                read_envelope(bad, found) == EntryFault::None && payload_is_whole(found);
            EXPECT_EQ(whole, bad == good) << at;
        }
    }
}

TEST_P(EnvelopeOf, FindsEveryTruncationAndExtension) {
    const Bytes good = sample(GetParam());
    for (std::size_t size = 0; size < good.size(); ++size) {
        EXPECT_EQ(fault(std::span(good).first(size)), EntryFault::Truncated) << size;
    }
    Bytes longer = good;
    longer.push_back(std::byte{0});
    EXPECT_EQ(fault(longer), EntryFault::Damaged);
    longer.insert(longer.end(), good.begin(), good.end());
    EXPECT_EQ(fault(longer), EntryFault::Damaged);
}

TEST(Envelope, KnowsWhatIsForeignAndWhatIsLater) {
    EXPECT_EQ(fault(bytes_of("SQLite format 3, or anything else that is long enough to be read")),
              EntryFault::Foreign);
    EXPECT_EQ(fault(bytes_of("x")), EntryFault::Foreign);
    Bytes later = sample();
    later[3] = std::byte{3};
    EXPECT_EQ(fault(later), EntryFault::Version);
    EXPECT_EQ(fault(resealed(later, 2)), EntryFault::Version);
    later[3] = std::byte{0};
    EXPECT_EQ(fault(resealed(later, 2)), EntryFault::Damaged);
    // A codec or a flag that this release does not know.
    for (const auto& [at, value] : {std::pair{4U, 0}, {4U, 4}, {4U, 255}, {5U, 8}, {5U, 128}}) {
        later = sample();
        later[at] = static_cast<std::byte>(value);
        EXPECT_EQ(fault(resealed(later, 2)), EntryFault::Version) << at;
    }
}

// The checks behind the checksum: whatever a byte is set to, the entry is refused, or is what the
// writer would have written for what was read.
TEST_P(EnvelopeOf, StaysSafeBehindAForgedChecksum) {
    const Bytes good = sample(GetParam());
    const std::size_t header = header_size(2, GetParam());
    int accepted = 0;
    for (std::size_t at = 0; at + 8 < header; ++at) {
        for (int value = 0; value < 256; ++value) {
            Bytes bad = good;
            bad[at] = static_cast<std::byte>(value);
            bad = resealed(bad, 2, GetParam());
            Envelope found;
            if (read_envelope(bad, found) != EntryFault::None) {
                continue;
            }
            ++accepted;
            std::vector<EntryStamp> stamps;
            for (std::size_t i = 0; i < found.stamps.size() / kStampBytes; ++i) {
                stamps.push_back(stamp_at(found, i));
            }
            Bytes again =
                sealed(found.header, stamps, Bytes(found.payload.begin(), found.payload.end()));
            if (payload_is_whole(found)) {
                EXPECT_EQ(again, bad) << at;
            }
        }
    }
    EXPECT_GT(accepted, 10'000);
    for (std::size_t size = 8; size < good.size(); ++size) {
        Bytes cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
        if (size >= header) {
            cut = resealed(cut, 2, GetParam());
        }
        EXPECT_EQ(fault(cut), EntryFault::Truncated);
    }
}

TEST(Envelope, RefusesNumbersThatNoReleaseWrites) {
    const double inf = std::numeric_limits<double>::infinity();
    for (const std::size_t at : {40U, 48U}) {
        for (const double value :
             {inf, -inf, std::numeric_limits<double>::quiet_NaN(), -1.0, -0.0}) {
            Bytes bad = sample();
            const auto bits = std::bit_cast<std::uint64_t>(value);
            for (std::size_t i = 0; i < 8; ++i) {
                bad[at + i] = static_cast<std::byte>(bits >> (8 * i));
            }
            EXPECT_EQ(fault(resealed(bad, 2)), EntryFault::Damaged) << value;
        }
    }
    Bytes bad = sample();  // a payload that is its content, of another size
    bad[12] = std::byte{10};
    EXPECT_EQ(fault(resealed(bad, 2)), EntryFault::Damaged);
    for (const std::uint64_t fresh : {std::uint64_t{0}, kFresh + 100'000'000, ~std::uint64_t{0}}) {
        bad = sample(kFresh);  // never fresh, or for as long as it lives: that is version 1
        for (std::size_t i = 0; i < 8; ++i) {
            bad[kEnvelopeFixedBytes + i] = static_cast<std::byte>(fresh >> (8 * i));
        }
        EXPECT_EQ(fault(resealed(bad, 2, kFresh)), EntryFault::Damaged) << fresh;
    }
}

TEST(Envelope, RefusesWhatIsLargerThanTheReaderAllows) {
    const Bytes entry = sealed({}, {}, Bytes(1000));
    EXPECT_EQ(fault(entry, 1000), EntryFault::None);
    EXPECT_EQ(fault(entry, 999), EntryFault::Oversized);
    // A small payload that says it becomes a large one, and one that is large before it is opened.
    const EnvelopeHeader bomb{.flags = kEntryCompressed, .content_size = 100'000};
    EXPECT_EQ(fault(sealed(bomb, {}, Bytes(10)), 99'999), EntryFault::Oversized);
    EXPECT_EQ(fault(sealed(bomb, {}, Bytes(10)), 100'000), EntryFault::None);
    const EnvelopeHeader encrypted{.flags = kEntryEncrypted, .content_size = 100};
    EXPECT_EQ(fault(sealed(encrypted, {}, Bytes(100 + kMostPayloadExtra)), 100), EntryFault::None);
    EXPECT_EQ(fault(sealed(encrypted, {}, Bytes(101 + kMostPayloadExtra)), 100),
              EntryFault::Oversized);
    Bytes huge = entry;  // a size that the bytes do not bear out
    huge[8 + 3] = huge[12 + 3] = std::byte{0xFF};
    EXPECT_EQ(fault(resealed(huge, 0)), EntryFault::Oversized);
    huge[8 + 3] = huge[12 + 3] = std::byte{0x01};
    EXPECT_EQ(fault(resealed(huge, 0)), EntryFault::Truncated);
}

TEST(Envelope, HoldsAsManyStampsAsAnEntryMayHave) {
    std::vector<EntryStamp> stamps;
    for (std::size_t i = 0; i < kMostStamps; ++i) {
        stamps.push_back(stamp(static_cast<char>(i), i));
    }
    const Bytes most = sealed({}, stamps, {});
    Envelope found;
    ASSERT_EQ(read_envelope(most, found), EntryFault::None);
    EXPECT_EQ(found.stamps.size() / kStampBytes, kMostStamps);
    EXPECT_EQ(stamp_at(found, kMostStamps - 1).value, kMostStamps - 1);
    EXPECT_TRUE(payload_is_whole(found));

    Bytes more = most;
    more.resize(more.size() + kStampBytes);
    more[6] = static_cast<std::byte>((kMostStamps + 1) & 0xFF);
    EXPECT_EQ(fault(resealed(more, kMostStamps + 1)), EntryFault::Damaged);
}

TEST(Envelope, GivesBackRandomEntriesOfManySizes) {
    std::mt19937_64 random{23};
    for (int i = 0; i < 500; ++i) {
        std::vector<EntryStamp> stamps(random() % 6);
        for (EntryStamp& each : stamps) {
            each = stamp(static_cast<char>(random()), random());
        }
        Bytes payload(random() % 5'000);
        std::ranges::generate(payload, [&] { return static_cast<std::byte>(random()); });
        const EnvelopeHeader header{.schema = random(),
                                    .stored_us = random(),
                                    .expires_us = random(),
                                    .cost = static_cast<double>(random() % 1000) / 7};
        const Bytes entry = sealed(header, stamps, payload);
        Envelope found;
        ASSERT_EQ(read_envelope(entry, found), EntryFault::None);
        EXPECT_TRUE(payload_is_whole(found));
        EXPECT_EQ(found.header.schema, header.schema);
        EXPECT_EQ(found.header.expires_us, header.expires_us);
        EXPECT_EQ(Bytes(found.payload.begin(), found.payload.end()), payload);
        EXPECT_EQ(found.stamps.size(), stamps.size() * kStampBytes);
    }
}

}  // namespace
}  // namespace millpond
