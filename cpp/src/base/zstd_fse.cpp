#include "zstd_fse.hpp"

#include <bit>

#include "zstd_bits.hpp"

namespace millpond::detail {
namespace {

// RFC 8878, 3.1.1.3.2.1.1 and 3.1.1.3.2.2.
constexpr std::uint32_t kLiteralBases[] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,   9,   10,  11,   12,   13,   14,   15,    16,    18,
    20, 22, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
constexpr std::uint8_t kLiteralExtras[] = {0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0,
                                           0, 0, 0, 0, 1, 1,  1,  1,  2,  2,  3,  3,
                                           4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr std::int16_t kLiteralUsual[] = {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
                                          2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};

constexpr std::uint32_t kMatchBases[] = {
    3,  4,  5,  6,  7,  8,  9,  10,  11,  12,  13,   14,   15,   16,   17,    18,    19,   20,
    21, 22, 23, 24, 25, 26, 27, 28,  29,  30,  31,   32,   33,   34,   35,    37,    39,   41,
    43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051, 4099, 8195, 16387, 32771, 65539};
constexpr std::uint8_t kMatchExtras[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0, 0,
                                         0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  1,  1,  1, 1,
                                         2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr std::int16_t kMatchUsual[] = {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1};

// An offset's code is the number of its bits but the highest.
constexpr auto kOffsetBases = [] {
    std::array<std::uint32_t, 32> bases{};
    for (unsigned i = 0; i < bases.size(); ++i) {
        bases[i] = 1U << i;
    }
    return bases;
}();
constexpr auto kOffsetExtras = [] {
    std::array<std::uint8_t, 32> extras{};
    for (unsigned i = 0; i < extras.size(); ++i) {
        extras[i] = static_cast<std::uint8_t>(i);
    }
    return extras;
}();
constexpr std::int16_t kOffsetUsual[] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
                                         1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};

static_assert(std::size(kLiteralBases) == 36 && std::size(kLiteralExtras) == 36);
static_assert(std::size(kLiteralUsual) == 36 && std::size(kMatchUsual) == 53);
static_assert(std::size(kMatchBases) == 53 && std::size(kMatchExtras) == 53);

// Turns symbols into the values that they stand for. False if there is no such symbol.
bool name_values(const SymbolKind& kind, std::span<FseStep> steps) noexcept {
    for (FseStep& step : steps) {
        const std::size_t symbol = step.base;
        if (symbol >= kind.bases.size()) {
            return false;
        }
        step.base = kind.bases[symbol];
        step.extra = kind.extras[symbol];
    }
    return true;
}

// The table where a block does not say how likely symbols are, made once.
template <const SymbolKind& kind, const auto& likelihoods>
const FseStep* usual_steps() noexcept {
    static const auto steps = [] {
        std::array<FseStep, 64> made{};
        Likelihoods likely;
        likely.log = kind.usual_log;
        for (const std::int16_t one : likelihoods) {
            likely.of[likely.count++] = one;
        }
        const auto used = std::span(made).first(std::size_t{1} << likely.log);
        static_cast<void>(fill_steps(likely, used) && name_values(kind, used));
        return made;
    }();
    return steps.data();
}

// Where the table of a kind comes from; 2: it is described.
constexpr unsigned kPredefined = 0;
constexpr unsigned kOneSymbol = 1;
constexpr unsigned kAsBefore = 3;

}  // namespace

const SymbolKind kLiteralLengths{kLiteralBases, kLiteralExtras,
                                 &usual_steps<kLiteralLengths, kLiteralUsual>, 6, 9};
const SymbolKind kOffsets{kOffsetBases, kOffsetExtras, &usual_steps<kOffsets, kOffsetUsual>, 5, 8};
const SymbolKind kMatchLengths{kMatchBases, kMatchExtras, &usual_steps<kMatchLengths, kMatchUsual>,
                               6, 9};

bool read_likelihoods(std::span<const std::uint8_t>& bytes, std::size_t most_symbols,
                      unsigned most_log, Likelihoods& likely) noexcept {
    ForwardBits bits(bytes);
    likely.log = bits.read(4) + 5;
    likely.count = 0;
    if (likely.log > most_log) {
        return false;
    }
    unsigned left = 1U << likely.log;
    while (left > 0 && likely.count < most_symbols) {
        // A number up to left + 1; where one bit less can tell it, it has one bit less.
        const auto fewer = static_cast<unsigned>(std::bit_width((left + 1) / 2));
        const unsigned low = (1U << fewer) - 1;
        const unsigned spare = (2U << fewer) - 1 - (left + 1);
        unsigned value = bits.peek(fewer + 1);
        if ((value & low) < spare) {
            value &= low;
            bits.skip(fewer);
        } else {
            value -= value > low ? spare : 0;
            bits.skip(fewer + 1);
        }
        const int given = static_cast<int>(value) - 1;
        left -= static_cast<unsigned>(given < 0 ? 1 : given);
        likely.of[likely.count++] = static_cast<std::int16_t>(given);
        for (unsigned zeros = given == 0 ? 3 : 0; zeros == 3;) {
            zeros = bits.read(2);
            if (zeros > most_symbols - likely.count) {
                return false;
            }
            for (unsigned i = 0; i < zeros; ++i) {
                likely.of[likely.count++] = 0;
            }
        }
    }
    if (left != 0 || bits.overrun()) {
        return false;
    }
    bytes = bytes.subspan(bits.bytes_read());
    return true;
}

bool fill_steps(const Likelihoods& likely, std::span<FseStep> steps) noexcept {
    const std::size_t size = std::size_t{1} << likely.log;
    std::array<std::uint16_t, 256> next{};
    std::size_t high = size;
    for (std::size_t symbol = 0; symbol < likely.count; ++symbol) {
        if (likely.of[symbol] < 0) {
            if (high == 0) {
                return false;
            }
            steps[--high].base = static_cast<std::uint32_t>(symbol);
        }
        next[symbol] = static_cast<std::uint16_t>(likely.of[symbol] < 0 ? 1 : likely.of[symbol]);
    }
    const std::size_t stride = (size >> 1) + (size >> 3) + 3;
    std::size_t at = 0;
    for (std::size_t symbol = 0; symbol < likely.count; ++symbol) {
        for (int i = 0; i < likely.of[symbol]; ++i) {
            if (at >= high) {
                return false;
            }
            steps[at].base = static_cast<std::uint32_t>(symbol);
            do {
                at = (at + stride) & (size - 1);
            } while (at >= high && at != 0);
        }
    }
    if (at != 0) {
        return false;
    }
    for (std::size_t i = 0; i < size; ++i) {
        const unsigned state = next[steps[i].base]++;
        const auto bits = likely.log + 1 - static_cast<unsigned>(std::bit_width(state));
        steps[i].bits = static_cast<std::uint8_t>(bits);
        steps[i].next = static_cast<std::uint16_t>((state << bits) - size);
        steps[i].extra = 0;
    }
    return true;
}

bool read_table(unsigned mode, const SymbolKind& kind, std::span<const std::uint8_t>& bytes,
                FseSteps& own, FseTable& table) noexcept {
    if (mode == kAsBefore) {
        return table.steps != nullptr;
    }
    table = FseTable{};
    if (mode == kPredefined) {
        table = {kind.usual(), kind.usual_log};
        return true;
    }
    if (mode == kOneSymbol) {
        if (bytes.empty()) {
            return false;
        }
        own[0] = {bytes.front(), 0, 0, 0};
        bytes = bytes.subspan(1);
        table = {name_values(kind, std::span(own).first(1)) ? own.data() : nullptr, 0};
        return table.steps != nullptr;
    }
    Likelihoods likely;
    if (!read_likelihoods(bytes, kind.bases.size(), kind.most_log, likely)) {
        return false;
    }
    const auto steps = std::span(own).first(std::size_t{1} << likely.log);
    if (fill_steps(likely, steps) && name_values(kind, steps)) {
        table = {own.data(), likely.log};
    }
    return table.steps != nullptr;
}

}  // namespace millpond::detail
