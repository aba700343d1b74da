// Feeds arbitrary bytes to the reader of envelopes: as a whole entry, and with checksums that fit,
// since chance would never get past those. What is accepted must come out of the writer again byte
// for byte: the format has one encoding for each content.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "millpond/cache/envelope.hpp"

namespace {

using Bytes = std::vector<std::byte>;

void read(std::span<const std::byte> entry, std::uint32_t most) {
    millpond::Envelope found;
    if (millpond::read_envelope(entry, found, most) != millpond::EntryFault::None ||
        !millpond::payload_is_whole(found)) {
        return;
    }
    if (found.header.content_size > most) {
        std::abort();
    }
    std::vector<millpond::EntryStamp> stamps;
    for (std::size_t i = 0; i < found.stamps.size() / millpond::kStampBytes; ++i) {
        stamps.push_back(millpond::stamp_at(found, i));
    }
    Bytes again(millpond::envelope_size(found.header, stamps.size()));
    millpond::write_envelope(again, found.header, stamps);
    again.insert(again.end(), found.payload.begin(), found.payload.end());
    millpond::seal_envelope(again);
    if (!std::ranges::equal(entry, again)) {
        std::abort();
    }
}

// The same bytes with the sizes and checksums of an entry that holds them, where there is room.
Bytes sealed(std::span<const std::byte> bytes) {
    Bytes entry(bytes.begin(), bytes.end());
    const millpond::EnvelopeHeader header{
        .fresh_us = entry.size() > 3 && entry[3] == std::byte{2} ? 1U : 0U};
    const std::size_t least = millpond::envelope_size(header, 0);
    if (entry.size() < least) {
        return entry;
    }
    const std::size_t room = (entry.size() - least) / millpond::kStampBytes;
    const std::size_t count = std::to_integer<std::size_t>(entry[6]) % (room + 1);
    entry[6] = static_cast<std::byte>(count);
    entry[7] = std::byte{0};
    const std::size_t payload = entry.size() - millpond::envelope_size(header, count);
    for (std::size_t i = 0; i < 4; ++i) {
        entry[8 + i] = static_cast<std::byte>(payload >> (8 * i));
        if ((std::to_integer<unsigned>(entry[5]) & 3U) == 0) {
            entry[12 + i] = entry[8 + i];
        }
    }
    entry[0] = std::byte{0x89};
    entry[1] = std::byte{'M'};
    entry[2] = std::byte{'E'};
    millpond::seal_envelope(entry);
    return entry;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
    for (const std::uint32_t most : {millpond::kMostEntryBytes, 64U}) {
        read(bytes, most);
        read(sealed(bytes), most);
    }
    return 0;
}
