#include "millpond/base/zstd.hpp"

#include <algorithm>
#include <cstring>

#include "zstd_bits.hpp"
#include "zstd_fse.hpp"
#include "zstd_huffman.hpp"

namespace millpond {
namespace {

constexpr std::uint32_t kMagic = 0xFD2F'B528;

using Bytes = std::span<const std::uint8_t>;

// What a frame's first byte says.
constexpr unsigned kDictionary = 3;
constexpr unsigned kChecksum = 4;
constexpr unsigned kReserved = 8;
constexpr unsigned kSingleSegment = 32;

std::size_t low_bits(std::uint64_t word, unsigned count) noexcept {
    return static_cast<std::size_t>(word & ((std::uint64_t{1} << count) - 1));
}

// Few bytes are copied as so many where there is room: what is too much is overwritten.
constexpr std::size_t kWide = 16;

// Where the content goes. A value of its own, since writing bytes may change any member.
struct Output {
    std::uint8_t* begin;
    std::uint8_t* at;
    std::uint8_t* end;

    [[nodiscard]] std::size_t room() const { return static_cast<std::size_t>(end - at); }

    // Writes the first bytes. False if there are fewer, or no room.
    bool put(Bytes from, std::size_t size) {
        if (size > from.size() || size > room()) {
            return false;
        }
        if (size <= kWide && from.size() >= kWide && room() >= kWide) {
            std::memcpy(at, from.data(), kWide);
        } else if (size > 0) {
            std::memcpy(at, from.data(), size);
        }
        at += size;
        return true;
    }

    // Writes again what was written `offset` bytes ago. False if there was nothing, or is no room.
    bool repeat(std::size_t offset, std::size_t length) {
        if (offset == 0 || offset > static_cast<std::size_t>(at - begin) || length > room()) {
            return false;
        }
        const std::uint8_t* const from = at - offset;
        if (length <= kWide && offset >= kWide && room() >= kWide) {
            std::memcpy(at, from, kWide);
            at += length;
            return true;
        }
        while (length > 0) {  // What has been written is itself repeated.
            const std::size_t some = std::min(length, static_cast<std::size_t>(at - from));
            std::memcpy(at, from, some);
            at += some;
            length -= some;
        }
        return true;
    }
};

// The offset that a value means: one of the last three, or a new one. 0: none.
std::size_t offset_of(std::size_t value, bool no_literals, std::array<std::size_t, 3>& recent) {
    auto& [first, second, third] = recent;
    if (value > 3) {
        third = second;
        second = first;
        return first = value - 3;
    }
    const std::size_t which = value - 1 + (no_literals ? 1 : 0);
    if (which == 0) {
        return first;
    }
    const std::size_t offset = which == 1 ? second : which == 2 ? third : first - 1;
    if (which > 1) {
        third = second;
    }
    second = first;
    return first = offset;
}

// The types of a block, and those of its literals.
constexpr unsigned kRaw = 0;
constexpr unsigned kRun = 1;
constexpr unsigned kCompressed = 2;
constexpr unsigned kRawLiterals = 0;
constexpr unsigned kRunLiterals = 1;
constexpr unsigned kTreeless = 3;

Bytes bytes_of(std::span<const std::byte> frame) {
    return {reinterpret_cast<const std::uint8_t*>(frame.data()), frame.size()};
}

// The number in the first `size` bytes, lowest first, which are taken off. False if there are fewer.
bool take_number(Bytes& bytes, std::size_t size, std::uint64_t& number) {
    if (bytes.size() < size) {
        return false;
    }
    number = detail::load_up_to(bytes.first(size), 0);
    if (size < 8) {
        number &= (std::uint64_t{1} << (8 * size)) - 1;
    }
    bytes = bytes.subspan(size);
    return true;
}

// Takes the frame's header off. Whether it says that so many bytes are in it, and nothing that is
// declined.
bool take_header(Bytes& frame, std::size_t size) {
    std::uint64_t magic = 0, head = 0, stated = 0;
    if (!take_number(frame, 4, magic) || magic != kMagic || !take_number(frame, 1, head) ||
        (head & (kDictionary | kChecksum | kReserved)) != 0) {
        return false;
    }
    const bool single = (head & kSingleSegment) != 0;
    const auto form = static_cast<unsigned>(head >> 6);
    if (form == 0 && !single) {
        return false;
    }
    std::uint64_t window = 0;  // It bounds what a reader keeps, and we keep all.
    if ((!single && !take_number(frame, 1, window)) ||
        !take_number(frame, std::size_t{1} << form, stated)) {
        return false;
    }
    return stated + (form == 1 ? 256 : 0) == size;
}

}  // namespace

bool ZstdDecoder::states(std::span<const std::byte> frame, std::size_t size) noexcept {
    Bytes bytes = bytes_of(frame);
    return take_header(bytes, size);
}

bool ZstdDecoder::decode(std::span<const std::byte> frame, std::span<std::byte> content) noexcept {
    content_ = {reinterpret_cast<std::uint8_t*>(content.data()), content.size()};
    at_ = 0;
    recent_ = {1, 4, 8};
    huffman_.log = 0;
    literal_lengths_ = offsets_ = match_lengths_ = detail::FseTable{};
    Bytes bytes = bytes_of(frame);
    return take_header(bytes, content.size()) && blocks(bytes) && at_ == content_.size();
}

// All blocks, and nothing behind them.
bool ZstdDecoder::blocks(Bytes frame) noexcept {
    bool last = false;
    while (!last) {
        std::uint64_t head = 0;
        if (!take_number(frame, 3, head)) {
            return false;
        }
        last = (head & 1) != 0;
        const auto type = static_cast<unsigned>(head >> 1 & 3);
        const auto size = static_cast<std::size_t>(head >> 3);
        if (type == kRun) {
            if (frame.empty() || size > content_.size() - at_) {
                return false;
            }
            std::fill_n(content_.data() + at_, size, frame.front());
            at_ += size;
            frame = frame.subspan(1);
            continue;
        }
        if (type > kCompressed || size > frame.size() || size > kMostBlock) {
            return false;
        }
        const Bytes bytes = frame.first(size);
        if (type == kRaw ? !put(bytes) : !block(bytes)) {
            return false;
        }
        frame = frame.subspan(size);
    }
    return frame.empty();
}

// Writes bytes. False if there is no room.
bool ZstdDecoder::put(Bytes from) noexcept {
    Output out{content_.data(), content_.data() + at_, content_.data() + content_.size()};
    if (!out.put(from, from.size())) {
        return false;
    }
    at_ += from.size();
    return true;
}

bool ZstdDecoder::block(Bytes bytes) noexcept {
    if (!literals(bytes) || bytes.empty()) {
        return false;
    }
    std::size_t count = bytes.front();
    std::size_t used = 1;
    if (count >= 128) {
        used = count == 255 ? 3 : 2;
        if (bytes.size() < used) {
            return false;
        }
        count = count == 255 ? bytes[1] + std::size_t{256} * bytes[2] + 0x7F00
                             : (count - 128) * 256 + bytes[1];
    }
    bytes = bytes.subspan(used);
    if (count == 0) {
        return bytes.empty() && put(literals_);
    }
    if (bytes.empty()) {
        return false;
    }
    const std::uint8_t modes = bytes.front();
    bytes = bytes.subspan(1);
    return tables(modes, bytes) && sequences(count, bytes) && put(literals_);
}

// Takes the literals of a block off its bytes.
bool ZstdDecoder::literals(Bytes& bytes) noexcept {
    if (bytes.empty()) {
        return false;
    }
    const unsigned type = bytes.front() & 3U;
    if (type != kRawLiterals && type != kRunLiterals) {
        return huffman_literals(type, bytes);
    }
    const unsigned form = bytes.front() >> 2 & 3U;
    const std::size_t width = form == 1 ? 2 : form == 3 ? 3 : 1;
    std::uint64_t head = 0;
    if (!take_number(bytes, width, head)) {
        return false;
    }
    const auto size = static_cast<std::size_t>(head >> (width == 1 ? 3 : 4));
    const std::size_t stored = type == kRunLiterals ? 1 : size;
    if (size > kMostBlock || stored > bytes.size()) {
        return false;
    }
    literals_ = bytes.first(stored);
    if (type == kRunLiterals) {
        std::fill_n(buffer_.data(), size, bytes.front());
        literals_ = Bytes(buffer_).first(size);
    }
    bytes = bytes.subspan(stored);
    return true;
}

bool ZstdDecoder::huffman_literals(unsigned type, Bytes& bytes) noexcept {
    const unsigned form = bytes.front() >> 2 & 3U;
    const std::size_t width = form < 2 ? 3 : form + 2;
    const unsigned each = form < 2 ? 10 : form == 2 ? 14 : 18;
    std::uint64_t head = 0;
    if (!take_number(bytes, width, head)) {
        return false;
    }
    const auto part = [&](unsigned shift) {
        return static_cast<std::size_t>(head >> shift & ((std::uint64_t{1} << each) - 1));
    };
    const std::size_t size = part(4);
    const std::size_t stored = part(4 + each);
    if (size > kMostBlock || stored > bytes.size()) {
        return false;
    }
    Bytes coded = bytes.first(stored);
    bytes = bytes.subspan(stored);
    if (type == kTreeless ? huffman_.log == 0 : !detail::read_huffman(coded, huffman_)) {
        return false;
    }
    const std::span<std::uint8_t> out = std::span(buffer_).first(size);
    literals_ = out;
    if (form == 0) {
        return detail::read_symbols(huffman_, coded, out);
    }
    return detail::read_symbols_of_four(huffman_, coded, out);
}

// Takes the tables of a block's sequences off its bytes.
bool ZstdDecoder::tables(std::uint8_t modes, Bytes& bytes) noexcept {
    return (modes & 3) == 0 &&
           detail::read_table(modes >> 6, detail::kLiteralLengths, bytes, own_[0],
                              literal_lengths_) &&
           detail::read_table(modes >> 4 & 3U, detail::kOffsets, bytes, own_[1], offsets_) &&
           detail::read_table(modes >> 2 & 3U, detail::kMatchLengths, bytes, own_[2],
                              match_lengths_);
}

// Carries out the sequences: some literals, then something repeated. What literals are left, stay.
bool ZstdDecoder::sequences(std::size_t count, Bytes bytes) noexcept {
    detail::BackwardBits bits;
    if (!bits.open(bytes)) {
        return false;
    }
    Output out{content_.data(), content_.data() + at_, content_.data() + content_.size()};
    Bytes literals = literals_;
    auto recent = recent_;
    const auto [literal_steps, literal_log] = literal_lengths_;
    const auto [offset_steps, offset_log] = offsets_;
    const auto [match_steps, match_log] = match_lengths_;
    std::size_t literal = bits.read(literal_log);
    std::size_t offset = bits.read(offset_log);
    std::size_t match = bits.read(match_log);
    while (true) {
        const detail::FseStep of_offset = offset_steps[offset];
        const detail::FseStep of_match = match_steps[match];
        const detail::FseStep of_literal = literal_steps[literal];
        const std::size_t value = of_offset.base + bits.read(of_offset.extra);
        const std::uint64_t both = bits.read(0U + of_match.extra + of_literal.extra);
        const std::size_t length = of_match.base + (both >> of_literal.extra);
        const std::size_t before = of_literal.base + low_bits(both, of_literal.extra);
        if (bits.left() < 0 || !out.put(literals, before) ||
            !out.repeat(offset_of(value, before == 0, recent), length)) {
            return false;
        }
        literals = literals.subspan(before);
        if (--count == 0) {
            break;
        }
        // The three states are told in one go.
        const std::uint64_t told = bits.read(0U + of_literal.bits + of_match.bits + of_offset.bits);
        offset = of_offset.next + low_bits(told, of_offset.bits);
        match = of_match.next + low_bits(told >> of_offset.bits, of_match.bits);
        literal = of_literal.next + (told >> (of_offset.bits + of_match.bits));
    }
    at_ = static_cast<std::size_t>(out.at - out.begin);
    literals_ = literals;
    recent_ = recent;
    return bits.left() == 0;
}

}  // namespace millpond
