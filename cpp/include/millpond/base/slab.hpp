// Slab: the storage of everything the engine numbers. A slot is a 32-bit index that stays put while
// the slab grows by whole chunks, so structures link each other by slot and never by pointer, and
// growing moves nothing. Column is the same storage for a value kept beside the slots of another slab.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

namespace millpond {

using Slot = std::uint32_t;
inline constexpr Slot kNoSlot = 0xFFFFFFFFU;

// Grows by chunks of 2^kChunkBits elements. Elements start as zero bytes, or unset where T is
// over-aligned. Chunks are large enough to come straight from the system, so memory that was never
// touched is never resident. Not thread-safe.
template <class T, unsigned kChunkBits = 10>
class Column {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

  public:
    static constexpr std::size_t kChunkSize = std::size_t{1} << kChunkBits;

    // Makes [0, size) addressable. Amortised O(1); throws std::bad_alloc and changes nothing.
    void reserve(std::size_t size) {
        while (chunks_.size() * kChunkSize < size) {
            chunks_.push_back(allocate());
        }
    }

    // REQUIRES: slot below a reserved size.
    [[nodiscard]] T& operator[](Slot slot) noexcept {
        return chunks_[slot >> kChunkBits].get()[slot & (kChunkSize - 1)];
    }
    [[nodiscard]] const T& operator[](Slot slot) const noexcept {
        return chunks_[slot >> kChunkBits].get()[slot & (kChunkSize - 1)];
    }

    [[nodiscard]] std::size_t reserved() const noexcept { return chunks_.size() * kChunkSize; }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept {
        return reserved() * sizeof(T) + chunks_.capacity() * sizeof(chunks_[0]);
    }

  private:
    struct Free {
        void operator()(T* chunk) const noexcept { std::free(chunk); }
    };
    using Chunk = std::unique_ptr<T, Free>;

    static Chunk allocate() {
        constexpr std::size_t kBytes = kChunkSize * sizeof(T);
        // Over-aligned memory is left as it comes: zeroing it would make all of it resident.
        void* const memory = alignof(T) > alignof(std::max_align_t)
                                 ? std::aligned_alloc(alignof(T), kBytes)
                                 : std::calloc(kChunkSize, sizeof(T));
        if (memory == nullptr) {
            throw std::bad_alloc();
        }
        return Chunk(static_cast<T*>(memory));
    }

    std::vector<Chunk> chunks_;
};

// A Column whose slots are handed out and taken back. A freed slot is the next one handed out.
// T needs a `Slot next` member, which links the free slots while they are free.
template <class T, unsigned kChunkBits = 10>
class Slab {
  public:
    // Returns a slot whose element holds what it held when freed, a T{} the first time.
    // Amortised O(1). Throws std::bad_alloc and changes nothing.
    [[nodiscard]] Slot acquire() {
        if (free_ != kNoSlot) {
            const Slot slot = free_;
            free_ = elements_[slot].next;
            ++used_;
            return slot;
        }
        elements_.reserve(std::size_t{end_} + 1);
        elements_[end_] = T{};
        ++used_;
        return end_++;
    }

    // REQUIRES: slot is in use.
    void release(Slot slot) noexcept {
        elements_[slot].next = free_;
        free_ = slot;
        --used_;
    }

    [[nodiscard]] T& operator[](Slot slot) noexcept { return elements_[slot]; }
    [[nodiscard]] const T& operator[](Slot slot) const noexcept { return elements_[slot]; }
    // Slots ever handed out: a scan visits [0, end()).
    [[nodiscard]] Slot end() const noexcept { return end_; }
    [[nodiscard]] Slot used() const noexcept { return used_; }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept {
        return elements_.allocated_bytes();
    }

  private:
    Column<T, kChunkBits> elements_;
    Slot free_ = kNoSlot;
    Slot end_ = 0;
    Slot used_ = 0;
};

}  // namespace millpond
