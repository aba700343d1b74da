// Tables of the finite-state-entropy coder of zstd (RFC 8878, 4.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "millpond/base/zstd.hpp"

namespace millpond::detail {

// Of what a table's symbols are: the values that each stands for begin at `base`, and take `extra`
// bits more to tell.
struct SymbolKind {
    std::span<const std::uint32_t> bases;
    std::span<const std::uint8_t> extras;
    const FseStep* (*usual)() noexcept;  // the table where a block does not describe one
    unsigned usual_log;
    unsigned most_log;
};

extern const SymbolKind kLiteralLengths;
extern const SymbolKind kOffsets;
extern const SymbolKind kMatchLengths;

// How likely each symbol is, of 1 << log; -1: less than that.
struct Likelihoods {
    std::array<std::int16_t, 256> of{};
    std::size_t count = 0;
    unsigned log = 0;
};

// Reads a table's description, and takes it off `bytes`. False if it is none, or has more symbols or
// a larger table than is allowed.
[[nodiscard]] bool read_likelihoods(std::span<const std::uint8_t>& bytes, std::size_t most_symbols,
                                    unsigned most_log, Likelihoods& likely) noexcept;

// Fills the 1 << likely.log steps of a table; their `base` is the symbol. False where the
// likelihoods do not fill it. REQUIRES: there is room.
[[nodiscard]] bool fill_steps(const Likelihoods& likely, std::span<FseStep> steps) noexcept;

// The table of a block's sequences in one of the four modes; `own` is where one that it describes is
// kept. False if the bytes are no such thing.
[[nodiscard]] bool read_table(unsigned mode, const SymbolKind& kind,
                              std::span<const std::uint8_t>& bytes, FseSteps& own,
                              FseTable& table) noexcept;

}  // namespace millpond::detail
