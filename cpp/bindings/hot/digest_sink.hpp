// Where the canonical form goes when a shared key is wanted: the bytes of docs/design/keys.md, on
// their way to SHA-256. While a key of a dict or a member of a set is encoded to be sorted, the
// bytes go aside instead.
#pragma once

#include <Python.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "hot/canonical_tags.hpp"
#include "hot/canonical_text.hpp"
#include "millpond/base/sha256.hpp"

namespace millpond::bindings {

class DigestSink {
  public:
    static constexpr bool kInProcess = false;

    DigestSink() = default;
    DigestSink(const DigestSink&) = delete;
    DigestSink& operator=(const DigestSink&) = delete;

    void unit(Tag tag) { *room(1) = static_cast<std::uint8_t>(tag), used_ += 1; }

    // A tag and eight bytes, lowest first.
    void word(Tag tag, std::uint64_t payload) {
        std::uint8_t* out = room(9);
        *out++ = static_cast<std::uint8_t>(tag);
        for (int i = 0; i < 8; ++i) *out++ = static_cast<std::uint8_t>(payload >> (8 * i));
        used_ += 9;
    }

    // A tag and a count.
    void open(Tag tag, std::size_t count) {
        std::uint8_t* const out = room(kHeadBytes);
        out[0] = static_cast<std::uint8_t>(tag);
        used_ += static_cast<std::size_t>(write_count(out + 1, count) - out);
    }

    void integer(std::int64_t value) {
        const bool negative = value < 0;
        std::uint64_t magnitude = static_cast<std::uint64_t>(value);
        if (negative) magnitude = 0 - magnitude;
        const auto size = static_cast<std::size_t>((std::bit_width(magnitude) + 7) / 8);
        std::uint8_t* out = room(10);
        *out++ = static_cast<std::uint8_t>(negative ? Tag::Negative : Tag::Natural);
        *out++ = static_cast<std::uint8_t>(size);
        for (std::size_t i = 0; i < size; ++i) {
            *out++ = static_cast<std::uint8_t>(magnitude >> (8 * i));
        }
        used_ += 2 + size;
    }

    void big_integer(bool negative, const std::uint8_t* magnitude, std::size_t size) {
        bytes(negative ? Tag::Negative : Tag::Natural, magnitude, size);
    }

    void bytes(Tag tag, const void* data, std::size_t size) {
        open(tag, size);
        raw(data, size);
    }

    void text(PyObject* text) {
        if (PyUnicode_IS_ASCII(text)) {
            bytes(Tag::Str, PyUnicode_DATA(text),
                  static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)));
            return;
        }
        open(Tag::Str, utf8_size(text));
        const int kind = static_cast<int>(PyUnicode_KIND(text));
        const void* const data = PyUnicode_DATA(text);
        for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(text); ++i) {
            std::uint8_t* const out = room(4);
            used_ += static_cast<std::size_t>(write_utf8(PyUnicode_READ(kind, data, i), out) - out);
        }
    }

    // Bytes as they are.
    void raw(const void* data, std::size_t size) {
        if (size <= kBytes - used_) {
            std::memcpy(buffer_ + used_, data, size);
            used_ += size;
            return;
        }
        flush();
        if (size < kBytes) {
            std::memcpy(buffer_, data, size);
            used_ = size;
        } else if (aside_ != nullptr) {
            aside_->append(static_cast<const char*>(data), size);
        } else {
            sha_.update(data, size);
        }
    }

    // Sends what follows to `aside`, until resume() is given what this returned.
    [[nodiscard]] std::string* redirect(std::string* aside) {
        flush();
        return std::exchange(aside_, aside);
    }
    void resume(std::string* before) {
        flush();
        aside_ = before;
    }
    // The same after a failure: what is under way is of no use any more.
    void abandon(std::string* before) noexcept {
        used_ = 0;
        aside_ = before;
    }

    [[nodiscard]] Sha256Digest finish() {
        flush();
        return sha_.finish();
    }

  private:
    static constexpr std::size_t kBytes = 2048;
    static constexpr std::size_t kHeadBytes = 11;

    // LEB128: seven bits a byte, lowest first, the high bit set on all but the last.
    static std::uint8_t* write_count(std::uint8_t* out, std::size_t count) noexcept {
        for (; count >= 0x80; count >>= 7) *out++ = static_cast<std::uint8_t>(count | 0x80U);
        *out++ = static_cast<std::uint8_t>(count);
        return out;
    }

    std::uint8_t* room(std::size_t size) {
        if (kBytes - used_ < size) flush();
        return buffer_ + used_;
    }

    void flush() {
        if (aside_ != nullptr) {
            aside_->append(reinterpret_cast<const char*>(buffer_), used_);
        } else {
            sha_.update(buffer_, used_);
        }
        used_ = 0;
    }

    std::size_t used_ = 0;
    std::string* aside_ = nullptr;
    Sha256 sha_;
    std::uint8_t buffer_[kBytes];
};

}  // namespace millpond::bindings
