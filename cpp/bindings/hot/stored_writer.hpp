// Where the stored form of a value is put together: a buffer with a bound.
#pragma once

#include <Python.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "hot/stored_tags.hpp"

namespace millpond::bindings {

// Thrown when the bound is passed. It ends the walk wherever that is.
struct OverBound : std::exception {};

// Small values never leave the stack.
class StoredWriter {
  public:
    explicit StoredWriter(std::size_t most) noexcept : most_(most) {}
    ~StoredWriter() {
        if (bytes_ != first_.data()) std::free(bytes_);
    }
    StoredWriter(const StoredWriter&) = delete;
    StoredWriter& operator=(const StoredWriter&) = delete;

    // Room for so many bytes, which count as written. Throws OverBound or bad_alloc.
    [[nodiscard]] std::uint8_t* room(std::size_t size) {
        if (size > capacity_ - size_) [[unlikely]]
            grow(size);
        std::uint8_t* const at = bytes_ + size_;
        size_ += size;
        return at;
    }
    void byte(std::uint8_t value) { *room(1) = value; }
    void tag(Stored value) { byte(static_cast<std::uint8_t>(value)); }
    void raw(const void* data, std::size_t size) {
        std::uint8_t* const at = room(size);
        if (size != 0) std::memcpy(at, data, size);
    }
    // LEB128: seven bits a byte, lowest first.
    void count(std::uint64_t value) {
        while (value >= 0x80) {
            byte(static_cast<std::uint8_t>(value | 0x80));
            value >>= 7;
        }
        byte(static_cast<std::uint8_t>(value));
    }
    void run(const void* data, std::size_t size) {
        count(size);
        raw(data, size);
    }
    // Lowest byte first, on every machine.
    void word(std::uint64_t value, std::size_t size = 8) {
        std::uint8_t* const at = room(size);
        for (std::size_t i = 0; i < size; ++i) at[i] = static_cast<std::uint8_t>(value >> (8 * i));
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] const char* data() const noexcept {
        return reinterpret_cast<const char*>(bytes_);
    }

  private:
    void grow(std::size_t size) {
        if (size > most_ - std::min(size_, most_)) throw OverBound{};
        const std::size_t capacity = std::max(size_ + size, capacity_ * 2);
        const bool on_stack = bytes_ == first_.data();
        void* const larger = std::realloc(on_stack ? nullptr : bytes_, capacity);
        if (larger == nullptr) throw std::bad_alloc();
        if (on_stack) std::memcpy(larger, first_.data(), size_);
        bytes_ = static_cast<std::uint8_t*>(larger);
        capacity_ = capacity;
    }

    std::size_t most_;
    std::size_t size_ = 0;
    std::array<std::uint8_t, 1024> first_;
    std::uint8_t* bytes_ = first_.data();
    std::size_t capacity_ = first_.size();
};

}  // namespace millpond::bindings
