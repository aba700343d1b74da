// The envelope of a stored entry: the header that stands before a value's bytes in Redis or a
// database, and the checksums by which a reader knows that both are what was written.
//
//     EnvelopeHeader header{.codec = EntryCodec::Tagged, .payload_size = payload.size(), ...};
//     std::vector<std::byte> entry(envelope_size(header, stamps.size()));
//     write_envelope(entry, header, stamps);
//     entry.insert(entry.end(), payload.begin(), payload.end());
//     seal_envelope(entry);                                        // then it may be stored
//
//     Envelope found;
//     if (read_envelope(entry, found) == EntryFault::None && payload_is_whole(found)) ...
//
// The header has a checksum of its own, so reading it costs the same for every payload; it covers
// the payload's checksum, and so everything. Both are against accidents. Bytes of an adversary can
// be well formed: they are read safely, but what they say is the adversary's.
//
// Format, versions 1 and 2: docs/design/entries.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace millpond {

// How the payload is encoded. The numbers are part of the format.
enum class EntryCodec : std::uint8_t { Tagged = 1, Msgpack = 2, Pickle = 3 };

// What an entry is besides. The bits are part of the format.
inline constexpr std::uint8_t kEntryCompressed = 1;  // with zstd
inline constexpr std::uint8_t kEntryEncrypted = 2;   // with AES-GCM
inline constexpr std::uint8_t kEntryNegative = 4;    // None, stored as "there is no value"
inline constexpr std::uint8_t kEntryFlags = 7;       // all of them

// The function, the namespace, and as many tags as an entry may have.
inline constexpr std::size_t kMostStamps = 1026;
// Larger values are not stored, whatever the options say.
inline constexpr std::uint32_t kMostEntryBytes = 1U << 30;
// What encryption and a signature may add to a payload.
inline constexpr std::uint32_t kMostPayloadExtra = 256;

// Why an entry cannot be read.
enum class EntryFault : std::uint8_t {
    None,
    Foreign,    // it does not begin like an entry
    Version,    // a later release has written it
    Truncated,  // it ends early
    Damaged,    // it was changed, or no release has written it
    Oversized,  // it holds more than the reader allows
};

// The generation that an entry was stored under: the first 16 bytes of the hash of its name, and
// the number that it had.
struct EntryStamp {
    std::array<std::byte, 16> name{};
    std::uint64_t value = 0;
};

struct EnvelopeHeader {
    EntryCodec codec = EntryCodec::Tagged;
    std::uint8_t flags = 0;
    std::uint64_t schema = 0;      // digest of the annotation's structure; 0: none
    std::uint64_t stored_us = 0;   // microseconds since 1970, by the clock of the tier
    std::uint64_t expires_us = 0;  // the same; 0: lives until it is evicted
    std::uint64_t fresh_us = 0;    // the same: from then on the value is stale; 0: never until then
    double cost = 0;               // dollars, finite and >= 0
    double load_seconds = 0;       // finite and >= 0
    std::uint32_t payload_size = 0;
    std::uint32_t content_size = 0;  // of the payload once it is decrypted and decompressed
};

// What read_envelope() has found. Borrows from the entry.
struct Envelope {
    EnvelopeHeader header{};
    std::span<const std::byte> stamps{};  // kStampBytes each; see stamp_at()
    std::span<const std::byte> payload{};
    // What an authenticated payload is bound to: the header but for its checksums.
    std::span<const std::byte> associated{};
    std::uint64_t payload_checksum = 0;
};

inline constexpr std::size_t kStampBytes = 24;
inline constexpr std::size_t kEnvelopeFixedBytes = 56;
inline constexpr std::size_t kEnvelopeFreshBytes = 8;  // that version 2 has more
inline constexpr std::size_t kEnvelopeChecksumBytes = 16;

// The bytes before the payload.
[[nodiscard]] constexpr std::size_t envelope_size(const EnvelopeHeader& header,
                                                  std::size_t stamps) noexcept {
    return kEnvelopeFixedBytes + (header.fresh_us == 0 ? 0 : kEnvelopeFreshBytes) +
           stamps * kStampBytes + kEnvelopeChecksumBytes;
}

// Writes the header to the front of `entry`, all but the checksums, which seal_envelope() knows: of
// version 2 where fresh_us is given, else of version 1, which older releases read.
// O(stamps). REQUIRES: `entry` has room for envelope_size(header, stamps.size()); at most
// kMostStamps; cost and load_seconds finite and >= 0; no content over kMostEntryBytes; no flag but
// kEntryFlags; fresh_us before expires_us, if both are given.
void write_envelope(std::span<std::byte> entry, const EnvelopeHeader& header,
                    std::span<const EntryStamp> stamps) noexcept;

// Writes the checksums. O(bytes). REQUIRES: `entry` is what write_envelope() wrote, followed by as
// many bytes of payload as the header says.
void seal_envelope(std::span<std::byte> entry) noexcept;

// Reads and verifies all but the payload. O(stamps), allocates nothing. Leaves `found` alone unless
// it returns None. `most` bounds content_size, and payload_size but for what protects it.
[[nodiscard]] EntryFault read_envelope(std::span<const std::byte> entry, Envelope& found,
                                       std::uint32_t most = kMostEntryBytes) noexcept;

// Whether the payload is what was sealed. O(bytes).
[[nodiscard]] bool payload_is_whole(const Envelope& found) noexcept;

// REQUIRES: i < found.stamps.size() / kStampBytes.
[[nodiscard]] EntryStamp stamp_at(const Envelope& found, std::size_t i) noexcept;

}  // namespace millpond
