// Feeds arbitrary bytes to the snapshot reader: as a whole file, and as the records of a file whose
// header and checksum are right, since chance would never get past those. What is accepted must
// come out of the writer again byte for byte: the format has one encoding for each content.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "millpond/base/crc64.hpp"
#include "millpond/base/error.hpp"
#include "millpond/cache/snapshot.hpp"

namespace {

using Bytes = std::vector<std::byte>;

millpond::SnapshotSink into(Bytes& out) {
    return [&out](std::span<const std::byte> piece) {
        out.insert(out.end(), piece.begin(), piece.end());
    };
}

void read(std::span<const std::byte> file) {
    try {
        millpond::SnapshotReader reader(file);
        Bytes again;
        millpond::SnapshotWriter writer(into(again), reader.saved_at());
        while (const millpond::SnapshotRecord* record = reader.next()) {
            writer.add(*record);
        }
        writer.finish();
        if (!std::ranges::equal(file, again)) {
            std::abort();
        }
    } catch (const millpond::Error& error) {
        if (error.code() != millpond::ErrorCode::Corrupt &&
            error.code() != millpond::ErrorCode::Unsupported) {
            std::abort();
        }
    }
}

// An empty snapshot up to its footer, `records`, and the checksum that belongs to them.
Bytes framed(std::span<const std::byte> records) {
    constexpr std::size_t kFooter = 20;
    Bytes file;
    millpond::SnapshotWriter(into(file)).finish();
    file.resize(file.size() - kFooter);
    file.insert(file.end(), records.begin(), records.end());
    millpond::Crc64 crc;
    crc.update(file);
    for (std::size_t i = 0; i < 8; ++i) {
        file.push_back(static_cast<std::byte>(crc.value() >> (8 * i)));
    }
    return file;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
    read(bytes);
    read(framed(bytes));
    return 0;
}
