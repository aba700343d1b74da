// The two ways in which zstd reads bits: fields of a header forwards, and what an entropy coder wrote
// backwards from its end (RFC 8878, 4.1).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace millpond::detail {

// The whole number of the bytes, lowest first; those beyond the end are 0. At most 8.
[[nodiscard]] inline std::uint64_t load_up_to(std::span<const std::uint8_t> bytes,
                                              std::size_t at) noexcept {
    std::uint64_t word = 0;
    if (at + 8 <= bytes.size()) {
        std::memcpy(&word, bytes.data() + at, 8);
        if constexpr (std::endian::native == std::endian::big) {
            word = __builtin_bswap64(word);
        }
        return word;
    }
    for (std::size_t i = 0; at + i < bytes.size(); ++i) {
        word |= std::uint64_t{bytes[at + i]} << (8 * i);
    }
    return word;
}

// Bits from the end of a stream to its beginning, the highest first. Reading beyond the beginning
// gives zeros, and is seen afterwards.
class BackwardBits {
  public:
    // False if the bytes are no stream: the last holds the mark of the end.
    [[nodiscard]] bool open(std::span<const std::uint8_t> bytes) noexcept {
        if (bytes.empty() || bytes.back() == 0) {
            return false;
        }
        bytes_ = bytes;
        left_ = static_cast<std::ptrdiff_t>(bytes.size() * 8) - std::countl_zero(bytes.back()) - 1;
        return true;
    }

    // The next `count` bits, which stay. At most 56.
    [[nodiscard]] std::uint64_t peek(unsigned count) const noexcept {
        const std::ptrdiff_t first = left_ - static_cast<std::ptrdiff_t>(count);
        const std::uint64_t mask = (std::uint64_t{1} << count) - 1;
        if (first >= 0) [[likely]] {
            const auto at = static_cast<std::size_t>(first);
            return load_up_to(bytes_, at >> 3) >> (at & 7) & mask;
        }
        if (left_ <= 0) {
            return 0;
        }
        // left_ < count: what there is stands on top.
        return load_up_to(bytes_, 0) << -first & mask;
    }

    void skip(unsigned count) noexcept { left_ -= static_cast<std::ptrdiff_t>(count); }

    // At most 56.
    [[nodiscard]] std::uint64_t read(unsigned count) noexcept {
        const std::uint64_t value = peek(count);
        skip(count);
        return value;
    }

    // Below 0: more was read than there was.
    [[nodiscard]] std::ptrdiff_t left() const noexcept { return left_; }

  private:
    std::span<const std::uint8_t> bytes_;
    std::ptrdiff_t left_ = 0;
};

// Bits from the beginning, the lowest first.
class ForwardBits {
  public:
    explicit ForwardBits(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}

    // At most 16. Beyond the end they are 0, which is seen afterwards.
    [[nodiscard]] unsigned peek(unsigned count) const noexcept {
        const std::uint64_t word = load_up_to(bytes_, at_ >> 3) >> (at_ & 7);
        return static_cast<unsigned>(word & ((1U << count) - 1));
    }
    void skip(unsigned count) noexcept { at_ += count; }
    [[nodiscard]] unsigned read(unsigned count) noexcept {
        const unsigned value = peek(count);
        skip(count);
        return value;
    }
    [[nodiscard]] bool overrun() const noexcept { return at_ > bytes_.size() * 8; }
    // The bytes that were begun. REQUIRES: !overrun().
    [[nodiscard]] std::size_t bytes_read() const noexcept { return (at_ + 7) / 8; }

  private:
    std::span<const std::uint8_t> bytes_;
    std::size_t at_ = 0;
};

}  // namespace millpond::detail
