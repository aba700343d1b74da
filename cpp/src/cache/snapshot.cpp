#include "millpond/cache/snapshot.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

constexpr std::string_view kMagic{"\x89MPSNAP\n", 8};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 24;
constexpr std::size_t kFooterBytes = 20;
constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kBufferBytes = 1U << 16;
constexpr std::int64_t kNoTtl = -1;

[[noreturn]] void corrupt(std::string_view why) {
    throw Error(ErrorCode::Corrupt, fmt::format("not a whole millpond snapshot: {}", why));
}

// Takes values off the front of some bytes; throws when they run out.
class Cursor {
  public:
    explicit Cursor(std::span<const std::byte> bytes) : rest_(bytes) {}

    [[nodiscard]] std::span<const std::byte> rest() const noexcept { return rest_; }

    std::span<const std::byte> take(std::size_t size) {
        if (size > rest_.size()) {
            corrupt(fmt::format("it ends {} bytes early", size - rest_.size()));
        }
        const std::span<const std::byte> taken = rest_.first(size);
        rest_ = rest_.subspan(size);
        return taken;
    }
    template <class Integer>
    Integer take_integer() {
        std::make_unsigned_t<Integer> value = 0;
        const std::span<const std::byte> bytes = take(sizeof value);
        for (std::size_t i = sizeof value; i-- > 0;) {
            value = static_cast<decltype(value)>(value << 8 | std::to_integer<unsigned>(bytes[i]));
        }
        return static_cast<Integer>(value);
    }
    // A length that is at most `most`, and that many bytes.
    std::string_view take_bytes(std::string_view what, std::uint32_t most) {
        const auto size = take_integer<std::uint32_t>();
        if (size > most) {
            corrupt(fmt::format("a {} of {} bytes, over the limit of {}", what, size, most));
        }
        const std::span<const std::byte> bytes = take(size);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

  private:
    std::span<const std::byte> rest_;
};

// The record whose length stands at the front of `cursor`, with its tags in `tags`; nullopt at the
// footer.
std::optional<SnapshotRecord> take_record(Cursor& cursor, std::vector<std::string_view>& tags) {
    const auto length = cursor.take_integer<std::uint32_t>();
    if (length == 0) {
        return std::nullopt;
    }
    Cursor inside(cursor.take(length));
    SnapshotRecord record;
    record.key = inside.take_bytes("key", kMostKeyBytes);
    record.value = inside.take_bytes("value", kMostValueBytes);
    const auto ttl = inside.take_integer<std::int64_t>();
    if (ttl < kNoTtl) {
        corrupt(fmt::format("a TTL of {} ns", ttl));
    }
    if (ttl != kNoTtl) {
        record.ttl_left = Nanos{ttl};
    }
    record.cost = std::bit_cast<float>(inside.take_integer<std::uint32_t>());
    if (!std::isfinite(record.cost) || record.cost < 0) {
        corrupt(fmt::format("a cost of {}", record.cost));
    }
    record.frequency = inside.take_integer<std::uint32_t>();
    const auto count = inside.take_integer<std::uint32_t>();
    if (count > kMostTags) {
        corrupt(fmt::format("{} tags on a record, over the limit of {}", count, kMostTags));
    }
    tags.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
        tags.push_back(inside.take_bytes("tag", kMostTagBytes));
    }
    if (!inside.rest().empty()) {
        corrupt(fmt::format("{} bytes too many in a record", inside.rest().size()));
    }
    record.tags = tags;
    return record;
}

void check_size(std::string_view what, std::size_t size, std::uint32_t most) {
    if (size > most) {
        throw Error(
            ErrorCode::LimitExceeded,
            fmt::format("a snapshot record has {} {}; at most {} are allowed", size, what, most));
    }
}

// Throws for what a reader would refuse; returns the length of the record in the file.
std::size_t checked_length(const SnapshotRecord& record) {
    check_size("bytes of key", record.key.size(), kMostKeyBytes);
    check_size("bytes of value", record.value.size(), kMostValueBytes);
    check_size("tags", record.tags.size(), kMostTags);
    if (record.ttl_left && *record.ttl_left < Nanos{0}) {
        throw Error(ErrorCode::InvalidArgument,
                    fmt::format("a snapshot record has a TTL of {} ns left; 0 or more is allowed",
                                record.ttl_left->count()));
    }
    if (!std::isfinite(record.cost) || record.cost < 0) {
        throw Error(ErrorCode::InvalidArgument,
                    fmt::format("a snapshot record has a cost of {}; a finite number of 0 or more "
                                "is allowed",
                                record.cost));
    }
    std::size_t length = 4 + record.key.size() + 4 + record.value.size() + 8 + 4 + 4 + 4;
    for (const std::string_view tag : record.tags) {
        check_size("bytes in a tag", tag.size(), kMostTagBytes);
        length += 4 + tag.size();
    }
    return length;
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

SnapshotWriter::SnapshotWriter(SnapshotSink sink, Nanos saved_at) : sink_(std::move(sink)) {
    buffer_.reserve(kBufferBytes);
    put(kMagic);
    put_integer(kVersion);
    put_integer(std::uint32_t{0});
    put_integer(saved_at.count());
}

void SnapshotWriter::add(const SnapshotRecord& record) {
    const std::size_t length = checked_length(record);
    static_assert(std::uint64_t{kMostKeyBytes} + kMostValueBytes +
                      std::uint64_t{kMostTags} * (4 + kMostTagBytes) + 32 <
                  (std::uint64_t{1} << 32));
    put_integer(static_cast<std::uint32_t>(length));
    put_integer(static_cast<std::uint32_t>(record.key.size()));
    put(record.key);
    put_integer(static_cast<std::uint32_t>(record.value.size()));
    put(record.value);
    put_integer(record.ttl_left ? std::int64_t{record.ttl_left->count()} : kNoTtl);
    put_integer(std::bit_cast<std::uint32_t>(record.cost));
    put_integer(record.frequency);
    put_integer(static_cast<std::uint32_t>(record.tags.size()));
    for (const std::string_view tag : record.tags) {
        put_integer(static_cast<std::uint32_t>(tag.size()));
        put(tag);
    }
    ++records_;
}

void SnapshotWriter::finish() {
    put_integer(std::uint32_t{0});
    put_integer(records_);
    flush();
    put_integer(crc_.value());
    flush();
}

void SnapshotWriter::put(std::string_view bytes) {
    if (bytes.size() > kBufferBytes - buffer_.size()) {
        flush();
    }
    const std::span<const std::byte> span = bytes_of(bytes);
    if (span.size() >= kBufferBytes) {
        crc_.update(span);
        sink_(span);
        return;
    }
    buffer_.insert(buffer_.end(), span.begin(), span.end());
}

template <class Integer>
void SnapshotWriter::put_integer(Integer value) {
    char bytes[sizeof value];
    auto rest = static_cast<std::make_unsigned_t<Integer>>(value);
    for (char& byte : bytes) {
        byte = static_cast<char>(rest & 0xFF);
        rest >>= 8;
    }
    put({bytes, sizeof value});
}

void SnapshotWriter::flush() {
    if (!buffer_.empty()) {
        crc_.update(buffer_);
        sink_(buffer_);
        buffer_.clear();
    }
}

SnapshotReader::SnapshotReader(std::span<const std::byte> bytes) {
    Cursor header(bytes);
    const std::span<const std::byte> magic = bytes.first(std::min(bytes.size(), kMagic.size()));
    if (!std::equal(magic.begin(), magic.end(), bytes_of(kMagic).begin()) || magic.empty()) {
        corrupt("it does not begin like one");
    }
    header.take(kMagic.size());
    const auto version = header.take_integer<std::uint32_t>();
    if (version > kVersion) {
        throw Error(ErrorCode::Unsupported,
                    fmt::format("a millpond snapshot of version {}; this release reads version {}",
                                version, kVersion));
    }
    if (version != kVersion || header.take_integer<std::uint32_t>() != 0) {
        corrupt("its header holds what no release has written");
    }
    saved_at_ = Nanos{header.take_integer<std::int64_t>()};
    if (bytes.size() < kHeaderBytes + kFooterBytes) {
        corrupt("it ends before its footer");
    }
    Crc64 crc;
    crc.update(bytes.first(bytes.size() - kChecksumBytes));
    if (Cursor(bytes.last(kChecksumBytes)).take_integer<std::uint64_t>() != crc.value()) {
        corrupt("its checksum does not fit: it was cut off or changed");
    }
    // From here on only a writer's bug or intent can be met, and is met by the same checks.
    Cursor cursor(bytes.subspan(kHeaderBytes, bytes.size() - kHeaderBytes - kChecksumBytes));
    rest_ = cursor.rest();
    while (take_record(cursor, tags_)) {
        ++records_;
    }
    if (cursor.take_integer<std::uint64_t>() != records_ || !cursor.rest().empty()) {
        corrupt("its footer does not fit its records");
    }
}

const SnapshotRecord* SnapshotReader::next() {
    Cursor cursor(rest_);
    const std::optional<SnapshotRecord> record = take_record(cursor, tags_);
    if (!record) {
        return nullptr;
    }
    rest_ = cursor.rest();
    record_ = *record;
    return &record_;
}

}  // namespace millpond
