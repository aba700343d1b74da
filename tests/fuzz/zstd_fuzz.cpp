// Feeds arbitrary bytes to the decoder of zstd frames: as they are, and as a block of a frame that
// begins well. What is read must be the same whatever was read before.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "millpond/base/zstd.hpp"

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kMost = std::size_t{1} << 16;

void read(std::span<const std::byte> frame, std::size_t size) {
    static const auto used = std::make_unique<millpond::ZstdDecoder>();
    const auto fresh = std::make_unique<millpond::ZstdDecoder>();
    Bytes content(size), again(size);
    const bool done = used->decode(frame, content);
    if (done != fresh->decode(frame, again) || (done && content != again)) {
        std::abort();
    }
    if (done && !millpond::ZstdDecoder::states(frame, size)) {
        std::abort();
    }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t length) {
    if (length < 2) {
        return 0;
    }
    const std::size_t size = (data[0] | std::size_t{256} * data[1]) % kMost;
    const std::span<const std::byte> bytes = std::as_bytes(std::span(data + 2, length - 2));
    read(bytes, size);
    // The header of a frame of so many bytes, and of its last block, a compressed one.
    const std::size_t head = bytes.size() << 3 | 5;
    const std::array begin{0x28U,
                           0xB5U,
                           0x2FU,
                           0xFDU,
                           0xA0U,
                           static_cast<unsigned>(size & 255),
                           static_cast<unsigned>(size >> 8),
                           0U,
                           0U,
                           static_cast<unsigned>(head & 255),
                           static_cast<unsigned>(head >> 8 & 255),
                           static_cast<unsigned>(head >> 16 & 255)};
    Bytes frame;
    std::ranges::transform(begin, std::back_inserter(frame),
                           [](unsigned byte) { return static_cast<std::byte>(byte); });
    frame.insert(frame.end(), bytes.begin(), bytes.end());
    read(frame, size);
    return 0;
}
