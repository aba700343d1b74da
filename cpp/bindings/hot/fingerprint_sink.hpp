// Where the canonical form goes when a fingerprint is wanted: 16-byte blocks in a small buffer,
// hashed when a message ends or the buffer is full. Each pair of a dict and each member of a set
// is a message of its own; all else is one message.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hot/canonical_tags.hpp"
#include "hot/canonical_text.hpp"
#include "millpond/base/hash.hpp"

namespace millpond::bindings {

class MessageSum;

class FingerprintSink {
  public:
    // Opaque leaves are allowed, and unordered things are summed, not sorted.
    static constexpr bool kInProcess = true;

    [[nodiscard]] const BlockHasher& hasher() const noexcept { return hasher_; }

    explicit FingerprintSink(const BlockHasher& hasher) noexcept
        : hasher_(hasher), next_(buffer_), start_(buffer_) {}
    FingerprintSink(const FingerprintSink&) = delete;
    FingerprintSink& operator=(const FingerprintSink&) = delete;

    void word(Tag tag, std::uint64_t payload) noexcept { push(head(tag, 0, 0), payload); }
    void unit(Tag tag) noexcept { word(tag, 0); }
    void open(Tag tag, std::size_t count) noexcept { word(tag, count); }
    void integer(std::int64_t value) noexcept {
        word(value < 0 ? Tag::Negative : Tag::Natural, static_cast<std::uint64_t>(value));
    }
    // An int that does not fit into 64 bits: its magnitude, lowest byte first, without zeros.
    void big_integer(bool negative, const std::uint8_t* bytes, std::size_t size) noexcept {
        run(negative ? Tag::Negative : Tag::Natural, kBig, bytes, size);
    }
    void bytes(Tag tag, const void* data, std::size_t size) noexcept { run(tag, 0, data, size); }
    // CPython keeps a text in the narrowest of three widths, so its own bytes are a form too.
    void text(PyObject* text) noexcept {
        const auto length = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text));
        if (PyUnicode_IS_COMPACT_ASCII(text)) {
            run(Tag::Str, 1, reinterpret_cast<const PyASCIIObject*>(text) + 1, length);
        } else {
            const auto width = static_cast<unsigned>(PyUnicode_KIND(text));
            run(Tag::Str, width, PyUnicode_DATA(text), length * width);
        }
    }
    // An unordered container: its size, and the sum of its messages.
    void summed(Tag tag, std::size_t count, const Block& sum) noexcept {
        reserve(2);
        put(Lane{head(tag, kSummed, 0), count});
        copy(&sum);
    }

    // A message inside the message. They nest as the calls do.
    struct Outer {
        Block* start;
        HashState state;
        bool hashed;
    };
    void begin(Outer& outer) noexcept {
        if (buffer_ + kBlocks - next_ < kReserve) flush();
        outer.start = start_;
        outer.hashed = hashed_;
        if (hashed_) outer.state = state_;
        start_ = next_;
        hashed_ = false;
    }
    // The end of the inner message, which joins the others of its container.
    void end(const Outer& outer, MessageSum& sum) noexcept;
    // Leaves a message that failed.
    void abandon(const Outer& outer) noexcept {
        next_ = start_;
        start_ = outer.start;
        hashed_ = outer.hashed;
        if (hashed_) state_ = outer.state;
    }

    // The fingerprint of the message so far.
    [[nodiscard]] Fingerprint finish() noexcept {
        Block compressed;
        compress(compressed);
        return hasher_.finish(compressed);
    }

  private:
    static constexpr std::ptrdiff_t kBlocks = 320;
    static constexpr std::ptrdiff_t kReserve = 64;  // what each message finds free, at least
    static constexpr unsigned kBig = 1;
    static constexpr unsigned kSummed = 1;
    static constexpr std::size_t kCopied = 512;       // longer runs are hashed where they lie
    static constexpr std::ptrdiff_t kRunBlocks = 34;  // what the others take at most

    static constexpr std::uint64_t head(Tag tag, unsigned detail, std::size_t size) noexcept {
        return static_cast<std::uint64_t>(tag) | std::uint64_t{detail} << 8 |
               static_cast<std::uint64_t>(size) << 16;
    }

    [[nodiscard]] std::size_t pending() const noexcept {
        return static_cast<std::size_t>(next_ - start_);
    }

    // Room for `count` blocks. REQUIRES: count <= kReserve.
    void reserve(std::ptrdiff_t count) noexcept {
        if (buffer_ + kBlocks - next_ < count) [[unlikely]]
            flush();
    }

    // One store of 16 bytes: read back as a whole, two of 8 bytes would stall the hasher.
    using Lane = std::uint64_t __attribute__((vector_size(16)));
    static void put_at(Block* out, Lane lane) noexcept { std::memcpy(out, &lane, sizeof lane); }
    static void copy_at(Block* out, const void* from) noexcept {
        Lane lane;
        std::memcpy(&lane, from, sizeof lane);
        put_at(out, lane);
    }
    void put(Lane lane) noexcept { put_at(next_++, lane); }
    void copy(const void* from) noexcept { copy_at(next_++, from); }
    void push(std::uint64_t first, std::uint64_t second) noexcept {
        reserve(1);
        put(Lane{first, second});
    }

    void compress(Block& out) noexcept {
        if (hashed_) {
            flush();
            hasher_.compress(state_, out);
        } else {
            hasher_.compress(start_, pending(), out);
        }
    }

    __attribute__((noinline)) void flush() noexcept {
        absorb(start_, pending());
        next_ = start_;
    }

    void absorb(const void* blocks, std::size_t count) noexcept {
        if (!hashed_) state_ = hasher_.start();
        hashed_ = true;
        hasher_.absorb(state_, blocks, count);
    }

    static std::uint64_t load64(const std::uint8_t* from) noexcept {
        std::uint64_t value;
        std::memcpy(&value, from, sizeof value);
        return value;
    }

    // Up to 8 bytes in one word; with the size known no two runs share a word.
    static std::uint64_t load_short(const std::uint8_t* from, std::size_t size) noexcept {
        if (size >= 4) {
            std::uint32_t low = 0, high = 0;
            std::memcpy(&low, from, 4);
            std::memcpy(&high, from + size - 4, 4);
            return std::uint64_t{low} | std::uint64_t{high} << 32;
        }
        if (size == 0) return 0;
        return std::uint64_t{from[0]} | std::uint64_t{from[size / 2]} << 8 |
               std::uint64_t{from[size - 1]} << 16;
    }

    // Tag, detail and size, then the bytes. What calls no function here needs no stack frame.
    void run(Tag tag, unsigned detail, const void* data, std::size_t size) noexcept {
        if (size > kCopied || buffer_ + kBlocks - next_ < kRunBlocks) [[unlikely]] {
            slow_run(tag, detail, data, size);
            return;
        }
        const auto* const from = static_cast<const std::uint8_t*>(data);
        const std::uint64_t first = head(tag, detail, size);
        Block* const out = next_;
        if (size <= 8) {
            put_at(out, Lane{first, load_short(from, size)});
            next_ = out + 1;
            return;
        }
        put_at(out, Lane{first, load64(from)});
        if (size <= 16) {
            put_at(out + 1, Lane{load64(from + size - 8), 0});
            next_ = out + 2;
            return;
        }
        // The blocks but the last, which is read from the end of the run: it may repeat bytes of
        // the block before it, and nothing is read beyond the run.
        const std::size_t whole = (size - 9) / 16;
        for (std::size_t i = 0; i < whole; i += 4) {
            if (whole - i < 4) {
                for (; i < whole; ++i) copy_at(out + 1 + i, from + 8 + 16 * i);
                break;
            }
            copy_at(out + 1 + i, from + 8 + 16 * i);
            copy_at(out + 2 + i, from + 24 + 16 * i);
            copy_at(out + 3 + i, from + 40 + 16 * i);
            copy_at(out + 4 + i, from + 56 + 16 * i);
        }
        copy_at(out + 1 + whole, from + size - 16);
        next_ = out + 2 + whole;
    }

    // Makes room first, and hashes a long run where it lies.
    __attribute__((noinline)) void slow_run(Tag tag, unsigned detail, const void* data,
                                            std::size_t size) noexcept {
        flush();
        if (size <= kCopied) {
            run(tag, detail, data, size);
            return;
        }
        const auto* const from = static_cast<const std::uint8_t*>(data);
        push(head(tag, detail, size), load64(from));
        flush();
        const std::size_t whole = (size - 9) / 16;
        absorb(from + 8, whole);
        copy(from + size - 16);
    }

    const BlockHasher& hasher_;
    Block* next_;
    Block* start_;  // of the present message
    bool hashed_ = false;
    HashState state_;
    Block buffer_[kBlocks];
};

// The commutative sum of the messages that a dict or a set is made of; they are finished several
// at a time.
class MessageSum {
  public:
    explicit MessageSum(const BlockHasher& hasher) noexcept : hasher_(hasher) {}

    // Where the next compressed message goes.
    [[nodiscard]] Block& next() noexcept {
        if (count_ == kAtOnce) settle();
        return waiting_[count_++];
    }

    // The fingerprint of the message added last.
    [[nodiscard]] Fingerprint last() const noexcept { return hasher_.finish(waiting_[count_ - 1]); }

    [[nodiscard]] const Block& total() noexcept {
        settle();
        return total_;
    }

  private:
    static constexpr std::size_t kAtOnce = 8;

    void settle() noexcept {
        if (count_ > 0) hasher_.sum(waiting_, count_, total_);
        count_ = 0;
    }

    const BlockHasher& hasher_;
    std::size_t count_ = 0;
    Block total_{0, 0};
    Block waiting_[kAtOnce];
};

inline void FingerprintSink::end(const Outer& outer, MessageSum& sum) noexcept {
    compress(sum.next());
    abandon(outer);
}

}  // namespace millpond::bindings
