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

class FingerprintSink {
  public:
    // Opaque leaves are allowed, and unordered things are summed, not sorted.
    static constexpr bool kInProcess = true;

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
        const auto width = static_cast<unsigned>(PyUnicode_KIND(text));
        run(Tag::Str, width, PyUnicode_DATA(text),
            static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)) * width);
    }
    void print(Tag tag, std::size_t count, const Fingerprint& sum) noexcept {
        open(tag, count);
        push(sum.hi, sum.lo);
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
    [[nodiscard]] Fingerprint end(const Outer& outer) noexcept {
        const Fingerprint result = finish();
        abandon(outer);
        return result;
    }
    // Leaves a message that failed.
    void abandon(const Outer& outer) noexcept {
        next_ = start_;
        start_ = outer.start;
        hashed_ = outer.hashed;
        if (hashed_) state_ = outer.state;
    }

    // The fingerprint of the message so far.
    [[nodiscard]] Fingerprint finish() noexcept {
        if (!hashed_) return hasher_.hash(start_, pending());
        flush();
        return hasher_.finish(state_);
    }

  private:
    static constexpr std::ptrdiff_t kBlocks = 192;
    static constexpr std::ptrdiff_t kReserve = 64;  // what each message finds free, at least
    static constexpr unsigned kBig = 1;
    static constexpr std::size_t kCopied = 256;  // longer runs are hashed where they lie

    static constexpr std::uint64_t head(Tag tag, unsigned detail, std::size_t size) noexcept {
        return static_cast<std::uint64_t>(tag) | std::uint64_t{detail} << 8 |
               static_cast<std::uint64_t>(size) << 16;
    }

    [[nodiscard]] std::size_t pending() const noexcept {
        return static_cast<std::size_t>(next_ - start_);
    }

    void push(std::uint64_t first, std::uint64_t second) noexcept {
        if (next_ == buffer_ + kBlocks) [[unlikely]]
            flush();
        next_->first = first;
        next_->second = second;
        ++next_;
    }

    void flush() noexcept {
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

    // Tag, detail and size, then the bytes. The last block is read from the end of the run, so it
    // may repeat bytes of the block before it, and nothing is read beyond the run.
    void run(Tag tag, unsigned detail, const void* data, std::size_t size) noexcept {
        const auto* from = static_cast<const std::uint8_t*>(data);
        const std::uint64_t first = head(tag, detail, size);
        if (size <= 8) {
            push(first, load_short(from, size));
            return;
        }
        push(first, load64(from));
        const std::uint8_t* const end = from + size;
        from += 8;
        if (size <= 16) {
            push(load64(end - 8), 0);
            return;
        }
        if (size > kCopied) {
            flush();
            const auto whole = static_cast<std::size_t>(end - from) / 16;
            absorb(from, whole);
            from += whole * 16;
        }
        for (; end - from >= 16; from += 16) push(load64(from), load64(from + 8));
        if (from != end) push(load64(end - 16), load64(end - 8));
    }

    const BlockHasher& hasher_;
    Block* next_;
    Block* start_;  // of the present message
    bool hashed_ = false;
    HashState state_;
    Block buffer_[kBlocks];
};

}  // namespace millpond::bindings
