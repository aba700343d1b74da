#include "zstd_huffman.hpp"

#include <algorithm>
#include <bit>

#include "zstd_bits.hpp"
#include "zstd_fse.hpp"

namespace millpond::detail {
namespace {

// How long the codes of the symbols are: none for 0, the shortest for the highest weight.
struct Weights {
    std::array<std::uint8_t, 256> of{};
    std::size_t count = 0;
};

constexpr unsigned kMostWeightLog = 6;

// Weights in half a byte each.
bool direct_weights(std::span<const std::uint8_t>& bytes, std::size_t count, Weights& weights) {
    const std::size_t size = (count + 1) / 2;
    if (bytes.size() < size) {
        return false;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t pair = bytes[i / 2];
        weights.of[i] = i % 2 == 0 ? pair >> 4 : pair & 15;
    }
    weights.count = count;
    bytes = bytes.subspan(size);
    return true;
}

// Weights in a stream that two states of one table read by turns.
bool coded_weights(std::span<const std::uint8_t> bytes, Weights& weights) {
    Likelihoods likely;
    std::array<FseStep, std::size_t{1} << kMostWeightLog> steps{};
    BackwardBits bits;
    if (!read_likelihoods(bytes, kMostHuffmanBits + 2, kMostWeightLog, likely) ||
        !fill_steps(likely, steps) || !bits.open(bytes)) {
        return false;
    }
    std::size_t states[2] = {bits.read(likely.log), bits.read(likely.log)};
    if (bits.left() < 0) {
        return false;
    }
    for (std::size_t turn = 0;; turn ^= 1) {
        const FseStep& step = steps[states[turn]];
        if (weights.count == 254) {  // There is one more, and the last is not told.
            return false;
        }
        weights.of[weights.count++] = static_cast<std::uint8_t>(step.base);
        states[turn] = step.next + bits.read(step.bits);
        if (bits.left() < 0) {  // The other state holds the last symbol.
            weights.of[weights.count++] = static_cast<std::uint8_t>(steps[states[turn ^ 1]].base);
            return true;
        }
    }
}

// Adds the weight of the last symbol, which is what is left. The bits of the longest code; 0 if
// there are no such codes.
unsigned complete(Weights& weights) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < weights.count; ++i) {
        if (weights.of[i] > kMostHuffmanBits) {
            return 0;
        }
        sum += (1U << weights.of[i]) >> 1;
    }
    const auto log = static_cast<unsigned>(std::bit_width(sum));
    if (sum == 0 || log > kMostHuffmanBits) {
        return 0;
    }
    const std::uint32_t rest = (1U << log) - sum;
    if (!std::has_single_bit(rest)) {
        return 0;
    }
    weights.of[weights.count++] = static_cast<std::uint8_t>(std::bit_width(rest));
    return log;
}

}  // namespace

bool read_huffman(std::span<const std::uint8_t>& bytes, HuffmanTable& table) noexcept {
    table.log = 0;
    if (bytes.empty()) {
        return false;
    }
    const std::size_t head = bytes.front();
    bytes = bytes.subspan(1);
    Weights weights;
    if (head >= 128) {
        if (!direct_weights(bytes, head - 127, weights)) {
            return false;
        }
    } else {
        if (bytes.size() < head || !coded_weights(bytes.first(head), weights)) {
            return false;
        }
        bytes = bytes.subspan(head);
    }
    const unsigned log = complete(weights);
    if (log == 0) {
        return false;
    }
    // The longest codes come first, and codes of one length in the order of their symbols.
    std::array<std::size_t, kMostHuffmanBits + 2> at{};
    for (std::size_t symbol = 0; symbol < weights.count; ++symbol) {
        at[weights.of[symbol] + 1U] += (std::size_t{1} << weights.of[symbol]) >> 1;
    }
    for (std::size_t weight = 1; weight < at.size(); ++weight) {
        at[weight] += at[weight - 1];
    }
    for (std::size_t symbol = 0; symbol < weights.count; ++symbol) {
        const unsigned weight = weights.of[symbol];
        if (weight > 0) {
            const HuffmanStep step{static_cast<std::uint8_t>(symbol),
                                   static_cast<std::uint8_t>(log + 1 - weight)};
            const std::size_t steps = std::size_t{1} << (weight - 1);
            std::fill_n(table.steps.data() + at[weight], steps, step);
            at[weight] += steps;
        }
    }
    table.log = log;
    return true;
}

namespace {

// As many codes as one word of a stream surely holds.
constexpr unsigned kWord = 56;
constexpr std::size_t kCodes = kWord / kMostHuffmanBits;

// One stream that is being read, and where its symbols go.
struct Symbols {
    BackwardBits bits;
    std::uint8_t* at;
    std::uint8_t* end;

    [[nodiscard]] bool has_word() const {
        return bits.left() >= static_cast<std::ptrdiff_t>(kWord) &&
               end - at >= static_cast<std::ptrdiff_t>(kCodes);
    }

    // REQUIRES: has_word().
    void read_word(const HuffmanTable& table) {
        std::uint64_t word = bits.peek(kWord) << (64 - kWord);
        unsigned used = 0;
        for (std::size_t i = 0; i < kCodes; ++i) {
            const HuffmanStep step = table.steps[word >> (64 - table.log)];
            *at++ = step.symbol;
            word <<= step.bits;
            used += step.bits;
        }
        bits.skip(used);
    }

    // Whether the stream holds exactly the symbols that are missing.
    bool read_rest(const HuffmanTable& table) {
        while (has_word()) {
            read_word(table);
        }
        while (at != end) {
            const HuffmanStep step = table.steps[bits.peek(table.log)];
            *at++ = step.symbol;
            bits.skip(step.bits);
        }
        return bits.left() == 0;
    }
};

}  // namespace

bool read_symbols(const HuffmanTable& table, std::span<const std::uint8_t> stream,
                  std::span<std::uint8_t> out) noexcept {
    Symbols one{{}, out.data(), out.data() + out.size()};
    return one.bits.open(stream) && one.read_rest(table);
}

bool read_symbols_of_four(const HuffmanTable& table, std::span<const std::uint8_t> bytes,
                          std::span<std::uint8_t> out) noexcept {
    constexpr std::size_t kSizes = 6;
    const std::size_t quarter = (out.size() + 3) / 4;
    if (bytes.size() < kSizes || quarter * 3 > out.size()) {
        return false;
    }
    const std::uint64_t sizes = load_up_to(bytes.first(kSizes), 0);
    bytes = bytes.subspan(kSizes);
    std::array<Symbols, 4> four;
    for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t size = i < 3 ? sizes >> (16 * i) & 0xFFFF : bytes.size();
        const auto place = i < 3 ? out.subspan(i * quarter, quarter) : out.subspan(3 * quarter);
        four[i].at = place.data();
        four[i].end = place.data() + place.size();
        if (size > bytes.size() || !four[i].bits.open(bytes.first(size))) {
            return false;
        }
        bytes = bytes.subspan(size);
    }
    // By turns, so that none has to wait for its own last step.
    auto& [first, second, third, fourth] = four;
    while (first.has_word() && second.has_word() && third.has_word() && fourth.has_word()) {
        first.read_word(table);
        second.read_word(table);
        third.read_word(table);
        fourth.read_word(table);
    }
    return std::ranges::all_of(four, [&](Symbols& one) { return one.read_rest(table); });
}

}  // namespace millpond::detail
