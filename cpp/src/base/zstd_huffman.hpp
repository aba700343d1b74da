// The Huffman coding of zstd's literals (RFC 8878, 4.2).
#pragma once

#include <cstdint>
#include <span>

#include "millpond/base/zstd.hpp"

namespace millpond::detail {

// Reads a table's description, and takes it off `bytes`. False if it is none.
[[nodiscard]] bool read_huffman(std::span<const std::uint8_t>& bytes, HuffmanTable& table) noexcept;

// Reads `out.size()` symbols from a stream. False unless it holds exactly these.
[[nodiscard]] bool read_symbols(const HuffmanTable& table, std::span<const std::uint8_t> stream,
                                std::span<std::uint8_t> out) noexcept;

// The same of four streams, each a quarter of the symbols, behind the sizes of three.
[[nodiscard]] bool read_symbols_of_four(const HuffmanTable& table,
                                        std::span<const std::uint8_t> bytes,
                                        std::span<std::uint8_t> out) noexcept;

}  // namespace millpond::detail
