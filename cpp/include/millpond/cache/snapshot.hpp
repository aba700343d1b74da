// The engine snapshot: a cache's entries as bytes, to be saved at shutdown and restored at start.
// Keys, values and tags are bytes that the engine does not look into; Python objects come as what
// the codecs of the tiers make of them.
//
//     SnapshotWriter writer(sink, now_since_1970);         SnapshotReader reader(file);
//     writer.add({.key = key, .value = value});            while (const auto* record =
//     reader.next()) writer.finish();                                         cache.put(*record);
//
// A reader has verified everything before it hands out the first record, so whoever gets an error
// has changed nothing. The checksum is against accidents: a snapshot from an adversary can be well
// formed, and is read safely, but its contents are the adversary's.
//
// Format, version 1. Integers are little-endian; a float is its IEEE 754 bits.
//
//     header    magic "\x89MPSNAP\n", u32 version, u32 zero, i64 saved at (ns since 1970, 0:
//     unknown) record    u32 length of what follows,
//               u32 key length, key, u32 value length, value,
//               i64 TTL left in ns (-1: none), f32 cost, u32 frequency,
//               u32 number of tags, for each: u32 length, bytes
//     footer    u32 zero (no record has that length), u64 number of records,
//               u64 CRC-64/XZ of all bytes before it
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "millpond/base/clock.hpp"
#include "millpond/base/crc64.hpp"

namespace millpond {

// What a record may hold: writers refuse more, and so do readers, before they allocate anything.
inline constexpr std::uint32_t kMostKeyBytes = 1U << 20;
inline constexpr std::uint32_t kMostValueBytes = 1U << 30;
inline constexpr std::uint32_t kMostTags = 1024;
inline constexpr std::uint32_t kMostTagBytes = 1U << 16;

// One entry. The views borrow: from the caller when written, from the reader when read.
struct SnapshotRecord {
    std::string_view key{};
    std::string_view value{};
    std::optional<Nanos> ttl_left{};  // >= 0; none: lives until it is evicted
    float cost = 0;                   // finite and >= 0
    std::uint32_t frequency = 0;
    std::span<const std::string_view> tags{};
};

// Takes the next bytes of the snapshot. What it throws passes through the writer.
using SnapshotSink = std::function<void(std::span<const std::byte>)>;

// Writes a snapshot to a sink, in pieces of about 64 KiB; a larger value goes through uncopied. A
// snapshot whose writer was not finished is refused by every reader. Not thread-safe.
class SnapshotWriter {
  public:
    // `saved_at`: the wall clock, so that a reader can tell how much of each TTL has passed since;
    // zero: unknown.
    explicit SnapshotWriter(SnapshotSink sink, Nanos saved_at = Nanos{0});

    // O(bytes). Throws Error{LimitExceeded} for a part that is too large and Error{InvalidArgument}
    // for a negative TTL or a cost that is no number; either way nothing of the record is written.
    // REQUIRES: not finished, and the sink has not thrown.
    void add(const SnapshotRecord& record);

    // Writes the footer and flushes. REQUIRES: as for add().
    void finish();

    [[nodiscard]] std::uint64_t records() const noexcept { return records_; }

  private:
    void put(std::string_view bytes);
    template <class Integer>
    void put_integer(Integer value);
    void flush();

    SnapshotSink sink_;
    std::vector<std::byte> buffer_;
    Crc64 crc_;
    std::uint64_t records_ = 0;
};

// Reads a snapshot that lies in memory (or is mapped there). Not thread-safe.
class SnapshotReader {
  public:
    // Verifies all of `bytes`. O(bytes); allocates nothing but room for the tags of one record.
    // Throws Error{Corrupt} for what is no snapshot, is cut off, or was changed, and
    // Error{Unsupported} for one of a later version. REQUIRES: `bytes` outlive the reader,
    // unchanged.
    explicit SnapshotReader(std::span<const std::byte> bytes);
    SnapshotReader(const SnapshotReader&) = delete;  // a record borrows from its reader
    SnapshotReader& operator=(const SnapshotReader&) = delete;

    // The next record, or nullptr after the last. It is good until the next call. O(tags).
    // A key may come twice: the last one counts.
    [[nodiscard]] const SnapshotRecord* next();

    [[nodiscard]] std::uint64_t records() const noexcept { return records_; }
    // The wall clock at the time of writing; zero: unknown.
    [[nodiscard]] Nanos saved_at() const noexcept { return saved_at_; }

  private:
    std::span<const std::byte> rest_;  // the records not handed out yet
    std::vector<std::string_view> tags_;
    SnapshotRecord record_;
    std::uint64_t records_ = 0;
    Nanos saved_at_{0};
};

}  // namespace millpond
