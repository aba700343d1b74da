#include "millpond/cache/snapshot.hpp"

#include <algorithm>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

using Bytes = std::vector<std::byte>;

// A record that owns what it holds.
struct Entry {
    std::string key;
    std::string value;
    std::optional<Nanos> ttl_left;
    float cost = 0;
    std::uint32_t frequency = 0;
    std::vector<std::string> tags;
    friend bool operator==(const Entry&, const Entry&) = default;
};

SnapshotSink into(Bytes& out) {
    return [&out](std::span<const std::byte> piece) {
        out.insert(out.end(), piece.begin(), piece.end());
    };
}

void add(SnapshotWriter& writer, const Entry& entry) {
    const std::vector<std::string_view> tags(entry.tags.begin(), entry.tags.end());
    writer.add({entry.key, entry.value, entry.ttl_left, entry.cost, entry.frequency, tags});
}

Bytes write(const std::vector<Entry>& entries, Nanos saved_at = Nanos{0}) {
    Bytes out;
    SnapshotWriter writer(into(out), saved_at);
    for (const Entry& entry : entries) {
        add(writer, entry);
    }
    writer.finish();
    return out;
}

std::vector<Entry> read(std::span<const std::byte> bytes) {
    std::vector<Entry> out;
    SnapshotReader reader(bytes);
    while (const SnapshotRecord* record = reader.next()) {
        out.push_back({std::string(record->key),
                       std::string(record->value),
                       record->ttl_left,
                       record->cost,
                       record->frequency,
                       {record->tags.begin(), record->tags.end()}});
    }
    EXPECT_EQ(reader.records(), out.size());
    EXPECT_EQ(reader.next(), nullptr);
    return out;
}

// Puts the checksum that belongs to the rest at the end, as a careful forger would.
Bytes resealed(Bytes bytes) {
    Crc64 crc;
    crc.update(std::span(bytes).first(bytes.size() - 8));
    for (std::size_t i = 0; i < 8; ++i) {
        bytes[bytes.size() - 8 + i] = static_cast<std::byte>(crc.value() >> (8 * i));
    }
    return bytes;
}

// The code of the refusal and its message; fails when there was none.
std::pair<ErrorCode, std::string> refusal(std::span<const std::byte> bytes) {
    try {
        const SnapshotReader reader(bytes);
    } catch (const Error& error) {
        return {error.code(), error.what()};
    }
    ADD_FAILURE() << "accepted";
    return {};
}

const std::vector<Entry>& samples() {
    static const std::vector<Entry> entries{
        {"user:1", "Ada", std::chrono::seconds{90}, 0.25F, 7, {"users", "user:1"}},
        {std::string("\0\xFF", 2), "", std::nullopt, 0, 0, {}},
        {"", "empty key", Nanos{0}, 1e30F, std::numeric_limits<std::uint32_t>::max(), {""}},
    };
    return entries;
}

TEST(Snapshot, GivesBackWhatWasWritten) {
    const Bytes bytes = write(samples(), Nanos{1'700'000'000'000'000'000});
    EXPECT_EQ(read(bytes), samples());
    EXPECT_EQ(SnapshotReader(bytes).saved_at(), Nanos{1'700'000'000'000'000'000});
    EXPECT_EQ(read(write({})), std::vector<Entry>{});
}

TEST(Snapshot, HasTheBytesOfItsFormatOnEveryMachine) {
    using std::string_literals::operator""s;
    const std::string text =
        "\x89MPSNAP\n\1\0\0\0\0\0\0\0"s           // magic, version, zero
        "\2\1\0\0\0\0\0\0"s                       // saved at
        "\x25\0\0\0\1\0\0\0k\2\0\0\0vw"s          // length, key, value
        "\0\1\0\0\0\0\0\0\0\0\x80\x3F\x9\0\0\0"s  // 256 ns, cost 1, frequency 9
        "\1\0\0\0\2\0\0\0tu"s                     // tags
        "\0\0\0\0\1\0\0\0\0\0\0\0"s               // footer
        "checksum"s;
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    const Bytes expected(raw.begin(), raw.end());
    EXPECT_EQ(write({{"k", "vw", Nanos{256}, 1, 9, {"tu"}}}, Nanos{258}), resealed(expected));
}

TEST(Snapshot, GivesBackRandomRecordsOfManySizes) {
    std::mt19937_64 random{11};
    const auto text = [&](std::size_t below) {
        std::string out(random() % below, '\0');
        std::ranges::generate(out, [&] { return static_cast<char>(random()); });
        return out;
    };
    std::vector<Entry> entries;
    for (int i = 0; i < 300; ++i) {
        Entry entry{text(40), text(i % 50 == 0 ? 300'000 : 2'000), {}, 0, 0, {}};
        if (random() % 2 == 0) {
            entry.ttl_left = Nanos{static_cast<std::int64_t>(random() >> 1)};
        }
        entry.cost = static_cast<float>(random() % 1000) / 7;
        entry.frequency = static_cast<std::uint32_t>(random());
        entry.tags.resize(random() % 4);
        std::ranges::generate(entry.tags, [&] { return text(30); });
        entries.push_back(std::move(entry));
    }
    EXPECT_EQ(read(write(entries)), entries);
}

TEST(Snapshot, ReachesTheSinkInPiecesAndOnlyThere) {
    std::vector<std::size_t> pieces;
    SnapshotWriter writer(
        [&](std::span<const std::byte> piece) { pieces.push_back(piece.size()); });
    for (int i = 0; i < 1000; ++i) {
        add(writer, {"key", std::string(1000, 'v'), {}, 0, 0, {}});
    }
    add(writer, {"key", std::string(1 << 20, 'v'), {}, 0, 0, {}});
    writer.finish();
    EXPECT_LT(pieces.size(), 25U);
    EXPECT_EQ(std::ranges::max(pieces), 1U << 20);
    EXPECT_EQ(writer.records(), 1001U);
}

TEST(Snapshot, LetsPassWhatTheSinkThrows) {
    SnapshotWriter writer(
        [](std::span<const std::byte>) { throw std::runtime_error("disk full"); });
    EXPECT_THROW(writer.finish(), std::runtime_error);
}

TEST(Snapshot, RefusesEveryFlippedBit) {
    const Bytes good = write(samples());
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            Bytes bad = good;
            bad[at] ^= static_cast<std::byte>(1 << bit);
            EXPECT_THAT(refusal(bad).first, AnyOf(ErrorCode::Corrupt, ErrorCode::Unsupported))
                << "byte " << at;
        }
    }
}

TEST(Snapshot, RefusesEveryTruncationAndEveryExtension) {
    const Bytes good = write(samples());
    for (std::size_t size = 0; size < good.size(); ++size) {
        EXPECT_EQ(refusal(std::span(good).first(size)).first, ErrorCode::Corrupt) << size;
    }
    Bytes longer = good;
    longer.push_back(std::byte{0});
    EXPECT_EQ(refusal(longer).first, ErrorCode::Corrupt);
    longer.insert(longer.end(), good.begin(), good.end());
    EXPECT_EQ(refusal(longer).first, ErrorCode::Corrupt);
}

// The checks behind the checksum: any one byte set to any extreme is refused or changes only what
// that byte says, and a file cut off is refused though its checksum fits.
TEST(Snapshot, StaysSafeBehindAForgedChecksum) {
    const Bytes good = write(samples());
    for (std::size_t at = 0; at + 8 < good.size(); ++at) {
        for (const int value : {0x00, 0x01, 0x7F, 0x80, 0xFF}) {
            Bytes bad = good;
            bad[at] = static_cast<std::byte>(value);
            bad = resealed(bad);
            try {
                EXPECT_EQ(write(read(bad), SnapshotReader(bad).saved_at()), bad);
            } catch (const Error& error) {
                EXPECT_THAT(error.code(), AnyOf(ErrorCode::Corrupt, ErrorCode::Unsupported));
            }
        }
    }
    for (std::size_t size = 32; size < good.size(); ++size) {  // the header stays whole
        EXPECT_EQ(
            refusal(resealed(Bytes(good.begin(), good.begin() + static_cast<long>(size)))).first,
            ErrorCode::Corrupt);
    }
}

TEST(Snapshot, RefusesAForeignFileAndSaysSo) {
    const std::string foreign = "SQLite format 3, or anything else that is long enough to be read";
    const auto [code, message] = refusal(std::as_bytes(std::span(foreign.data(), foreign.size())));
    EXPECT_EQ(code, ErrorCode::Corrupt);
    EXPECT_THAT(message, HasSubstr("does not begin like one"));
    EXPECT_EQ(refusal({}).first, ErrorCode::Corrupt);
}

TEST(Snapshot, RefusesALaterVersionEvenIfAllElseFits) {
    Bytes later = write(samples());
    later[8] = std::byte{2};
    const auto [code, message] = refusal(resealed(later));
    EXPECT_EQ(code, ErrorCode::Unsupported);
    EXPECT_THAT(message, HasSubstr("version 2; this release reads version 1"));
    later[8] = std::byte{0};
    EXPECT_EQ(refusal(resealed(later)).first, ErrorCode::Corrupt);
}

TEST(Snapshot, RefusesAFileThatWasNeverFinished) {
    Bytes out;
    {
        SnapshotWriter writer(into(out));
        add(writer, {"key", std::string(100'000, 'v'), {}, 0, 0, {}});
    }
    EXPECT_EQ(refusal(out).first, ErrorCode::Corrupt);
}

TEST(Snapshot, WritesNothingOfARecordThatItRefuses) {
    Bytes out;
    SnapshotWriter writer(into(out));
    const std::string long_key(kMostKeyBytes + 1, 'k');
    const std::vector<std::string_view> many_tags(kMostTags + 1);
    const std::string long_tag(kMostTagBytes + 1, 't');
    const std::string_view long_tags[] = {long_tag};
    const float inf = std::numeric_limits<float>::infinity();
    const auto code_of = [&](const SnapshotRecord& record) {
        try {
            writer.add(record);
        } catch (const Error& error) {
            return error.code();
        }
        ADD_FAILURE() << "accepted";
        return ErrorCode{};
    };
    EXPECT_EQ(code_of({.key = long_key}), ErrorCode::LimitExceeded);
    EXPECT_EQ(code_of({.key = "k", .tags = many_tags}), ErrorCode::LimitExceeded);
    EXPECT_EQ(code_of({.key = "k", .tags = long_tags}), ErrorCode::LimitExceeded);
    EXPECT_EQ(code_of({.key = "k", .ttl_left = Nanos{-1}}), ErrorCode::InvalidArgument);
    EXPECT_EQ(code_of({.key = "k", .cost = -1}), ErrorCode::InvalidArgument);
    EXPECT_EQ(code_of({.key = "k", .cost = inf}), ErrorCode::InvalidArgument);
    EXPECT_EQ(code_of({.key = "k", .cost = inf - inf}), ErrorCode::InvalidArgument);
    const std::string longest_key(kMostKeyBytes, 'k');
    add(writer, {longest_key, "only just", {}, 0, 0, {}});
    writer.finish();
    EXPECT_EQ(read(out), (std::vector<Entry>{{longest_key, "only just", {}, 0, 0, {}}}));
}

}  // namespace
}  // namespace millpond
