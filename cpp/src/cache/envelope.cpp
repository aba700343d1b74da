#include "millpond/cache/envelope.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <type_traits>

#include "millpond/base/crc64.hpp"

namespace millpond {
namespace {

constexpr std::array kMagic{std::byte{0x89}, std::byte{'M'}, std::byte{'E'}};
constexpr std::uint8_t kPlain = 1;      // the version of entries that are never stale
constexpr std::uint8_t kWithFresh = 2;  // and of those that may be
constexpr std::uint8_t kVersion = kWithFresh;
// Where the header counts its stamps; what stands before it never moves in a later version.
constexpr std::size_t kCountAt = 6;
constexpr std::size_t kPrefixBytes = 8;

// Where the stamps begin.
constexpr std::size_t stamps_at(std::uint8_t version) noexcept {
    return kEnvelopeFixedBytes + (version == kWithFresh ? kEnvelopeFreshBytes : 0);
}
// The bytes before the payload.
constexpr std::size_t size_of(std::uint8_t version, std::size_t stamps) noexcept {
    return stamps_at(version) + stamps * kStampBytes + kEnvelopeChecksumBytes;
}

template <class Integer>
Integer load(std::span<const std::byte> bytes, std::size_t at) noexcept {
    Integer value = 0;
    for (std::size_t i = sizeof value; i-- > 0;) {
        value = static_cast<Integer>(static_cast<std::uint64_t>(value) << 8 |
                                     std::to_integer<std::uint64_t>(bytes[at + i]));
    }
    return value;
}

template <class Integer>
void store(std::span<std::byte> bytes, std::size_t at, Integer value) noexcept {
    for (std::size_t i = 0; i < sizeof value; ++i) {
        bytes[at + i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
    }
}

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
    Crc64 crc;
    crc.update(bytes);
    return crc.value();
}

bool is_amount(double value) noexcept { return std::isfinite(value) && !std::signbit(value); }

// What a release that wrote this version may have written.
bool is_sound(const EnvelopeHeader& header) noexcept {
    if (!is_amount(header.cost) || !is_amount(header.load_seconds)) return false;
    if (header.expires_us != 0 && header.fresh_us >= header.expires_us && header.fresh_us != 0) {
        return false;
    }
    const bool as_it_is = (header.flags & (kEntryCompressed | kEntryEncrypted)) == 0 &&
                          header.codec != EntryCodec::Pickle;
    return !as_it_is || header.payload_size == header.content_size;
}

}  // namespace

void write_envelope(std::span<std::byte> entry, const EnvelopeHeader& header,
                    std::span<const EntryStamp> stamps) noexcept {
    assert(entry.size() >= envelope_size(header, stamps.size()) && stamps.size() <= kMostStamps);
    assert(is_sound(header) && (header.flags & ~kEntryFlags) == 0);
    assert(header.content_size <= kMostEntryBytes);
    assert(header.payload_size <= kMostEntryBytes + kMostPayloadExtra);
    std::ranges::copy(kMagic, entry.begin());
    const std::uint8_t version = header.fresh_us == 0 ? kPlain : kWithFresh;
    store(entry, 3, version);
    store(entry, 4, static_cast<std::uint8_t>(header.codec));
    store(entry, 5, header.flags);
    store(entry, kCountAt, static_cast<std::uint16_t>(stamps.size()));
    store(entry, 8, header.payload_size);
    store(entry, 12, header.content_size);
    store(entry, 16, header.schema);
    store(entry, 24, header.stored_us);
    store(entry, 32, header.expires_us);
    store(entry, 40, std::bit_cast<std::uint64_t>(header.cost));
    store(entry, 48, std::bit_cast<std::uint64_t>(header.load_seconds));
    if (version == kWithFresh) store(entry, kEnvelopeFixedBytes, header.fresh_us);
    std::size_t at = stamps_at(version);
    for (const EntryStamp& stamp : stamps) {
        std::ranges::copy(stamp.name, entry.begin() + static_cast<std::ptrdiff_t>(at));
        store(entry, at + stamp.name.size(), stamp.value);
        at += kStampBytes;
    }
}

void seal_envelope(std::span<std::byte> entry) noexcept {
    const std::size_t size =
        size_of(load<std::uint8_t>(entry, 3), load<std::uint16_t>(entry, kCountAt));
    assert(entry.size() == size + load<std::uint32_t>(entry, 8));
    store(entry, size - 16, checksum(entry.subspan(size)));
    store(entry, size - 8, checksum(entry.first(size - 8)));
}

EntryFault read_envelope(std::span<const std::byte> entry, Envelope& found,
                         std::uint32_t most) noexcept {
    const std::size_t alike = std::min(entry.size(), kMagic.size());
    if (!std::equal(kMagic.begin(), kMagic.begin() + static_cast<std::ptrdiff_t>(alike),
                    entry.begin())) {
        return EntryFault::Foreign;
    }
    if (entry.size() < kPrefixBytes) return EntryFault::Truncated;
    const auto version = load<std::uint8_t>(entry, 3);
    if (version > kVersion) return EntryFault::Version;
    const auto count = load<std::uint16_t>(entry, kCountAt);
    if (version == 0 || count > kMostStamps) return EntryFault::Damaged;
    const std::size_t size = size_of(version, count);
    if (entry.size() < size) return EntryFault::Truncated;
    if (load<std::uint64_t>(entry, size - 8) != checksum(entry.first(size - 8))) {
        return EntryFault::Damaged;
    }
    // From here on only a writer's bug, a later release or intent can be met.
    const auto codec = load<std::uint8_t>(entry, 4);
    Envelope read;
    EnvelopeHeader& header = read.header;
    header.codec = static_cast<EntryCodec>(codec);
    header.flags = load<std::uint8_t>(entry, 5);
    header.payload_size = load<std::uint32_t>(entry, 8);
    header.content_size = load<std::uint32_t>(entry, 12);
    header.schema = load<std::uint64_t>(entry, 16);
    header.stored_us = load<std::uint64_t>(entry, 24);
    header.expires_us = load<std::uint64_t>(entry, 32);
    header.cost = std::bit_cast<double>(load<std::uint64_t>(entry, 40));
    header.load_seconds = std::bit_cast<double>(load<std::uint64_t>(entry, 48));
    if (version == kWithFresh) header.fresh_us = load<std::uint64_t>(entry, kEnvelopeFixedBytes);
    if (codec == 0 || codec > static_cast<std::uint8_t>(EntryCodec::Pickle) ||
        (header.flags & ~kEntryFlags) != 0) {
        return EntryFault::Version;
    }
    const bool as_written = header.fresh_us != 0 || version == kPlain;
    if (!as_written || !is_sound(header)) return EntryFault::Damaged;
    if (header.content_size > most || header.payload_size > most + kMostPayloadExtra) {
        return EntryFault::Oversized;
    }
    if (entry.size() - size < header.payload_size) return EntryFault::Truncated;
    if (entry.size() - size > header.payload_size) return EntryFault::Damaged;
    read.stamps = entry.subspan(stamps_at(version), count * kStampBytes);
    read.payload = entry.subspan(size);
    read.associated = entry.first(size - kEnvelopeChecksumBytes);
    read.payload_checksum = load<std::uint64_t>(entry, size - 16);
    found = read;
    return EntryFault::None;
}

bool payload_is_whole(const Envelope& found) noexcept {
    return checksum(found.payload) == found.payload_checksum;
}

EntryStamp stamp_at(const Envelope& found, std::size_t i) noexcept {
    const std::span<const std::byte> bytes = found.stamps.subspan(i * kStampBytes, kStampBytes);
    EntryStamp stamp;
    std::ranges::copy(bytes.first(stamp.name.size()), stamp.name.begin());
    stamp.value = load<std::uint64_t>(bytes, stamp.name.size());
    return stamp;
}

}  // namespace millpond
