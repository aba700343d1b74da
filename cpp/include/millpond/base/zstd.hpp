// Unpacks zstd frames (RFC 8878). Use it for values of a few KiB, where calling a library through
// Python takes longer than the unpacking; a library is faster on large ones.
//
//     const auto decoder = std::make_unique<ZstdDecoder>();  // 140 KiB; keep it for the next frame
//     std::vector<std::byte> content(size);
//     if (decoder->decode(frame, content)) ...
//
// It declines what our entries never have, and what a library may still read: dictionaries,
// checksums, frames that do not state their size, several frames in a row.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace millpond {

namespace detail {

// A step of a finite-state-entropy decoder: what its state stands for, and how the next is found.
struct FseStep {
    std::uint32_t base;  // of the value
    std::uint16_t next;  // the next state, but for its low bits
    std::uint8_t bits;   // of the next state to be read
    std::uint8_t extra;  // bits of the value to be read
};

// The table in use: one of a block's own, or one that all share.
struct FseTable {
    const FseStep* steps = nullptr;  // 1 << log of them; null: there is none
    unsigned log = 0;
};

inline constexpr std::size_t kMostFseSteps = 512;
using FseSteps = std::array<FseStep, kMostFseSteps>;

struct HuffmanStep {
    std::uint8_t symbol;
    std::uint8_t bits;
};

inline constexpr unsigned kMostHuffmanBits = 11;

struct HuffmanTable {
    std::array<HuffmanStep, std::size_t{1} << kMostHuffmanBits> steps;
    unsigned log = 0;  // bits of the longest code; 0: there is no table
};

}  // namespace detail

// Not thread-safe: one for each thread. Allocates nothing.
class ZstdDecoder {
  public:
    // Whether a frame begins like one that decode() reads, and says that it has so many bytes. O(1).
    [[nodiscard]] static bool states(std::span<const std::byte> frame, std::size_t size) noexcept;
    // Whether `frame` is one whole frame of exactly content.size() bytes, which then are there; else
    // `content` holds anything. Safe for every input. O(frame.size() + content.size()).
    [[nodiscard]] bool decode(std::span<const std::byte> frame,
                              std::span<std::byte> content) noexcept;

  private:
    using Bytes = std::span<const std::uint8_t>;

    bool blocks(Bytes frame) noexcept;
    bool block(Bytes bytes) noexcept;
    bool literals(Bytes& bytes) noexcept;
    bool huffman_literals(unsigned type, Bytes& bytes) noexcept;
    bool tables(std::uint8_t modes, Bytes& bytes) noexcept;
    bool sequences(std::size_t count, Bytes bytes) noexcept;
    bool put(Bytes from) noexcept;

    static constexpr std::size_t kMostBlock = std::size_t{128} << 10;

    std::span<std::uint8_t> content_;
    std::size_t at_ = 0;  // so much of it is written
    Bytes literals_;
    std::array<std::size_t, 3> recent_{};  // offsets
    detail::FseTable literal_lengths_;
    detail::FseTable offsets_;
    detail::FseTable match_lengths_;
    std::array<detail::FseSteps, 3> own_;  // of these, where a block describes them
    detail::HuffmanTable huffman_;
    std::array<std::uint8_t, kMostBlock> buffer_;
};

}  // namespace millpond
