// A set of object addresses for one walk over an object graph: the first few live on the stack.
#pragma once

#include <Python.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace millpond::bindings {

// Open addressing, at most half full. Not thread-safe. Costs nothing until the first insert.
class VisitedSet {
  public:
    // Leaves first_ unset, which a default would clear: most walks meet no shared part.
    VisitedSet() noexcept {}  // NOLINT(modernize-use-equals-default)

    // True if `object` was not in the set. Amortised O(1); may throw bad_alloc.
    [[nodiscard]] bool insert(PyObject* object) {
        if (count_ * 2 >= capacity_) {
            grow();
        }
        PyObject** slot = find(slots_, capacity_, object);
        if (*slot == object) {
            return false;
        }
        *slot = object;
        ++count_;
        return true;
    }

  private:
    static constexpr std::size_t kFirstSlots = 64;

    // The slot that holds `object`, or the free one where it belongs.
    [[nodiscard]] static PyObject** find(PyObject** slots, std::size_t capacity,
                                         PyObject* object) noexcept {
        // Fibonacci hashing: the middle bits of the product depend on all bits of the address.
        const auto mixed = (reinterpret_cast<std::uintptr_t>(object) >> 4) * 0x9E3779B97F4A7C15U;
        std::size_t at = (mixed >> 24) & (capacity - 1);
        while (slots[at] != nullptr && slots[at] != object) {
            at = (at + 1) & (capacity - 1);
        }
        return slots + at;
    }

    void grow() {
        if (capacity_ == 0) {
            first_.fill(nullptr);
            slots_ = first_.data();
            capacity_ = kFirstSlots;
            return;
        }
        std::vector<PyObject*> larger(capacity_ * 4, nullptr);
        for (std::size_t i = 0; i < capacity_; ++i) {
            if (slots_[i] != nullptr) {
                *find(larger.data(), larger.size(), slots_[i]) = slots_[i];
            }
        }
        heap_ = std::move(larger);
        slots_ = heap_.data();
        capacity_ = heap_.size();
    }

    PyObject** slots_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t count_ = 0;
    std::vector<PyObject*> heap_;
    std::array<PyObject*, kFirstSlots> first_;
};

}  // namespace millpond::bindings
